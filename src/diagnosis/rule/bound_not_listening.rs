//! A port is bound and `listen()` has not been called: connections are refused, whatever the log says.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::{Code, Phase, Role, Severity, sockets};

pub(super) fn examine(case: &Case) -> Verdict {
    if case.server.phase != Phase::Bound {
        return Verdict::Clear;
    }
    let Some(listener) = case.server.listeners.iter().find(|l| !l.side) else {
        return Verdict::Clear;
    };
    let since = case.at.seconds_since(case.server.since);
    if since < case.thresholds.standing_s {
        return Verdict::NotYet;
    }
    let address = sockets::address(&listener.socket);
    let workers: Vec<_> = case.workers().collect();
    let age = workers.iter().map(|m| case.age_s(m)).fold(since, f64::max);
    let severity = if workers.is_empty() {
        Severity::Critical
    } else {
        case.severity_of_delay(age)
    };
    let who = match workers.first().map(|m| m.role) {
        None => "no process is there to listen",
        Some(Role::Single) => "it has not got that far",
        Some(_) => "its workers have not got that far",
    };
    let mut found = finding(
        Code::BoundNotListening,
        severity,
        format!(
            "{address} is bound but nobody has called listen() for at least {}: {who}, connections are refused",
            duration(since)
        ),
    );
    let holders: Vec<String> = listener.holders.iter().map(u32::to_string).collect();
    found.evidence.push(format!(
        "the socket is held by pid {} (/proc/PID/fd)",
        holders.join(", ")
    ));
    found.evidence.push(format!(
        "{address} is bound and in no table of listening sockets (sock_diag, TCP_BOUND_INACTIVE)"
    ));
    found.remedy = "do not trust a log line like \"running on http://…\": it is written after bind(); look at why startup does not end".into();
    found.confirm = format!(
        "ss -ltn 'sport = :{}'   # shows nothing",
        listener.socket.port
    );
    Verdict::Found(Box::new(found))
}
