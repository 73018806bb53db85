//! Whose connections are they? The kernel names inodes, the descriptors of processes say who has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::roster::{Entry, Roster};
use crate::snapshot::{Connection, Connections, ProcessKey, TcpState};

/// Connections of one process that are listed; the rest is counted.
const LISTED: usize = 256;

/// The connections of each process, as last read.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_owner: BTreeMap<ProcessKey, Arc<Connections>>,
    none: Arc<Connections>,
    changed: bool,
}

impl Held {
    /// True if anybody's have changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn of(&self, key: ProcessKey) -> Option<&Arc<Connections>> {
        self.by_owner.get(&key)
    }

    /// Drops what is known of processes that are no more.
    pub(super) fn forget(&mut self, roster: &Roster) {
        self.by_owner.retain(|key, _| roster.has(*key));
    }

    /// Takes in all connections of a namespace.
    pub(super) fn take(&mut self, roster: &Roster, netns: u64, found: &[Connection]) {
        let mut of_owners = sort_by_owner(roster, netns, found);
        for entry in members(roster, netns) {
            let key = entry.process.key;
            let now = of_owners.remove(&key);
            let before = self.by_owner.get(&key);
            // Where they are the same as before, records that have them stay as they are.
            if before.is_none_or(|held| **held != *now.as_ref().unwrap_or(&self.none)) {
                let now = now.map_or_else(|| Arc::clone(&self.none), Arc::new);
                self.by_owner.insert(key, now);
                self.changed = true;
            }
        }
    }

    /// Nothing was read because nothing can have changed: who is not known yet and has no socket for a connection has none.
    pub(super) fn leave(
        &mut self,
        roster: &Roster,
        netns: u64,
        has_none: impl Fn(ProcessKey) -> bool,
    ) {
        for entry in members(roster, netns) {
            let key = entry.process.key;
            if !self.by_owner.contains_key(&key) && has_none(key) {
                self.by_owner.insert(key, Arc::clone(&self.none));
                self.changed = true;
            }
        }
    }
}

/// Python processes in a namespace whose sockets can be seen.
fn members(roster: &Roster, netns: u64) -> impl Iterator<Item = &Entry> {
    let seen = move |e: &&Entry| e.process.netns == Some(netns) && e.process.fds.is_some();
    roster.pythons().filter(seen)
}

fn sort_by_owner(
    roster: &Roster,
    netns: u64,
    found: &[Connection],
) -> BTreeMap<ProcessKey, Connections> {
    let mut of_owners: BTreeMap<ProcessKey, Connections> = BTreeMap::new();
    if found.is_empty() {
        return of_owners;
    }
    let mut owners: BTreeMap<u64, Vec<ProcessKey>> = BTreeMap::new();
    for entry in members(roster, netns) {
        for inode in entry.process.fds.iter().flat_map(|f| f.sockets.iter()) {
            owners.entry(*inode).or_default().push(entry.process.key);
        }
    }
    for connection in found {
        for key in owners.get(&connection.inode).into_iter().flatten() {
            let all = of_owners.entry(*key).or_default();
            all.total += 1;
            count(&mut all.by_state, connection.state);
            if all.list.len() < LISTED {
                all.list.push(connection.clone());
            }
        }
    }
    for all in of_owners.values_mut() {
        all.by_state.sort_unstable();
        all.list.sort_by_key(|c| c.inode);
    }
    of_owners
}

fn count(by_state: &mut Vec<(TcpState, u64)>, state: TcpState) {
    match by_state.iter_mut().find(|(s, _)| *s == state) {
        Some((_, n)) => *n += 1,
        None => by_state.push((state, 1)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::roster::tests::python_entry;
    use super::*;

    fn connection(inode: u64, state: TcpState) -> Connection {
        let place = (IpAddr::V4(Ipv4Addr::LOCALHOST), 80);
        Connection {
            inode,
            state,
            local: place,
            peer: place,
            recv_q: 0,
            send_q: 0,
            retransmits: 0,
        }
    }

    fn with_sockets(pid: u32, netns: u64, sockets: &[u64]) -> Entry {
        let mut entry = python_entry(pid);
        entry.process.netns = Some(netns);
        if let Some(fds) = &mut entry.process.fds {
            fds.sockets = sockets.to_vec();
        }
        entry
    }

    #[test]
    fn connections_belong_to_all_who_have_them() {
        let blind = {
            let mut entry = with_sockets(4, 1, &[]);
            entry.process.fds = None;
            entry
        };
        let roster = Roster::of(vec![
            with_sockets(1, 1, &[10, 11]),
            with_sockets(2, 1, &[11]),
            with_sockets(3, 2, &[10]),
            blind,
        ]);
        let key = |pid| python_entry(pid).process.key;
        let mut held = Held::default();
        let found = [
            connection(11, TcpState::Established),
            connection(10, TcpState::CloseWait),
            connection(99, TcpState::Established),
        ];
        held.take(&roster, 1, &found);
        let first = Arc::clone(held.of(key(1)).unwrap());
        let inodes: Vec<u64> = first.list.iter().map(|c| c.inode).collect();
        assert_eq!((first.total, inodes), (2, vec![10, 11]));
        assert_eq!(held.of(key(2)).unwrap().total, 1);
        assert_eq!((held.of(key(3)), held.of(key(4))), (None, None));

        held.leave(&roster, 2, |_| false);
        assert_eq!(held.of(key(3)), None, "not read yet");
        held.leave(&roster, 2, |_| true);
        assert_eq!(held.of(key(3)).unwrap().total, 0);
        held.leave(&roster, 1, |_| true);
        assert!(Arc::ptr_eq(&first, held.of(key(1)).unwrap()));

        assert!(held.take_changed() && !held.take_changed());
        held.take(&roster, 1, &found);
        assert!(Arc::ptr_eq(&first, held.of(key(1)).unwrap()), "the same");
        assert!(!held.take_changed());
        held.take(&roster, 1, &[]);
        assert_eq!(held.of(key(1)).unwrap().total, 0);
        assert!(held.take_changed());
        held.forget(&Roster::default());
        assert_eq!(held.of(key(1)), None);
    }
}
