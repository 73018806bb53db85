//! What a frame is: the application's own, a library's, the import machinery, a place where a thread idles.

use super::framework::{self, Says};
use crate::diagnosis::Culprit;
use crate::snapshot::{Frame, Stack, stack};

/// True for frames that are not the application's own.
pub fn is_library(frame: &Frame) -> bool {
    framework::is_library(frame)
}

/// True for frames of the machinery that imports modules.
pub fn is_import_machinery(frame: &Frame) -> bool {
    frame.file.contains("importlib._bootstrap") || frame.file.ends_with("/importlib/__init__.py")
}

/// True if the stack is inside an import: the machinery is on it, above the last frame of a server that runs. A module may
/// start its server while it is imported.
pub fn is_importing(stack: &Stack) -> bool {
    let serves = |f: &Frame| framework::frame_says(f, Says::Serves);
    let import = stack.frames.iter().rposition(is_import_machinery);
    import.is_some_and(|at| !stack.frames.iter().skip(at).any(serves))
}

/// The innermost frame of the application, with its position in the stack. A generator expression or comprehension counts
/// as the function that it stands in.
pub fn application_frame(stack: &Stack) -> Option<(usize, &Frame)> {
    own_frame(&stack.frames)
}

/// The same of frames that are not a stack any more.
pub fn own_frame(frames: &[Frame]) -> Option<(usize, &Frame)> {
    let mut own = frames
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, f)| !is_library(f));
    let innermost = own.next()?;
    if !is_expression(innermost.1) {
        return Some(innermost);
    }
    let function = own.find(|(_, f)| !is_expression(f));
    Some(
        function
            .filter(|(_, f)| f.file == innermost.1.file)
            .unwrap_or(innermost),
    )
}

/// The same of a thread that serves: a frame outside of the loop, or of what takes connections, has only started it. One
/// inside of it may well call into a loop again.
pub fn request_frame(stack: &Stack) -> Option<(usize, &Frame)> {
    let serves = |f: &Frame| is_loop(f) || framework::frame_says(f, Says::Takes);
    let outermost = stack.frames.iter().position(serves);
    application_frame(stack).filter(|(at, _)| outermost.is_none_or(|first| first < *at))
}

fn is_expression(frame: &Frame) -> bool {
    ["<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"]
        .iter()
        .any(|name| frame.function.ends_with(name))
}

/// The innermost frame of the application as a culprit.
pub fn culprit(stack: &Stack) -> Option<Culprit> {
    application_frame(stack).map(|(_, frame)| culprit_of(frame))
}

/// One frame as a culprit.
pub fn culprit_of(frame: &Frame) -> Culprit {
    Culprit {
        file: frame.file.clone(),
        line: frame.line,
        function: frame.function.clone(),
    }
}

/// The place for a sentence: `wait_for_database (app/db.py:31)`.
pub fn place(frame: &Frame) -> String {
    format!(
        "{} ({}:{})",
        frame.function,
        short_file(&frame.file),
        frame.line
    )
}

/// The last two parts of a path: enough to know it, short enough for a sentence.
pub fn short_file(file: &str) -> &str {
    let mut slashes = file.rmatch_indices('/').map(|(at, _)| at);
    match (slashes.next(), slashes.next()) {
        (Some(_), Some(second)) => file.get(second + 1..).unwrap_or(file),
        _ => file,
    }
}

/// The module that is being imported innermost, named by its file: `app/models/weights.py` is `weights`.
pub fn imported_module(stack: &Stack) -> Option<String> {
    let frame = stack.frames.iter().rev().find(|f| {
        f.function == "<module>" && !f.file.starts_with('<') && !stack::is_entry_script(&f.file)
    })?;
    let mut parts = frame.file.rsplit('/');
    let name = parts.next()?.trim_end_matches(".py");
    let name = if name == "__init__" {
        parts.next()?
    } else {
        name
    };
    Some(name.to_owned())
}

/// True for frames of an event loop, and for a server's function that does nothing but run one, since a loop in C (uvloop,
/// granian's) has no frame of its own.
fn is_loop(frame: &Frame) -> bool {
    framework::frame_says(frame, Says::Loop)
}

/// True if an event loop runs on this thread.
pub fn has_loop(stack: &Stack) -> bool {
    stack.frames.iter().any(is_loop)
}

/// True if the loop on this thread runs the application's code now: frames of the application that stand outside the loop
/// only started it.
pub fn loop_runs_application(stack: &Stack) -> bool {
    let first = stack.frames.iter().position(is_loop);
    application_frame(stack).is_some_and(|(at, _)| first.is_some_and(|first| at > first))
}

/// True if frames are those of an event loop that runs, with nothing being imported: startup or later.
pub fn is_past_import(frames: &[Frame]) -> bool {
    frames.iter().any(is_loop) && !frames.iter().any(is_import_machinery)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        Frame {
            function: function.into(),
            file: file.into(),
            line: 7,
        }
    }

    #[test]
    fn application_frames_are_told_from_libraries() {
        let cases = [
            ("/srv/app/main.py", false),
            ("app.py", false),
            ("/home/x/lib/pythonista/app.py", false),
            ("/usr/lib/python3.11/threading.py", true),
            (
                "/opt/py/lib/python3.13/site-packages/uvicorn/server.py",
                true,
            ),
            ("/usr/lib/python3/dist-packages/django/core.py", true),
            ("<frozen importlib._bootstrap>", true),
            ("<string>", true),
            ("/venv/bin/uvicorn", true),
            ("/srv/bin/serve.py", false),
            ("uvloop/loop.pyx", true),
            ("/srv/app/fast.pyx", false),
        ];
        for (file, library) in cases {
            assert_eq!(is_library(&frame("f", file)), library, "{file}");
        }
    }

    #[test]
    fn an_expression_counts_as_the_function_that_it_stands_in() {
        let load = frame("load", "/srv/app/model.py");
        let inner = frame("load.<locals>.<genexpr>", "/srv/app/model.py");
        let library = frame("fsum", "/usr/lib/python3.11/statistics.py");
        let all = [load.clone(), library, inner.clone()];
        assert_eq!(own_frame(&all), Some((0, &load)));
        let elsewhere = [frame("main", "/srv/app/main.py"), inner.clone()];
        assert_eq!(own_frame(&elsewhere), Some((1, &inner)));
        assert_eq!(own_frame(std::slice::from_ref(&inner)), Some((0, &inner)));
    }

    #[test]
    fn the_module_being_imported_is_the_innermost_one() {
        let stack = Stack {
            tid: Some(1),
            name: None,
            daemon: None,
            activity: crate::snapshot::Activity::Running,
            holds_gil: true,
            frames: vec![
                frame("<module>", "/srv/app/main.py"),
                frame("_find_and_load", "<frozen importlib._bootstrap>"),
                frame("<module>", "/srv/app/model/__init__.py"),
                frame("load", "/srv/app/model/__init__.py"),
            ],
        };
        assert_eq!(imported_module(&stack).as_deref(), Some("model"));
        assert!(is_importing(&stack));
        assert_eq!(
            place(stack.leaf().expect("has frames")),
            "load (model/__init__.py:7)"
        );
    }
}
