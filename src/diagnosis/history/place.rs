//! Where a thread stands, and what shows that its loop turns.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::diagnosis::frames;
use crate::snapshot::{ListenerState, Moment, NetNs, Process, Snapshot, Stack, Stacks};

/// Where the main thread stands, and since when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Since when it has been in the same functions down to the application's innermost one.
    pub since: Moment,
    /// Looks at it in that time.
    pub looks: u32,
    /// Since when every frame and line has been the same.
    pub still_since: Moment,
    pub(super) chain: u64,
    pub(super) exact: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// `(inode, bytes not yet read)` of each connection, by inode.
    pub(super) connections: Vec<(u64, u32)>,
    fds: u64,
}

impl Place {
    /// Takes in a stack; true if the thread has moved to other functions or lines above the application's own.
    pub(super) fn move_to(&mut self, stack: &Stack, at: Moment) -> bool {
        let (chain, exact) = fingerprints(stack);
        self.looks = self.looks.saturating_add(1);
        if exact != self.exact {
            self.exact = exact;
            self.still_since = at;
        }
        if chain == self.chain {
            return false;
        }
        let first = self.chain == 0;
        self.chain = chain;
        self.since = at;
        self.looks = 1;
        !first
    }
}

/// Of a stack: the functions down to the application's innermost one with the lines above it, and all frames with all lines.
fn fingerprints(stack: &Stack) -> (u64, u64) {
    let depth = frames::application_frame(stack).map_or(stack.frames.len(), |(at, _)| at + 1);
    let mut chain = DefaultHasher::new();
    let mut exact = DefaultHasher::new();
    for (at, frame) in stack.frames.iter().enumerate() {
        frame.hash(&mut exact);
        if at < depth {
            frame.function.hash(&mut chain);
            frame.file.hash(&mut chain);
        }
        if at + 1 < depth {
            frame.line.hash(&mut chain);
        }
    }
    (chain.finish() | 1, exact.finish())
}

/// A fingerprint of where all threads but the main one stand.
pub(super) fn other_places(stacks: &Stacks, main: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    for stack in stacks.list.iter().filter(|s| s.tid != Some(main)) {
        stack.tid.hash(&mut hasher);
        fingerprints(stack).0.hash(&mut hasher);
    }
    hasher.finish()
}

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
