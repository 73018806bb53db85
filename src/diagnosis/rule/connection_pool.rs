//! Threads wait for a connection of a pool, and none is given back. Told from their stacks: which thread has one is not known.

use super::{Case, Verdict, count, duration, finding, socket_evidence};
use crate::diagnosis::framework::{self, Says};
use crate::diagnosis::history::Track;
use crate::diagnosis::{Code, Member, Phase, Severity, frames};
use crate::snapshot::{Activity, Frame, Stack};

/// A thread that waits, and for how many seconds at least.
type Waiter<'a> = (&'a Stack, f64);

pub(super) fn examine(case: &Case) -> Verdict {
    let mut waits = false;
    for member in case.workers() {
        let Some(track) = case.track(member) else {
            continue;
        };
        let mut waiters = waiters(case, member, track);
        waits |= !waiters.is_empty();
        waiters.retain(|(_, stood)| *stood >= case.thresholds.slots_stuck_s);
        if let Some(longest) = waiters.iter().map(|w| w.1).max_by(f64::total_cmp) {
            return found(case, member, &waiters, longest);
        }
    }
    match waits {
        true => Verdict::NotYet,
        false => Verdict::Clear,
    }
}

fn waiters<'a>(case: &Case, member: &'a Member, track: &Track) -> Vec<Waiter<'a>> {
    let stacks = member
        .process
        .python
        .as_ref()
        .and_then(|p| p.stacks.as_ref());
    let asks = |stack: &&Stack| {
        // To make a new connection is not to wait for one.
        stack.activity == Activity::Lock && framework::says(stack, Says::AwaitsConnection)
    };
    let waiter = |stack: &'a Stack| {
        let place = track.standing.threads.of(stack.tid?)?;
        Some((stack, case.at.seconds_since(place.since)))
    };
    let list = stacks.into_iter().flat_map(|s| &s.list);
    list.filter(asks).filter_map(waiter).collect()
}

fn found(case: &Case, member: &Member, waiters: &[Waiter], longest: f64) -> Verdict {
    let own = waiters
        .iter()
        .filter_map(|(s, _)| frames::application_frame(s));
    let own: Vec<&Frame> = own.map(|(_, frame)| frame).collect();
    let place = own.first().map_or_else(String::new, |frame| {
        let there = own
            .iter()
            .filter(|f| f.function == frame.function && f.file == frame.file);
        format!(", {} of them in {}", there.count(), frames::place(frame))
    });
    let waits = if waiters.len() == 1 { "waits" } else { "wait" };
    let t = case.thresholds;
    let many = waiters.len() >= t.slots_many && longest >= t.queue_stuck_warning_s;
    let severity = match case.server.phase {
        Phase::Serving if many => Severity::Warning,
        Phase::Serving => Severity::Info,
        Phase::Stalled => Severity::Critical,
        _ => case.severity_of_delay(longest),
    };
    let mut found = finding(
        Code::PoolExhausted,
        severity,
        format!(
            "{} {waits} for a free connection of a pool{place}, and none has come for at least {}",
            count(waiters.len(), "thread"),
            duration(longest),
        ),
    );
    found.culprit = own.first().map(|frame| frames::culprit_of(frame));
    let pid = member.process.key.pid;
    let asks = |frame: &&Frame| framework::frame_says(frame, Says::AwaitsConnection);
    if let Some(frame) = waiters.iter().find_map(|(s, _)| s.frames.iter().find(asks)) {
        let place = frames::place(frame);
        found.evidence.push(format!(
            "they stand in {place}, and the same ones have not moved (Python stacks of pid {pid})"
        ));
    }
    found.evidence.push(socket_evidence(case));
    found.remedy = "look for a connection that is not given back (close it, or take it by `with`), and for what those that have one wait for; then give the pool a time-out that fails soon".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}
