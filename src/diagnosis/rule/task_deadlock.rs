//! Tasks wait for each other, or one for a lock that it holds itself: none of them will ever go on.

use super::{Case, Verdict, duration, finding, socket_evidence, task_words};
use crate::diagnosis::history::Track;
use crate::diagnosis::task::deadlock::{self, Blocker, Link};
use crate::diagnosis::task::{self, Graph, suspect};
use crate::diagnosis::{Code, Finding, Member, Phase, Severity, frames};
use crate::snapshot::{ObjectId, Task};

/// Tasks of a circle that are named in the sentence.
const NAMED: usize = 3;

/// Requests of which is asked whether they hang on it.
const REQUESTS: usize = 512;

pub(super) fn examine(case: &Case) -> Verdict {
    let mut seen = false;
    for member in case.workers() {
        let Some(track) = case.track(member) else {
            continue;
        };
        let Some(graph) = track.standing.graph() else {
            continue;
        };
        for circle in deadlock::circles(graph) {
            seen = true;
            let stood = stood_s(track, graph, &circle);
            if stood >= case.thresholds.task_deadlock_s {
                let found = found(case, member, graph, &circle, stood);
                return Verdict::Found(Box::new(found));
            }
        }
    }
    if seen {
        Verdict::NotYet
    } else {
        Verdict::Clear
    }
}

/// Seconds for which every task of the circle has waited on the same line for the same thing.
fn stood_s(track: &Track, graph: &Graph, circle: &[Link]) -> f64 {
    let tasks = circle.iter().filter_map(|link| graph.task(link.task));
    let stood = tasks.map(|t| track.standing.still_s(t.id));
    stood.reduce(f64::min).unwrap_or(0.0)
}

fn found(case: &Case, member: &Member, graph: &Graph, circle: &[Link], stood: f64) -> Finding {
    let said: Vec<String> = circle
        .iter()
        .filter_map(|link| sentence(graph, *link))
        .collect();
    let first = said.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = if said.len() > NAMED { ", …" } else { "" };
    let stood = duration(stood);
    let alone = circle.len() == 1;
    let summary = if alone {
        format!(
            "a task has waited for itself for at least {stood} and always will: {}",
            first.join(", ")
        )
    } else {
        let n = circle.len();
        format!(
            "{n} tasks have waited for each other for at least {stood} and always will: {}{more}",
            first.join(", ")
        )
    };
    let mut found = finding(
        Code::TaskDeadlock,
        severity(case, member, graph, circle),
        summary,
    );
    let own = circle
        .iter()
        .filter_map(|link| graph.task(link.task))
        .find_map(task::own_frame);
    found.culprit = own.map(frames::culprit_of);
    found.evidence = said.iter().skip(NAMED).take(8).cloned().collect();
    for link in circle {
        found.evidence.extend(task_words::details(graph, link.task));
    }
    found.evidence.push(socket_evidence(case));
    let locks = circle
        .iter()
        .filter(|l| matches!(l.for_what, Blocker::Lock(_)));
    found.remedy = match (alone, locks.count()) {
        (true, _) => "an asyncio.Lock cannot be taken twice by one task: split the function into one that takes it and one that expects it to be held",
        (false, 0 | 1) => "do not await a task while holding a lock that it needs: release the lock first",
        (false, _) => "take the locks in the same order everywhere, or use one for both",
    }
    .into();
    found.confirm = task_words::confirm(&member.process, None);
    found
}

/// `rebuild-index in rebuild_index (app.py:24) waits for the end of load-snapshot`.
fn sentence(graph: &Graph, link: Link) -> Option<String> {
    let who = task_words::task_in_place(graph.task(link.task)?);
    let other = graph.task(link.for_what.task())?;
    let itself = link.task == link.for_what.task();
    Some(match link.for_what {
        Blocker::Lock(_) if itself => format!("{who} waits for a Lock that it holds itself"),
        Blocker::Lock(_) => format!("{who} waits for a Lock that {} holds", other.name),
        Blocker::End(_) => format!("{who} waits for the end of {}", other.name),
    })
}

/// A startup that hangs on it never ends, and requests that hang on it are never answered; background work that stands still
/// is a warning.
fn severity(case: &Case, member: &Member, graph: &Graph, circle: &[Link]) -> Severity {
    let stuck = |at: usize| circle.iter().any(|link| link.task == at);
    let startup = || suspect::startup(graph).is_some_and(|at| reaches(graph, at, circle));
    if member.phase == Phase::Starting && startup() {
        return Severity::Critical;
    }
    let requests: Vec<usize> = graph.requests().into_iter().take(REQUESTS).collect();
    let behind = |at: &usize| {
        graph
            .family(*at)
            .iter()
            .any(|at| stuck(*at) || graph.task(*at).is_some_and(|t| wants(graph, t, circle)))
    };
    let stuck_requests = requests.iter().filter(|at| behind(at)).count();
    let most = stuck_requests * 2 > requests.len() && stuck_requests >= case.thresholds.slots_many;
    match most || stuck_requests > 0 && case.server.phase != Phase::Serving {
        true => Severity::Critical,
        false => Severity::Warning,
    }
}

fn reaches(graph: &Graph, at: usize, circle: &[Link]) -> bool {
    let family = graph.family(at);
    let in_circle = circle.iter().any(|link| family.contains(&link.task));
    in_circle
        || family
            .iter()
            .filter_map(|at| graph.task(*at))
            .any(|t| wants(graph, t, circle))
}

/// True if the task waits for a lock that somebody in the circle holds.
fn wants(graph: &Graph, task: &Task, circle: &[Link]) -> bool {
    let object: Option<ObjectId> = task::waits(task).and_then(|w| w.object);
    let mut holders = object.into_iter().flat_map(|o| graph.holders(o));
    holders.any(|at| circle.iter().any(|link| link.task == at))
}
