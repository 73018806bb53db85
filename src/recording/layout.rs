//! Records of a file: how a frame lies in it.
//!
//! ```text
//!  0     4     8         12    20         28       32         36       40
//!  +-----+-----+---------+-----+----------+--------+----------+--------+---------+
//!  |mark |kind | ordinal | at  | wall_ms  | length | CRC of   | CRC of | payload |
//!  |     |     |         |     |          |        | payload  | 0..36  |         |
//!  +-----+-----+---------+-----+----------+--------+----------+--------+---------+
//! ```
//!
//! Little-endian; the checksums are CRC-32 as of zip and PNG. The head has one of its own, so that a length is known to be true
//! before it is relied on. In text the mark does not occur: 0x9f is no UTF-8.

use super::{Frame, FrameKind, FrameMeta};
use crate::snapshot::Moment;

/// What each record begins with.
pub(super) const MARK: [u8; 4] = *b"\x9fSTF";
/// Bytes before the payload.
pub(super) const HEAD: usize = 40;
/// Bytes that a payload may have: compressed, no body is that large.
pub(super) const MOST_PAYLOAD: u32 = 64 << 20;

/// Kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    Frame(FrameKind),
    /// The header of a program that appends, in clear.
    Session,
}

impl RecordKind {
    fn number(self) -> u32 {
        match self {
            Self::Frame(FrameKind::Key) => 1,
            Self::Frame(FrameKind::Delta) => 2,
            Self::Session => 3,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [
            Self::Frame(FrameKind::Key),
            Self::Frame(FrameKind::Delta),
            Self::Session,
        ]
        .into_iter()
        .find(|kind| kind.number() == number)
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: RecordKind,
    pub ordinal: u32,
    pub at: Moment,
    pub wall_ms: i64,
    pub length: u32,
    pub crc: u32,
}

impl Head {
    pub(super) fn meta(&self) -> Option<FrameMeta> {
        let RecordKind::Frame(kind) = self.kind else {
            return None;
        };
        Some(FrameMeta {
            kind,
            ordinal: self.ordinal,
            at: self.at,
            wall_ms: self.wall_ms,
        })
    }

    /// The head in the first bytes; `None` if they are none, whole and true.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEAD>()?;
        let (body, crc) = head.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (mark, rest) = body.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let (ordinal, rest) = rest.split_first_chunk::<4>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (wall_ms, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (crc, _) = rest.split_first_chunk::<4>()?;
        let head = Self {
            kind: RecordKind::from_number(u32::from_le_bytes(*kind))?,
            ordinal: u32::from_le_bytes(*ordinal),
            at: Moment(u64::from_le_bytes(*at)),
            wall_ms: i64::from_le_bytes(*wall_ms),
            length: u32::from_le_bytes(*length),
            crc: u32::from_le_bytes(*crc),
        };
        let is_key = head.kind == RecordKind::Frame(FrameKind::Key);
        let is_sound =
            *mark == MARK && head.length <= MOST_PAYLOAD && (!is_key || head.ordinal == 0);
        is_sound.then_some(head)
    }

    /// The record: this head and the payload, whose length and checksum are filled in.
    fn record(mut self, payload: &[u8]) -> Vec<u8> {
        self.length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.crc = crc32fast::hash(payload);
        let mut out = Vec::with_capacity(HEAD + payload.len());
        out.extend(MARK);
        out.extend(self.kind.number().to_le_bytes());
        out.extend(self.ordinal.to_le_bytes());
        out.extend(self.at.0.to_le_bytes());
        out.extend(self.wall_ms.to_le_bytes());
        out.extend(self.length.to_le_bytes());
        out.extend(self.crc.to_le_bytes());
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.extend(payload);
        out
    }
}

/// The record of a frame.
pub(super) fn frame_record(frame: &Frame) -> Vec<u8> {
    let head = Head {
        kind: RecordKind::Frame(frame.meta.kind),
        ordinal: frame.meta.ordinal,
        at: frame.meta.at,
        wall_ms: frame.meta.wall_ms,
        length: 0,
        crc: 0,
    };
    head.record(&frame.payload)
}

/// The record of a header.
pub(super) fn session_record(line: &[u8], wall_ms: i64) -> Vec<u8> {
    let head = Head {
        kind: RecordKind::Session,
        ordinal: 0,
        at: Moment(0),
        wall_ms,
        length: 0,
        crc: 0,
    };
    head.record(line)
}
