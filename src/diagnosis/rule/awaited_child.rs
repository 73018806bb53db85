//! Startup awaits a process that it has started, by a coroutine: its end, or what it writes. The loop meanwhile sleeps in its
//! poll, and no thread waits for the child.

use super::startup_await::{self, Stand};
use super::{Case, Verdict, duration, finding, socket_evidence, subprocess_wait, task_words};
use crate::diagnosis::task;
use crate::diagnosis::{Code, frames, waits};
use crate::snapshot::{Child, Frame, Process, Task, WaitOn};

pub(super) fn examine(case: &Case) -> Verdict {
    let stand = match startup_await::standing(case) {
        Ok(stand) => stand,
        // Where the tasks are not seen, nothing of a child is known.
        Err(Verdict::NotYet) => return Verdict::NotYet,
        Err(_) => return Verdict::Clear,
    };
    match child(case, &stand) {
        Some(child) => found(case, &stand, child),
        None => Verdict::Clear,
    }
}

/// The child that is awaited. Of one command after the other none is to blame.
pub(super) fn child<'a>(case: &Case, stand: &Stand<'a>) -> Option<&'a Child> {
    let process = &stand.member.process;
    let awaited = is_awaited(stand);
    let children = process.children.as_deref()?;
    let lasts = |child: &&Child| {
        let ran = child.started.map(|at| case.at.seconds_since(at));
        !child.state.has_ended() && ran.is_none_or(|ran| ran >= case.thresholds.standing_s)
    };
    let mut all = children.iter().filter(|child| !is_tracker(child));
    if awaited {
        return all.find(lasts);
    }
    let reads = reads_by_itself(stand.end, process);
    let mut all = all.filter(|child| reads && may_write(case, process, child));
    all.find(lasts)
}

/// Multiprocessing's process that cleans up behind all others writes to nobody, and ends last.
fn is_tracker(child: &Child) -> bool {
    ["resource_tracker", "semaphore_tracker"]
        .iter()
        .any(|name| {
            let import = format!("multiprocessing.{name} import main");
            child.party.command.contains(&import)
        })
}

/// False where it is known that the child has no end of a pipe of this process's own: its standard streams, and those of all
/// that it waits for, are other things, or the ones that it has from this process.
fn may_write(case: &Case, process: &Process, child: &Child) -> bool {
    let streams = |pid: u32| {
        let fds = case.snapshot.process(pid)?.fds.as_ref()?;
        Some(&fds.stdio)
    };
    let inherited = process.fds.as_ref().map(|fds| &fds.stdio);
    let own = |path: &String| {
        let inherited = inherited.iter().flat_map(|all| all.iter().flatten());
        path.starts_with("pipe:[") && !inherited.into_iter().any(|other| other == path)
    };
    let may = |pid: u32| streams(pid).is_none_or(|all| all.iter().flatten().any(own));
    let mut chain = std::iter::successors(Some(child), |at| at.child.as_deref());
    chain.any(|at| may(at.party.pid))
}

/// True if a task on the way waits in the functions for child processes: of asyncio, of anyio, of uvloop.
pub(super) fn is_awaited(stand: &Stand) -> bool {
    let talks = |f: &Frame| f.is_library() && is_subprocess(f);
    let waits = |task: &Task| {
        let ends = task::waits(task).is_some_and(|w| w.on == WaitOn::Process);
        ends || task::below_own(task).iter().any(talks)
    };
    let mut tasks = stand.way.iter().filter_map(|at| stand.graph.task(*at));
    tasks.any(waits)
}

fn is_subprocess(frame: &Frame) -> bool {
    [
        "/asyncio/subprocess.py",
        "/asyncio/base_subprocess.py",
        "/anyio/_core/_subprocesses.py",
    ]
    .iter()
    .any(|file| frame.file.ends_with(file))
}

/// The application reads from a stream that is no connection, since the process has none: what a child writes.
fn reads_by_itself(task: &Task, process: &Process) -> bool {
    let reads = task::waits(task).is_some_and(|w| w.on == WaitOn::Read);
    let streams = |f: &Frame| f.file.ends_with("/asyncio/streams.py");
    let below = task::below_own(task);
    let alone = process.connections.as_ref().is_some_and(|c| c.total == 0);
    reads && alone && has_own_pipe(process) && !below.is_empty() && below.iter().all(streams)
}

/// It has a pipe besides those that are its standard streams, or keep a tracker alive.
fn has_own_pipe(process: &Process) -> bool {
    let Some(fds) = &process.fds else {
        return false;
    };
    let streams = fds.stdio.iter().flatten();
    let given = streams.filter(|path| path.starts_with("pipe:[")).count();
    let children = process.children.iter().flat_map(|all| all.iter());
    let trackers = children.filter(|child| is_tracker(child)).count();
    fds.classes.pipes > (given + trackers) as u64
}

fn found(case: &Case, stand: &Stand, child: &Child) -> Verdict {
    let process = &stand.member.process;
    let age = case.age_s(stand.member);
    let frame = startup_await::innermost_own(stand);
    let place = frame.map(|f| format!(" in {}", frames::place(f)));
    let ran = child.started.map(|at| case.at.seconds_since(at));
    let stood = ran.map_or(stand.stood, |ran| ran.min(stand.stood));
    let more = process.children.as_ref().map_or(0, |all| all.len()) > 1;
    let whom = match more {
        true => format!("one of its children, such as {}", waits::child(child)),
        false => format!("its child {}", waits::child(child)),
    };
    let holds = match case.listening().next() {
        Some(_) => "clients are let in and nobody takes them before it ends",
        None => "nothing listens before it ends",
    };
    let mut found = finding(
        Code::SubprocessWait,
        case.severity_of_delay(age),
        format!(
            "startup{} has awaited {whom} for at least {}: {holds} (process is {} old)",
            place.unwrap_or_default(),
            duration(stood),
            duration(age)
        ),
    );
    found.culprit = frame.map(frames::culprit_of);
    found.evidence.extend(startup_await::way(stand));
    let end = stand.way.last();
    let details = end.and_then(|end| task_words::details(stand.graph, *end));
    found.evidence.extend(details);
    found.evidence.extend(subprocess_wait::runs(case, child));
    found.evidence.push(subprocess_wait::chain(child));
    found.evidence.push(socket_evidence(case));
    found.remedy = match subprocess_wait::asks(child) {
        true => "the child waits for an answer on its standard input: give it stdin=asyncio.subprocess.DEVNULL (and its option that answers yes)",
        false => "put a time-out around the await (asyncio.timeout) and kill the child when it passes; find out what it waits for, and run long commands before the server starts",
    }
    .into();
    let (pid, whose) = (process.key.pid, child.party.pid);
    found.confirm =
        format!("ps -o pid,ppid,stat,etimes,wchan:20,args --ppid {pid}; cat /proc/{whose}/syscall");
    Verdict::Found(Box::new(found))
}
