//! Which sockets are a server's own, which stand beside it, and who takes connections from them.

use std::net::SocketAddr;
use std::sync::Arc;

use super::family::{Family, is_private};
use super::framework::{self, Says};
use super::history::History;
use super::{Kind, Role, ServerListener, debugger, kind};
use crate::snapshot::{Family as SocketFamily, Listener, ListenerState, Process, Snapshot, Stack};

/// The sockets of a server, its own first, then side ports; in each part those that listen first, then by port and path.
pub fn of(family: &Family, snapshot: &Snapshot, history: &History) -> Vec<ServerListener> {
    let mut found: Vec<ServerListener> = Vec::new();
    for netns in &snapshot.netns {
        for socket in &netns.listeners {
            if let Some(listener) = describe(family, history, netns.inode, socket) {
                found.push(listener);
            }
        }
    }
    demote(family, &mut found);
    found.sort_by(|a, b| rank(a).cmp(&rank(b)));
    found
}

fn rank(l: &ServerListener) -> (bool, bool, u16, Option<&str>, SocketFamily, u64) {
    let bound = l.socket.state == ListenerState::Bound;
    (
        l.side,
        bound,
        l.socket.port,
        l.socket.path.as_deref(),
        l.socket.family,
        l.socket.inode,
    )
}

fn describe(
    family: &Family,
    history: &History,
    netns: u64,
    socket: &Listener,
) -> Option<ServerListener> {
    let holders: Vec<&(Arc<Process>, Role)> = family
        .members
        .iter()
        .filter(|(p, _)| p.netns == Some(netns) && holds(p, socket.inode))
        .collect();
    if holders.iter().all(|(_, role)| *role == Role::Helper) {
        return None;
    }
    let queue = history.queue(netns, socket.inode);
    Some(ServerListener {
        socket: socket.clone(),
        netns,
        side: is_private(socket) || is_taken_beside(family.kind, &holders, socket.inode),
        holders: holders.iter().map(|(p, _)| p.key.pid).collect(),
        accepting: takers(&holders, socket.inode),
        depth_history: queue.map(|q| q.depths.clone()).unwrap_or_default(),
        drops_per_second: queue.and_then(|q| q.drops_per_second()),
    })
}

/// The address of a socket as people write it: `0.0.0.0:8000`, `[::]:8000`, `unix:/run/api.sock`.
pub fn address(socket: &Listener) -> String {
    match (socket.family, &socket.path, socket.address) {
        (_, Some(path), _) => format!("unix:{path}"),
        (SocketFamily::Unix, None, _) => "unix:(unnamed)".to_owned(),
        (_, None, Some(ip)) => SocketAddr::new(ip, socket.port).to_string(),
        (_, None, None) => format!("?:{}", socket.port),
    }
}

/// True if the process has a connection that can only have come out of this socket's accept queue: its local port is the
/// listener's.
pub fn has_taken_from(process: &Process, socket: &Listener) -> bool {
    let of_port =
        |c: &crate::snapshot::Connection| socket.path.is_none() && c.local.1 == socket.port;
    process
        .connections
        .as_ref()
        .is_some_and(|c| c.list.iter().any(of_port))
}

/// True if the process could not be where it is without having been ready to accept: a gunicorn worker that has beaten, a
/// loop that polls for connections, or a handler below one. Under load, or without the GIL, it may never be seen waiting for
/// the next.
pub fn is_past_boot(process: &Process) -> bool {
    process.heartbeat.is_some_and(|h| h.age_ms.is_some())
        || process
            .main_stack()
            .is_some_and(|s| framework::says(s, Says::Takes) || framework::says(s, Says::Accepts))
}

fn holds(process: &Process, inode: u64) -> bool {
    process
        .fds
        .as_ref()
        .is_some_and(|f| f.sockets.binary_search(&inode).is_ok())
}

