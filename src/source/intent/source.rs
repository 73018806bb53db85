//! The text of a program: where a line leads to, what it calls. By indentation and words alone: what the interpreter would make
//! of it in full is not needed to know what stands ahead.

use std::cell::Cell;
use std::collections::HashMap;

use crate::snapshot::Frame;

/// Functions that lead from one to the next.
const DEPTH: u32 = 3;

/// Calls that start a server, by the end of the name before the bracket: `web.run_app(` and `run_app(` alike.
const CALLS: &[&str] = &[
    "start_server",
    "start_unix_server",
    "create_server",
    "create_unix_server",
    "serve_forever",
    "run_app",
    "run_simple",
    "run_server",
    "uvicorn.run",
    "app.run",
    "application.run",
    "serve",
    "make_server",
    "HTTPServer",
    "TCPServer",
    "WSGIServer",
    "TCPSite",
    "UnixSite",
    "listen",
];

/// Lines that are walked for one frame: a file is as long as its author likes, and calls lead from function to function.
const STEPS: u32 = 20_000;

/// A source file in lines, and where its functions are defined.
pub(super) struct Source<'a> {
    pub(super) lines: Vec<&'a str>,
    pub(super) defined: HashMap<&'a str, usize>,
    /// Lines that may still be walked.
    pub(super) steps: Cell<u32>,
}

/// `asyncio.run(main())` hides `main` from the stack while it waits.
fn coroutines_started(line: &str) -> impl Iterator<Item = &str> {
    [
        "asyncio.run(",
        "run_until_complete(",
        "anyio.run(",
        "runner.run(",
        "uvloop.run(",
    ]
    .into_iter()
    .filter_map(move |start| {
        let (_, rest) = line.split_once(start)?;
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        rest.get(..end).filter(|name| !name.is_empty())
    })
}

impl<'a> Source<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let mut defined = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            if let Some(name) = definition(line) {
                defined.entry(name).or_insert(at);
            }
        }
        Self {
            lines,
            defined,
            steps: Cell::new(STEPS),
        }
    }

    /// Line and name of a call that starts a server, ahead of where a frame stands.
    pub(super) fn call_ahead(&self, frame: &Frame, innermost: bool) -> Option<(u32, &'static str)> {
        let here = usize::try_from(frame.line).ok()?.checked_sub(1)?;
        let current = *self.lines.get(here)?;
        if innermost
            && let Some(found) =
                coroutines_started(current).find_map(|name| self.in_function(name, DEPTH))
        {
            return Some(found);
        }
        let in_function = frame.function != "<module>";
        self.walk(here + 1, indent(current), in_function, DEPTH)
    }

    /// The body of a function of this file.
    fn in_function(&self, name: &str, depth: u32) -> Option<(u32, &'static str)> {
        let depth = depth.checked_sub(1)?;
        let at = *self.defined.get(name)?;
        let outside = indent(self.lines.get(at)?);
        let (body, first) = self
            .lines
            .iter()
            .enumerate()
            .skip(at + 1)
            .find(|(_, l)| !is_blank(l) && indent(l) > outside)?;
        self.walk(body, indent(first), true, depth)
    }

    /// Goes on from a line as the interpreter would: out of blocks, past branches that belong to what has run, past
    /// definitions, and not into what a condition guards.
    fn walk(
        &self,
        from: usize,
        level: usize,
        in_function: bool,
        depth: u32,
    ) -> Option<(u32, &'static str)> {
        let mut level = level;
        let mut skip_deeper_than: Option<usize> = None;
        for (at, line) in self.lines.iter().enumerate().skip(from) {
            self.steps.set(self.steps.get().checked_sub(1)?);
            if is_blank(line) {
                continue;
            }
            let here = indent(line);
            if skip_deeper_than.is_some_and(|limit| here > limit) {
                continue;
            }
            skip_deeper_than = None;
            let word = line.trim_start();
            if here < level && begins_with(word, &["def", "async def", "class", "@"]) && in_function
            {
                return None;
            }
            if here < level && !begins_with(word, &["else", "elif", "except"]) {
                if in_function && here == 0 {
                    return None;
                }
                level = here;
            }
            let guarded = begins_with(word, &["if"]) && !word.contains("__name__");
            let passed = ["else", "elif", "except", "def", "async def", "class"];
            if guarded || begins_with(word, &passed) {
                skip_deeper_than = Some(here);
                continue;
            }
            if let Some(call) = server_call(word) {
                return Some((u32::try_from(at + 1).unwrap_or(0), call));
            }
            if let Some(found) = called(word).find_map(|name| self.in_function(name, depth)) {
                return Some(found);
            }
        }
        None
    }
}

