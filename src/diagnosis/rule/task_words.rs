//! What rules say of a task: its way through the application's code, what to do about what it waits for, how to see it by hand.

use crate::diagnosis::Standing;
use crate::diagnosis::frames;
use crate::diagnosis::task::{self, Graph, words};
use crate::snapshot::{Frame, JobState, Process, Stack, Task, Wait, WaitOn};

/// Frames of the application on the way to a wait that are named.
const FRAMES_MOST: usize = 8;

/// `lifespan (main.py:10) → prepare (main.py:7) → connect (db.py:31)`: the application's frames, from the first task of a way
/// to its last.
pub(super) fn chain(graph: &Graph, way: &[usize]) -> String {
    let tasks = way.iter().filter_map(|at| graph.task(*at));
    let own: Vec<&Frame> = tasks
        .flat_map(|t| t.frames.iter().filter(|f| !f.is_library()))
        .collect();
    let left_out = own.len().saturating_sub(FRAMES_MOST);
    let mut named: Vec<String> = own
        .iter()
        .skip(left_out)
        .map(|f| frames::place(f))
        .collect();
    if left_out > 0 {
        named.insert(0, "…".to_owned());
    }
    named.join(" → ")
}

/// The call that a task waits in, for a sentence.
pub(super) fn call(task: &Task) -> String {
    words::awaits(task).unwrap_or_else(|| "something".to_owned())
}

/// `Task-3 in rebuild_index (app/index.py:24)`.
pub(super) fn task_in_place(task: &Task) -> String {
    match task::own_frame(task) {
        Some(frame) => format!("{} in {}", task.name, frames::place(frame)),
        None => task.name.clone(),
    }
}

/// A fact about a task: what it waits for, with all that is known of it, and what will end the wait.
pub(super) fn details(graph: &Graph, at: usize) -> Option<String> {
    let task = graph.task(at)?;
    let mut parts = vec![words::of(graph, at)?];
    parts.extend(words::blocks(graph, task));
    Some(format!(
        "{}: {} (asyncio tasks)",
        task.name,
        parts.join(" · ")
    ))
}

/// Where the pool's thread stands that a task waits for, where just one can be meant.
pub(super) fn job_thread(process: &Process, task: &Task) -> Option<String> {
    let on = task::waits(task).map(|w| &w.on)?;
    if !matches!(
        on,
        WaitOn::Job {
            state: JobState::Running | JobState::Unknown
        }
    ) {
        return None;
    }
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    let of_pool = |s: &&Stack| {
        let worker = |f: &Frame| {
            f.file.ends_with("/concurrent/futures/thread.py")
                || f.file.ends_with("/anyio/_backends/_asyncio.py")
        };
        s.tid != Some(process.key.pid) && s.frames.iter().any(worker)
    };
    let mut standing = stacks
        .list
        .iter()
        .filter(of_pool)
        .filter_map(frames::application_frame);
    match (standing.next(), standing.next()) {
        (Some((_, frame)), None) => Some(format!(
            "the only busy pool thread stands in {} (Python stack)",
            frames::place(frame)
        )),
        _ => None,
    }
}

/// Seconds for which nothing on a way has moved.
pub(super) fn stood_s(standing: &Standing, graph: &Graph, way: &[usize]) -> f64 {
    let tasks = way.iter().filter_map(|at| graph.task(*at));
    let stood = tasks.map(|t| standing.stood_s(t.id)).reduce(f64::min);
    stood.unwrap_or(0.0)
}

/// What to do about a wait that does not end.
pub(super) fn remedy(wait: Option<&Wait>) -> &'static str {
    let Some(wait) = wait else {
        return "give the await a time-out (asyncio.timeout)";
    };
    match &wait.on {
        WaitOn::Event { .. } | WaitOn::Condition { .. } => {
            "find who was to set it and why that has not come; give the wait a time-out (asyncio.timeout), or serve first and wait in a task"
        }
        WaitOn::Lock { .. } | WaitOn::Semaphore { .. } => {
            "find why the holder does not give it back; give the wait a time-out (asyncio.timeout)"
        }
        WaitOn::Queue { .. } => {
            "find who was to put or take an item and does not; give the wait a time-out (asyncio.timeout)"
        }
        WaitOn::Connect { .. } => {
            "give the connection a time-out, and look at the route, the firewall and the server at that address"
        }
        WaitOn::Read => {
            "the peer has not answered: give the read a time-out, and look at the other side"
        }
        WaitOn::Drain => {
            "the peer takes nothing: give the write a time-out, and look at the other side"
        }
        WaitOn::Sleep { .. } => {
            "it sleeps, or tries again and again: bound the number of tries, or serve first and do this in a task"
        }
        WaitOn::Job {
            state: JobState::Queued,
        } => "the pool has no thread free: look at what its threads do",
        WaitOn::Job { .. } => {
            "the job in the thread does not end: give what it calls a time-out; a thread cannot be cancelled"
        }
        WaitOn::Process => "look at what the child process waits for; give the wait a time-out",
        WaitOn::Children { .. } | WaitOn::Task { .. } => {
            "look at what the awaited task does; give the wait a time-out (asyncio.timeout)"
        }
        WaitOn::Future { .. } => "give the await a time-out (asyncio.timeout)",
    }
}

/// How to see it without this program. CPython shows tasks of another process from 3.14 on; before that a dump of the stacks
/// shows no more than that the loop is idle.
pub(super) fn confirm(process: &Process, wait: Option<&Wait>) -> String {
    let pid = process.key.pid;
    let by_tasks = || {
        let version = process.python.as_ref()?.version.as_deref()?;
        let minor: u32 = version.split('.').nth(1)?.parse().ok()?;
        (minor >= 14).then(|| format!("python3.{minor} -m asyncio pstree {pid}"))
    };
    match wait.map(|w| &w.on) {
        Some(WaitOn::Connect { .. } | WaitOn::Read | WaitOn::Drain) => {
            format!("ss -tnpo | grep pid={pid},")
        }
        Some(WaitOn::Process) => format!("ps -o pid,stat,etimes,args --ppid {pid}"),
        Some(WaitOn::Job { .. }) => format!("py-spy dump --nonblocking --pid {pid}"),
        _ => by_tasks().unwrap_or_else(|| {
            format!("py-spy dump --nonblocking --pid {pid}   # an idle loop: the wait is in a task")
        }),
    }
}
