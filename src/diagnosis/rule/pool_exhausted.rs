//! Tasks wait for a slot of a semaphore, a connection of a pool, or room in a queue, and nobody gets one.

use std::collections::BTreeSet;

use super::{Case, Verdict, count, duration, finding, socket_evidence, task_words};
use crate::diagnosis::history::Track;
use crate::diagnosis::task::scarce::{self, KnownBy, Queue};
use crate::diagnosis::task::{self, Graph, suspect};
use crate::diagnosis::{Code, Finding, Member, Phase, Severity, frames};
use crate::snapshot::Frame;

/// Holders that are named.
const NAMED: usize = 3;

/// A queue of tasks with what rules ask about it.
struct Stuck<'a> {
    member: &'a Member,
    track: &'a Track,
    graph: &'a Graph,
    queue: Queue,
    /// Seconds for which nobody has got through.
    for_s: f64,
    /// The waiter that has stood there for longest.
    longest: usize,
    /// Requests that wait in it, and all that are being answered.
    requests: usize,
    of: usize,
    /// True if the application's startup waits in it.
    startup: bool,
}

pub(super) fn examine(case: &Case) -> Verdict {
    let mut stuck: Vec<Stuck> = case.workers().flat_map(|m| of_member(case, m)).collect();
    let waits = !stuck.is_empty();
    stuck.retain(|s| s.for_s >= case.thresholds.slots_stuck_s);
    let told = stuck
        .into_iter()
        .filter_map(|s| Some((severity(case, &s)?, s)))
        .max_by_key(|(severity, s)| (*severity, s.startup, s.requests));
    match told {
        Some((severity, stuck)) => Verdict::Found(Box::new(found(case, severity, &stuck))),
        None if waits => Verdict::NotYet,
        None => Verdict::Clear,
    }
}

fn of_member<'a>(case: &Case<'a>, member: &'a Member) -> Vec<Stuck<'a>> {
    let Some(track) = case.track(member) else {
        return Vec::new();
    };
    let Some(graph) = track.standing.graph() else {
        return Vec::new();
    };
    let queues = scarce::queues(graph);
    if queues.is_empty() {
        return Vec::new();
    }
    let requests = graph.requests();
    let startup: BTreeSet<usize> = suspect::startup(graph)
        .filter(|_| member.phase == Phase::Starting)
        .map(|at| graph.family(at))
        .unwrap_or_default();
    let stuck = |queue: Queue| {
        let for_s = |at: &usize| {
            let task = graph.task(*at);
            task.map_or(0.0, |t| track.standing.stuck_s(queue.object, t.id))
        };
        let longest = queue
            .waiters
            .iter()
            .max_by(|a, b| for_s(a).total_cmp(&for_s(b)));
        let waiting: BTreeSet<usize> = queue
            .waiters
            .iter()
            .filter_map(|at| graph.request_of(*at))
            .collect();
        Some(Stuck {
            for_s: longest.map_or(0.0, for_s),
            longest: *longest?,
            requests: waiting.len(),
            of: requests.len(),
            startup: queue.waiters.iter().any(|at| startup.contains(at)),
            member,
            track,
            graph,
            queue,
        })
    };
    queues.into_iter().filter_map(stuck).collect()
}

impl Stuck<'_> {
    /// True if all that are known to have one wait for another themselves: they will wait for ever.
    fn is_circular(&self) -> bool {
        let holders = &self.queue.holders;
        !holders.is_empty() && holders.iter().all(|at| self.queue.waiters.contains(at))
    }

    /// True if somebody who has one has moved in that time, or a thread that works for them may have.
    fn moves(&self, at: crate::snapshot::Moment) -> bool {
        let still = |holder: &usize| {
            let task = self.graph.task(*holder);
            task.map_or(0.0, |t| self.track.standing.still_s(t.id))
        };
        let others = |holder: &&usize| !self.queue.waiters.contains(holder);
        let mut holders = self.queue.holders.iter().filter(others);
        let threads = at.seconds_since(self.track.threads_moved()) < self.for_s;
        let has_threads = self.member.process.thread_count > 1;
        holders.any(|h| still(h) < self.for_s) || threads && has_threads && !self.is_circular()
    }
}

