//! One log: where its lines come from, who writes to it, what has been read.

use std::sync::Arc;

use super::book::{Arrival, Book};
use super::journal::Followed;
use super::tail::FileTail;
use super::wrapped::{self, Wrapping};
use crate::snapshot::{LogTail, Moment, ProcessKey, Sink};
use crate::source::clock;

/// A log that is read, or was.
#[derive(Debug)]
pub(super) struct Log {
    pub sink: Sink,
    pub source: Source,
    pub book: Book,
    /// Everybody who has been seen to write to it.
    pub writers: Vec<ProcessKey>,
    /// When somebody was last seen to have it open for writing.
    pub written_at: Moment,
    skipped: u64,
    /// True if it began with those who write to it.
    pub is_fresh: bool,
    /// True until something has been read: what comes first was there before.
    pub is_first: bool,
    tail: Option<Arc<LogTail>>,
}

/// Where lines come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file that grows.
    File(FileTail, Wrapping),
    /// The journal.
    Journal(Followed),
    /// Nobody writes to it.
    Closed,
}

impl Log {
    pub(super) fn new(sink: Sink, source: Source) -> Self {
        Self {
            sink,
            source,
            book: Book::default(),
            writers: Vec::new(),
            written_at: Moment(0),
            skipped: 0,
            is_fresh: false,
            is_first: true,
            tail: None,
        }
    }

    /// Notes that a process has it open.
    pub(super) fn note_writer(&mut self, key: ProcessKey, now: Moment) {
        /// A supervisor that starts one after the other has many.
        const WRITERS: usize = 256;
        self.written_at = now;
        if !self.writers.contains(&key) {
            if self.writers.len() >= WRITERS {
                self.writers.remove(0);
            }
            self.writers.push(key);
            self.tail = None;
        }
    }

    /// Reads what has been added to a file.
    pub(super) fn read(&mut self, now: Moment) {
        let Source::File(file, wrapping) = &mut self.source else {
            return;
        };
        let wrapping = *wrapping;
        let Ok(appended) = file.read() else { return };
        self.skipped += appended.skipped;
        let age_ms = clock::wall_ms().saturating_sub(appended.modified_ms).max(0) as u64;
        let modified = Moment(now.0.saturating_sub(age_ms.saturating_mul(1_000_000)));
        for line in &appended.lines {
            if let Some(entry) = wrapped::unwrap(line, wrapping) {
                self.add(entry, now, modified);
            }
        }
        self.is_first = false;
    }

    /// Takes in a line. What was there before was written at `latest`, or earlier.
    pub(super) fn add(&mut self, entry: wrapped::Unwrapped, now: Moment, latest: Moment) {
        self.tail = None;
        let arrival = Arrival {
            at: now,
            wall_ms: clock::wall_ms(),
            is_new: !self.is_first,
            latest,
            utc_offset_s: clock::utc_offset_s(),
        };
        self.book.add(entry, arrival);
    }

    /// What is known of it, shared with the last time while nothing has been added.
    pub(super) fn tail(&mut self, now: Moment) -> Arc<LogTail> {
        if let Some(tail) = &self.tail {
            return Arc::clone(tail);
        }
        let mut writers = self.writers.clone();
        writers.sort_unstable();
        let tail = Arc::new(LogTail {
            sink: self.sink.clone(),
            writers,
            is_fresh: self.is_fresh,
            changed_at: now,
            lines: self.book.lines(),
            skipped: self.skipped,
            tracebacks: self.book.tracebacks(),
        });
        self.tail = Some(Arc::clone(&tail));
        tail
    }
}
