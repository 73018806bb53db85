//! A thread that was to serve and has ended with an exception, while its process lives: what `threading` writes then.

use crate::diagnosis::{Kind, kind};
use crate::snapshot::{Activity, Frame, LogTail, Process, ProcessKey, Snapshot, Stack, Traceback};

/// Such a thread.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// What was written.
    pub traceback: &'a Traceback,
    /// Its name.
    pub name: &'a str,
    /// The kind of server that it ran, by its frames.
    pub kind: Kind,
}

/// The newest thread of a process that was to serve and has ended so.
pub fn ended<'a>(process: &Process, snapshot: &'a Snapshot) -> Option<Ended<'a>> {
    let keys: [ProcessKey; 1] = [process.key];
    let tails = snapshot.inquiries.logs.iter();
    tails
        .filter(|tail| tail.is_written_by(&keys))
        .flat_map(|tail| tail.tracebacks.iter().map(move |t| (tail, t)))
        .filter(|(tail, t)| is_of(t, tail, process))
        .filter_map(|(_, traceback)| {
            let name = traceback.thread.as_deref()?;
            let kind = kind_of(&traceback.frames)?;
            (!lives(process, name)).then_some(Ended {
                traceback,
                name,
                kind,
            })
        })
        .max_by_key(|ended| ended.traceback.at)
}

fn is_of(traceback: &Traceback, tail: &LogTail, process: &Process) -> bool {
    if let Some(pid) = traceback.pid {
        return pid == process.key.pid;
    }
    let mut lines = tail.lines.iter();
    match lines.find(|line| line.number == traceback.last) {
        Some(line) => super::is_since(line, tail, process),
        None => tail.is_fresh,
    }
}

/// The kind of server that frames prove which end a thread that serves. To handle one request is not to serve, and an event
/// loop alone may be anybody's.
fn kind_of(frames: &[Frame]) -> Option<Kind> {
    let stack = Stack {
        tid: None,
        name: None,
        activity: Activity::Unknown,
        holds_gil: false,
        frames: frames.to_vec(),
    };
    let kind = kind::by_stack(&stack)?;
    let serves = |f: &Frame| {
        let name = f.function.rsplit('.').next().unwrap_or(&f.function);
        matches!(
            name,
            "serve_forever" | "server_bind" | "server_activate" | "__init__"
        ) && (f.file.ends_with("/socketserver.py") || f.file.ends_with("/http/server.py"))
    };
    let is_one = match kind {
        Kind::HttpServer => frames.iter().any(serves),
        Kind::Tornado => frames.iter().any(|f| f.file.ends_with("/httpserver.py")),
        _ => true,
    };
    is_one.then_some(kind)
}

/// True if there is still a thread of that name: another one may have been started in its place.
fn lives(process: &Process, name: &str) -> bool {
    let stacks = process.python.as_ref().and_then(|p| p.stacks.as_ref());
    // `Thread-1 (serve)` from 3.10 on.
    stacks.is_some_and(|s| s.list.iter().any(|t| t.name.as_deref() == Some(name)))
}
