//! The application is still being imported: it moves slowly, or stands on one frame.

use super::{Case, Verdict, duration, finding, socket_evidence};
use crate::diagnosis::history::Track;
use crate::diagnosis::{Code, Finding, Member, Phase, frames};
use crate::snapshot::{Activity, Stack};

/// The import stands still: the same place, and no CPU is used.
pub(super) fn examine_blocked(case: &Case) -> Verdict {
    let Some((member, track)) = case.boots(Phase::Importing) else {
        return Verdict::Clear;
    };
    let Some((age, stood)) = long_enough(case, member, track) else {
        return Verdict::NotYet;
    };
    if stood < case.thresholds.standing_s || is_busy(track) || wants_to_run(case, member) {
        return Verdict::Clear;
    }
    let Some(frame) = member
        .process
        .main_stack()
        .and_then(|s| frames::application_frame(s))
        .map(|(_, f)| f)
    else {
        return Verdict::Clear;
    };
    let mut found = finding(
        Code::ImportBlocked,
        case.severity_of_delay(age),
        format!(
            "the import of {} stands still in {} for at least {}: nothing is served before it ends (process is {} old)",
            module(track),
            frames::place(frame),
            duration(stood),
            duration(age),
        ),
    );
    found.remedy = format!(
        "{} runs when its module is imported: move it out, or give it a time-out",
        frame.function
    );
    complete(&mut found, case, member, track);
    Verdict::Found(Box::new(found))
}

/// The import goes on: modules change, or it computes.
pub(super) fn examine_slow(case: &Case) -> Verdict {
    let Some((member, track)) = case.boots(Phase::Importing) else {
        return Verdict::Clear;
    };
    let Some((age, stood)) = long_enough(case, member, track) else {
        return Verdict::NotYet;
    };
    if stood >= case.thresholds.standing_s && !is_busy(track) {
        return Verdict::Clear;
    }
    if !is_busy(track) && !track.place.moves {
        // It has not moved since anybody looked: whether it goes on cannot be told yet.
        return Verdict::NotYet;
    }
    let frame = member
        .process
        .main_stack()
        .and_then(|s| frames::application_frame(s))
        .map(|(_, f)| f);
    let at = frame
        .map(|f| format!(", now in {}", frames::place(f)))
        .unwrap_or_default();
    let mut found = finding(
        Code::ImportSlow,
        case.severity_of_delay(age),
        format!(
            "the application is still being imported after {}: {}{at}",
            duration(age),
            module(track)
        ),
    );
    found.remedy =
        "import what is heavy when it is first used, or load it after the server listens".into();
    complete(&mut found, case, member, track);
    Verdict::Found(Box::new(found))
}

/// Age and time in the same place, once both the process and the looking are old enough to tell.
fn long_enough(case: &Case, member: &Member, track: &Track) -> Option<(f64, f64)> {
    let age = case.age_s(member);
    let stood = track.same_place_s()?;
    let told = age >= case.thresholds.slow_boot_s
        && case.observed_s() >= case.thresholds.observed_s
        && track.place.looks >= 3;
    told.then_some((age, stood))
}

/// A thread that would run and is kept from it by a quota does not stand still by itself.
fn wants_to_run(case: &Case, member: &Member) -> bool {
    let runs = |s: &Stack| s.activity == Activity::Running;
    member.process.main_stack().is_some_and(runs)
        && matches!(super::cpu_throttled::examine(case), Verdict::Found(_))
}

fn is_busy(track: &Track) -> bool {
    track.cpu_percent().is_some_and(|cpu| cpu > 20.0)
}

fn module(track: &Track) -> String {
    track
        .modules
        .back()
        .map_or_else(|| "the application".into(), |m| format!("module {m}"))
}

fn complete(found: &mut Finding, case: &Case, member: &Member, track: &Track) {
    let pid = member.process.key.pid;
    found.culprit = member.process.main_stack().and_then(frames::culprit);
    found.evidence.push(socket_evidence(case));
    if track.modules.len() > 1 {
        let modules: Vec<&str> = track.modules.iter().map(String::as_str).collect();
        found.evidence.push(format!(
            "modules seen being imported: {} (Python stack)",
            modules.join(", ")
        ));
    }
    if let Some(cpu) = track.cpu_percent() {
        found.evidence.push(format!(
            "pid {pid} uses {cpu:.0} % of a core (/proc/{pid}/stat)"
        ));
    }
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
}
