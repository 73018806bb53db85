//! What kind of server a process is, by its command line and by the frames on its stacks; and what it is called.

use super::Kind;
use super::framework::{self, Says};
use crate::snapshot::{self, Process, Reach, Stack, Stacks};

/// What a command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// It starts a server of this kind.
    Serves(Kind),
    /// It is a helper of whoever started it: multiprocessing's children and trackers.
    Helper(Helper),
    /// A program that is known not to be a server, whatever sockets it has.
    Works,
    /// Nothing is known.
    Unknown,
}

/// Kinds of helpers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helper {
    /// `multiprocessing.spawn` child: a worker of a server, or of a pool.
    Spawned,
    /// Resource tracker, semaphore tracker, fork server.
    Tracker,
}

/// The arguments of a command line from the program's own name on: without the interpreter and its options.
/// `-m http.server 8000` yields `http.server`, `8000`; `-c code` yields `-c`, `code`.
pub fn program(cmdline: &[String]) -> &[String] {
    let Some(first) = cmdline.first() else {
        return &[];
    };
    if !is_interpreter(first) {
        return cmdline;
    }
    let mut at = 1;
    while let Some(word) = cmdline.get(at) {
        match word.as_str() {
            "-m" => return cmdline.get(at + 1..).unwrap_or(&[]),
            "-c" => return cmdline.get(at..).unwrap_or(&[]),
            "-W" | "-X" | "--check-hash-based-pycs" => at += 2,
            option if option.starts_with('-') && option.len() > 1 => {
                if let Some(module) = module_in_cluster(option) {
                    return match module {
                        "" => cmdline.get(at + 1..).unwrap_or(&[]),
                        _ => cmdline.get(at..).unwrap_or(&[]),
                    };
                }
                at += 1;
            }
            _ => return cmdline.get(at..).unwrap_or(&[]),
        }
    }
    &[]
}

/// `-um` and the like: the rest after the `m`, when the option is a cluster that ends the interpreter's options.
fn module_in_cluster(option: &str) -> Option<&str> {
    if option.starts_with("--") {
        return None;
    }
    option.split_once('m').map(|(_, rest)| rest)
}

