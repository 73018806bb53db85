//! The application waits for a connection that is not established.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::diagnosis::{Code, waits};
use crate::snapshot::{Listener, ListenerState, TcpState, TcpWait, WaitTarget};

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Connect) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
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
            let confirm = format!("ss -lxp src {path}");
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
    found.evidence.extend(here(case, &stuck));
    stuck.complete(case, &mut found);
    found.remedy = format!(
        "find out why {to} does not answer (is it up, and does a firewall, a security group or a route drop the way there?), and give the connection a time-out of a few seconds"
    );
    found.confirm = confirm;
    Verdict::Found(Box::new(found))
}

fn unanswered(tcp: &TcpWait) -> String {
    match tcp.state {
        TcpState::SynSent => waits::unanswered(tcp.retransmits),
        _ => "its state could not be seen".into(),
    }
}

/// Somebody on this machine listens there, and takes nothing.
fn here(case: &Case, stuck: &Stuck) -> Option<String> {
    let Some(WaitTarget::Tcp(tcp)) = stuck.wait.map(|wait| &wait.on) else {
        return None;
    };
    let (ip, port) = tcp.peer;
    let ip = ip.to_canonical();
    let serves = |l: &&Listener| {
        let address = l.address.map(|a| a.to_canonical());
        let any = address.is_some_and(|a| a.is_unspecified()) && ip.is_loopback();
        l.state == ListenerState::Listening && l.port == port && (any || address == Some(ip))
    };
    let netns = stuck.member.process.netns;
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
            waits::address(tcp.peer)
        )
    })
}
