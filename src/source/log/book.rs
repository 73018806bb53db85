//! The newest lines of one log, and the tracebacks among them: each line cleaned, masked, and with what it tells.

use std::collections::VecDeque;
use std::sync::Arc;

use super::traceback::Tracebacks;
use super::wrapped::Unwrapped;
use super::{ansi, json_line, level, mask, split, stamp};
use crate::snapshot::{Level, LogLine, Moment, Traceback};
use crate::source::text;

/// Lines that are kept, and their bytes in all.
const LINES: usize = 500;
const BYTES: usize = 128 * 1024;
/// Characters of a line that are kept.
const WIDTH: usize = 1000;

/// The circumstances under which lines come in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Now.
    pub at: Moment,
    /// The same moment in milliseconds since the epoch.
    pub wall_ms: i64,
    /// False for what was there before the program looked.
    pub is_new: bool,
    /// Of what was there before: when it was written at the latest.
    pub latest: Moment,
    /// Zone of stamps that name none.
    pub utc_offset_s: i32,
}

/// The lines of one log.
#[derive(Debug, Default)]
pub(super) struct Book {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
    next: u64,
    tracebacks: Tracebacks,
    /// A line that the runtime has cut, until its end has come.
    begun: Vec<u8>,
    /// Bytes that came, and how many of them were NUL.
    seen: (u64, u64),
}

impl Book {
    /// Takes in the next line.
    pub(super) fn add(&mut self, mut entry: Unwrapped, arrival: Arrival) {
        if entry.goes_on || !self.begun.is_empty() {
            if self.begun.len() < BYTES / 4 {
                self.begun.append(&mut entry.text);
            }
            if entry.goes_on {
                return;
            }
            entry.text = std::mem::take(&mut self.begun);
        }
        // A traceback in a journal's entry, or a message with line feeds, is several lines.
        for piece in entry.text.split(|b| *b == b'\n').take(LINES) {
            self.add_line(piece, &entry, arrival);
        }
    }

    fn add_line(&mut self, raw: &[u8], entry: &Unwrapped, arrival: Arrival) {
        let hole = raw.iter().take_while(|b| **b == 0).count();
        let raw = raw.get(hole..).unwrap_or_default();
        let nuls = raw.iter().filter(|b| **b == 0).count();
        self.seen = (self.seen.0 + raw.len() as u64, self.seen.1 + nuls as u64);
        let raw = ansi::without_colours(split::shown(raw));
        // Cut last: a JSON line that lost its end could not be read any more.
        let json = json_line::parse(&raw, arrival.utc_offset_s).unwrap_or_default();
        let clean = mask::masked(&text::clean_bytes(&raw, WIDTH));
        let stamp = stamp::of(&clean, arrival.utc_offset_s);
        let from = stamp.map_or(0, |s| s.end);
        let told_ms = entry.told_ms.or(json.told_ms).or(stamp.map(|s| s.wall_ms));
        let mut line = LogLine {
            number: self.next,
            at: arrival.moment_of(told_ms),
            is_new: arrival.is_new,
            told_ms,
            pid: entry.pid.or(json.pid).or_else(|| pid_in(&clean, from)),
            level: json.level.or_else(|| level::of(&clean, from)),
            text: clean,
        };
        self.next += 1;
        self.tracebacks.feed(&line);
        self.feed_inner(&line, json.traceback.as_deref());
        if line.level.is_none() && self.tracebacks.ends_at(line.number) {
            line.level = Some(Level::Error);
        }
        self.bytes += line.text.len();
        self.lines.push_back(Arc::new(line));
        while self.lines.len() > LINES || self.bytes > BYTES {
            let gone = self.lines.pop_front();
            self.bytes -= gone.map_or(0, |line| line.text.len());
        }
    }

    /// The lines of a traceback that lies inside one line.
    fn feed_inner(&mut self, line: &LogLine, traceback: Option<&str>) {
        for text in traceback.iter().flat_map(|t| t.lines()).take(LINES) {
            self.tracebacks.feed(&LogLine {
                text: mask::masked(&text::clean(text, WIDTH)),
                ..line.clone()
            });
        }
    }

    /// True if this is no text: a log has no NULs, but for the hole that a truncation leaves behind a writer that does not
    /// append.
    pub(super) fn is_binary(&self) -> bool {
        const ENOUGH: u64 = 512;
        let (all, nuls) = self.seen;
        all > ENOUGH && nuls * 8 > all
    }

