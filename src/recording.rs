//! Snapshots that are kept: in memory, in a file, on a wire.
//!
//! What is stored are observations ([`Snapshot`]), never conclusions: who reads them judges by the rules of his own day.
//!
//! ```text
//!  Snapshot ── LineEncoder ──> line of JSON ── zstd ──> Frame ──> Tape (memory) | Writer (file)
//!                key, delta, delta, …, key                          |              |
//!  Snapshot <── Decoder <── Frame <────────────── Frames ───────────+<── Recording ┘
//! ```
//!
//! A segment is a key frame and the deltas that follow it: each says what has changed since the frame before. To see frame `i`,
//! decode from [`Frames::key_of`] to it.
//!
//! Layout of a file
//! - One line of JSON, the [`Header`]: `head -1 FILE` shows it.
//! - Records, as in `layout`: a mark, kind, moment, length, checksums, payload. What appends to a file that exists puts its
//!   header before its first frame, as a record.
//! - Written at the end only. Up to the last whole record a file is valid, whatever happened to who wrote it.

use std::sync::Arc;

use crate::snapshot::Moment;
#[cfg(doc)]
use crate::snapshot::Snapshot;

mod change;
mod codec;
mod header;
mod layout;
mod line;
mod reader;
mod tape;
mod writer;

pub use codec::{Decoder, Encoder};
pub use header::{Header, MOST_HEADER, SCHEMA};
pub use line::{LineDecoder, LineEncoder, MOST_BODY, MOST_SEGMENT};
pub use reader::{Damage, Recording, Session};
pub use tape::{Tape, TapeLimits};
pub use writer::{Limits, WriteError, Writer};

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A whole snapshot.
    Key,
    /// What has changed since the frame before.
    Delta,
}

/// What is known of a frame without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameMeta {
    /// What it holds.
    pub kind: FrameKind,
    /// How many frames after its key frame it is: 0 for that itself.
    pub ordinal: u32,
    /// Moment of the snapshot. Moments of another boot cannot be compared.
    pub at: Moment,
    /// The same in milliseconds since the Unix epoch.
    pub wall_ms: i64,
}

/// A snapshot as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub meta: FrameMeta,
    /// The compressed body.
    pub payload: Arc<[u8]>,
}

/// Frames in the order of time, wherever they are.
pub trait Frames {
    /// How many there are.
    fn count(&self) -> usize;
    /// What is known of frame `i`; `None` if there is none.
    fn meta(&self, i: usize) -> Option<FrameMeta>;
    /// Frame `i`.
    ///
    /// # Errors
    /// There is none, or it could not be read.
    fn frame(&self, i: usize) -> Result<Frame, ReadError>;

    /// The key frame from which frame `i` has to be decoded.
    fn key_of(&self, i: usize) -> Option<usize> {
        let back = usize::try_from(self.meta(i)?.ordinal).ok()?;
        i.checked_sub(back)
    }
}

/// Why a snapshot was not stored.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// More than [`MOST_BODY`].
    #[error("a snapshot of {bytes} bytes is too large to be stored")]
    TooLarge {
        /// Its body.
        bytes: usize,
    },
    /// It cannot be written as JSON.
    #[error("cannot write a snapshot as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// zstd.
    #[error("cannot compress a snapshot: {0}")]
    Compress(#[source] std::io::Error),
}

/// Why a frame could not be made a snapshot again.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A delta, but not of the frame decoded last.
    #[error("the frame before it is missing")]
    Predecessor,
    /// It is not what its record says.
    #[error("a frame is of another moment than its record says")]
    Moment,
    /// More than [`MOST_BODY`], or more than [`MOST_SEGMENT`] with the frames before it.
    #[error("a frame is too large")]
    TooLarge,
    /// Something is behind the end of what was compressed.
    #[error("a frame goes on behind its end")]
    Trailing,
    /// zstd.
    #[error("cannot decompress a frame: {0}")]
    Decompress(#[source] std::io::Error),
    /// It is not what a body looks like.
    #[error("not a frame: {0}")]
    Json(#[from] serde_json::Error),
}

/// Why a recording could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The first line is no header.
    #[error("not a recording of steth")]
    Foreign,
    /// A version that this program does not know.
    #[error("a recording of version {version}, which this steth does not know")]
    Version {
        /// As the file has it.
        version: String,
    },
    /// No such frame.
    #[error("there is no such frame")]
    NoSuchFrame,
    /// Nothing can be appended any more.
    #[error("a recording with more frames than can be counted")]
    TooMany,
    /// It has changed since the file was opened.
    #[error("the frame at byte {offset} is damaged")]
    Damaged {
        /// Where its record begins.
        offset: u64,
    },
    /// A recording lies in a file that can be sought in.
    #[error("not a regular file")]
    NotAFile,
    /// The file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