/// How bad it is; `None` where it says nothing: work in the background may wait its turn for as long as it likes.
fn severity(case: &Case, stuck: &Stuck) -> Option<Severity> {
    let t = case.thresholds;
    let circular = stuck.is_circular();
    if stuck.startup {
        return Some(match circular {
            true => Severity::Critical,
            false => case.severity_of_delay(stuck.for_s),
        });
    }
    let all = stuck.requests > 0 && stuck.requests == stuck.of;
    match stuck.requests {
        0 => circular.then_some(Severity::Warning),
        _ if stuck.moves(case.at) => Some(Severity::Info),
        _ if circular && all => Some(Severity::Critical),
        _ if circular => Some(Severity::Warning),
        n if all && n >= t.slots_many && stuck.for_s >= t.queue_stuck_critical_s => {
            Some(Severity::Critical)
        }
        n if n >= t.slots_many && stuck.for_s >= t.queue_stuck_warning_s => Some(Severity::Warning),
        _ => Some(Severity::Info),
    }
}

fn found(case: &Case, severity: Severity, stuck: &Stuck) -> Finding {
    let n = stuck.queue.waiters.len();
    let who = match (stuck.startup, stuck.requests) {
        (true, _) => "startup waits".to_owned(),
        (false, 0) => count(n, "task") + if n == 1 { " waits" } else { " wait" },
        (false, 1) => format!("1 of {} waits", count(stuck.of, "request")),
        (false, requests) => format!("{requests} of {} wait", count(stuck.of, "request")),
    };
    let frame = standing_in(stuck);
    let place = frame
        .map(|f| format!(" in {}", frames::place(f)))
        .unwrap_or_default();
    let mut found = finding(
        Code::PoolExhausted,
        severity,
        format!(
            "{who}{place} for {}, and nobody has got one for at least {}{}",
            stuck.queue.scarce.wanted(),
            duration(stuck.for_s),
            circle(stuck),
        ),
    );
    found.culprit = frame.map(frames::culprit_of);
    found
        .evidence
        .extend(task_words::details(stuck.graph, stuck.longest));
    found.evidence.push(holders(stuck));
    found.evidence.push(socket_evidence(case));
    found.remedy = if stuck.is_circular() {
        "do not take a second one while holding the first: pass the first on, or take both at once"
    } else {
        "look at what the holders wait for and give it a time-out; bound the wait here too; a larger pool only helps if holders come back"
    }
    .into();
    let wait = stuck.graph.task(stuck.longest).and_then(task::waits);
    found.confirm = task_words::confirm(&stuck.member.process, wait);
    found
}

/// The application's frame in which the one that has waited for longest stands.
fn standing_in<'a>(stuck: &'a Stuck) -> Option<&'a Frame> {
    stuck.graph.task(stuck.longest).and_then(task::own_frame)
}

fn circle(stuck: &Stuck) -> String {
    if !stuck.is_circular() {
        return String::new();
    }
    match stuck.queue.holders.as_slice() {
        [one] if *one == stuck.longest => ": the same task holds what there was".to_owned(),
        holders => format!(": all {} that hold one wait for another", holders.len()),
    }
}

fn holders(stuck: &Stuck) -> String {
    let graph = stuck.graph;
    let holders = &stuck.queue.holders;
    if holders.is_empty() {
        return "who holds them could not be seen: no task is in an async with of them (asyncio tasks)"
            .to_owned();
    }
    let named: Vec<String> = holders
        .iter()
        .take(NAMED)
        .filter_map(|at| {
            let task = graph.task(*at)?;
            let waits = task::words::awaits(task).map(|call| format!(", {call}"));
            Some(task_words::task_in_place(task) + &waits.unwrap_or_default())
        })
        .collect();
    let more = match holders.len().saturating_sub(named.len()) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    let how = match stuck.queue.known_by {
        KnownBy::Block => "held by",
        KnownBy::Call => "past that wait, in the same calls:",
    };
    format!("{how} {}{more} (asyncio tasks)", named.join("; "))
}
