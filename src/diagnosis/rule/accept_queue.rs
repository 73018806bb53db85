//! The accept queue is full, or it rises and is not drained.

use super::{Case, Verdict, count, duration, finding};
use crate::diagnosis::history::Queue;
use crate::diagnosis::{Code, Member, Phase, ServerListener, Severity, sockets};

/// Full: the kernel drops what comes now.
pub(super) fn examine_full(case: &Case) -> Verdict {
    let Some((listener, queue)) = queues(case).find(|(l, q)| q.is_full() || overflows(l, q)) else {
        return Verdict::Clear;
    };
    let looks = queue
        .depths
        .iter()
        .rev()
        .take(3)
        .filter(|d| **d > queue.socket.backlog.unwrap_or(u32::MAX))
        .count();
    if looks < 2 && !overflows(listener, queue) {
        return Verdict::NotYet;
    }
    let depth = listener.socket.accept_queue.unwrap_or(0);
    let backlog = listener.socket.backlog.unwrap_or(0);
    let drops = queue.drops_per_second().filter(|d| *d > 0.0);
    let dropping = drops
        .map(|d| format!(", {d:.1} dropped per second"))
        .unwrap_or_default();
    // A server that serves is overloaded, not broken; while nothing is dropped it is a burst.
    let severity = match (case.server.phase, drops) {
        (Phase::Serving, None) => Severity::Info,
        (Phase::Serving, Some(_)) => Severity::Warning,
        _ => Severity::Critical,
    };
    let mut found = finding(
        Code::AcceptQueueFull,
        severity,
        format!(
            "the accept queue of {} is full: {} for a backlog of {backlog}{dropping}; new clients time out",
            sockets::address(&listener.socket),
            count(depth as usize, "connection"),
        ),
    );
    found.evidence.push(super::socket_evidence(case));
    if let Some(total) = listener.socket.drops {
        found.evidence.push(format!(
            "{total} connections dropped by this socket so far (sock_diag, sk_drops)"
        ));
    }
    found.remedy = "accept faster: look at what keeps the workers; a longer backlog (and net.core.somaxconn) only helps with bursts".into();
    found.confirm = confirm(listener);
    Verdict::Found(Box::new(found))
}

/// Growing: connections come and none is taken.
pub(super) fn examine_growing(case: &Case) -> Verdict {
    let growing =
        queues(case).find(|(_, q)| q.grown > 0 && q.stuck_since.is_some() && !q.is_full());
    let Some((listener, queue)) = growing else {
        return Verdict::Clear;
    };
    // Somebody takes from it all the time: it is as deep at every look because it is filled again in between.
    let is_taken =
        |m: &Member| m.phase == Phase::Serving && listener.holders.contains(&m.process.key.pid);
    if case.workers().any(is_taken) {
        return Verdict::Clear;
    }
    let stuck = queue.stuck_s(case.at);
    if stuck < case.thresholds.queue_stuck_s {
        return Verdict::NotYet;
    }
    let booting = case.server.phase == Phase::Listening;
    let severity = if booting {
        case.severity_of_delay(stuck)
    } else {
        case.severity_of_stall(stuck)
    };
    let mut found = finding(
        Code::AcceptQueueGrowing,
        severity,
        format!(
            "the accept queue of {} has grown by {} in {} and is not drained",
            sockets::address(&listener.socket),
            queue.grown,
            duration(stuck),
        ),
    );
    found.evidence.push(super::socket_evidence(case));
    found.remedy = "nobody accepts: look at what the workers do".into();
    found.confirm = confirm(listener);
    Verdict::Found(Box::new(found))
}

fn queues<'a>(case: &Case<'a>) -> impl Iterator<Item = (&'a ServerListener, &'a Queue)> {
    let history = case.history;
    case.listening()
        .filter_map(move |l| Some((l, history.queue(l.netns, l.socket.inode)?)))
}

/// Drops of the last seconds count as overflow where the queue is near its end: a listener also drops what is malformed.
fn overflows(listener: &ServerListener, queue: &Queue) -> bool {
    let near = match (listener.socket.accept_queue, listener.socket.backlog) {
        (Some(depth), Some(backlog)) => depth >= backlog.max(1),
        _ => false,
    };
    near && queue.drops_per_second().is_some_and(|d| d > 0.0)
}

fn confirm(listener: &ServerListener) -> String {
    match listener.socket.port {
        0 => "ss -lxn".into(),
        port => format!("ss -ltn 'sport = :{port}'"),
    }
}
