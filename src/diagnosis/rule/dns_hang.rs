//! The application waits for a name to resolve.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::diagnosis::{Code, waits};
use crate::snapshot::WaitTarget;

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Name) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let pid = stuck.member.process.key.pid;
    let asked = asked(&stuck);
    let asking = asked
        .as_ref()
        .map(|a| format!(", asking {a}"))
        .unwrap_or_default();
    let mut found = finding(
        Code::DnsHang,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for a name to resolve{asking}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.stood_s),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    let server = asked.unwrap_or_else(|| "the name server".into());
    found.remedy = format!(
        "check that {server} answers, and /etc/resolv.conf of the process (nameserver, search, options timeout and attempts); a lookup takes no time-out of Python's, so resolve on another thread and give up on that"
    );
    found.confirm = format!("cat /proc/{pid}/root/etc/resolv.conf; ss -unp | grep 'pid={pid},'");
    Verdict::Found(Box::new(found))
}

/// Whom it asks.
fn asked(stuck: &Stuck) -> Option<String> {
    match &stuck.wait?.on {
        WaitTarget::Udp { peer: Some(peer) } => Some(waits::address(*peer)),
        WaitTarget::Tcp(tcp) => Some(waits::address(tcp.peer)),
        WaitTarget::Unix {
            path: Some(path), ..
        } => Some(path.clone()),
        _ => None,
    }
}
