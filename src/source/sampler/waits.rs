//! What the threads of those who are looked at closely wait for: joins what /proc says of a thread with what sock_diag says of
//! the socket that it waits on.

use std::sync::Arc;

use super::{Sampler, Wishes};
use crate::snapshot::{Connection, Connections, Moment, ThreadWait};
use crate::source::memory;
use crate::source::netns::Namespaces;
use crate::source::netns::by_inode::{Datagram, tcp_socket, udp_socket};
use crate::source::procfs::waiting::{Asked, Sockets};
use crate::source::sock_diag::single::{TcpNow, UnixPeer};

impl Sampler {
    /// Reads them for the processes that this look has read and that are hot; what was known of others is dropped.
    pub(super) fn read_waits(&mut self, wishes: &Wishes, at: Moment) {
        for entry in self.roster.pythons_mut() {
            let key = entry.process.key;
            if entry.is_dead() || !entry.is_hot(wishes, at) {
                entry.wait_for(None);
                continue;
            }
            if !entry.was_read_at(at) {
                continue;
            }
            let mut sockets = Joined {
                pid: key.pid,
                netns: entry.process.netns,
                namespaces: &mut self.namespaces,
                listed: self.connections.of(key).cloned(),
            };
            let waits = self.waits.read(&mut Asked {
                process: &entry.process,
                now: at,
                memory: &|address, into| memory::read_exact_at(key.pid, address, into).is_ok(),
                sockets: &mut sockets,
            });
            entry.wait_for(Some(waits));
        }
        let roster = &self.roster;
        self.waits
            .retain(&|key| roster.known(key.pid).is_some_and(|e| e.waits.is_some()));
    }
}

impl super::Entry {
    /// Takes in what its threads wait for; the record is made anew if that is something else.
    fn wait_for(&mut self, waits: Option<Vec<ThreadWait>>) {
        if self.waits.as_deref() == waits.as_ref() {
            return;
        }
        self.waits = waits.map(Arc::new);
        self.record = None;
    }
}

/// Sockets of one process.
struct Joined<'a> {
    pid: u32,
    netns: Option<u64>,
    namespaces: &'a mut Namespaces,
    listed: Option<Arc<Connections>>,
}

impl Sockets for Joined<'_> {
    fn connection(&mut self, inode: u64) -> Option<Connection> {
        let listed = self.listed.as_ref()?;
        if let Some(found) = listed.list.iter().find(|c| c.inode == inode) {
            return Some(found.clone());
        }
        // Of many connections only some are listed.
        let unlisted = listed.total > listed.list.len() as u64;
        unlisted.then(|| tcp_socket(self.pid, inode)).flatten()
    }

    fn now(&mut self, connection: &Connection) -> Option<TcpNow> {
        self.namespaces.tcp_now(self.netns?, connection)
    }

    fn unix_peer(&mut self, inode: u64) -> Option<UnixPeer> {
        self.namespaces.unix_peer(self.netns?, inode)
    }

    fn udp(&mut self, inode: u64) -> Option<Datagram> {
        udp_socket(self.pid, inode)
    }
}