/// The name that a line defines a function by.
pub(super) fn definition(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    let (name, _) = rest.strip_prefix("def ")?.split_once('(')?;
    Some(name.trim_end())
}

fn begins_with(line: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        line.strip_prefix(word).is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') || *word == "@"
        })
    })
}

pub(super) fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#') || text.starts_with(')')
}

pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub(super) fn server_call(line: &str) -> Option<&'static str> {
    let code = line.split('#').next().unwrap_or(line);
    CALLS.iter().copied().find(|call| {
        code.match_indices(call).any(|(at, _)| {
            let before = code.get(..at).and_then(|b| b.chars().next_back());
            let after = code.get(at + call.len()..).unwrap_or("");
            let whole =
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"' || c == '\'');
            let prefixed = call.ends_with("Server") && before.is_some_and(|c| c.is_alphanumeric());
            (whole || prefixed)
                && after.starts_with('(')
                // `pubsub.listen()` of a consumer takes nothing; a server's takes a port or a backlog.
                && !(*call == "listen" && (before != Some('.') || after.starts_with("()")))
        })
    })
}

/// Names of plain calls on a line: `main()`, `asyncio.run(main())`.
fn called(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split('#').next().unwrap_or(line);
    code.match_indices('(').filter_map(move |(at, _)| {
        let before = code.get(..at)?;
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
            .map_or(0, |p| p + 1);
        let name = before.get(start..)?;
        let plain = !before.get(..start)?.ends_with('.');
        (plain && name.starts_with(|c: char| c.is_alphabetic() || c == '_')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(text: &str, function: &str, marker: &str) -> Option<&'static str> {
        let line = text
            .lines()
            .position(|l| l.contains(marker))
            .expect("marker")
            + 1;
        let frame = Frame {
            function: function.into(),
            file: "/srv/app.py".into(),
            line: line as u32,
        };
        Source::of(text)
            .call_ahead(&frame, true)
            .map(|(_, call)| call)
    }

    #[test]
    fn a_call_that_will_be_reached_is_evidence() {
        let later = "def wait():\n    sleep(9)\n\nwait()  # here\n\nif __name__ == '__main__':\n    app.run(port=1)\n";
        assert_eq!(ahead(later, "<module>", "# here"), Some("app.run"));
        let nested = "async def main():\n    load()  # here\n    async with make() as x:\n        await asyncio.start_server(x)\n";
        assert_eq!(ahead(nested, "main", "# here"), Some("start_server"));
        let hidden = "async def main():\n    await warm()\n    s = await loop.create_server(x)\n\nasyncio.run(main())  # here\n";
        assert_eq!(ahead(hidden, "<module>", "# here"), Some("create_server"));
        let indirect = "def serve_all():\n    HTTPServer(('', 1), H).serve_forever()\n\nload()  # here\nserve_all()\n";
        assert_eq!(ahead(indirect, "<module>", "# here"), Some("serve_forever"));
        let subclass = "load()  # here\nThreadingHTTPServer(('', 1), H)\n";
        assert_eq!(ahead(subclass, "<module>", "# here"), Some("HTTPServer"));
    }

    #[test]
    fn a_call_that_may_never_be_reached_is_not() {
        for (text, function) in [
            // Behind the line that runs.
            ("server = start_server()\nwork()  # here\n", "<module>"),
            // In the other branch.
            (
                "if batch:\n    work()  # here\nelse:\n    app.run()\n",
                "<module>",
            ),
            // Guarded by a condition.
            ("work()  # here\nif serve_too:\n    app.run()\n", "<module>"),
            // In a function that nothing here calls.
            (
                "work()  # here\ndef serve_it():\n    app.run()\n",
                "<module>",
            ),
            // In another function.
            (
                "def work():\n    step()  # here\n    done()\n\ndef other():\n    app.run()\n",
                "work",
            ),
            // A comment, a string, another word.
            (
                "work()  # here\n# app.run()\nprint('app.run(')\nobserve(1)\nlisten(queue)\npubsub.listen()\nmyapp.runner()\n",
                "<module>",
            ),
        ] {
            assert_eq!(ahead(text, function, "# here"), None, "{text}");
        }
    }

    #[test]
    fn a_file_of_calls_in_circles_is_read_to_its_end() {
        let (functions, calls) = super::super::calls_in_circles();
        let text = format!("{functions}work()  # here\n{calls}");
        assert_eq!(ahead(&text, "<module>", "# here"), None);
    }
}
