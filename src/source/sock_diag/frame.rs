//! How a netlink datagram is divided into messages (linux/netlink.h). Pure: bytes in, frames out, never a panic.

use netlink_packet_core::{
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, parse_i32,
};

/// One message of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Sequence number of the request that it answers.
    pub sequence: u32,
    /// The table changed while it was dumped (`NLM_F_DUMP_INTR`): rows may be missing or doubled.
    pub interrupted: bool,
    /// What it says.
    pub content: Content<'a>,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A row.
    Body(&'a [u8]),
    /// The dump is complete.
    Done,
    /// The request failed with this errno (positive).
    Refused(i32),
    /// An acknowledgement, or nothing.
    Nothing,
}

/// The messages of one datagram, in order.
pub fn frames(datagram: &[u8]) -> Frames<'_> {
    Frames {
        rest: datagram,
        torn: false,
    }
}

/// Iterator over the messages of a datagram.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    torn: bool,
}

impl Frames<'_> {
    /// True if bytes were left over that make no message.
    pub fn torn(&self) -> bool {
        self.torn
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let Ok(message) = NetlinkBuffer::new_checked(self.rest) else {
            self.torn = true;
            self.rest = &[];
            return None;
        };
        let frame = Frame {
            sequence: message.sequence_number(),
            interrupted: message.flags() & NLM_F_DUMP_INTR != 0,
            content: content(message.message_type(), message.payload()),
        };
        let length = (message.length() as usize).next_multiple_of(4);
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(frame)
    }
}

fn content(message_type: u16, payload: &[u8]) -> Content<'_> {
    let code = || {
        payload
            .get(..4)
            .and_then(|bytes| parse_i32(bytes).ok())
            .unwrap_or(0)
    };
    match message_type {
        NLMSG_DONE | NLMSG_ERROR if code() < 0 => Content::Refused(code().saturating_neg()),
        NLMSG_DONE => Content::Done,
        NLMSG_ERROR | NLMSG_NOOP | NLMSG_OVERRUN => Content::Nothing,
        _ => Content::Body(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = ((16 + payload.len()) as u32).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend(9u32.to_ne_bytes());
        out.extend(0u32.to_ne_bytes());
        out.extend(payload);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn a_datagram_is_divided_into_its_messages() {
        let bytes = [
            message(20, 2, b"row 1"),
            message(20, 2 | NLM_F_DUMP_INTR, b"row two"),
            message(NLMSG_DONE, 2, &0i32.to_ne_bytes()),
        ]
        .concat();
        let got: Vec<Frame<'_>> = frames(&bytes).collect();
        let frame = |interrupted, content| Frame {
            sequence: 9,
            interrupted,
            content,
        };
        let want = [
            frame(false, Content::Body(b"row 1")),
            frame(true, Content::Body(b"row two")),
            frame(false, Content::Done),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn errors_carry_their_errno_wherever_the_kernel_puts_it() {
        let cases: &[(u16, Option<i32>, Content<'_>)] = &[
            (
                NLMSG_ERROR,
                Some(-libc::ENOENT),
                Content::Refused(libc::ENOENT),
            ),
            (
                NLMSG_DONE,
                Some(-libc::EINVAL),
                Content::Refused(libc::EINVAL),
            ),
            (NLMSG_ERROR, Some(0), Content::Nothing),
            (NLMSG_ERROR, Some(i32::MIN), Content::Refused(i32::MAX)),
            (NLMSG_DONE, None, Content::Done),
        ];
        for (kind, code, want) in cases {
            let payload = code.map(|c| c.to_ne_bytes().to_vec()).unwrap_or_default();
            let bytes = message(*kind, 0, &payload);
            assert_eq!(
                frames(&bytes).next().map(|f| f.content).as_ref(),
                Some(want),
                "{kind} {code:?}"
            );
        }
    }

    #[test]
    fn lengths_that_lie_end_the_datagram_and_are_told() {
        for length in [0u32, 3, 15, 4096, u32::MAX] {
            let mut bytes = message(20, 2, b"a row of the table");
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let mut replies = frames(&bytes);
            assert_eq!(replies.next(), None, "{length}");
            assert!(replies.torn(), "{length}");
        }
    }
}
