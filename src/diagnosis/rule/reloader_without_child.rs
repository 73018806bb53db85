//! A reloader is alive and its child is not: it waits for somebody to change a file.

use super::{Case, Verdict, crash_loop, duration, finding};
use crate::diagnosis::{Code, Phase, Role, Severity, frames, log};

pub(super) fn examine(case: &Case) -> Verdict {
    let Some(root) = case
        .server
        .members
        .first()
        .filter(|m| m.role == Role::Reloader && m.exit.is_none())
    else {
        return Verdict::Clear;
    };
    if case.workers().next().is_some() || root.phase == Phase::Exited {
        return Verdict::Clear;
    }
    let last = case.server.exits.front();
    let gone_s = last.map_or(case.observed_s(), |e| case.at.seconds_since(e.exit.at));
    if gone_s < case.thresholds.childless_s || case.age_s(root) < 3.0 {
        return Verdict::NotYet;
    }
    let pid = root.process.key.pid;
    let how = last
        .map(|e| format!(" ({})", crash_loop::how(&e.exit)))
        .unwrap_or_default();
    let words = match last {
        Some(e) => log::last_words::of(case.server, case.snapshot, &[e]),
        None => log::last_words::since(case.server, case.snapshot, &root.process),
    };
    let raised = words.map(crash_loop::said).unwrap_or_default();
    let mut found = finding(
        Code::ReloaderWithoutChild,
        Severity::Critical,
        format!(
            "reloader {pid} is alive, but the server it started is not{how}{raised}: nothing serves until a file changes"
        ),
    );
    let stack = last.and_then(|e| frames::own_frame(&e.exit.last_stack));
    let stack = stack.map(|(_, f)| f).filter(|_| words.is_none());
    let place = words.and_then(|w| w.culprit.as_ref()).or(stack);
    found.culprit = place.map(frames::culprit_of);
    let evidence = words.map(|w| crash_loop::evidence(w, case));
    found.evidence.extend(evidence);
    found.evidence.push(format!(
        "pid {pid} has had no serving child for {} (/proc)",
        duration(gone_s)
    ));
    found.evidence.push(super::socket_evidence(case));
    let what = match words {
        Some(_) => "mend what the traceback names and save the file",
        None => "read the last traceback in its log and save the corrected file",
    };
    found.remedy = format!("{what}, or restart it; never use a reloader in production");
    found.confirm = format!("ps -o pid,stat,etimes,args --ppid {pid}");
    Verdict::Found(Box::new(found))
}
