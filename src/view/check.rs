//! `check` for people: a verdict for each server, the cause first.

use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(super) mod log;

use super::{Scene, json};
use crate::diagnosis::task::{self, suspect, words};
use crate::diagnosis::words::duration;
use crate::diagnosis::{Finding, Phase, Server, Severity, frames, sockets};
use crate::snapshot::{Gap, ListenerState, Snapshot};

/// The verdicts as text.
pub fn text(scene: &Scene) -> String {
    let Some(snapshot) = &scene.snapshot else {
        return String::new();
    };
    let mut out = String::new();
    let mut servers: Vec<&Server> = scene.diagnosis.servers.iter().map(AsRef::as_ref).collect();
    servers.sort_by_key(|s| std::cmp::Reverse(s.findings.first().map(|f| f.severity)));
    for server in &servers {
        // Writing to a String does not fail.
        let _ = write_server(&mut out, server, snapshot);
    }
    if servers.is_empty() {
        out.push_str("no Python server is running that this user can see\n");
    }
    let others = scene.diagnosis.outsiders.len();
    if others > 0 {
        let names: Vec<&str> = scene
            .diagnosis
            .outsiders
            .iter()
            .take(6)
            .map(|o| o.name.as_str())
            .collect();
        let more = if others > names.len() { ", …" } else { "" };
        let _ = writeln!(
            out,
            "other Python, not servers: {others} ({}{more})",
            names.join(", ")
        );
    }
    write_gaps(&mut out, scene, snapshot);
    out
}

fn write_server(out: &mut String, server: &Server, snapshot: &Snapshot) -> std::fmt::Result {
    let mark = match (server.findings.first().map(|f| f.severity), server.phase) {
        (Some(Severity::Critical), _) => "✖",
        (Some(Severity::Warning), _) => "▲",
        (_, Phase::Serving) => "●",
        (_, Phase::Unseen) => "?",
        _ => "◌",
    };
    let age = duration(snapshot.at.seconds_since(server.since));
    let bound = if server.since_is_bound {
        "at least "
    } else {
        ""
    };
    writeln!(
        out,
        "{mark} {:<14} {} (pid {})  for {bound}{age}",
        server.phase.word(),
        server.name,
        server.pid
    )?;
    let own: Vec<String> = server
        .listeners
        .iter()
        .filter(|l| !l.side)
        .map(describe)
        .collect();
    writeln!(
        out,
        "  listens on: {}",
        match (own.is_empty(), server.sockets_seen()) {
            (false, _) => own.join(", "),
            (true, true) => "nothing".into(),
            (true, false) => "? (its open files may not be seen)".into(),
        }
    )?;
    if server.findings.is_empty() {
        writeln!(out, "  {}", server.why)?;
    }
    for finding in &server.findings {
        write_finding(out, finding)?;
    }
    if let Some(words) = suspect(server) {
        writeln!(out, "  {words}")?;
    }
    for line in log::last_lines(server, snapshot) {
        writeln!(out, "  log: {line}")?;
    }
    writeln!(out)
}

/// The task to look at first, where the server is not well and no finding speaks of its place already.
fn suspect(server: &Server) -> Option<String> {
    if server.phase == Phase::Serving && server.findings.is_empty() {
        return None;
    }
    let (member, at) = server
        .members
        .iter()
        .filter(|m| m.exit.is_none())
        .find_map(|m| Some((m, suspect::of(&m.standing, m.phase)?)))?;
    let graph = member.standing.graph()?;
    let task = graph.task(at)?;
    let frame = task::telling_frame(task)?;
    let blamed = |f: &Finding| {
        let culprit = f.culprit.as_ref();
        culprit.is_some_and(|c| c.function == frame.function && c.file == frame.file)
    };
    let words = words::of(graph, at).filter(|_| !server.findings.iter().any(blamed))?;
    Some(format!(
        "look first at {} of pid {} in {}: {words}, for at least {}",
        task.name,
        member.process.key.pid,
        frames::place(frame),
        duration(member.standing.still_s(task.id)),
    ))
}

fn describe(l: &crate::diagnosis::ServerListener) -> String {
    let address = sockets::address(&l.socket);
    let number = |n: Option<u32>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    match l.socket.state {
        ListenerState::Bound => format!("{address} (bound, not listening)"),
        ListenerState::Listening => format!(
            "{address} (accept queue {}/{})",
            number(l.socket.accept_queue),
            number(l.socket.backlog)
        ),
    }
}

fn write_finding(out: &mut String, f: &Finding) -> std::fmt::Result {
    writeln!(
        out,
        "  {} {}: {}",
        f.severity.word(),
        f.code.word(),
        f.summary
    )?;
    for fact in &f.evidence {
        writeln!(out, "    · {fact}")?;
    }
    writeln!(out, "    → {}", f.remedy)?;
    writeln!(out, "    check it: {}", f.confirm)
}

/// The log of a server that nothing is wrong with would say nothing more of it.
fn matters(gap: &Gap, scene: &Scene) -> bool {
    let fails = |s: &Server| {
        let has = s.members.iter().any(|m| gap.pid == Some(m.process.key.pid));
        has && !s.findings.is_empty()
    };
    gap.source != "log" || scene.diagnosis.servers.iter().any(|s| fails(s))
}

/// What could not be seen, a line for each thing that would unlock it.
fn write_gaps(out: &mut String, scene: &Scene, snapshot: &Snapshot) {
    let mut groups: Vec<(Option<&str>, Vec<&Gap>)> = Vec::new();
    for gap in json::gaps_of(snapshot, &scene.diagnosis)
        .into_iter()
        .filter(|gap| matters(gap, scene))
    {
        let unlock = gap.unlock.as_deref();
        match groups.iter_mut().find(|(u, all)| {
            *u == unlock && all.iter().all(|g| g.pid.is_some() == gap.pid.is_some())
        }) {
            Some((_, all)) => all.push(gap),
            None => groups.push((unlock, vec![gap])),
        }
    }
    for (unlock, gaps) in groups {
        let sources: BTreeSet<&str> = gaps.iter().map(|g| g.source.as_str()).collect();
        let pids: BTreeSet<u32> = gaps.iter().filter_map(|g| g.pid).collect();
        let causes: BTreeSet<&str> = gaps.iter().map(|g| without_path(g)).collect();
        let first: Vec<String> = pids.iter().take(4).map(u32::to_string).collect();
        let of = match pids.len() {
            0 => String::new(),
            1..=4 => format!(" of pid {}", first.join(", ")),
            n => format!(" of {n} processes ({}, …)", first.join(", ")),
        };
        let unlock = unlock.map(|u| format!("; unlock: {u}")).unwrap_or_default();
        let all = |set: BTreeSet<&str>| set.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            out,
            "not seen: {}{of}: {}{unlock}",
            all(sources),
            all(causes)
        );
    }
}

/// The cause without the file of one process that it begins with: `/proc/4127/fd: permission denied`.
fn without_path(gap: &Gap) -> &str {
    let own = gap.pid.map(|pid| format!("/proc/{pid}/"));
    let rest = own.and_then(|own| gap.cause.strip_prefix(&own)?.split_once(": "));
    rest.map_or(&gap.cause, |(_, cause)| cause)
}

#[cfg(test)]
mod tests;