fn is_interpreter(word: &str) -> bool {
    let name = base_name(word);
    name.starts_with("python") || name.starts_with("pypy")
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What the command line says about a process.
pub fn intent(cmdline: &[String]) -> Intent {
    let args = program(cmdline);
    let Some(first) = args.first() else {
        return Intent::Unknown;
    };
    if first == "-c" {
        return inline_code(args.get(1).map_or("", String::as_str));
    }
    // `gunicorn: master [shop]`: a title.
    let program = first
        .split_once(": ")
        .map_or(first.as_str(), |(name, _)| name);
    let name = base_name(program).trim_end_matches(".py");
    let rest = args.get(1..).unwrap_or(&[]);
    match by_name(name, first, rest) {
        // Django's manage.py by another name.
        Intent::Unknown
            if first.ends_with(".py") && rest.first().is_some_and(|w| w == "runserver") =>
        {
            by_name("manage", first, rest)
        }
        told => told,
    }
}

fn inline_code(code: &str) -> Intent {
    if code.contains("multiprocessing.spawn import") {
        Intent::Helper(Helper::Spawned)
    } else if code.contains("multiprocessing.") {
        Intent::Helper(Helper::Tracker)
    } else {
        Intent::Unknown
    }
}

fn by_name(name: &str, path: &str, rest: &[String]) -> Intent {
    if name == "__main__" {
        return by_package(path, rest);
    }
    match framework::started_by(name, rest) {
        Some(Some(kind)) => Intent::Serves(kind),
        Some(None) => Intent::Works,
        None => Intent::Unknown,
    }
}

/// `/site-packages/uvicorn/__main__.py` is what `-m uvicorn` looks like to some.
fn by_package(path: &str, rest: &[String]) -> Intent {
    let package = path.rsplit('/').nth(1).unwrap_or("");
    if package.is_empty() || package == "__main__" {
        return Intent::Unknown;
    }
    by_name(package, "", rest)
}

/// The kind that the frames on a process's stacks prove.
pub fn by_frames(stacks: &Stacks) -> Option<Kind> {
    framework::kind_of(stacks.list.iter().flat_map(|stack| &stack.frames))
}

/// The kind that the frames of one thread prove.
pub fn by_stack(stack: &Stack) -> Option<Kind> {
    framework::kind_of(&stack.frames)
}

/// The kind of server that the source says it is about to start, or has run; `None` for a command that starts none.
pub fn intended(intended: &snapshot::Intent) -> Option<Kind> {
    if intended.reach != Reach::Command {
        return Some(by_call(&intended.call));
    }
    let words: Vec<String> = intended.call.split(' ').map(str::to_owned).collect();
    match intent(&words) {
        Intent::Serves(kind) => Some(kind),
        _ => None,
    }
}

/// The kind of server that a call in the source starts.
pub fn by_call(call: &str) -> Kind {
    framework::called(call).unwrap_or(Kind::Other)
}

/// The kind of a server that is known only by the sockets that it accepts from.
pub fn by_loop(process: &Process) -> Kind {
    let stacks = process.python.as_ref().and_then(|p| p.stacks.as_ref());
    let Some(stacks) = stacks else {
        return Kind::Other;
    };
    match by_frames(stacks) {
        Some(Kind::HttpServer) => Kind::HttpServer,
        _ if stacks
            .list
            .iter()
            .any(|s| framework::loop_of(s) == Some(Kind::Asyncio)) =>
        {
            Kind::Asyncio
        }
        _ => Kind::Other,
    }
}

/// True if the frames or the command line say that this process restarts a child when files change.
pub fn is_reloader(process: &Process) -> bool {
    let main = process.main_stack();
    main.is_some_and(|s| framework::says(s, Says::Restarts))
        || process.cmdline.iter().any(|a| {
            matches!(a.as_str(), "--reload" | "--auto-reload" | "--autoreload")
                || a.starts_with("--reload-")
        })
        || matches!(program(&process.cmdline), [name, sub, ..] if base_name(name) == "fastapi" && sub == "dev")
}

/// A name for people: the program and what it serves.
pub fn name(process: &Process, kind: Option<Kind>) -> String {
    let args = program(&process.cmdline);
    let Some(first) = args.first() else {
        return if process.comm.is_empty() {
            "python".into()
        } else {
            process.comm.clone()
        };
    };
    if let Some((_, app)) = process
        .cmdline
        .first()
        .and_then(|a| a.strip_prefix("gunicorn: ")?.split_once('['))
    {
        return format!("gunicorn {}", app.trim_end_matches(']'));
    }
    if first == "-c" {
        return format!("{} -c …", kind.map_or("python", Kind::word));
    }
    let base = base_name(first);
    if base.ends_with(".py") && kind.is_some_and(|k| k != Kind::Other && !base.contains(k.word())) {
        let rest = operand(args).map(|o| format!(" {o}")).unwrap_or_default();
        return format!("{} {base}{rest}", kind.map_or("", Kind::word));
    }
    match operand(args) {
        Some(operand) => format!("{} {operand}", base.trim_end_matches(':')),
        None => base.to_owned(),
    }
}

/// The application among the arguments: `app.main:app`, or else a subcommand.
fn operand(args: &[String]) -> Option<&str> {
    let rest = args.get(1..)?;
    let is_spec = |a: &&String| {
        a.split_once(':').is_some_and(|(module, object)| {
            !module.is_empty()
                && !module.starts_with('-')
                && object.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && module
                    .chars()
                    .all(|c| c.is_alphanumeric() || "._/-".contains(c))
        })
    };
    let bracketed = rest
        .iter()
        .find_map(|a| a.strip_prefix('[')?.strip_suffix(']'));
    let plain = rest.first().filter(|a| !a.starts_with('-'));
    bracketed.or_else(|| rest.iter().find(is_spec).or(plain).map(String::as_str))
}

/// The TCP port that the command line asks for, where it says one.
pub fn wanted_port(cmdline: &[String]) -> Option<u16> {
    let args = program(cmdline);
    let value = |at: usize| args.get(at + 1).map(String::as_str);
    let port_of = |text: &str| text.rsplit(':').next().and_then(|p| p.parse::<u16>().ok());
    args.iter()
        .enumerate()
        .find_map(|(at, arg)| match arg.as_str() {
            "--port" | "-p" | "--bind" | "-b" | "--listen" => value(at).and_then(port_of),
            other => ["--port=", "--bind=", "--listen="]
                .iter()
                .find_map(|prefix| other.strip_prefix(prefix))
                .and_then(port_of),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn command_lines_tell_what_they_start() {
        let cases = [
            (
                "python -m uvicorn app:app --port 80",
                Intent::Serves(Kind::Uvicorn),
            ),
            (
                "/venv/bin/python3.11 /venv/bin/uvicorn app:app",
                Intent::Serves(Kind::Uvicorn),
            ),
            (
                "python3 -X dev -um gunicorn -w 2 app:app",
                Intent::Serves(Kind::Gunicorn),
            ),
            (
                "python manage.py runserver 0:80",
                Intent::Serves(Kind::Django),
            ),
            (
                "python tools/shop_admin.py runserver",
                Intent::Serves(Kind::Django),
            ),
            ("python tools/shop_admin.py migrate", Intent::Unknown),
            ("python manage.py migrate", Intent::Works),
            ("python -m flask --app x run", Intent::Serves(Kind::Flask)),
            ("python -m flask routes", Intent::Unknown),
            ("python -m flask run", Intent::Serves(Kind::Flask)),
            (
                "python -m http.server 8000",
                Intent::Serves(Kind::HttpServer),
            ),
            ("python -m celery -A app worker", Intent::Works),
            ("python -W ignore uvicorn_notes.py", Intent::Unknown),
            (
                "/venv/bin/python /venv/bin/gunicornc show all",
                Intent::Unknown,
            ),
            ("python app.py", Intent::Unknown),
            ("python", Intent::Unknown),
        ];
        for (line, want) in cases {
            assert_eq!(intent(&words(line)), want, "{line}");
        }
        for title in ["gunicorn: master [shop]", "gunicorn: worker [api/v2]"] {
            let title = [title.to_owned()];
            assert_eq!(intent(&title), Intent::Serves(Kind::Gunicorn), "{title:?}");
        }
        let spawn = [
            "python",
            "-c",
            "from multiprocessing.spawn import spawn_main; spawn_main()",
        ];
        let spawn: Vec<String> = spawn.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(intent(&spawn), Intent::Helper(Helper::Spawned));
    }

    #[test]
    fn ports_are_read_from_the_usual_options() {
        for (line, want) in [
            ("python -m uvicorn a:b --port 81", Some(81)),
            ("gunicorn -b 127.0.0.1:82 a:b", Some(82)),
            ("gunicorn --bind=[::]:83 a:b", Some(83)),
            ("uvicorn a:b --uds /x", None),
        ] {
            assert_eq!(wanted_port(&words(line)), want, "{line}");
        }
    }
}
