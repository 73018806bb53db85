//! `check --json`: one document, keys and words as the contract has them. What could not be seen is null and has a gap.

use serde_json::{Value, json};

mod log;
mod tasks;

use super::{Scene, format};
use crate::diagnosis::{
    Diagnosis, Finding, Member, MemberExit, Outsider, Phase, Server, ServerListener,
};
use crate::snapshot::{
    Activity, Frame, Gap, ListenerState, Process, Snapshot, Stack, syscall_name,
};

/// The document.
pub fn document(scene: &Scene) -> Value {
    let Some(snapshot) = &scene.snapshot else {
        return json!({ "schema": "steth.check/1", "servers": [], "gaps": [] });
    };
    let servers = scene.diagnosis.servers.iter().map(|s| server(s, snapshot));
    let others = scene
        .diagnosis
        .outsiders
        .iter()
        .map(|o| outsider(o, snapshot));
    let gaps = gaps_of(snapshot, &scene.diagnosis).into_iter().map(gap);
    json!({
        "schema": "steth.check/1",
        "host": snapshot.host,
        "taken_at": format::rfc3339(snapshot.wall_ms),
        "observed_for_s": round(scene.observed_for_s),
        "servers": servers.chain(others).collect::<Vec<_>>(),
        "gaps": gaps.chain(tasks::unread(snapshot, &scene.diagnosis)).collect::<Vec<_>>(),
    })
}

/// Gaps of the machine, and of the processes that the diagnosis speaks of.
pub fn gaps_of<'a>(snapshot: &'a Snapshot, diagnosis: &Diagnosis) -> Vec<&'a Gap> {
    let member = |pid| {
        diagnosis
            .servers
            .iter()
            .any(|s| s.members.iter().any(|m| m.process.key.pid == pid))
    };
    let other = |pid| diagnosis.outsiders.iter().any(|o| o.process.key.pid == pid);
    snapshot
        .gaps
        .iter()
        .filter(|g| g.pid.is_none_or(|pid| member(pid) || other(pid)))
        .collect()
}

fn gap(gap: &Gap) -> Value {
    json!({ "source": gap.source, "pid": gap.pid, "cause": gap.cause, "unlock": gap.unlock })
}

fn server(server: &Server, snapshot: &Snapshot) -> Value {
    json!({
        "name": server.name,
        "kind": server.kind.word(),
        "pid": server.pid,
        "phase": phase(server.phase),
        "phase_for_s": round(snapshot.at.seconds_since(server.since)),
        "why": server.why,
        "listeners": (server.sockets_seen() || !server.listeners.is_empty())
            .then(|| server.listeners.iter().map(listener).collect::<Vec<_>>()),
        "processes": server.members.iter().map(member).collect::<Vec<_>>(),
        "findings": server.findings.iter().map(finding).collect::<Vec<_>>(),
        "exits": server.exits.iter().map(exit).collect::<Vec<_>>(),
        "log": log::of_server(server, snapshot),
    })
}

fn outsider(outsider: &Outsider, snapshot: &Snapshot) -> Value {
    let p = &outsider.process;
    json!({
        "name": outsider.name,
        "kind": "script",
        "pid": p.key.pid,
        "phase": phase(outsider.phase),
        "phase_for_s": round(snapshot.at.seconds_since(p.started)),
        "why": match outsider.phase {
            Phase::Unseen => "neither its sockets nor its stacks may be seen by this user: whether it serves is not known",
            _ => "nothing says that it means to listen",
        },
        "listeners": p.fds.is_some().then(Vec::<Value>::new),
        "processes": [process(p, "single", outsider.phase, outsider.cpu_percent)],
        "findings": [],
        "exits": [],
        "log": log::of_process(p.key, snapshot),
    })
}

fn listener(l: &ServerListener) -> Value {
    let s = &l.socket;
    json!({
        "family": s.family,
        "address": s.address.map(|a| a.to_string()),
        "port": s.path.is_none().then_some(s.port),
        "path": s.path,
        "state": s.state,
        "accept_queue": s.accept_queue,
        "backlog": s.backlog,
        "drops": if s.state == ListenerState::Listening { s.drops } else { None },
        "syn_queue": s.syn_queue,
        "v6only": s.v6only,
        "side": l.side,
        "holders": l.holders,
        "accepting": l.accepting,
        "netns": l.netns,
    })
}

fn member(m: &Member) -> Value {
    process(&m.process, m.role.word(), m.phase, m.cpu_percent)
}

fn process(p: &Process, role: &str, of: Phase, cpu: Option<f64>) -> Value {
    let python = p.python.as_ref();
    let stacks = python.and_then(|py| py.stacks.as_ref());
    json!({
        "pid": p.key.pid,
        "ppid": p.ppid,
        "start_time": p.key.start_time,
        "role": role,
        "phase": phase(of),
        "cmdline": p.cmdline,
        "python": python.and_then(|py| py.version.clone()),
        "state": p.state.letter().to_string(),
        "cpu_percent": cpu.map(round),
        "rss": p.rss,
        "threads": p.thread_count,
        "fds": p.fds.as_ref().map(|f| json!({ "open": f.open, "limit": f.limit })),
        "tasks": tasks::of(p),
        "stacks": stacks.map(|s| s.list.iter().map(stack).collect::<Vec<_>>()),
    })
}

/// The contract's word; null for what could not be seen.
fn phase(phase: Phase) -> Option<&'static str> {
    (phase != Phase::Unseen).then(|| phase.word())
}

fn stack(s: &Stack) -> Value {
    let mut value = json!({
        "tid": s.tid, "name": s.name, "activity": activity(s.activity), "holds_gil": s.holds_gil, "frames": frames(&s.frames),
    });
    if let (Activity::Syscall(number), Value::Object(map)) = (s.activity, &mut value) {
        map.insert("syscall".into(), syscall_name(number).into());
    }
    value
}

fn frames(frames: &[Frame]) -> Vec<Value> {
    let value = |f: &Frame| json!({ "function": f.function, "file": f.file, "line": f.line });
    frames.iter().map(value).collect()
}

fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::Running => "running",
        Activity::Selector => "selector",
        Activity::Gil => "gil",
        Activity::Lock => "lock",
        Activity::Syscall(_) => "syscall",
        Activity::Stopped => "stopped",
        Activity::Unknown => "unknown",
    }
}

fn finding(f: &Finding) -> Value {
    json!({
        "code": f.code.word(),
        "severity": f.severity.word(),
        "summary": f.summary,
        "culprit": f.culprit.as_ref().map(|c| json!({ "file": c.file, "line": c.line, "function": c.function })),
        "evidence": f.evidence,
        "remedy": f.remedy,
        "confirm": f.confirm,
    })
}

fn exit(e: &MemberExit) -> Value {
    json!({
        "pid": e.exit.key.pid,
        "role": e.role.word(),
        "lived_s": e.exit.lived_ns.map(|ns| round(ns as f64 / 1e9)),
        "code": e.exit.code,
        "signal": e.exit.signal,
    })
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
