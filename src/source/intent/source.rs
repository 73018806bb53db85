//! The text of a program: where a line leads to, what it calls. By indentation and words alone: what the interpreter would make
//! of it in full is not needed to know what stands ahead.

use std::cell::Cell;
use std::collections::HashMap;

use super::call::{
    Maker, begins_with, called, coroutines_started, definition, indent, is_blank, made, made_here,
    one_liner, run_of, server_call,
};
use crate::snapshot::{Frame, Reach};

/// Functions that lead from one to the next.
const DEPTH: u32 = 3;

/// Lines that are walked for one frame: a file is as long as its author likes, and calls lead from function to function.
const STEPS: u32 = 20_000;

/// Bytes of a line. Nobody has written a longer one by hand, and some words are searched for from each of many places in it.
const LONGEST: usize = 4096;

/// Bytes of a line that is walked as one.
const USUAL: usize = 128;

/// Lines of one statement.
pub(super) const STATEMENT: usize = 12;

/// A call that starts a server: its line, its name.
pub(super) type Call = (u32, &'static str);

/// A source file in lines, and where its functions are defined.
pub(super) struct Source<'a> {
    pub(super) lines: Vec<&'a str>,
    pub(super) defined: HashMap<&'a str, usize>,
    /// What it has made that serves when it is run, by name.
    makers: HashMap<&'a str, Maker>,
    /// The calls that count; `None`: all.
    pub(super) only: Option<&'static [&'static str]>,
    /// True if only those count that the main thread makes itself, by a name that the file does not give to something else.
    pub(super) on_main: bool,
    /// Lines that may still be walked.
    pub(super) steps: Cell<u32>,
}

impl<'a> Source<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let short = |line| if str::len(line) > LONGEST { "" } else { line };
        let lines: Vec<&str> = text.lines().map(short).collect();
        let mut defined = HashMap::new();
        for (at, line) in lines.iter().enumerate() {
            if let Some(name) = definition(line) {
                defined.entry(name).or_insert(at);
            }
        }
        let makers = lines.iter().filter_map(|line| made(line)).collect();
        Self {
            lines,
            defined,
            makers,
            only: None,
            on_main: false,
            steps: Cell::new(STEPS),
        }
    }

    /// A call that starts a server, wherever the file leads to when it is run.
    pub(super) fn call_of_script(&self) -> Option<Call> {
        self.walk(0, 0, false, DEPTH)
    }

    /// A call that starts a server, in a function of this file.
    pub(super) fn call_of_function(&self, name: &str) -> Option<Call> {
        self.in_function(name, DEPTH)
    }

    /// The call on a line that starts a server.
    pub(super) fn call_on(&self, line: &str) -> Option<&'static str> {
        let by_maker = run_of(line, |name| self.makers.get(name).copied());
        let is_own = |name: &str| self.on_main && self.defined.contains_key(name);
        let call = by_maker.or_else(|| server_call(line, is_own))?;
        let counts = self.only.is_none_or(|only| only.contains(&call));
        counts.then_some(call)
    }

    /// A call that starts a server, ahead of where a frame stands or in what its line runs. `callee` is the function that the
    /// frame has called; of the innermost frame the line may hide the coroutine that it runs.
    pub(super) fn call_ahead(
        &self,
        frame: &Frame,
        callee: Option<&str>,
        innermost: bool,
    ) -> Option<(Call, Reach)> {
        let here = usize::try_from(frame.line).ok()?.checked_sub(1)?;
        let current = *self.lines.get(here)?;
        if innermost
            && let Some(found) =
                coroutines_started(current).find_map(|name| self.in_function(name, DEPTH))
        {
            return Some((found, Reach::Within));
        }
        let around = callee.and_then(|callee| self.call_around(here, callee));
        let in_function = frame.function != "<module>";
        let below = || {
            let goes_on = one_liner(current).is_none();
            goes_on.then(|| self.walk(here + 1, indent(current), in_function, DEPTH))?
        };
        let ahead = around
            .or_else(|| self.call_behind_semicolon(here))
            .or_else(below);
        ahead.map(|found| (found, Reach::Ahead))
    }

    /// The call whose arguments are being worked out: `serve(make_app())` while `make_app` runs.
    fn call_around(&self, here: usize, callee: &str) -> Option<Call> {
        let name = callee.rsplit('.').next()?;
        (here.saturating_sub(STATEMENT)..=here)
            .rev()
            .find_map(|at| {
                let call = self.call_on(self.lines.get(at)?)?;
                let statement = self.statement(at);
                let bracket = format!("{}(", call.rsplit('.').next().unwrap_or(call));
                let arguments = statement.get(statement.find(&bracket)? + bracket.len()..)?;
                let reaches = self.statement_length(at) > here - at;
                let is_argument = called(arguments).any(|argument| argument == name);
                (reaches && is_argument).then_some((u32::try_from(at + 1).ok()?, call))
            })
    }

    /// `prepare(); app.run()`.
    fn call_behind_semicolon(&self, here: usize) -> Option<Call> {
        let line = *self.lines.get(here)?;
        let (_, rest) = one_liner(line).unwrap_or(line).split_once(';')?;
        self.call_here_or_below(here, rest, DEPTH)
    }

    fn call_here_or_below(&self, at: usize, text: &str, depth: u32) -> Option<Call> {
        // A long line costs as much as so many of usual length.
        let cost = u32::try_from(text.len() / USUAL).ok()?;
        self.steps.set(self.steps.get().checked_sub(cost)?);
        let text = if self.on_main { made_here(text) } else { text };
        if let Some(call) = self.call_on(text) {
            return Some((u32::try_from(at + 1).unwrap_or(0), call));
        }
        called(text).find_map(|name| self.in_function(name, depth))
    }

    /// The body of a function of this file.
    fn in_function(&self, name: &str, depth: u32) -> Option<Call> {
        let depth = depth.checked_sub(1)?;
        let at = *self.defined.get(name)?;
        self.steps.set(self.steps.get().checked_sub(1)?);
        if let Some(body) = one_liner(self.lines.get(at)?) {
            return self.call_here_or_below(at, body, depth);
        }
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
    fn walk(&self, from: usize, level: usize, in_function: bool, depth: u32) -> Option<Call> {
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
            if let Some(found) = self.call_here_or_below(at, word, depth) {
                return Some(found);
            }
        }
        None
    }

    /// A line with those that its brackets reach over, as one.
    pub(super) fn statement(&self, at: usize) -> String {
        let lines = self.lines.iter().skip(at).take(self.statement_length(at));
        lines.map(|line| code_of_statement(line)).collect()
    }

    /// How many lines its brackets reach over.
    fn statement_length(&self, at: usize) -> usize {
        let mut depth = 0i32;
        let mut length = 0;
        for line in self.lines.iter().skip(at).take(STATEMENT) {
            length += 1;
            for c in code_of_statement(line).chars() {
                depth += match c {
                    '(' | '[' | '{' => 1,
                    ')' | ']' | '}' => -1,
                    _ => 0,
                };
            }
            if depth <= 0 {
                break;
            }
        }
        length
    }
}

