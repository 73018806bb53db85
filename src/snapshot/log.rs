//! The tails of servers' logs: lines as they were written, made harmless, with what could be told of each.
//!
//! What a log claims is never evidence of a phase; it stands beside what the kernel shows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Frame, Moment, ProcessKey};

/// The end of one log. Processes that write to the same one share it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogTail {
    /// Where it lies.
    pub sink: Sink,
    /// Processes that are known to write to it, sorted; those that have ended stay.
    pub writers: Vec<ProcessKey>,
    /// True if it began with its present writers: opened anew, not to be appended to, by nobody above them.
    pub is_fresh: bool,
    /// When lines or writers were last added.
    pub changed_at: Moment,
    /// The newest lines, oldest first (bounded: 500 lines, 128 KiB).
    pub lines: Vec<Arc<LogLine>>,
    /// Bytes that were skipped because more came than is read at once.
    pub skipped: u64,
    /// Tracebacks among the lines and shortly before them, oldest first (bounded: 16).
    pub tracebacks: Vec<Arc<Traceback>>,
}

impl LogTail {
    /// True if one of these processes writes to it.
    pub fn is_written_by(&self, keys: &[ProcessKey]) -> bool {
        keys.iter()
            .any(|key| self.writers.binary_search(key).is_ok())
    }
}

/// Where a log lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Sink {
    /// A regular file.
    File {
        /// Its path as the kernel shows it, control characters escaped; ends in ` (deleted)` where it was unlinked.
        path: String,
    },
    /// The log that a container's runtime keeps.
    Container {
        /// Path of the file.
        path: String,
    },
    /// The journal.
    Journal {
        /// The cgroup that wrote: `/system.slice/shop.service`.
        cgroup: String,
    },
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts the lines of this log since the program looks, without holes.
    pub number: u64,
    /// When it was read. Of a line that was there already: when it says it was written, or else when the log was last
    /// written to.
    pub at: Moment,
    /// True if it was written while the program looked.
    pub is_new: bool,
    /// The time that the line itself tells, in milliseconds since the Unix epoch; local time where it names no zone.
    pub told_ms: Option<i64>,
    /// The process that wrote it, where line or journal tells.
    pub pid: Option<u32>,
    /// How bad the writer says it is.
    pub level: Option<Level>,
    /// The text: colours removed, control characters escaped, secrets masked, cut after 1,000 characters.
    pub text: String,
}

/// Levels of Python's logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words of Python's logging")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    /// The word in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// A Python traceback in a log, with those that it is chained to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traceback {
    /// Number of its first line.
    pub first: u64,
    /// Number of the line that names the exception.
    pub last: u64,
    /// As in the last of its lines.
    pub at: Moment,
    /// As in its lines.
    pub is_new: bool,
    /// The process that wrote it, where a line right before it or the journal tells.
    pub pid: Option<u32>,
    /// The thread that it ended: `Exception in thread web:`.
    pub thread: Option<String>,
    /// The exception's class: `RuntimeError`, `sqlalchemy.exc.OperationalError`.
    pub exception: String,
    /// What it says, first line only; empty if nothing.
    pub message: String,
    /// Frames of the exception named above, outermost first (bounded: 64, the innermost stay).
    pub frames: Vec<Frame>,
    /// The innermost frame of the application's own; of an exception that it is chained to, where this one has none.
    pub culprit: Option<Frame>,
}

impl Traceback {
    /// `RuntimeError: secret api-key is not mounted`.
    pub fn sentence(&self) -> String {
        if self.message.is_empty() {
            self.exception.clone()
        } else {
            format!("{}: {}", self.exception, self.message)
        }
    }
}
