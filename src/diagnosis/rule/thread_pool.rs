//! Every thread of an executor is taken, and jobs wait for one. Told from the executor itself; where that is not seen, from the
//! stacks of its threads.

use super::{Case, Verdict, count, duration, finding, socket_evidence, threadpool_exhausted};
use crate::diagnosis::history::Track;
use crate::diagnosis::task::{self, Graph, suspect, words};
use crate::diagnosis::{Code, Member, Phase, Severity, frames};
use crate::snapshot::{Frame, JobState, Pool, PoolKind, Process, Stack, Task, WaitOn};

/// The name that AnyIO gives its threads.
const ANYIO: &str = "AnyIO worker thread";

pub(super) fn examine(case: &Case) -> Verdict {
    // Who ends waits for its threads, not for a free one: that is for the rules of a shutdown.
    if case.server.phase == Phase::Draining {
        return Verdict::Clear;
    }
    let mut waits = false;
    for member in case.workers() {
        let Some(track) = case.track(member) else {
            continue;
        };
        let pools = track.standing.graph().map(|g| g.tasks.pools.as_slice());
        for pool in pools.unwrap_or(&[]).iter().filter(|p| words::is_full(p)) {
            match of_pool(case, member, track, pool) {
                Verdict::Clear => {}
                Verdict::NotYet => waits = true,
                found @ Verdict::Found(_) => return found,
            }
        }
    }
    match threadpool_exhausted::examine(case) {
        Verdict::Clear if waits => Verdict::NotYet,
        verdict => verdict,
    }
}

fn of_pool(case: &Case, member: &Member, track: &Track, pool: &Pool) -> Verdict {
    let Some(graph) = track.standing.graph() else {
        return Verdict::Clear;
    };
    let Some(stood) = stood_s(case, member, track, pool) else {
        return Verdict::NotYet;
    };
    if stood < case.thresholds.pool_taken_s {
        return Verdict::NotYet;
    }
    let severity = severity(case, member, graph, pool);
    let (standing, there) = most_common(&member.process, pool).unzip();
    let place = match (standing, there) {
        (Some(frame), Some(there)) => format!(", {there} of them in {}", frames::place(frame)),
        _ => String::new(),
    };
    let name = words::pool(pool);
    let mut found = finding(
        Code::ThreadpoolExhausted,
        severity,
        format!(
            "all {} threads of the {name} are taken{place} and have not moved for at least {}: {} in its queue",
            pool.size,
            duration(stood),
            count(pool.queued as usize, "job"),
        ),
    );
    let pid = member.process.key.pid;
    found.culprit = standing.map(frames::culprit_of);
    found.evidence.push(format!(
        "{name} of pid {pid}: {}/{} taken, {} queued (asyncio tasks)",
        pool.busy, pool.size, pool.queued
    ));
    if let Some((_, task, _)) = graph.each().find(|(_, t, _)| queues_for(t, pool)) {
        found.evidence.push(format!(
            "{} waits for a free thread (asyncio tasks)",
            words::who(task)
        ));
    }
    found.evidence.push(socket_evidence(case));
    found.remedy =
        "give what they wait for a time-out, or make the pool larger than what it waits for".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}

/// Seconds for which no thread of the pool has moved; of all threads, where its own cannot be told by their names.
fn stood_s(case: &Case, member: &Member, track: &Track, pool: &Pool) -> Option<f64> {
    let stacks = member.process.python.as_ref()?.stacks.as_ref()?;
    let by_name = prefix(pool).and_then(|p| track.standing.threads_still_s(stacks, &p));
    Some(by_name.unwrap_or_else(|| case.at.seconds_since(track.threads_moved())))
}

/// What the names of its threads begin with; an executor numbers its own: `asyncio_0`.
fn prefix(pool: &Pool) -> Option<String> {
    let named = pool.prefix.as_deref().filter(|p| !p.is_empty());
    match pool.kind {
        PoolKind::Limiter => Some(ANYIO.to_owned()),
        PoolKind::Executor => named.map(|p| format!("{}_", p.trim_end_matches('_'))),
    }
}

/// Requests that wait are what makes it bad; a pool for background work may be as full as it likes.
fn severity(case: &Case, member: &Member, graph: &Graph, pool: &Pool) -> Severity {
    let waiting = || graph.each().filter(|(_, t, _)| queues_for(t, pool));
    let startup = suspect::startup(graph).filter(|_| member.phase == Phase::Starting);
    if let Some(family) = startup.map(|at| graph.family(at))
        && waiting().any(|(at, ..)| family.contains(&at))
    {
        return case.severity_of_delay(case.age_s(member));
    }
    let requests = waiting().any(|(at, ..)| graph.request_of(at).is_some());
    match (requests, case.server.phase == Phase::Serving) {
        (_, false) => Severity::Critical,
        (true, true) => Severity::Warning,
        (false, true) => Severity::Info,
    }
}

/// True if a task waits for a thread of this pool: its job is queued, or it stands in the limiter.
fn queues_for(task: &Task, pool: &Pool) -> bool {
    let on = task::waits(task).map(|w| &w.on);
    let in_limiter = |f: &Frame| {
        f.file.contains("/anyio/") && task::short_name(f).starts_with("acquire_on_behalf_of")
    };
    let for_it = task::waits(task).and_then(|w| w.object) == Some(pool.id);
    match pool.kind {
        PoolKind::Executor => matches!(
            on,
            Some(WaitOn::Job {
                state: JobState::Queued
            })
        ),
        PoolKind::Limiter => for_it || task.frames.iter().any(in_limiter),
    }
}

/// Where most of the pool's threads stand, and how many of them.
fn most_common<'a>(process: &'a Process, pool: &Pool) -> Option<(&'a Frame, usize)> {
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    let of_pool = |s: &&Stack| {
        let named = |p: String| s.name.as_deref().is_some_and(|name| name.starts_with(&p));
        let works = |f: &Frame| f.file.ends_with("/concurrent/futures/thread.py");
        prefix(pool).map_or_else(|| s.frames.iter().any(works), named)
    };
    let places: Vec<&Frame> = stacks
        .list
        .iter()
        .filter(of_pool)
        .filter_map(|s| frames::application_frame(s).map(|(_, f)| f))
        .collect();
    let same = |a: &Frame, b: &Frame| a.function == b.function && a.file == b.file;
    places
        .iter()
        .map(|place| (*place, places.iter().filter(|p| same(p, place)).count()))
        .max_by_key(|(_, there)| *there)
}