fn code_of_statement(line: &str) -> &str {
    line.split(" #").next().unwrap_or(line).trim()
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
            .call_ahead(&frame, None, true)
            .map(|((_, call), _)| call)
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
    fn a_call_whose_arguments_are_worked_out_is_ahead() {
        let around = |text: &str, callee: &str| {
            let line = text.lines().position(|l| l.contains("# here")).unwrap() + 1;
            let frame = Frame {
                function: "main".into(),
                file: "/srv/app.py".into(),
                line: line as u32,
            };
            let found = Source::of(text).call_ahead(&frame, Some(callee), false);
            found.map(|((line, call), _)| (line, call))
        };
        let plain = "uvicorn.run(create_app(), port=1)  # here\n";
        assert_eq!(around(plain, "create_app"), Some((1, "uvicorn.run")));
        let wide = "web.run_app(\n    make(),  # here\n    port=1,\n)\n";
        assert_eq!(around(wide, "make"), Some((1, "run_app")));
        // It runs that very call, whoever wrote it.
        let consumer = "consumer.listen('orders')  # here\n";
        assert_eq!(around(consumer, "Consumer.listen"), None);
        let own = "serve(jobs())  # here\n";
        assert_eq!(around(own, "serve"), None);
        let past = "web.run_app(make())\nwork()  # here\n";
        assert_eq!(around(past, "work"), None);
    }

    #[test]
    fn what_a_program_asks_before_it_serves_is_no_end_of_it() {
        let one_line = "def ask(): return prompt('x')  # here\nFlask('x').run(port=1)\nask()\n";
        assert_eq!(ahead(one_line, "ask", "# here"), None);
        let group = "@click.command()\ndef main(): ask(); Flask('x').run(port=1)  # here\nmain()\n";
        assert_eq!(ahead(group, "main", "# here"), Some("app.run"));
        let same_line = "def main():\n    ask(); Flask('x').run(port=1)  # here\nmain()\n";
        assert_eq!(ahead(same_line, "main", "# here"), Some("app.run"));
        let named = "def main():\n    key = getpass()  # here\n    from flask import Flask\n    shop = Flask('x')\n    shop.run(port=1)\nmain()\n";
        assert_eq!(ahead(named, "main", "# here"), Some("app.run"));
        let other = "def main():\n    ask()  # here\n    job = Job('x')\n    job.run()\nmain()\n";
        assert_eq!(ahead(other, "main", "# here"), None);
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

    #[test]
    fn a_file_of_one_long_line_is_read_to_its_end() {
        let long = "))).run(".repeat(1 << 17);
        assert_eq!(Source::of(&long).call_of_script(), None);
        let circle = format!("def f(): {}\nwork()  # here\nf()\n", "f();".repeat(900));
        assert_eq!(ahead(&circle, "<module>", "# here"), None);
    }
}
