//! Has the program started a thread to serve? A statement behind the line that runs, which it must have passed, starts a
//! thread on a function that starts a server. Whether that thread is still there, stacks tell.
//!
//! What may not have been passed (a branch, a loop, a handler of exceptions) is no evidence, and neither is a server that the
//! file also ends.

use super::Search;
use super::call::{BLOCKING, definition, indent, is_blank, one_liner};
use super::source::{STATEMENT, Source};
use crate::snapshot::{Frame, ServerThread};

/// Functions that lead from one to the next.
const DEPTH: u32 = 2;

/// Words of a file that ends its servers by itself: a thread that has done what it should has not died.
const ENDINGS: [&str; 5] = [
    ".shutdown(",
    "should_exit",
    "server_close(",
    ".handle_request(",
    ".stop(",
];

/// A thread that serves, as the source has it: where it was started, the function that it runs, what that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Started {
    pub line: u32,
    pub function: String,
    pub call: String,
    pub call_line: u32,
}

impl Started {
    /// As found in the source of a frame that a search was about.
    pub(super) fn of(self, search: &Search, frame: &Frame) -> ServerThread {
        ServerThread {
            key: search.key,
            passed_at: search.at,
            file: frame.file.clone(),
            line: self.line,
            function: self.function,
            call: self.call,
            call_line: self.call_line,
        }
    }
}

impl Source<'_> {
    /// The thread that was started to serve, behind where a frame stands.
    pub(super) fn thread_behind(&self, frame: &Frame) -> Option<Started> {
        let here = usize::try_from(frame.line).ok()?.checked_sub(1)?;
        let ends = |line: &&str| ENDINGS.iter().any(|word| line.contains(word));
        if self.lines.iter().any(ends) {
            return None;
        }
        self.passed(here, DEPTH)
    }

    /// Goes back from a line over what has been executed before it for sure: the statements of its own block, and of the blocks
    /// around it, up to the function's beginning.
    fn passed(&self, here: usize, depth: u32) -> Option<Started> {
        let mut level = indent(self.lines.get(here)?);
        for at in (0..here).rev() {
            self.steps.set(self.steps.get().checked_sub(1)?);
            let line = self.lines.get(at)?;
            if is_blank(line) {
                continue;
            }
            let column = indent(line);
            if column > level {
                continue;
            }
            if column < level {
                level = column;
                if is_beginning(line) {
                    return None;
                }
                continue;
            }
            if let Some(found) = self.starts(at, depth) {
                return Some(found);
            }
        }
        None
    }

    /// The thread that a statement starts: by itself, or in a function that it calls.
    fn starts(&self, at: usize, depth: u32) -> Option<Started> {
        let statement = self.statement(at);
        if let Some(found) = self.thread_in(at, &statement) {
            return Some(found);
        }
        let depth = depth.checked_sub(1)?;
        let name = plain_call(&statement)?;
        let begins = *self.defined.get(name)?;
        let outside = indent(self.lines.get(begins)?);
        let end = self.end_of(begins, outside);
        // From behind its last line: all of its outermost block has been executed when it has returned.
        let body = (begins + 1..end).find(|at| self.is_code(*at))?;
        let level = indent(self.lines.get(body)?);
        (body..end)
            .filter(|at| self.is_code(*at) && self.lines.get(*at).map(|l| indent(l)) == Some(level))
            .find_map(|at| {
                self.steps.set(self.steps.get().checked_sub(1)?);
                self.starts(at, depth)
            })
    }

    fn thread_in(&self, at: usize, statement: &str) -> Option<Started> {
        let (before, arguments) = statement.split_once("Thread(")?;
        let target = arguments.split_once("target=")?.1;
        let end = target
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .unwrap_or(target.len());
        let target = target.get(..end)?;
        let is_started = statement.trim_end().ends_with(").start()")
            || assigned(before).is_some_and(|name| self.starts_later(at, name));
        if !is_started {
            return None;
        }
        let line = u32::try_from(at + 1).ok()?;
        let function = target.rsplit('.').next()?;
        // `target=server.serve_forever`: it runs the library's function itself.
        let (call_line, call) = match self.defined.get(target) {
            Some(begins) => self.call_within(*begins)?,
            None => (line, *BLOCKING.iter().find(|call| **call == function)?),
        };
        Some(Started {
            line,
            function: function.to_owned(),
            call: call.to_owned(),
            call_line,
        })
    }

    /// True if the thread in a variable is started by one of the next statements of the same block.
    fn starts_later(&self, at: usize, name: &str) -> bool {
        let level = self.lines.get(at).map_or(0, |l| indent(l));
        let start = format!("{name}.start()");
        self.lines
            .iter()
            .skip(at + 1)
            .take(STATEMENT)
            .filter(|line| indent(line) == level)
            .any(|line| line.trim() == start)
    }

    /// A call that starts a server, in the body of the function that is defined on a line.
    fn call_within(&self, begins: usize) -> Option<(u32, &'static str)> {
        let definition = self.lines.get(begins)?;
        let blocking = |text| self.call_on(text).filter(|call| BLOCKING.contains(call));
        if let Some(call) = one_liner(definition).and_then(blocking) {
            return Some((u32::try_from(begins + 1).ok()?, call));
        }
        let end = self.end_of(begins, indent(definition));
        (begins + 1..end).find_map(|at| {
            self.steps.set(self.steps.get().checked_sub(1)?);
            let line = self.lines.get(at).filter(|_| self.is_code(at))?;
            Some((u32::try_from(at + 1).ok()?, blocking(line)?))
        })
    }

    /// The line after the last one of a block that is indented deeper than `outside`.
    fn end_of(&self, begins: usize, outside: usize) -> usize {
        let ends = |at: &usize| {
            self.lines
                .get(*at)
                .is_none_or(|l| !is_blank(l) && indent(l) <= outside)
        };
        (begins + 1..self.lines.len())
            .find(ends)
            .unwrap_or(self.lines.len())
    }

    fn is_code(&self, at: usize) -> bool {
        self.lines.get(at).is_some_and(|line| !is_blank(line))
    }
}

