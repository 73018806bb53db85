//! A thread that was to serve and has ended, while its process lives: by what `threading` writes when an exception ends a
//! thread, or by the source, which has started one that is not there any more.

use super::{Kind, kind, log};
use crate::snapshot::{
    Activity, Frame, LogTail, Moment, Process, ServerThread, Snapshot, Stack, Traceback,
};

/// Such a thread.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The kind of server that it ran, or was to run.
    pub kind: Kind,
    /// When it is known to have ended.
    pub at: Moment,
    /// What tells of it.
    pub told: Told<'a>,
}

/// What tells that a thread has ended.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// The log, with its name and what was raised.
    ByLog(&'a str, &'a Traceback),
    /// The source and the stacks.
    BySource(&'a ServerThread),
}

/// The thread of a process that was to serve and has ended.
pub fn ended<'a>(process: &Process, snapshot: &'a Snapshot) -> Option<Ended<'a>> {
    by_log(process, snapshot).or_else(|| by_source(process, snapshot))
}

fn by_log<'a>(process: &Process, snapshot: &'a Snapshot) -> Option<Ended<'a>> {
    let tails = snapshot.inquiries.logs.iter();
    tails
        .filter(|tail| tail.is_written_by(&[process.key]))
        .flat_map(|tail| tail.tracebacks.iter().map(move |t| (tail, t)))
        .filter(|(tail, t)| is_of(t, tail, process))
        .filter_map(|(_, traceback)| {
            let name = traceback.thread.as_deref()?;
            let kind = kind_of(&traceback.frames)?;
            (!lives(process, name)).then_some(Ended {
                kind,
                at: traceback.at,
                told: Told::ByLog(name, traceback),
            })
        })
        .max_by_key(|ended| ended.at)
}

fn is_of(traceback: &Traceback, tail: &LogTail, process: &Process) -> bool {
    if let Some(pid) = traceback.pid {
        return pid == process.key.pid;
    }
    let mut lines = tail.lines.iter();
    match lines.find(|line| line.number == traceback.last) {
        Some(line) => log::is_since(line, tail, process),
        None => tail.is_fresh,
    }
}

/// The kind of server that frames prove which end a thread that serves. To handle one request is not to serve, and an event
/// loop alone may be anybody's.
fn kind_of(frames: &[Frame]) -> Option<Kind> {
    let stack = Stack {
        tid: None,
        name: None,
        daemon: None,
        activity: Activity::Unknown,
        holds_gil: false,
        frames: frames.to_vec(),
    };
    let kind = kind::by_stack(&stack)?;
    let serves = |f: &Frame| {
        let starts = [
            "serve_forever",
            "server_bind",
            "server_activate",
            "__init__",
        ];
        starts.contains(&last_name(&f.function))
            && (f.file.ends_with("/socketserver.py") || f.file.ends_with("/http/server.py"))
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
    stacks.is_some_and(|s| s.list.iter().any(|t| t.name.as_deref() == Some(name)))
}

/// A thread that the source has started, and that no stack shows. A process that could not be read in full may have it.
fn by_source<'a>(process: &Process, snapshot: &'a Snapshot) -> Option<Ended<'a>> {
    let mut threads = snapshot.inquiries.server_threads.iter();
    let thread = threads.find(|t| t.key == process.key)?;
    let python = process.python.as_ref()?;
    let stacks = python.stacks.as_ref()?;
    let whole = stacks.torn == 0 && python.stacks_true_at >= Some(thread.passed_at);
    // `target=server.serve_forever` is a function of a library.
    let own = thread.function != thread.call;
    let runs =
        |f: &Frame| (!own || f.file == thread.file) && last_name(&f.function) == thread.function;
    let others = stacks
        .list
        .iter()
        .filter(|s| s.tid != Some(process.key.pid));
    let mut frames = others.flat_map(|s| s.frames.iter());
    (whole && !frames.any(runs)).then(|| Ended {
        kind: kind::by_call(&thread.call),
        at: thread.passed_at,
        told: Told::BySource(thread),
    })
}

/// `Server.serve` → `serve`.
fn last_name(function: &str) -> &str {
    function.rsplit('.').next().unwrap_or(function)
}
