//! Which lines of a log make one traceback, and what does it say?
//!
//! ```text
//!   Exception in thread web:               the thread that it ended
//!   Traceback (most recent call last):     first block
//!     File "…", line 105, in add_…           frames, source lines between them
//!   ValueError: …                            its exception
//!                                          chain
//!   During handling of the above …
//!
//!   Traceback (most recent call last):     second block: the exception that counts
//!     File "app.py", line 16, in serve
//!   RuntimeError: …
//! ```
//!
//! Two processes that write at once mix their lines: what does not belong is passed over, a little of it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame_line::{boxed_frame, exception, frame, is_between, is_chain};
use crate::snapshot::{Frame, LogLine, Traceback};

/// Tracebacks that are kept.
const KEPT: usize = 16;
/// Frames of one block that are kept: the innermost.
const FRAMES: usize = 64;
/// Lines in the middle of a traceback that do not belong to it.
const FOREIGN: u32 = 12;

const HEADER: &str = "Traceback (most recent call last)";

/// Finds tracebacks in lines that come one after the other.
#[derive(Debug, Default)]
pub(super) struct Tracebacks {
    open: Option<Open>,
    /// The line before, where it may belong to what follows.
    before: Option<Before>,
    found: VecDeque<Arc<Traceback>>,
}

/// A line that may introduce a traceback.
#[derive(Debug)]
struct Before {
    number: u64,
    pid: Option<u32>,
    thread: Option<String>,
}

/// A traceback that has begun.
#[derive(Debug)]
struct Open {
    first: u64,
    pid: Option<u32>,
    thread: Option<String>,
    /// Every line has a sign and `| ` before its text: an exception group, or a program that starts several others.
    is_barred: bool,
    state: State,
    /// Innermost application frames of the blocks before this one.
    earlier: Vec<Frame>,
    frames: Vec<Frame>,
    foreign: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Frames are coming.
    Frames,
    /// The exception has been named; what follows may chain another to it.
    Named,
    /// The next header belongs to the same traceback.
    Chained,
    /// faulthandler's: innermost first, and only those of the thread that died.
    Fatal { message: String, is_current: bool },
}

impl Tracebacks {
    /// Takes in the next line.
    pub(super) fn feed(&mut self, line: &LogLine) {
        let text = self.text_of(line);
        if let Some(at) = text.find(HEADER) {
            self.begin(line, text.get(..at).unwrap_or_default());
        } else if let Some(message) = text.strip_prefix("Fatal Python error: ") {
            let message = message.to_owned();
            let is_current = false;
            self.start(
                line,
                State::Fatal {
                    message,
                    is_current,
                },
            );
        } else if let Some(open) = self.open.take() {
            self.open = self.go_on(open, line, &text);
        }
        self.before = Some(Before {
            number: line.number,
            pid: line.pid,
            thread: thread_in(&text).map(str::to_owned),
        });
    }

    /// True if the newest one ends with this line.
    pub(super) fn ends_at(&self, number: u64) -> bool {
        self.found.back().is_some_and(|t| t.last == number)
    }

    /// Those found, oldest first.
    pub(super) fn list(&self) -> Vec<Arc<Traceback>> {
        self.found.iter().cloned().collect()
    }

    /// The text of a line without what stands before each line of a traceback.
    fn text_of(&self, line: &LogLine) -> String {
        let is_barred = self.open.as_ref().is_some_and(|open| open.is_barred);
        let bar = line.text.find("| ").filter(|at| is_barred && *at < 48);
        let text = bar.and_then(|at| line.text.get(at + 2..));
        text.unwrap_or(&line.text).to_owned()
    }

    fn begin(&mut self, line: &LogLine, before_header: &str) {
        let chained = self
            .open
            .take_if(|open| matches!(open.state, State::Chained));
        if let Some(mut open) = chained {
            open.earlier.extend(own(&open.frames).cloned());
            open.frames.clear();
            open.state = State::Frames;
            self.open = Some(open);
            return;
        }
        self.start(line, State::Frames);
        if let Some(open) = &mut self.open {
            open.is_barred = before_header.contains("| ") || before_header.contains("+ ");
        }
    }

