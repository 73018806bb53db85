//! What a task waits for, in words: `sleep 3600 s, 58 min left`, `Lock.acquire, held by Task-3 (app/db.py:40), 4 waiting`.

use super::{Graph, own_frame};
use crate::diagnosis::frames::short_file;
use crate::diagnosis::words::duration;
use crate::snapshot::{Entered, JobState, ObjectId, Pool, PoolKind, QueueCall, Task, Wait, WaitOn};

/// The call alone that a task waits in: `Event.wait`, `connect to 10.0.0.5:5432`, `gather`. A bare future goes by the function
/// that awaits it, or by its class where that is the application's own: the task's place says it then.
pub fn awaits(task: &Task) -> Option<String> {
    let wait = super::waits(task)?;
    let in_own_code = task.frames.last().is_some_and(|f| !f.is_library());
    Some(match &wait.on {
        WaitOn::Future { class, .. } if in_own_code => class.clone(),
        _ => call(wait),
    })
}

fn call(wait: &Wait) -> String {
    match &wait.on {
        WaitOn::Sleep { .. } => "sleep".to_owned(),
        WaitOn::Event { .. } => "Event.wait".to_owned(),
        WaitOn::Lock { .. } => "Lock.acquire".to_owned(),
        WaitOn::Condition { .. } => "Condition.wait".to_owned(),
        WaitOn::Semaphore { .. } => "Semaphore.acquire".to_owned(),
        WaitOn::Queue { call, .. } => queue_call(*call).to_owned(),
        WaitOn::Connect {
            address: Some(address),
        } => format!("connect to {address}"),
        WaitOn::Connect { address: None } => "connect".to_owned(),
        WaitOn::Read => "read".to_owned(),
        WaitOn::Drain => "drain".to_owned(),
        WaitOn::Children { call, .. } => call.clone(),
        WaitOn::Task { .. } => "another task".to_owned(),
        WaitOn::Job { .. } => "an executor's job".to_owned(),
        WaitOn::Process => "Process.wait".to_owned(),
        WaitOn::Future {
            call: Some(call), ..
        } => call.clone(),
        WaitOn::Future { class, call: None } => class.clone(),
    }
}

fn queue_call(call: QueueCall) -> &'static str {
    match call {
        QueueCall::Get => "Queue.get",
        QueueCall::Put => "Queue.put",
        QueueCall::Join => "Queue.join",
    }
}

/// The call with what is known of it; nothing for a task that does not wait.
pub fn of(graph: &Graph, at: usize) -> Option<String> {
    let task = graph.task(at)?;
    let wait = super::waits(task)?;
    Some(match &wait.on {
        WaitOn::Sleep { delay_s, left_s } => sleep(*delay_s, *left_s),
        WaitOn::Event { waiters } => crowd("Event.wait", *waiters),
        WaitOn::Lock { waiters } => lock(graph, at, wait.object, *waiters),
        WaitOn::Condition { waiters } => crowd("Condition.wait", *waiters),
        WaitOn::Semaphore { free, waiters } => {
            let free = free.map_or(String::new(), |n| format!(", {n} free"));
            crowd(&format!("Semaphore.acquire{free}"), *waiters)
        }
        WaitOn::Queue { .. } => queue(&wait.on),
        WaitOn::Read => "read: nothing has come".to_owned(),
        WaitOn::Drain => "drain: the peer takes nothing".to_owned(),
        WaitOn::Children { call, pending, of } => children(call, pending.len(), *of),
        WaitOn::Task { id } => format!("waits for {}", name_of(graph, *id)),
        WaitOn::Job { state } => job(*state, &graph.tasks.pools),
        WaitOn::Process => "waits for its child process".to_owned(),
        WaitOn::Connect { .. } | WaitOn::Future { .. } => return awaits(task),
    })
}

/// Blocks around a task that matter to why it waits, and for how long: `gives up in 56 s`, `holds Lock, 3 waiting`.
pub fn blocks(graph: &Graph, task: &Task) -> Vec<String> {
    let said = |block: &Entered| {
        if let Some(left) = block.left_s {
            return Some(match left {
                left if left < 0.0 => "should have given up".to_owned(),
                left => format!("gives up in {}", duration(left)),
            });
        }
        if super::waits(task).is_some_and(|w| w.object == Some(block.object)) {
            // Who waits for a condition has let go of it.
            return None;
        }
        let waiting = graph.waiting(block.object).len();
        (block.holds && waiting > 0).then(|| format!("holds {}, {waiting} waiting", block.class))
    };
    task.entered.iter().filter_map(said).collect()
}

