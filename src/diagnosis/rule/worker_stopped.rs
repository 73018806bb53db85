//! A process is stopped by job control, a tracer or the freezer.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::{Code, Member, Phase, Role, Severity, phase};
use crate::snapshot::ProcessState;

pub(super) fn examine(case: &Case) -> Verdict {
    let stopped = |m: &&Member| m.role != Role::Helper && m.phase == Phase::Stopped;
    let Some(member) = case.server.members.iter().find(stopped) else {
        return Verdict::Clear;
    };
    let since = case.at.seconds_since(member.since);
    if since < case.thresholds.stopped_s {
        return Verdict::NotYet;
    }
    let pid = member.process.key.pid;
    let others = case.server.members.iter().filter(stopped).count() - 1;
    let (how, remedy, confirm) = cause(member);
    let severity = if case.server.phase == Phase::Serving {
        Severity::Warning
    } else {
        Severity::Critical
    };
    let more = if others > 0 {
        format!(" (and {others} more)")
    } else {
        String::new()
    };
    let mut found = finding(
        Code::WorkerStopped,
        severity,
        format!(
            "{} {pid}{more} has been {how} for {}: {}",
            who(member.role),
            duration(since),
            effect(member.role)
        ),
    );
    found.evidence.push(match member.process.frozen {
        Some(true) => format!(
            "the cgroup of pid {pid} is frozen (freezer{})",
            cgroup(member)
        ),
        _ => format!(
            "state of pid {pid} is {} (/proc/{pid}/stat)",
            member.process.state.letter()
        ),
    });
    found.evidence.push(super::socket_evidence(case));
    found.remedy = remedy;
    found.confirm = confirm;
    Verdict::Found(Box::new(found))
}

fn who(role: Role) -> &'static str {
    match role {
        Role::Single => "process",
        role => role.word(),
    }
}

fn effect(role: Role) -> &'static str {
    if phase::works(role) {
        "it can neither accept nor answer"
    } else {
        "it neither replaces workers that end nor passes signals on"
    }
}

fn cgroup(member: &Member) -> String {
    member
        .process
        .cgroup
        .as_ref()
        .map(|c| format!(" of {c}"))
        .unwrap_or_default()
}

/// How it is held, what to do, and how to see it by hand.
fn cause(member: &Member) -> (String, String, String) {
    let pid = member.process.key.pid;
    match (
        member.process.frozen,
        member.process.state,
        member.process.tracer,
    ) {
        (Some(true), ..) => (
            "frozen by its cgroup's freezer".into(),
            "thaw the cgroup (docker unpause, systemctl thaw), and find out who froze it".into(),
            format!("cat /proc/{pid}/cgroup /proc/{pid}/wchan"),
        ),
        (_, ProcessState::Tracing, Some(tracer)) => (
            format!("stopped by its tracer, pid {tracer}"),
            format!("let the tracer (pid {tracer}) go on or detach"),
            format!("grep -E 'State|TracerPid' /proc/{pid}/status"),
        ),
        (_, ProcessState::Tracing, None) => (
            "stopped by a tracer".into(),
            "let the tracer go on or detach".into(),
            format!("grep -E 'State|TracerPid' /proc/{pid}/status"),
        ),
        _ => (
            "stopped by a signal (SIGSTOP or SIGTSTP)".into(),
            format!("kill -CONT {pid}"),
            format!("grep State /proc/{pid}/status"),
        ),
    }
}
