//! A reloader is alive and its child is not: it waits for somebody to change a file.

use super::{Case, Verdict, crash_loop, duration, finding};
use crate::diagnosis::{Code, Phase, Role, Severity, frames};

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
    let mut found = finding(
        Code::ReloaderWithoutChild,
        Severity::Critical,
        format!(
            "reloader {pid} is alive, but the server it started is not{how}: nothing serves until a file changes"
        ),
    );
    let stack = last.and_then(|e| frames::own_frame(&e.exit.last_stack));
    found.culprit = stack.map(|(_, f)| frames::culprit_of(f));
    found.evidence.push(format!(
        "pid {pid} has had no serving child for {} (/proc)",
        duration(gone_s)
    ));
    found.evidence.push(super::socket_evidence(case));
    found.remedy = "read the last traceback in its log and save the corrected file, or restart it; never use a reloader in production".into();
    found.confirm = format!("ps -o pid,stat,etimes,args --ppid {pid}");
    Verdict::Found(Box::new(found))
}
