//! What a process's connections show: that its loop turns, that requests wait unread.

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::{ListenerState, Moment, NetNs, Process, Snapshot};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// `(inode, bytes not yet read)` of each connection, by inode.
    pub(super) connections: Vec<(u64, u32)>,
    fds: u64,
}

/// Connections of clients that have sent something which nobody reads, and since when.
#[derive(Debug, Default, Clone)]
pub(super) struct Unread(Vec<(u64, Moment)>);

impl Signs {
    /// Of the connections that clients have made, by the ports that listen in the process's network namespace. Outgoing ones
    /// and files say nothing: other threads open and close them while a loop is blocked. Where there
    /// are none (unix sockets) descriptors are all there is.
    pub(super) fn of(process: &Process, ports: &BTreeSet<u16>) -> Option<Self> {
        let list = &process.connections.as_ref()?.list;
        let of_clients = list.iter().filter(|c| ports.contains(&c.local.1));
        let connections: Vec<(u64, u32)> = of_clients.map(|c| (c.inode, c.recv_q)).collect();
        let fds = process.fds.as_ref().map_or(0, |fds| fds.open);
        let fds = if connections.is_empty() { fds } else { 0 };
        Some(Self { connections, fds })
    }

    /// A blocked loop takes no connection, closes none and reads nothing. A busy one may be in the same handler at every
    /// look, but each time it has read from another connection.
    pub(super) fn show_turning_since(&self, before: &Self) -> bool {
        let others = self.connections.len() != before.connections.len();
        let mut pairs = self.connections.iter().zip(&before.connections);
        others
            || pairs.any(|(now, then)| now.0 != then.0 || now.1 < then.1)
            || self.fds != before.fds
    }
}

impl Unread {
    /// Takes in the next reading. Who reads a part of what has come reads.
    pub(super) fn observe(&mut self, before: Option<&Signs>, now: &Signs, at: Moment) {
        let unread_before = |inode: u64| {
            let of = before.and_then(|b| b.connections.iter().find(|c| c.0 == inode));
            of.map_or(0, |c| c.1)
        };
        let since = |inode: u64| self.0.iter().find(|(i, _)| *i == inode).map(|(_, s)| *s);
        let waiting = now.connections.iter().filter(|(_, bytes)| *bytes > 0);
        self.0 = waiting
            .map(|(inode, bytes)| {
                let waits_on = since(*inode).filter(|_| *bytes >= unread_before(*inode));
                (*inode, waits_on.unwrap_or(at))
            })
            .collect();
    }

    /// How many have waited for at least so long.
    pub(super) fn waiting_for(&self, seconds: f64, now: Moment) -> usize {
        let long = |since: Moment| now.seconds_since(since) >= seconds;
        self.0.iter().filter(|(_, since)| long(*since)).count()
    }
}

/// Ports that listen, by network namespace.
pub(super) fn ports_of(snapshot: &Snapshot) -> BTreeMap<u64, BTreeSet<u16>> {
    let listening = |n: &NetNs| {
        let tcp = n
            .listeners
            .iter()
            .filter(|l| l.path.is_none() && l.state == ListenerState::Listening);
        tcp.map(|l| l.port).collect()
    };
    snapshot
        .netns
        .iter()
        .map(|n| (n.inode, listening(n)))
        .collect()
}
