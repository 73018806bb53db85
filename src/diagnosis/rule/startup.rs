//! The application's startup has begun and does not end: code holds the thread, or the loop is idle and awaits.

use super::{Case, Verdict, duration, finding, socket_evidence};
use crate::diagnosis::framework::{self, Says};
use crate::diagnosis::history::Track;
use crate::diagnosis::{Code, Finding, Kind, Member, Phase, frames};
use crate::snapshot::{Activity, Stack};

/// Synchronous code holds the main thread.
pub(super) fn examine_blocked(case: &Case) -> Verdict {
    let Some((member, track, main)) = starting(case) else {
        return Verdict::Clear;
    };
    if main.activity == Activity::Selector
        && frames::has_loop(main)
        && !frames::loop_runs_application(main)
    {
        return Verdict::Clear;
    }
    let Some((_, frame)) = frames::application_frame(main) else {
        return Verdict::Clear;
    };
    let Some(stood) = long_enough(case, track) else {
        return Verdict::NotYet;
    };
    let age = case.age_s(member);
    let holds = match (case.listening().next(), frames::has_loop(main)) {
        (Some(_), _) => "clients are let in and nobody takes them before it ends",
        (None, true) => "it blocks the loop, so nothing can listen",
        (None, false) => "nothing listens before it ends",
    };
    let mut found = finding(
        Code::StartupBlocked,
        case.severity_of_delay(age),
        format!(
            "startup has run {} for at least {}: {holds} (process is {} old)",
            frames::place(frame),
            duration(stood),
            duration(age)
        ),
    );
    found.culprit = Some(frames::culprit_of(frame));
    found.remedy = if frames::has_loop(main) {
        "give it a time-out, or move it off the loop (asyncio.to_thread) so that the server can start without it".into()
    } else {
        "give it a time-out, or do it after the server listens".into()
    };
    complete(&mut found, case, member, track, main);
    Verdict::Found(Box::new(found))
}

/// The loop turns, or waits in its poll, and nothing listens: startup awaits something.
pub(super) fn examine_awaiting(case: &Case) -> Verdict {
    let Some((member, track, main)) = starting(case) else {
        return Verdict::Clear;
    };
    let idle = main.activity == Activity::Selector && frames::has_loop(main);
    // Who listens by itself has its startup behind it; a master's socket says nothing of its workers.
    let pid = member.process.key.pid;
    let listens_alone = case.listening().any(|l| l.holders == [pid]);
    if !idle || listens_alone && !listens_early(case, member) {
        return Verdict::Clear;
    }
    let Some(_) = long_enough(case, track) else {
        return Verdict::NotYet;
    };
    let age = case.age_s(member);
    let stands = if case.listening().next().is_some() {
        "it does not accept yet"
    } else {
        "nothing listens"
    };
    let (what, remedy) = match framework::says(main, Says::Greenlets) {
        true => (
            "a greenlet of its start waits for something that has not come",
            "look for a connection or a read without a time-out in what its modules do at import; a greenlet that waits is on no stack",
        ),
        false => (
            "startup awaits something that has not come",
            "look for an await without a time-out in the startup (lifespan) code",
        ),
    };
    let mut found = finding(
        Code::StartupAwait,
        case.severity_of_delay(age),
        format!(
            "the event loop is idle and {stands} after {}: {what}",
            duration(age)
        ),
    );
    found.remedy = remedy.into();
    complete(&mut found, case, member, track, main);
    Verdict::Found(Box::new(found))
}

/// True if its own socket says nothing about whether startup has ended: somebody has handed it over, or the server is one
/// that listens first.
pub(super) fn listens_early(case: &Case, member: &Member) -> bool {
    let handed_over = || member.process.cmdline.iter().any(|a| a.starts_with("--fd"));
    case.server.kind == Kind::Sanic || handed_over()
}

fn starting<'a>(case: &Case<'a>) -> Option<(&'a Member, &'a Track, &'a Stack)> {
    let (member, track) = case.boots(Phase::Starting)?;
    Some((member, track, member.process.main_stack()?))
}

/// Seconds in the same place, once it is long enough to tell.
fn long_enough(case: &Case, track: &Track) -> Option<f64> {
    let stood = track.same_place_s()?;
    (stood >= case.thresholds.standing_s && track.place.looks >= 3).then_some(stood)
}

fn complete(found: &mut Finding, case: &Case, member: &Member, track: &Track, main: &Stack) {
    let pid = member.process.key.pid;
    found.evidence.push(socket_evidence(case));
    found.evidence.push(format!(
        "main thread of pid {pid}: {}, in the same functions at {} looks (Python stack, /proc/{pid}/task)",
        super::loop_blocked::doing(main),
        track.place.looks,
    ));
    if let Some(cpu) = track.cpu_percent() {
        found.evidence.push(format!(
            "pid {pid} uses {cpu:.0} % of a core (/proc/{pid}/stat)"
        ));
    }
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
}