fn takers(holders: &[&(Arc<Process>, Role)], inode: u64) -> Option<Vec<u32>> {
    let seen: Vec<_> = holders
        .iter()
        .filter_map(|(p, _)| p.accepting.as_ref().map(|a| (p.key.pid, a)))
        .collect();
    if seen.is_empty() {
        return None;
    }
    let taking = seen
        .iter()
        .filter(|(_, a)| a.iter().any(|a| a.inode == inode));
    Some(taking.map(|(pid, _)| *pid).collect())
}

/// True if every thread that waits for this socket is one that the server's kind does not accept on: another thread than
/// the main one, with a Python stack that shows none of the kind's frames; or any that waits for a debugger.
fn is_taken_beside(kind: Kind, holders: &[&(Arc<Process>, Role)], inode: u64) -> bool {
    let mut waits = holders
        .iter()
        .flat_map(|(p, _)| {
            p.accepting
                .iter()
                .flatten()
                .filter(|a| a.inode == inode)
                .map(move |a| (p, a.tid))
        })
        .peekable();
    let beside = |process: &Process, tid| {
        awaits_debugger(process, tid)
            || kind.knows_its_loop() && is_foreign_thread(kind, process, tid)
    };
    waits.peek().is_some() && waits.all(|(process, tid)| beside(process, tid))
}

/// True if whoever waits for this socket in a process is known to do so for the server: the main thread, an epoll set, a
/// thread in frames of the server's kind, or one without Python frames. While the stacks are not seen, another thread may
/// as well serve a side port.
pub fn surely_takes(kind: Kind, process: &Process, inode: u64) -> bool {
    let seen = process.python.as_ref().is_some_and(|p| p.stacks.is_some());
    let main = process.key.pid;
    let sure = |tid: Option<u32>| {
        tid.is_none_or(|tid| tid == main) || seen && !is_foreign_thread(kind, process, tid)
    };
    let mut waits = process
        .accepting
        .iter()
        .flatten()
        .filter(|a| a.inode == inode);
    waits.any(|a| !awaits_debugger(process, a.tid) && (!kind.knows_its_loop() || sure(a.tid)))
}

/// The thread has opened a port for a debugger, and waits there for it.
fn awaits_debugger(process: &Process, tid: Option<u32>) -> bool {
    stack_of(process, tid).is_some_and(debugger::is_awaited)
}

fn stack_of(process: &Process, tid: Option<u32>) -> Option<&Stack> {
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    stacks
        .list
        .iter()
        .find(|stack| stack.tid == tid && tid.is_some())
}

fn is_foreign_thread(kind: Kind, process: &Process, tid: Option<u32>) -> bool {
    let Some(tid) = tid.filter(|tid| *tid != process.key.pid) else {
        return false;
    };
    stack_of(process, Some(tid)).is_some_and(|stack| kind::by_stack(stack) != Some(kind))
}

/// A bound socket beside listening ones is kept for later (granian), and where the command line names a port that is
/// there, what listens elsewhere without anybody accepting is not it.
fn demote(family: &Family, listeners: &mut [ServerListener]) {
    let listens = listeners
        .iter()
        .any(|l| !l.side && l.socket.state == ListenerState::Listening);
    let wanted = kind::wanted_port(&family.root.cmdline).filter(|port| *port != 0);
    let is_wanted = |l: &ServerListener| wanted == Some(l.socket.port) && l.socket.path.is_none();
    let there = listeners.iter().any(is_wanted);
    // Nothing has the port yet that it was asked for: a port that it was not asked for is another matter.
    let to_come = wanted.is_some() && !there && family.kind.knows_its_loop();
    for listener in listeners {
        let bound = listener.socket.state == ListenerState::Bound;
        let unix = listener.socket.family == SocketFamily::Unix;
        let idle = listener.accepting.as_ref().is_none_or(Vec::is_empty);
        let elsewhere = there && !unix && wanted != Some(listener.socket.port) && (bound || idle);
        listener.side |= (bound && listens) || elsewhere || to_come && !unix;
    }
}
