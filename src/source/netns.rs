//! What each network namespace that a Python process lives in looks like: its listeners, its counters, whether it has an
//! interface besides loopback. Which namespaces those are is the sampler's to say.
//!
//! ```text
//!  own namespace ───────────────────────────▶ sock_diag
//!  another ── setns allowed (CAP_SYS_ADMIN) ─▶ sock_diag, by a socket that stays in it
//!          └─ not allowed ─▶ Gap, and /proc/PID/net/{tcp,tcp6,unix}: no backlog, no drops, no bound sockets
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::sock_diag::single::{TcpNow, UnixPeer};
use super::sock_diag::{Diag, DiagError};
use crate::snapshot::{Connection, Gap, Moment, NetNs};

pub mod by_inode;
mod counters;
mod home;
mod interfaces;
mod known;
mod table;
mod walk;

use known::{Access, Known, Look, Through};

/// Namespaces that are known, each by what answers for it. A socket in a namespace keeps it alive, so that one that is
/// not asked for any more is forgotten at once.
#[derive(Debug, Default)]
pub struct Namespaces {
    own: Option<u64>,
    /// True if its own is the machine's first one.
    own_is_host: Option<bool>,
    known: BTreeMap<u64, Known>,
}

/// Who is in a namespace.
#[derive(Debug, Clone, Default)]
pub struct Members {
    /// Their pids.
    pub pids: Vec<u32>,
    /// Inodes of their TCP sockets that are not known to listen, sorted.
    pub others: Vec<u64>,
}

impl Namespaces {
    /// Knows none but its own.
    pub fn new() -> Self {
        let own = fs::metadata("/proc/thread-self/ns/net")
            .ok()
            .map(|m| m.ino());
        Self {
            own,
            own_is_host: home::is_host(),
            known: BTreeMap::new(),
        }
    }

    /// Inode of the namespace that this program lives in.
    pub fn own_inode(&self) -> Option<u64> {
        self.own
    }

    /// Reads the namespaces that have members, sorted by inode, and forgets all others. `members` are inodes of namespaces
    /// and who is in them. A namespace whose members are all gone is left out without a gap.
    ///
    /// Bound sockets, SYN queues and connections are as old as the last walk of the kernel's tables; where another would show
    /// something else, that is 2 s at most. A socket that has begun to listen since, and every accept queue, is of this moment.
    pub fn read(
        &mut self,
        members: &BTreeMap<u64, Members>,
        now: Moment,
    ) -> (Vec<Arc<NetNs>>, Vec<Gap>) {
        self.known.retain(|inode, _| members.contains_key(inode));
        let mut gaps = Vec::new();
        let mut seen = Vec::new();
        for (&inode, Members { pids, others }) in members {
            let look = Look {
                inode,
                now,
                others,
                namespaces: members.len(),
            };
            let Some(through) = self.through(inode, pids) else {
                self.known.remove(&inode);
                continue;
            };
            match self.known_as(inode, pids, through) {
                Ok(known) => seen.extend(known.look(look, &mut gaps)),
                Err(error) => gaps.push(unopened(pids.first().copied(), &error)),
            }
        }
        (seen, gaps)
    }

    /// TCP connections in a namespace, if the last [`Self::read`] has read them: `None` where those that were read before it
    /// still hold, or none can be read.
    pub fn take_connections(&mut self, netns: u64) -> Option<Vec<Connection>> {
        self.known.get_mut(&netns)?.take_connections()
    }

    /// How a connection in this namespace is now; `None` if that cannot be told, or it is no more.
    pub fn tcp_now(&mut self, netns: u64, connection: &Connection) -> Option<TcpNow> {
        let diag = self.known.get_mut(&netns)?.diag()?;
        diag.tcp_now(connection).ok()
    }

    /// What a unix socket in this namespace is connected to; `None` if it is none, or that cannot be told.
    pub fn unix_peer(&mut self, netns: u64, inode: u64) -> Option<UnixPeer> {
        self.known.get_mut(&netns)?.diag()?.unix_peer(inode).ok()
    }

    /// Through whom a namespace is seen now; `None` if nobody is in it.
    fn through(&self, inode: u64, pids: &[u32]) -> Option<Through> {
        if self.own == Some(inode) {
            return Some(Through::Oneself);
        }
        pids.iter()
            .find(|&&pid| lives_in(pid, inode))
            .map(|&pid| Through::Member(pid))
    }

    /// What is known of a namespace; a new one is opened.
    fn known_as(
        &mut self,
        inode: u64,
        pids: &[u32],
        through: Through,
    ) -> Result<&mut Known, DiagError> {
        let known = match self.known.entry(inode) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let access = match through {
                    Through::Oneself => Access::Diag(Diag::open()?),
                    Through::Member(_) => enter(inode, pids)?,
                };
                place.insert(Known::new(access, through))
            }
        };
        known.through = through;
        known.place = home::place(self.own == Some(inode), self.own_is_host);
        Ok(known)
    }
}

/// A way into another namespace, by the first of these processes that is still in it.
fn enter(inode: u64, pids: &[u32]) -> Result<Access, DiagError> {
    let mut last = DiagError::Namespace(io::ErrorKind::NotFound.into());
    for &pid in pids {
        let opened = match File::open(format!("/proc/{pid}/ns/net")) {
            Ok(namespace) if namespace.metadata().is_ok_and(|m| m.ino() == inode) => {
                Diag::open_at(&namespace)
            }
            Ok(_) => continue,
            Err(error) => Err(DiagError::Namespace(error)),
        };
        match opened {
            Ok(diag) => return Ok(Access::Diag(diag)),
            Err(error) if error.is_permission() => {
                return Ok(Access::Tables {
                    cause: "another network namespace: no right to enter it".to_owned(),
                    unlock: Some("sudo steth"),
                });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// True if this process is in the namespace, as far as may be seen: pids are reused.
fn lives_in(pid: u32, inode: u64) -> bool {
    match fs::metadata(format!("/proc/{pid}/ns/net")) {
        Ok(metadata) => metadata.ino() == inode,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn unopened(pid: Option<u32>, error: &DiagError) -> Gap {
    Gap {
        source: "sock_diag".to_owned(),
        pid,
        cause: error.to_string(),
        unlock: None,
    }
}
