//! Which of the sockets that listen a process has open.

use std::collections::BTreeMap;

use crate::snapshot::{Listener, ListenerState, Process, Snapshot};

/// Sockets that listen, by namespace and inode.
pub(super) struct Sockets<'a> {
    listening: BTreeMap<(u64, u64), &'a Listener>,
}

impl<'a> Sockets<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let listening = snapshot
            .netns
            .iter()
            .flat_map(|ns| ns.listeners.iter().map(|l| ((ns.inode, l.inode), l)))
            .filter(|(_, l)| l.state == ListenerState::Listening)
            .collect();
        Self { listening }
    }

    pub(super) fn held_by(&self, process: &Process) -> Vec<&'a Listener> {
        let (Some(netns), Some(fds)) = (process.netns, &process.fds) else {
            return Vec::new();
        };
        let find = |inode: &u64| self.listening.get(&(netns, *inode)).copied();
        fds.sockets.iter().filter_map(find).collect()
    }
}
