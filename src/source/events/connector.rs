//! What the proc connector says (linux/connector.h, linux/cn_proc.h). Pure: bytes in, events out. Threads other than a
//! process's first are left out.
//!
//! ```text
//!  nlmsghdr 16 │ cn_msg 20: idx val seq ack len flags │ proc_event: what cpu timestamp_ns(8) │ the event's own fields
//! ```

use netlink_packet_core::{NLMSG_DONE, NetlinkBuffer, parse_u32, parse_u64};

use crate::snapshot::{ExitStatus, Moment};

/// The multicast group, CN_IDX_PROC, as a mask.
pub const GROUP: u32 = libc::CN_IDX_PROC;
/// The kinds of events that are wanted: fork, exec and exit.
pub const WANTED: u32 = libc::PROC_EVENT_FORK | libc::PROC_EVENT_EXEC | libc::PROC_EVENT_EXIT;

const NETLINK_HEADER: usize = 16;
const CN_MSG: usize = 20;
const EVENT_HEADER: usize = 16;

/// Something that happened to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcEvent {
    /// A process was born.
    Fork {
        /// The process that made it.
        parent: u32,
        /// The new one.
        child: u32,
        /// When.
        at: Moment,
    },
    /// A process runs another program now.
    Exec {
        /// Which.
        pid: u32,
        /// When.
        at: Moment,
    },
    /// The first thread of a process ended, and in all but two cases the process with it: if other threads live on
    /// (the main thread called pthread_exit), or if another thread calls exec and takes over the pid, an
    /// [`Self::Exec`] of the same pid follows.
    Exit {
        /// Which.
        pid: u32,
        /// Its parent, where the kernel tells (4.18 and newer).
        parent: Option<u32>,
        /// How it ended.
        status: ExitStatus,
        /// When.
        at: Moment,
    },
    /// Events were lost here: look at /proc.
    Lost,
}

/// What is asked of the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Send all events.
    Listen,
    /// Send only these kinds (PROC_EVENT_* mask): 6.6 and newer.
    ListenOnlyTo(u32),
    /// Send no more.
    Ignore,
}

/// The message for a request. The acknowledgement carries `token`.
pub fn request(request: Request, token: u32) -> Vec<u8> {
    let body: Vec<u32> = match request {
        Request::Listen => vec![libc::PROC_CN_MCAST_LISTEN],
        Request::ListenOnlyTo(kinds) => vec![libc::PROC_CN_MCAST_LISTEN, kinds],
        Request::Ignore => vec![libc::PROC_CN_MCAST_IGNORE],
    };
    let mut bytes = vec![0; NETLINK_HEADER];
    for word in [libc::CN_IDX_PROC, libc::CN_VAL_PROC, 0, token] {
        bytes.extend(word.to_ne_bytes());
    }
    for half in [(body.len() * 4) as u16, 0] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.extend(body.into_iter().flat_map(u32::to_ne_bytes));
    let length = bytes.len() as u32;
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_message_type(NLMSG_DONE);
    message.set_length(length);
    bytes
}

/// What one message says, with times still on CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The answer to a request: errno 0 is yes.
    Acknowledged {
        /// The token of the request.
        token: u32,
        /// Why not.
        errno: u32,
    },
    /// An event of a process.
    Event(ProcEvent),
}

impl Said {
    /// The event, its time moved from CLOCK_MONOTONIC to CLOCK_BOOTTIME: by the nanoseconds that the machine was suspended.
    pub fn event(self, suspended: u64) -> Option<ProcEvent> {
        let Self::Event(mut event) = self else {
            return None;
        };
        match &mut event {
            ProcEvent::Fork { at, .. }
            | ProcEvent::Exec { at, .. }
            | ProcEvent::Exit { at, .. } => {
                at.0 = at.0.saturating_add(suspended);
            }
            ProcEvent::Lost => {}
        }
        Some(event)
    }
}

/// What a datagram says. The connector puts one message into each; `None` for what does not concern us.
pub fn parse_datagram(bytes: &[u8]) -> Option<Said> {
    let message = NetlinkBuffer::new_checked(bytes).ok()?;
    let connector = message.payload();
    let body = connector.get(CN_MSG..)?;
    if word(connector, 0)? != libc::CN_IDX_PROC || word(connector, 4)? != libc::CN_VAL_PROC {
        return None;
    }
    let fields = body.get(EVENT_HEADER..)?;
    if word(body, 0)? == libc::PROC_EVENT_NONE {
        // The kernel answers with the acknowledgement number of the request plus one; the sequence number is its own.
        let token = word(connector, 12)?.wrapping_sub(1);
        return Some(Said::Acknowledged {
            token,
            errno: word(fields, 0)?,
        });
    }
    let at = Moment(parse_u64(body.get(8..16)?).ok()?);
    parse_event(word(body, 0)?, at, fields).map(Said::Event)
}

