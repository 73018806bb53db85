//! The interpreter's exit, or the end of an executor, waits for threads that do not end.

use super::{Case, Verdict, count, duration, finding};
use crate::diagnosis::history::Track;
use crate::diagnosis::{Code, Finding, Member, Phase, frames};
use crate::snapshot::{Frame, Process, Stack};

/// Threads that are named in the sentence, and shown as evidence.
const NAMED: usize = 2;
const SHOWN: usize = 6;

/// Whom the main thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joins {
    /// All threads that are no daemons: `threading._shutdown`.
    NoDaemons,
    /// Worker threads of executors: at exit, or where one is shut down.
    Executors,
    /// Threads of socketserver that answer requests.
    Handlers,
}

pub(super) fn examine(case: &Case) -> Verdict {
    let mut waits = false;
    for member in case.workers().filter(|m| m.phase == Phase::Draining) {
        let Some((joins, threads)) = joined(&member.process) else {
            continue;
        };
        if threads.is_empty() {
            continue;
        }
        let drains_for = case.at.seconds_since(member.since);
        let stood = case.track(member).and_then(Track::same_place_s);
        if stood.unwrap_or(0.0).min(drains_for) < case.thresholds.standing_s {
            waits = true;
            continue;
        }
        return Verdict::Found(Box::new(found(case, member, joins, &threads)));
    }
    if waits {
        Verdict::NotYet
    } else {
        Verdict::Clear
    }
}

/// Whom the main thread waits for, and who of them has not ended.
fn joined(process: &Process) -> Option<(Joins, Vec<&Stack>)> {
    let main = process.main_stack()?;
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    let others = || stacks.list.iter().filter(|s| s.tid != main.tid);
    let joins = joins(main).or_else(|| others().any(ends_executor).then_some(Joins::Executors))?;
    let waited_for = |s: &&Stack| match joins {
        Joins::NoDaemons => s.daemon != Some(true),
        Joins::Executors => works(s),
        Joins::Handlers => has(s, "/socketserver.py", "process_request_thread"),
    };
    let mut threads: Vec<&Stack> = others().filter(waited_for).collect();
    // Where nothing tells daemons from others, code of the application does at least say who is worth a look.
    if threads.iter().any(|s| s.daemon.is_none()) {
        let own = |s: &&Stack| s.daemon == Some(false) || frames::application_frame(s).is_some();
        threads.retain(own);
    }
    threads.sort_by_key(|s| frames::application_frame(s).is_none());
    Some((joins, threads))
}

/// The innermost frame that says so counts: `threading._shutdown` calls what ends executors.
fn joins(main: &Stack) -> Option<Joins> {
    main.frames.iter().rev().find_map(|f| {
        if is(f, "/concurrent/futures/thread.py", "_python_exit")
            || is(f, "/concurrent/futures/thread.py", "shutdown")
        {
            Some(Joins::Executors)
        } else if is(f, "/threading.py", "_shutdown") {
            Some(Joins::NoDaemons)
        } else if is(f, "/socketserver.py", "server_close") {
            Some(Joins::Handlers)
        } else {
            None
        }
    })
}

/// `asyncio.run` ends its default executor on a thread of its own.
fn ends_executor(stack: &Stack) -> bool {
    has(stack, "/asyncio/base_events.py", "_do_shutdown")
}

/// A worker thread of an executor that has a job.
fn works(stack: &Stack) -> bool {
    let worker = |f: &Frame| is(f, "/concurrent/futures/thread.py", "_worker");
    let at = stack.frames.iter().position(worker);
    at.is_some_and(|at| at + 1 < stack.frames.len())
}

fn has(stack: &Stack, file: &str, function: &str) -> bool {
    stack.frames.iter().any(|f| is(f, file, function))
}

fn is(frame: &Frame, file: &str, function: &str) -> bool {
    let name = frame.function.rsplit('.').next();
    name == Some(function) && frame.file.ends_with(file)
}

fn found(case: &Case, member: &Member, joins: Joins, threads: &[&Stack]) -> Finding {
    let drains_for = case.at.seconds_since(member.since);
    let pid = member.process.key.pid;
    let named: Vec<String> = threads.iter().take(NAMED).map(|s| thread(s)).collect();
    let more = if threads.len() > named.len() {
        ", …"
    } else {
        ""
    };
    let who = match joins {
        Joins::NoDaemons => count(threads.len(), "thread"),
        Joins::Executors => format!("{} of an executor", count(threads.len(), "thread")),
        Joins::Handlers => format!("{} of handlers", count(threads.len(), "thread")),
    };
    let mut found = finding(
        Code::DrainThreads,
        case.severity_of_delay(drains_for),
        format!(
            "shutdown has waited for at least {} for {who} to end: {}{more}",
            duration(drains_for),
            named.join(", "),
        ),
    );
    found.culprit = threads.iter().find_map(|s| frames::culprit(s));
    if let Some(main) = member.process.main_stack().and_then(Stack::leaf) {
        found.evidence.push(format!(
            "the main thread of pid {pid} stands in {} (Python stack)",
            frames::place(main)
        ));
    }
    let shown = threads.iter().take(SHOWN);
    found.evidence.extend(shown.map(|s| {
        format!(
            "{}: {} (Python stack, /proc/{pid}/task)",
            thread(s),
            super::loop_blocked::doing(s)
        )
    }));
    found.remedy = match joins {
        Joins::NoDaemons => "tell the thread to end before the server does (an Event that its loop looks at, a time-out on what it waits for), or start it with daemon=True",
        Joins::Executors => "give what the job calls a time-out; a job that runs cannot be cancelled, and the exit waits for it: shutdown(cancel_futures=True) only drops those that have not begun",
        Joins::Handlers => "give the handler a time-out, or set daemon_threads = True (block_on_close = False) on the server",
    }
    .into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    found
}

/// `report-writer in flush (app/out.py:9)`.
fn thread(stack: &Stack) -> String {
    let name = stack
        .name
        .clone()
        .or_else(|| stack.tid.map(|tid| format!("thread {tid}")));
    let name = name.unwrap_or_else(|| "a thread".to_owned());
    let frame = frames::application_frame(stack)
        .map(|(_, f)| f)
        .or(stack.leaf());
    match frame {
        Some(frame) => format!("{name} in {}", frames::place(frame)),
        None => name,
    }
}