/// `ThreadPoolExecutor asyncio_`, `AnyIO limiter`.
pub fn pool(pool: &Pool) -> String {
    let kind = match pool.kind {
        PoolKind::Executor => "ThreadPoolExecutor",
        PoolKind::Limiter => "AnyIO limiter",
    };
    match pool.prefix.as_deref() {
        Some(prefix) if !prefix.is_empty() => format!("{kind} {prefix}"),
        _ => kind.to_owned(),
    }
}

/// `Task-3 (app/db.py:40)`.
pub fn who(task: &Task) -> String {
    match own_frame(task) {
        Some(frame) => format!("{} ({}:{})", task.name, short_file(&frame.file), frame.line),
        None => task.name.clone(),
    }
}

fn name_of(graph: &Graph, id: ObjectId) -> String {
    graph
        .task_of(id)
        .map_or_else(|| "a task".to_owned(), |t| t.name.clone())
}

fn crowd(call: &str, waiters: Option<u32>) -> String {
    match waiters {
        Some(n) if n > 1 => format!("{call}, {n} waiting"),
        _ => call.to_owned(),
    }
}

fn sleep(delay: Option<f64>, left: Option<f64>) -> String {
    let delay = delay.map_or(String::new(), |d| format!(" {}", duration(d)));
    match left {
        None => format!("sleep{delay}"),
        Some(left) if left < 0.0 => format!("sleep{delay}, overdue by {}", duration(-left)),
        Some(left) => format!("sleep{delay}, {} left", duration(left)),
    }
}

fn lock(graph: &Graph, at: usize, object: Option<ObjectId>, waiters: Option<u32>) -> String {
    let holder = object.and_then(|object| graph.holders(object).next());
    let held = match holder.map(|h| (h == at, graph.task(h))) {
        Some((true, _)) => ", held by itself".to_owned(),
        Some((false, Some(task))) => format!(", held by {}", who(task)),
        _ => String::new(),
    };
    crowd(&format!("Lock.acquire{held}"), waiters)
}

fn queue(on: &WaitOn) -> String {
    let WaitOn::Queue {
        call,
        size,
        most,
        getters,
        putters,
        unfinished,
    } = on
    else {
        return String::new();
    };
    let number = |n: &Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let told = match call {
        QueueCall::Get if *size == Some(0) => ", empty".to_owned(),
        QueueCall::Get => format!(", {} in it", number(size)),
        QueueCall::Put => format!(", full {}/{}", number(size), number(most)),
        QueueCall::Join => format!(", {} unfinished", number(unfinished)),
    };
    let crowd = match (call, getters, putters) {
        (QueueCall::Get, Some(n), _) if *n > 1 => format!(", {n} getters"),
        (QueueCall::Put, _, Some(n)) if *n > 1 => format!(", {n} putters"),
        _ => String::new(),
    };
    format!("{}{told}{crowd}", queue_call(*call))
}

fn children(call: &str, pending: usize, of: Option<u32>) -> String {
    match of {
        Some(of) => format!("{call}: {pending} of {of} pending"),
        None if pending > 0 => format!("{call}: {pending} pending"),
        None => call.to_owned(),
    }
}

fn job(state: JobState, pools: &[Pool]) -> String {
    match state {
        JobState::Running => "job running in a pool thread".to_owned(),
        JobState::Unknown => "job in a pool".to_owned(),
        JobState::Queued => {
            let mut full = pools.iter().filter(|p| is_full(p));
            match (full.next(), full.next()) {
                (Some(p), None) => format!(
                    "job queued: pool full {}/{}, {} waiting",
                    p.busy, p.size, p.queued
                ),
                _ => "job queued".to_owned(),
            }
        }
    }
}

/// True if every thread (or token) is taken and work waits.
pub fn is_full(pool: &Pool) -> bool {
    pool.size > 0 && pool.busy >= pool.size && pool.queued > 0
}