fn is_beginning(line: &str) -> bool {
    definition(line).is_some() || line.trim_start().starts_with("class ")
}

/// `web = threading.` → `web`.
fn assigned(before: &str) -> Option<&str> {
    let (name, _) = before.split_once('=')?;
    let name = name.split(':').next()?.trim();
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "._".contains(c));
    is_name.then_some(name)
}

/// `start_web(port)` → `start_web`: a statement that is nothing but a call of a function of this file.
fn plain_call(statement: &str) -> Option<&str> {
    let (name, _) = statement.split_once('(')?;
    let name = name.strip_prefix("await ").unwrap_or(name);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(text: &str, marker: &str) -> Option<Started> {
        let line = text.lines().position(|l| l.contains(marker)).unwrap() + 1;
        let frame = Frame {
            function: "x".into(),
            file: "/srv/app.py".into(),
            line: u32::try_from(line).unwrap(),
        };
        Source::of(text).thread_behind(&frame)
    }

    const SERVE: &str = "def serve():\n    app = make()\n    web.run_app(app, port=1)\n\n";

    #[test]
    fn a_thread_that_must_have_been_started_is_found() {
        let chained =
            format!("{SERVE}threading.Thread(target=serve, daemon=True).start()\nwork()  # here\n");
        let found = behind(&chained, "# here").unwrap();
        assert_eq!(
            (
                found.line,
                found.function.as_str(),
                found.call.as_str(),
                found.call_line
            ),
            (5, "serve", "run_app", 3)
        );
        for text in [
            format!(
                "{SERVE}t = Thread(\n    name='web',\n    target=serve,\n)\nt.daemon = True\nt.start()\nwork()  # here\n"
            ),
            format!(
                "{SERVE}if __name__ == '__main__':\n    Thread(target=serve).start()\n    while True:\n        work()  # here\n"
            ),
            format!(
                "{SERVE}def start_web():\n    t = Thread(target=serve)\n    t.start()\n\ndef main():\n    start_web()\n    work()  # here\n"
            ),
            "def serve(): srv.serve_forever()\nThread(target=serve).start()\nwhile True: work()  # here\n".to_owned(),
            "srv = make()\nThread(target=srv.serve_forever, daemon=True).start()\nwork()  # here\n".to_owned(),
        ] {
            assert!(behind(&text, "# here").is_some(), "{text}");
        }
    }

    #[test]
    fn a_thread_that_may_not_have_been_started_or_has_done_its_work_is_not() {
        for text in [
            // Ahead of the line that runs.
            format!("{SERVE}work()  # here\nThread(target=serve).start()\n"),
            // Made, and not started yet.
            format!("{SERVE}t = Thread(target=serve)\nwork()  # here\n"),
            // Only where a condition holds.
            format!("{SERVE}if args.web:\n    Thread(target=serve).start()\nwork()  # here\n"),
            // In another branch.
            format!(
                "{SERVE}if web:\n    Thread(target=serve).start()\nelse:\n    work()  # here\n"
            ),
            // In another function.
            format!(
                "{SERVE}def other():\n    Thread(target=serve).start()\n\ndef main():\n    work()  # here\n"
            ),
            // A function that serves nobody.
            "def mail():\n    send()\n\nThread(target=mail).start()\nwork()  # here\n".to_owned(),
            "Thread(target=queue.drain).start()\nwork()  # here\n".to_owned(),
            // It makes a server for somebody else to run.
            "def make():\n    return HTTPServer(('', 1), H)\n\nThread(target=make).start()\nwork()  # here\n".to_owned(),
            // It is ended on purpose.
            format!("{SERVE}Thread(target=serve).start()\nserver.shutdown()\nwork()  # here\n"),
            // A comment.
            format!("{SERVE}# Thread(target=serve).start()\nwork()  # here\n"),
        ] {
            assert_eq!(behind(&text, "# here"), None, "{text}");
        }
    }

    #[test]
    fn a_file_of_calls_in_circles_is_read_to_its_end() {
        let (functions, calls) = super::super::calls_in_circles();
        let text = format!("{functions}{calls}work()  # here\n");
        assert_eq!(behind(&text, "# here"), None);
        assert!(behind("(((((\nwork()  # here\n", "# here").is_none());
    }
}
