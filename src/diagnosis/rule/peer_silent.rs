//! The application is connected and waits for an answer that does not come.

use super::{Case, Verdict, duration, finding, shell_word};
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::diagnosis::{Code, waits};
use crate::snapshot::{TcpState, TcpWait, ThreadWait, WaitTarget};

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Peer) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let Some(wait) = stuck.wait else {
        return Verdict::Clear;
    };
    let is_client =
        matches!(&wait.on, WaitTarget::Tcp(tcp) if stuck::is_incoming(case, &stuck, tcp));
    let is_itself =
        matches!(&wait.on, WaitTarget::Tcp(tcp) if !is_client && is_own_port(case, tcp));
    let (peer, what, confirm) = match &wait.on {
        WaitTarget::Tcp(tcp) => {
            let peer = waits::address(tcp.peer);
            let confirm = format!("ss -tnip dst {peer}");
            let what = match is_client && !waits::is_write(wait) {
                true => "what its client would send".to_owned(),
                false => answer(wait, tcp),
            };
            (peer, what, confirm)
        }
        WaitTarget::Unix { path, .. } => {
            let path = path.clone().unwrap_or_default();
            let confirm = format!("ss -xp dst {}", shell_word(&path));
            (
                format!("unix socket {path}"),
                "an answer".to_owned(),
                confirm,
            )
        }
        _ => return Verdict::Clear,
    };
    let mut found = finding(
        Code::PeerSilent,
        stuck.severity,
        format!(
            "{}{} has waited {} for {what} from {peer}{}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.lasted_s(case)),
            if is_itself {
                ", which is this server itself"
            } else {
                ""
            },
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.evidence.extend(traffic(case, &stuck));
    found.remedy = match is_client {
        _ if is_itself => "a request must not wait for another request to the same server: call the function itself, or await the call without blocking, and give it a time-out; more workers only move the limit".into(),
        true => "one client that says nothing must not hold up all others: give connections a time-out (timeout of the handler class, settimeout), serve each in a thread of its own, or put a proxy in front that buffers".into(),
        false => remedy(&stuck, &peer),
    };
    found.confirm = confirm;
    Verdict::Found(Box::new(found))
}

/// True if the other end of a connection is one of the server's own ports.
fn is_own_port(case: &Case, tcp: &TcpWait) -> bool {
    let (ip, port) = tcp.peer;
    // Both ends of a connection to an address of this machine have that address.
    let is_here = ip.is_loopback() || tcp.local.is_some_and(|(local, _)| local == ip);
    case.listening().any(|listener| {
        let on = listener.socket.address;
        listener.socket.port == port
            && is_here
            && on.is_some_and(|on| on.is_unspecified() || on == ip)
    })
}

fn answer(wait: &ThreadWait, tcp: &TcpWait) -> String {
    match tcp.state {
        _ if waits::is_write(wait) => format!(
            "room for {} bytes that it has sent, which are not taken",
            tcp.send_q
        ),
        TcpState::CloseWait => "an answer on a connection that was closed".into(),
        _ => "an answer".into(),
    }
}

/// What went over the connection last, by the kernel.
fn traffic(case: &Case, stuck: &Stuck) -> Option<String> {
    let Some(WaitTarget::Tcp(tcp)) = stuck.wait.map(|wait| &wait.on) else {
        return None;
    };
    let ago = |at| duration(case.at.seconds_since(at));
    let (heard, sent) = (ago(tcp.heard?), ago(tcp.sent?));
    let unacknowledged = match tcp.send_q {
        0 => "everything sent is acknowledged: the other side is there and does not answer"
            .to_owned(),
        bytes => format!(
            "{bytes} bytes are not acknowledged after {}",
            super::count(usize::from(tcp.retransmits), "retransmit")
        ),
    };
    Some(format!(
        "nothing has come for {heard} and nothing was sent for {sent}, {unacknowledged} (sock_diag, tcp_info)"
    ))
}

fn remedy(stuck: &Stuck, peer: &str) -> String {
    let lost = matches!(stuck.wait.map(|w| &w.on), Some(WaitTarget::Tcp(tcp)) if tcp.send_q > 0 && tcp.retransmits > 1);
    if lost {
        return format!(
            "nothing reaches {peer} any more: check the network between, and give the call a read time-out and TCP keepalive"
        );
    }
    format!(
        "look at {peer}, which has the request (a lock or a long statement in a database, a service that is stuck itself), and give the call a read time-out"
    )
}
