//! The kernel kills processes of the server for want of memory, and they are started again.

use super::{Case, Verdict, count, duration, finding, shell_word};
use crate::diagnosis::{Code, Finding, MemberExit, Phase, Severity, frames};
use crate::snapshot::{MemoryUse, Moment};

/// Deaths that are older than this are another story.
const LATELY_S: f64 = 60.0;

pub(super) fn examine(case: &Case) -> Verdict {
    let killed: Vec<&MemberExit> = case
        .server
        .exits
        .iter()
        .filter(|e| e.exit.signal == Some(libc::SIGKILL))
        .filter(|e| case.at.seconds_since(e.exit.at) < LATELY_S)
        .collect();
    let Some((memory, kills, at)) = memory(case) else {
        return Verdict::Clear;
    };
    if killed.is_empty() {
        return Verdict::Clear;
    }
    // One is told by the list of exits; that it goes on makes it a loop, seen here or counted before anybody looked.
    if killed.len() < 2 && memory.oom_kills < 2 {
        return Verdict::NotYet;
    }
    Verdict::Found(Box::new(found(case, &killed, memory, kills, at)))
}

/// The memory of a living member's cgroup in which the kernel has killed somebody lately, how many, and when.
fn memory<'a>(case: &Case<'a>) -> Option<(&'a MemoryUse, u64, Moment)> {
    let server = case.server;
    let alive = server.members.iter().filter(|m| m.exit.is_none());
    let mut memories = alive.filter_map(|m| m.process.cgroup_use.as_ref()?.memory.as_ref());
    memories.find_map(|memory| {
        let (kills, at) = case.history.cgroup(&memory.path)?.oom_kills()?;
        Some((memory, kills, at))
    })
}

fn found(
    case: &Case,
    killed: &[&MemberExit],
    memory: &MemoryUse,
    kills: u64,
    at: Moment,
) -> Finding {
    let severity = if case.server.phase == Phase::Serving {
        Severity::Warning
    } else {
        Severity::Critical
    };
    let limit = memory
        .limit
        .map(|bytes| format!(" at its limit of {} MiB", bytes >> 20))
        .unwrap_or_default();
    let lived = killed.first().and_then(|e| e.exit.lived_ns);
    let lived = lived.map_or_else(String::new, |ns| {
        format!("; the last one had lived {}", duration(ns as f64 / 1e9))
    });
    let mut found = finding(
        Code::OomLoop,
        severity,
        format!(
            "the kernel kills the server's processes for want of memory{limit}: {} killed by SIGKILL in the last minute{lived}",
            count(killed.len(), "process").replace("processs", "processes"),
        ),
    );
    found.evidence.push(format!(
        "the cgroup counts {} kills, {kills} of them while this program looked, the last one {} ago ({}, oom_kill)",
        memory.oom_kills,
        duration(case.at.seconds_since(at)),
        memory.path
    ));
    // Where it stood is where it asked for more, or where it was let down: most likely the first.
    let stood = killed.iter().map(|e| frames::own_frame(&e.exit.last_stack));
    found.culprit = stood.flatten().next().map(|(_, f)| frames::culprit_of(f));
    for exit in killed.iter().take(3) {
        found.evidence.push(format!(
            "pid {} ended by SIGKILL {} ago (exit status)",
            exit.exit.key.pid,
            duration(case.at.seconds_since(exit.exit.at))
        ));
    }
    found.remedy = "raise the memory limit, or run fewer workers; load large data once, before the workers are forked (--preload)".into();
    found.confirm = format!(
        "grep -H oom_kill {0}/memory.events {0}/memory.oom_control 2>/dev/null; dmesg | grep -i 'killed process'",
        shell_word(&memory.path)
    );
    found
}
