//! Of several sockets that share a port (SO_REUSEPORT) one is not drained: the kernel goes on to give it its share of clients.

use super::{Case, Verdict, count, duration, finding};
use crate::diagnosis::history::Queue;
use crate::diagnosis::{Code, Finding, Phase, ServerListener, Severity, frames, sockets};

pub(super) fn examine(case: &Case) -> Verdict {
    let queues: Vec<(&ServerListener, &Queue)> = case
        .listening()
        .filter(|l| l.socket.port != 0)
        .filter_map(|l| Some((l, case.history.queue(l.netns, l.socket.inode)?)))
        .collect();
    let shares = |a: &ServerListener, b: &ServerListener| {
        let place = |l: &ServerListener| (l.netns, l.socket.address, l.socket.port);
        place(a) == place(b) && a.socket.inode != b.socket.inode
    };
    let stuck = |q: &Queue| q.stuck_s(case.at);
    // Who takes one after the other is busy, however full its queue is at each look.
    let is_taken = |l: &ServerListener| {
        let mut workers = case.workers();
        workers.any(|m| m.phase == Phase::Serving && l.holders.contains(&m.process.key.pid))
    };
    let worst = queues
        .iter()
        .filter(|(l, q)| q.stuck_since.is_some() && !is_taken(l))
        .max_by(|a, b| stuck(a.1).total_cmp(&stuck(b.1)));
    let Some((listener, queue)) = worst else {
        return Verdict::Clear;
    };
    let siblings = queues.iter().filter(|(l, _)| shares(l, listener));
    let drained: Vec<&ServerListener> = siblings
        .filter(|(_, q)| stuck(q) < case.thresholds.queue_stuck_s)
        .map(|(l, _)| *l)
        .collect();
    if drained.is_empty() {
        return Verdict::Clear;
    }
    if stuck(queue) < case.thresholds.queue_stuck_s {
        return Verdict::NotYet;
    }
    let severity = match case.severity_of_stall(stuck(queue)) {
        Severity::Info => Severity::Info,
        _ => Severity::Warning,
    };
    Verdict::Found(Box::new(found(case, listener, queue, &drained, severity)))
}

fn found(
    case: &Case,
    listener: &ServerListener,
    queue: &Queue,
    drained: &[&ServerListener],
    severity: Severity,
) -> Finding {
    let depth = listener.socket.accept_queue.unwrap_or(0) as usize;
    let holder = case
        .workers()
        .find(|m| listener.holders.contains(&m.process.key.pid));
    let pid = holder.map_or(case.server.pid, |m| m.process.key.pid);
    let main = holder.and_then(|m| m.process.main_stack());
    let at = main.and_then(frames::application_frame).map(|(_, f)| f);
    let place = at.map_or_else(String::new, |f| {
        format!(", which stands in {}", frames::place(f))
    });
    let mut found = finding(
        Code::UnevenListeners,
        severity,
        format!(
            "one of {} sockets on {} is not drained: {} of pid {pid}{place} for at least {}, while the others are taken",
            drained.len() + 1,
            sockets::address(&listener.socket),
            waiting(depth),
            duration(queue.stuck_s(case.at)),
        ),
    );
    found.culprit = at.map(frames::culprit_of);
    for l in std::iter::once(&listener).chain(drained.iter().take(4)) {
        let holders: Vec<String> = l.holders.iter().map(u32::to_string).collect();
        found.evidence.push(format!(
            "the socket of pid {} has {} in its accept queue (sock_diag)",
            holders.join(", "),
            count(l.socket.accept_queue.unwrap_or(0) as usize, "connection"),
        ));
    }
    if let Some(main) = main {
        found.evidence.push(format!(
            "main thread of pid {pid}: {} (Python stack)",
            super::loop_blocked::doing(main)
        ));
    }
    found.remedy = format!(
        "end pid {pid}, so that its supervisor replaces it; net.ipv4.tcp_migrate_req=1 (5.14 and newer) lets the others take what waits there"
    );
    found.confirm = format!("ss -ltnp 'sport = :{}'", listener.socket.port);
    found
}

fn waiting(depth: usize) -> String {
    match depth {
        1 => "1 connection waits in that".to_owned(),
        n => format!("{n} connections wait in that"),
    }
}