    fn start(&mut self, line: &LogLine, state: State) {
        let before = self
            .before
            .take()
            .filter(|b| b.number + 1 == line.number && line.pid.is_none_or(|p| b.pid == Some(p)));
        let thread = before.as_ref().and_then(|b| b.thread.clone());
        self.open = Some(Open {
            first: match (&before, &thread) {
                (Some(before), Some(_)) => before.number,
                _ => line.number,
            },
            pid: line.pid.or(before.and_then(|b| b.pid)),
            thread,
            is_barred: false,
            state,
            earlier: Vec::new(),
            frames: Vec::new(),
            foreign: 0,
        });
    }

    /// What becomes of an open traceback with the next line; `None` when it has ended.
    fn go_on(&mut self, mut open: Open, line: &LogLine, text: &str) -> Option<Open> {
        match &mut open.state {
            State::Fatal { is_current, .. } => {
                if text.contains("(most recent call first)") {
                    *is_current = text.starts_with("Current thread");
                } else if let Some(frame) = frame(text).filter(|_| *is_current) {
                    // Told from the innermost outwards.
                    open.frames.insert(0, frame);
                    open.frames.truncate(FRAMES);
                    self.tell(&open, line, "Fatal Python error", "");
                } else if !is_between(text) {
                    return None;
                }
                Some(open)
            }
            State::Frames => self.in_frames(open, line, text),
            State::Named if is_chain(text) => {
                open.state = State::Chained;
                Some(open)
            }
            State::Named if text.is_empty() => Some(open),
            State::Named => None,
            State::Chained => open.after_foreign(text.is_empty()),
        }
    }

    fn in_frames(&mut self, mut open: Open, line: &LogLine, text: &str) -> Option<Open> {
        if let Some(frame) = frame(text).or_else(|| boxed_frame(text)) {
            open.frames.push(frame);
            if open.frames.len() > FRAMES {
                open.frames.remove(0);
            }
            return Some(open);
        }
        if is_between(text) {
            return Some(open);
        }
        if let Some((name, message)) = exception(text) {
            self.tell(&open, line, name, message);
            open.state = State::Named;
            return Some(open);
        }
        open.after_foreign(false)
    }

    /// Notes what a traceback says so far; the same one, once it has gone on, in place of that.
    fn tell(&mut self, open: &Open, line: &LogLine, name: &str, message: &str) {
        let message = match &open.state {
            State::Fatal { message, .. } => message,
            _ => message,
        };
        let culprit = own(&open.frames).next_back().or(open.earlier.last());
        let told = Arc::new(Traceback {
            first: open.first,
            last: line.number,
            at: line.at,
            is_new: line.is_new,
            pid: open.pid,
            thread: open.thread.clone(),
            exception: name.to_owned(),
            message: message.to_owned(),
            culprit: culprit.cloned(),
            frames: open.frames.clone(),
        });
        match self.found.back_mut() {
            Some(last) if last.first == open.first => *last = told,
            _ => self.found.push_back(told),
        }
        if self.found.len() > KEPT {
            self.found.pop_front();
        }
    }
}

impl Open {
    fn after_foreign(mut self, belongs: bool) -> Option<Self> {
        self.foreign += u32::from(!belongs);
        (self.foreign <= FOREIGN).then_some(self)
    }
}

/// The application's own frames.
fn own(frames: &[Frame]) -> impl DoubleEndedIterator<Item = &Frame> {
    frames.iter().filter(|f| !f.is_library())
}

/// `Exception in thread Thread-1 (serve):` → `Thread-1 (serve)`.
fn thread_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("Exception in thread ")?;
    let name = rest.trim_end().trim_end_matches(':');
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
