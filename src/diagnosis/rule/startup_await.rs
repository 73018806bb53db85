//! The application's startup awaits something that does not come. Told from its tasks; where those are not seen, from a loop
//! that is idle while nothing listens.

use super::{
    Case, Verdict, awaited_child, duration, finding, socket_evidence, startup, task_words,
};
use crate::diagnosis::history::Track;
use crate::diagnosis::task::{self, Graph, TaskRole, suspect};
use crate::diagnosis::{Code, Member, Phase, frames};
use crate::snapshot::{Frame, Task, TaskState, Wait, WaitOn};

/// What startup stands in.
pub(super) struct Stand<'a> {
    /// Whose startup it is.
    pub member: &'a Member,
    track: &'a Track,
    /// The tasks of that process.
    pub graph: &'a Graph,
    /// The tasks from the one that runs startup to the one that it really waits for.
    pub way: Vec<usize>,
    /// The last of them.
    pub end: &'a Task,
    /// Seconds for which nothing on the way has moved.
    pub stood: f64,
}

pub(super) fn examine(case: &Case) -> Verdict {
    match standing(case) {
        Ok(stand) => found(case, &stand),
        Err(verdict) => verdict,
    }
}

/// Where startup stands, once it has for long enough; otherwise the answer of the rule that asks.
pub(super) fn standing<'a>(case: &Case<'a>) -> Result<Stand<'a>, Verdict> {
    let (member, track) = case.boots(Phase::Starting).ok_or(Verdict::Clear)?;
    let seen = track.standing.graph();
    let Some((graph, first)) = seen.and_then(|g| Some((g, suspect::startup(g)?))) else {
        return Err(startup::examine_awaiting(case));
    };
    if graph.role(first) != TaskRole::Startup && has_started(case, member) {
        return Err(Verdict::Clear);
    }
    let stand = stand(member, track, graph, first).ok_or(Verdict::Clear)?;
    if stand.end.state != TaskState::Waiting || stand.stood < case.thresholds.standing_s {
        return Err(Verdict::NotYet);
    }
    Ok(stand)
}

/// Who listens by itself has its startup behind it, unless it is one that listens first.
fn has_started(case: &Case, member: &Member) -> bool {
    let pid = member.process.key.pid;
    case.listening().any(|l| l.holders == [pid]) && !startup::listens_early(case, member)
}

fn stand<'a>(
    member: &'a Member,
    track: &'a Track,
    graph: &'a Graph,
    first: usize,
) -> Option<Stand<'a>> {
    let way = graph.way_from(first);
    let stood = task_words::stood_s(&track.standing, graph, &way);
    let alone = task_words::stood_s(&track.standing, graph, &[first]);
    // What tries again and again with another task each time stands itself.
    let has_own = graph
        .task(first)
        .is_some_and(|t| task::own_frame(t).is_some());
    let (way, stood) = if has_own && alone > stood + 1.0 {
        (vec![first], alone)
    } else {
        (way, stood)
    };
    let end = graph.task(*way.last()?)?;
    Some(Stand {
        member,
        track,
        graph,
        way,
        end,
        stood,
    })
}

fn found(case: &Case, stand: &Stand) -> Verdict {
    let age = case.age_s(stand.member);
    let process = &stand.member.process;
    let call = task_words::call(stand.end);
    let frame = innermost_own(stand);
    let place = frame
        .or_else(|| task::telling_frame(stand.end))
        .map(|f| format!(" in {}", frames::place(f)))
        .unwrap_or_default();
    let holds = match case.listening().next() {
        Some(_) => "clients are let in and nobody takes them before it ends",
        None => "nothing listens before it ends",
    };
    let mut found = finding(
        Code::StartupAwait,
        case.severity_of_delay(age),
        format!(
            "startup has awaited {call}{place} for at least {}: {holds} (process is {} old)",
            duration(stand.stood),
            duration(age)
        ),
    );
    found.culprit = frame.map(frames::culprit_of);
    found.evidence.push(socket_evidence(case));
    found.evidence.extend(way(stand));
    if let Some(end) = stand.way.last() {
        found
            .evidence
            .extend(task_words::details(stand.graph, *end));
    }
    found
        .evidence
        .extend(task_words::job_thread(process, stand.end));
    let of_child = Wait {
        object: None,
        on: WaitOn::Process,
    };
    let wait = match awaited_child::is_awaited(stand) {
        true => Some(&of_child),
        false => task::waits(stand.end),
    };
    found.remedy = task_words::remedy(wait).into();
    found.confirm = task_words::confirm(process, wait);
    Verdict::Found(Box::new(found))
}

/// The application's innermost frame on the way, from its end on.
pub(super) fn innermost_own<'a>(stand: &'a Stand) -> Option<&'a Frame> {
    let tasks = stand.way.iter().rev();
    tasks
        .filter_map(|at| stand.graph.task(*at))
        .find_map(task::own_frame)
}

/// The application's frames on the way, for evidence.
pub(super) fn way(stand: &Stand) -> Option<String> {
    let chain = task_words::chain(stand.graph, &stand.way);
    let first = stand.way.first().and_then(|at| stand.graph.task(*at))?;
    let place = stand.track.standing.place(stand.end.id)?;
    let how = match (place.looks, place.since == place.still_since) {
        // Where no thread runs, one reading holds for as long.
        (1, true) => "and no thread has run since".to_owned(),
        (1, false) => "in the same function throughout".to_owned(),
        (n, _) => format!("the same at {n} looks"),
    };
    (!chain.is_empty()).then(|| format!("{}: {chain}, {how} (asyncio tasks)", first.name))
}