    /// The newest lines, oldest first.
    pub(super) fn lines(&self) -> Vec<Arc<LogLine>> {
        self.lines.iter().cloned().collect()
    }

    pub(super) fn tracebacks(&self) -> Vec<Arc<Traceback>> {
        self.tracebacks.list()
    }
}

impl Arrival {
    /// When a line was written: now, or, of those that were there, when they say.
    fn moment_of(&self, told_ms: Option<i64>) -> Moment {
        if self.is_new {
            return self.at;
        }
        let before_ms = told_ms.map(|told| self.wall_ms.saturating_sub(told));
        let told = before_ms
            .and_then(|ms| u64::try_from(ms).ok())
            .map(|ms| Moment(self.at.0.saturating_sub(ms.saturating_mul(1_000_000))));
        told.map_or(self.latest, |told| told.min(self.at))
    }
}

/// `[2026-11-20 19:35:17 +0000] [342] [INFO] up` → 342.
fn pid_in(line: &str, from: usize) -> Option<u32> {
    let rest = line.get(from..)?.trim_start_matches([']', ' ']);
    let (digits, _) = rest.strip_prefix('[')?.split_once(']')?;
    (from > 0).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Arrival = Arrival {
        at: Moment(100_000_000_000),
        wall_ms: 1_795_262_400_000,
        is_new: false,
        latest: Moment(90_000_000_000),
        utc_offset_s: 0,
    };

    fn plain(text: &str) -> Unwrapped {
        Unwrapped {
            text: text.as_bytes().to_vec(),
            ..Unwrapped::default()
        }
    }

    #[test]
    fn a_line_tells_when_who_and_how_bad() {
        let mut book = Book::default();
        book.add(
            plain("[2026-11-21 11:59:50 +0000] [342] [ERROR] \x1b[31mno\x1b[0m \x07"),
            OLD,
        );
        book.add(plain("without a stamp"), OLD);
        book.add(
            plain("2026-11-21 12:00:09 from the future"),
            Arrival {
                is_new: true,
                ..OLD
            },
        );
        let lines = book.lines();
        let first = &lines[0];
        assert_eq!(
            first.text,
            "[2026-11-21 11:59:50 +0000] [342] [ERROR] no \\u{7}"
        );
        assert_eq!((first.pid, first.level), (Some(342), Some(Level::Error)));
        assert_eq!(first.at, Moment(90_000_000_000));
        assert_eq!((lines[1].at, lines[1].pid), (OLD.latest, None));
        assert_eq!((lines[2].at, lines[2].number), (OLD.at, 2));
    }

    #[test]
    fn cut_lines_are_joined_and_several_in_one_are_parted() {
        let mut book = Book::default();
        let half = |text: &str, goes_on| Unwrapped {
            goes_on,
            ..plain(text)
        };
        book.add(half("one ", true), OLD);
        book.add(half("line", false), OLD);
        book.add(
            plain("Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 1"),
            OLD,
        );
        let texts: Vec<String> = book.lines().iter().map(|l| l.text.clone()).collect();
        assert_eq!(texts.first().unwrap(), "one line");
        assert_eq!(texts.len(), 4);
        assert_eq!(book.lines().last().unwrap().level, Some(Level::Error));
        assert_eq!(book.tracebacks()[0].sentence(), "KeyError: 1");
    }

    #[test]
    fn a_traceback_inside_json_is_found() {
        let mut book = Book::default();
        book.add(plain(r#"{"level": "error", "exception": "Traceback (most recent call last):\n  File \"/srv/a.py\", line 3, in boot\nKeyError: 'x'"}"#), OLD);
        let told = &book.tracebacks()[0];
        assert_eq!((told.first, told.last), (0, 0));
        assert_eq!(told.culprit.as_ref().unwrap().function, "boot");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut book = Book::default();
        for n in 0..2000 {
            book.add(plain(&format!("line {n} {}", "x".repeat(5000))), OLD);
        }
        let lines = book.lines();
        assert!(lines.iter().map(|l| l.text.len()).sum::<usize>() <= BYTES);
        assert_eq!(lines.last().unwrap().number, 1999);
        let short = 2000;
        for n in 0..short {
            book.add(plain(&format!("{n}")), OLD);
        }
        assert_eq!(book.lines().len(), LINES);
    }
}
