//! The server serves, and clients cannot get to it: it listens where they do not come from.

use std::net::IpAddr;

use super::{Case, Verdict, finding};
use crate::diagnosis::{Code, Finding, Kind, Phase, ServerListener, Severity, sockets};
use crate::snapshot::{Family, Listener, ListenerState, NetNs, TcpState};

/// On loopback only, inside a namespace that is reached by another interface.
pub(super) fn examine_loopback(case: &Case) -> Verdict {
    let Some((listener, netns)) = own_listener(case) else {
        return Verdict::Clear;
    };
    let own: Vec<&ServerListener> = case.listening().collect();
    let loopback = |l: &&ServerListener| l.socket.address.is_some_and(|ip| is_loopback(&ip));
    let inside = netns.host == Some(false) && netns.has_other_interface == Some(true);
    if !inside || !own.iter().all(loopback) {
        return Verdict::Clear;
    }
    Verdict::Found(Box::new(loopback_only(case, listener, netns)))
}

/// The first of the server's own sockets, if it takes connections.
fn own_listener<'a>(case: &Case<'a>) -> Option<(&'a ServerListener, &'a NetNs)> {
    if !matches!(case.server.phase, Phase::Serving | Phase::Listening) {
        return None;
    }
    let listener = case.listening().next()?;
    let mut all = case.snapshot.netns.iter();
    let netns = all.find(|n| n.inode == listener.netns)?;
    Some((listener, netns))
}

fn is_loopback(ip: &IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn loopback_only(case: &Case, listener: &ServerListener, netns: &NetNs) -> Finding {
    let pid = case.server.pid;
    let address = sockets::address(&listener.socket);
    let port = listener.socket.port;
    let beside = proxy(case, netns);
    // Whoever looks from inside may be somebody who works in there.
    let severity = if beside.is_some() || netns.own || has_local_client(case, port) {
        Severity::Info
    } else {
        Severity::Warning
    };
    let mut found = finding(
        Code::LoopbackOnly,
        severity,
        format!(
            "{address} is on loopback inside a network namespace of its own: clients that come in over its other interface are refused"
        ),
    );
    found.evidence.push(format!(
        "all of its sockets that listen are on loopback: {address} (sock_diag)"
    ));
    found.evidence.push(format!(
        "its network namespace net:[{}] is not the machine's first one, and has an interface besides loopback that is up (/proc/{pid}/ns/net, /proc/{pid}/net/route)",
        netns.inode
    ));
    if let Some(other) = beside {
        found.evidence.push(format!(
            "{} listens in the same namespace, and may be a proxy for it (sock_diag)",
            sockets::address(other)
        ));
    }
    found.remedy = format!(
        "let it listen on all addresses of the container: {}",
        on_all_addresses(case.server.kind, port)
    );
    found.confirm = format!("sudo nsenter -t {pid} -n ss -ltn 'sport = :{port}'");
    found
}

/// A socket of somebody else in the namespace that can be reached from outside.
fn proxy<'a>(case: &Case, netns: &'a NetNs) -> Option<&'a Listener> {
    let own = |inode: u64| {
        case.server
            .listeners
            .iter()
            .any(|l| l.socket.inode == inode)
    };
    netns.listeners.iter().find(|l| {
        let outside = l.address.is_some_and(|ip| !is_loopback(&ip));
        l.state == ListenerState::Listening && outside && !own(l.inode)
    })
}

fn has_local_client(case: &Case, port: u16) -> bool {
    client(case, port, |ip| is_loopback(&ip))
}

fn client(case: &Case, port: u16, from: impl Fn(IpAddr) -> bool) -> bool {
    let connections = case
        .workers()
        .filter_map(|m| m.process.connections.as_ref());
    connections
        .flat_map(|c| &c.list)
        .any(|c| c.local.1 == port && c.state == TcpState::Established && from(c.peer.0))
}

fn on_all_addresses(kind: Kind, port: u16) -> String {
    match kind {
        Kind::Uvicorn | Kind::Granian => "--host 0.0.0.0".into(),
        Kind::Gunicorn | Kind::Hypercorn => format!("-b 0.0.0.0:{port}"),
        Kind::Daphne => "-b 0.0.0.0".into(),
        Kind::Django => format!("runserver 0.0.0.0:{port}"),
        Kind::Flask => "--host 0.0.0.0, app.run(host=\"0.0.0.0\")".into(),
        Kind::Waitress => format!("--listen=*:{port}"),
        _ => "host \"0.0.0.0\" instead of \"127.0.0.1\" or \"localhost\"".into(),
    }
}

/// On IPv6 only, though it looks as if it were on all addresses.
pub(super) fn examine_ipv6(case: &Case) -> Verdict {
    let Some((_, netns)) = own_listener(case) else {
        return Verdict::Clear;
    };
    let only_v6 = |l: &&ServerListener| {
        let all = l.socket.address.is_some_and(|ip| ip.is_unspecified());
        l.socket.family == Family::Tcp6 && l.socket.v6only == Some(true) && all
    };
    let Some(listener) = case.listening().find(only_v6) else {
        return Verdict::Clear;
    };
    let port = listener.socket.port;
    let is_twin = |l: &Listener| l.family == Family::Tcp4 && l.port == port;
    if netns.listeners.iter().any(is_twin) {
        return Verdict::Clear;
    }
    // Somebody does come over IPv6, from elsewhere: it is meant so.
    let meant = client(case, port, |ip| !is_loopback(&ip));
    let severity = if meant {
        Severity::Info
    } else {
        Severity::Warning
    };
    let address = sockets::address(&listener.socket);
    let mut found = finding(
        Code::Ipv6Only,
        severity,
        format!(
            "{address} takes IPv6 only, and nothing listens on port {port} over IPv4: clients that use IPv4 are refused"
        ),
    );
    found.evidence.push(format!(
        "IPV6_V6ONLY is set on {address} (sock_diag, INET_DIAG_SKV6ONLY)"
    ));
    found.evidence.push(format!(
        "no socket of the namespace net:[{}] has port {port} over IPv4 (sock_diag)",
        netns.inode
    ));
    found.remedy = match case.server.kind {
        Kind::Gunicorn => format!("bind both: -b 0.0.0.0:{port} -b '[::]:{port}'"),
        Kind::Hypercorn => format!("bind both: -b 0.0.0.0:{port} -b '[::]:{port}'"),
        Kind::Uvicorn => "listen on 0.0.0.0, or hand over a socket for both (--fd, IPV6_V6ONLY off): a single uvicorn process sets it for [::]".into(),
        _ => "listen on 0.0.0.0 as well, or switch IPV6_V6ONLY off before bind()".into(),
    };
    found.confirm = format!("ss -ltne 'sport = :{port}' | grep v6only");
    Verdict::Found(Box::new(found))
}