fn parse_event(kind: u32, at: Moment, fields: &[u8]) -> Option<ProcEvent> {
    let [pid, tgid] = [word(fields, 0)?, word(fields, 4)?];
    match kind {
        libc::PROC_EVENT_FORK => {
            let [child, child_tgid] = [word(fields, 8)?, word(fields, 12)?];
            (child == child_tgid).then_some(ProcEvent::Fork {
                parent: tgid,
                child,
                at,
            })
        }
        // An exec ends all threads but one, which takes the process's pid.
        libc::PROC_EVENT_EXEC => Some(ProcEvent::Exec { pid: tgid, at }),
        libc::PROC_EVENT_EXIT if pid == tgid => {
            let status = ExitStatus::from_wait(word(fields, 8)?.cast_signed());
            let parent = word(fields, 20).filter(|&parent| parent != 0);
            Some(ProcEvent::Exit {
                pid,
                parent,
                status,
                at,
            })
        }
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    parse_u32(bytes.get(at..at.checked_add(4)?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram as the kernel makes it, its event's own fields as given.
    fn datagram(kind: u32, sequence: u32, ack: u32, fields: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; NETLINK_HEADER];
        for word in [libc::CN_IDX_PROC, libc::CN_VAL_PROC, sequence, ack, 40] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [kind, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(7_000_000_000u64.to_ne_bytes());
        bytes.extend(fields.iter().flat_map(|f| f.to_ne_bytes()));
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn events_of_processes_are_read_and_those_of_threads_are_not() {
        let at = Moment(7_000_000_000);
        let code = |code| ExitStatus {
            code: Some(code),
            signal: None,
        };
        let signal = |signal| ExitStatus {
            code: None,
            signal: Some(signal),
        };
        let exit = |parent, status| {
            Some(ProcEvent::Exit {
                pid: 30,
                parent,
                status,
                at,
            })
        };
        let cases: &[(u32, &[u32], Option<ProcEvent>)] = &[
            (
                libc::PROC_EVENT_FORK,
                &[11, 10, 30, 30],
                Some(ProcEvent::Fork {
                    parent: 10,
                    child: 30,
                    at,
                }),
            ),
            (libc::PROC_EVENT_FORK, &[10, 10, 31, 30], None),
            (
                libc::PROC_EVENT_EXEC,
                &[31, 30],
                Some(ProcEvent::Exec { pid: 30, at }),
            ),
            (
                libc::PROC_EVENT_EXIT,
                &[30, 30, 7 << 8, 17, 11, 10],
                exit(Some(10), code(7)),
            ),
            (
                libc::PROC_EVENT_EXIT,
                &[30, 30, 9, 17, 10, 10],
                exit(Some(10), signal(9)),
            ),
            (
                libc::PROC_EVENT_EXIT,
                &[30, 30, 11 | 0x80, 17, 10, 10],
                exit(Some(10), signal(11)),
            ),
            (libc::PROC_EVENT_EXIT, &[30, 30, 0, 17], exit(None, code(0))),
            (libc::PROC_EVENT_EXIT, &[31, 30, 0, 17, 10, 10], None),
            (libc::PROC_EVENT_EXIT, &[30, 30], None),
            (libc::PROC_EVENT_COMM, &[30, 30, 0, 0, 0, 0], None),
        ];
        for (kind, fields, want) in cases {
            let got = parse_datagram(&datagram(*kind, 0, 0, fields));
            assert_eq!(got, want.map(Said::Event), "{kind} {fields:?}");
        }
    }

    #[test]
    fn acknowledgements_answer_one_request() {
        let acknowledged =
            |ack, errno| parse_datagram(&datagram(0, 44_535, ack, &[errno, 0, 0, 0]));
        assert_eq!(
            acknowledged(78, 0),
            Some(Said::Acknowledged {
                token: 77,
                errno: 0
            })
        );
        assert_eq!(
            acknowledged(78, 1),
            Some(Said::Acknowledged {
                token: 77,
                errno: 1
            })
        );
        assert_eq!(
            word(&request(Request::Listen, 77), NETLINK_HEADER + 12),
            Some(77)
        );
    }

    #[test]
    fn times_move_by_what_the_machine_was_suspended() {
        let said = parse_datagram(&datagram(libc::PROC_EVENT_EXEC, 0, 0, &[30, 30])).unwrap();
        let want = ProcEvent::Exec {
            pid: 30,
            at: Moment(7_500_000_000),
        };
        assert_eq!(said.event(500_000_000), Some(want));
    }

    #[test]
    fn requests_have_the_lengths_that_kernels_ask_for() {
        let length = |r| request(r, 5).len();
        assert_eq!(length(Request::Listen), 40);
        assert_eq!(length(Request::ListenOnlyTo(WANTED)), 44);
        assert_eq!(length(Request::Ignore), 40);
        let bytes = request(Request::ListenOnlyTo(0x8000_0003), 5);
        assert_eq!(bytes[..4], 44u32.to_ne_bytes());
        assert_eq!(bytes[32..34], 8u16.to_ne_bytes());
        assert_eq!(
            bytes[36..],
            [1u32.to_ne_bytes(), 0x8000_0003u32.to_ne_bytes()].concat()
        );
    }

    #[test]
    fn a_datagram_cut_at_any_length_is_nothing() {
        let whole = datagram(libc::PROC_EVENT_EXIT, 0, 0, &[30, 30, 0, 17, 10, 10]);
        for length in 0..whole.len() {
            assert_eq!(parse_datagram(&whole[..length]), None, "{length}");
            let mut shortened = whole[..length].to_vec();
            if length >= 4 {
                shortened[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            }
            let said = parse_datagram(&shortened);
            assert_eq!(
                said.is_some(),
                length >= NETLINK_HEADER + CN_MSG + EVENT_HEADER + 12,
                "{length}"
            );
        }
    }
}
