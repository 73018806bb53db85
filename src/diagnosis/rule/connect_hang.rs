//! The application waits for a connection that is not established.

use std::net::IpAddr;

use super::{Case, Verdict, duration, finding, shell_word, socket_evidence, task_words};
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::diagnosis::task::{self, suspect};
use crate::diagnosis::{Code, Phase, frames, waits};
use crate::snapshot::{
    Connection, Listener, ListenerState, Process, Task, TcpState, TcpWait, WaitOn, WaitTarget,
};

pub(super) fn examine(case: &Case) -> Verdict {
    match stuck::because(case, Reason::Connect) {
        Ok(stuck) => of_thread(case, &stuck),
        Err(Verdict::Clear) => of_task(case).unwrap_or(Verdict::Clear),
        Err(verdict) => verdict,
    }
}

fn of_thread(case: &Case, stuck: &Stuck) -> Verdict {
    let Some(wait) = stuck.wait else {
        return Verdict::Clear;
    };
    let (to, how, confirm) = match &wait.on {
        WaitTarget::Tcp(tcp) => {
            let to = waits::address(tcp.peer);
            let confirm = format!("ss -tnop state syn-sent dst {to}");
            (to, unanswered(tcp), confirm)
        }
        WaitTarget::Unix { path, .. } => {
            let path = path.clone().unwrap_or_default();
            let confirm = format!("ss -lxp src {}", shell_word(&path));
            (
                format!("unix socket {path}"),
                "nobody accepts it".to_owned(),
                confirm,
            )
        }
        _ => return Verdict::Clear,
    };
    let mut found = finding(
        Code::ConnectHang,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for a connection to {to} ({how}): {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.lasted_s(case)),
            stuck.effect(case)
        ),
    );
    if let WaitTarget::Tcp(tcp) = &wait.on {
        found
            .evidence
            .extend(here(case, &stuck.member.process, tcp.peer));
    }
    stuck.complete(case, &mut found);
    found.remedy = remedy(&to);
    found.confirm = confirm;
    Verdict::Found(Box::new(found))
}

/// Startup awaits a connection on an idle loop: its task says that, the kernel how the connection stands.
fn of_task(case: &Case) -> Option<Verdict> {
    let (member, track) = case.boots(Phase::Starting)?;
    let graph = track.standing.graph()?;
    let way = graph.way_from(suspect::startup(graph)?);
    let end = graph.task(*way.last()?)?;
    let connection = awaited(&member.process, end)?;
    let stood = task_words::stood_s(&track.standing, graph, &way);
    if stood < case.thresholds.standing_s || connection.retransmits == 0 {
        return Some(Verdict::NotYet);
    }
    let frame = way
        .iter()
        .rev()
        .filter_map(|at| graph.task(*at))
        .find_map(task::own_frame);
    let place = frame.map_or_else(String::new, |f| format!(" in {}", frames::place(f)));
    let to = waits::address(connection.peer);
    let lasted = stood.max(waits::connecting_s(connection.retransmits));
    let mut found = finding(
        Code::ConnectHang,
        case.severity_of_delay(case.age_s(member)),
        format!(
            "startup has awaited a connection to {to}{place} for at least {} ({}): nothing is served before it ends (process is {} old)",
            duration(lasted),
            waits::unanswered(connection.retransmits),
            duration(case.age_s(member))
        ),
    );
    found.culprit = frame.map(frames::culprit_of);
    found.evidence.push(format!(
        "{} (sock_diag)",
        waits::connecting_words(connection)
    ));
    found
        .evidence
        .extend(here(case, &member.process, connection.peer));
    found
        .evidence
        .extend(task_words::details(graph, *way.last()?));
    found.evidence.push(socket_evidence(case));
    found.remedy = remedy(&to);
    found.confirm = format!("ss -tnop state syn-sent dst {to}");
    Some(Verdict::Found(Box::new(found)))
}

/// The connection that a task waits for: by the address that it was given, or the only one that is being made.
fn awaited<'a>(process: &'a Process, task: &Task) -> Option<&'a Connection> {
    let WaitOn::Connect { address } = &task::waits(task)?.on else {
        return None;
    };
    let named = |c: &&Connection| address.as_ref() == Some(&waits::address(c.peer));
    let mut all = waits::connecting(process);
    let only = || all.next().filter(|_| all.next().is_none());
    waits::connecting(process).find(named).or_else(only)
}

fn remedy(to: &str) -> String {
    format!(
        "find out why {to} does not answer (is it up, and does a firewall, a security group or a route drop the way there?), and give the connection a time-out of a few seconds"
    )
}

fn unanswered(tcp: &TcpWait) -> String {
    match tcp.state {
        TcpState::SynSent => waits::unanswered(tcp.retransmits),
        _ => "its state could not be seen".into(),
    }
}

/// Somebody on this machine listens there, and takes nothing.
fn here(case: &Case, process: &Process, peer: (IpAddr, u16)) -> Option<String> {
    let (ip, port) = peer;
    let ip = ip.to_canonical();
    let serves = |l: &&Listener| {
        let address = l.address.map(|a| a.to_canonical());
        let any = address.is_some_and(|a| a.is_unspecified()) && ip.is_loopback();
        l.state == ListenerState::Listening && l.port == port && (any || address == Some(ip))
    };
    let netns = process.netns;
    let all = case
        .snapshot
        .netns
        .iter()
        .filter(|n| Some(n.inode) == netns);
    let listener = all.flat_map(|n| &n.listeners).find(serves)?;
    let (depth, backlog) = (listener.accept_queue?, listener.backlog?);
    (depth > backlog).then(|| {
        format!(
            "a process of this machine listens on {}, and its accept queue is full: {depth} wait, its backlog is {backlog} (sock_diag)",
            waits::address(peer)
        )
    })
}
