//! What does a program run that only watches files, and starts another one when they change? A call of watchfiles names it, in the
//! source or on the command line: a function, or a command.
//!
//! ```text
//! run_process('./src', target=main)              a function of the same file
//! run_process('./src', target='shop.web.main')   a function of a module
//! watchfiles 'python app.py' ./src               a command
//! ```

use super::source::Source;
use super::{Call, Search, Sources, intent, script};
use crate::snapshot::{Frame, Intent, Reach, Stack};

/// Where `watchfiles` waits for a file to change.
const WATCHER: &str = "/watchfiles/run.py";

/// What is to be run, as far as words tell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Function(String),
    Text(String),
}

/// True if the thread waits for files to change, and keeps another process meanwhile.
pub(super) fn watches(main: &Stack) -> bool {
    main.frames.iter().any(|f| f.file.ends_with(WATCHER))
}

impl Sources {
    /// The server that a watcher runs.
    pub(super) fn launched(&mut self, search: &Search) -> Option<Intent> {
        let mut own = search.stack.frames.iter().filter(|f| !f.is_library());
        let Some(frame) = own.next_back() else {
            return self.launched_by(search, operand(&search.cmdline)?);
        };
        let text = self.read(search, &frame.file)?;
        let source = Source::of(&text);
        match target(&source, frame)? {
            Target::Text(text) => self.launched_by(search, &text),
            Target::Function(name) => {
                let call = source.call_of_function(&name)?;
                Some(intent(&frame.file, call, Reach::Launched))
            }
        }
    }

    /// By a command, or the dotted name of a function.
    fn launched_by(&mut self, search: &Search, text: &str) -> Option<Intent> {
        let words: Vec<String> = text
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '\'']).to_owned())
            .collect();
        if let Some(script) = script(&words) {
            let call = Source::of(&self.read(search, script)?).call_of_script()?;
            return Some(intent(script, call, Reach::Launched));
        }
        if let [name] = words.as_slice()
            && let Some((file, call)) = self.call_of_dotted(search, name)
        {
            return Some(intent(&file, call, Reach::Launched));
        }
        Some(Intent {
            file: String::new(),
            line: 0,
            call: words.join(" "),
            reach: Reach::Command,
        })
    }

    fn call_of_dotted(&mut self, search: &Search, name: &str) -> Option<(String, Call)> {
        let (module, function) = name.rsplit_once('.')?;
        let path = module.replace('.', "/");
        let file = format!("{path}.py");
        let file = match self.read(search, &file) {
            Some(_) => file,
            None => format!("{path}/__init__.py"),
        };
        let call = Source::of(&self.read(search, &file)?).call_of_function(function)?;
        Some((file, call))
    }
}

/// The target of the call on which a frame stands.
fn target(source: &Source, frame: &Frame) -> Option<Target> {
    let here = usize::try_from(frame.line).ok()?.checked_sub(1)?;
    let statement = source.statement(here);
    let value = statement.split_once("target=")?.1;
    if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let text = value.get(1..)?.split(quote).next()?;
        return Some(Target::Text(text.to_owned()));
    }
    let end = value.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let name = value.get(..end.unwrap_or(value.len()))?;
    (!name.is_empty()).then(|| Target::Function(name.to_owned()))
}

/// What `watchfiles` is told to run: its first operand.
fn operand(cmdline: &[String]) -> Option<&str> {
    let program = cmdline.iter().position(|word| {
        word == "watchfiles"
            || word.ends_with("/watchfiles")
            || word.ends_with("/watchfiles/__main__.py")
    })?;
    let mut words = cmdline.iter().skip(program + 1).map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--ignore-paths" | "--target-type" | "--filter" | "--args" | "--sigint-timeout"
            | "--sigkill-timeout" | "--grace-period" => drop(words.next()),
            option if option.starts_with('-') => {}
            operand => return Some(operand),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_stands_in_the_call() {
        for (text, want) in [
            (
                "run_process('.', target=main)",
                Some(Target::Function("main".into())),
            ),
            (
                "run_process(\n    '.',\n    target='python app.py',\n    target_type='command',\n)",
                Some(Target::Text("python app.py".into())),
            ),
            ("run_process('.')", None),
        ] {
            let frame = Frame {
                function: "<module>".into(),
                file: "/srv/dev.py".into(),
                line: 1,
            };
            assert_eq!(target(&Source::of(text), &frame), want, "{text}");
        }
    }

    #[test]
    fn the_operand_is_the_first_word_that_is_no_option() {
        for (line, want) in [
            (
                &["python", "/venv/bin/watchfiles", "python app.py", "src"][..],
                Some("python app.py"),
            ),
            (
                &["watchfiles", "--filter", "python", "--verbose", "shop.main"],
                Some("shop.main"),
            ),
            (&["python", "-m", "watchfiles", "--help"], None),
            (&["python", "app.py"], None),
        ] {
            let words: Vec<String> = line.iter().map(|w| (*w).to_owned()).collect();
            assert_eq!(operand(&words), want, "{line:?}");
        }
    }
}
