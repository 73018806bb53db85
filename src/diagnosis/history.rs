//! What the snapshots so far have shown of each process and each socket, reduced to what rules ask for.
//!
//! Bounded: a process that is gone is forgotten after a minute, windows have a fixed length.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

mod cgroup;
mod gil;
mod intends;
mod place;
mod pools;
mod queue;
mod server_thread;
mod signs;
mod standing;
mod starved;
mod tasks;
mod threads;
mod track;

pub use cgroup::{CgroupTrack, Throttling};
pub use gil::{GilTrack, Holder};
pub use place::Place;
pub use pools::PoolTrack;
pub use queue::Queue;
pub use server_thread::ServerThread;
pub use standing::Standing;
pub use tasks::{TaskPlace, TaskPlaces};
pub use threads::{ThreadPlace, ThreadPlaces};
pub use track::{Beat, FdTrend, Track};

use super::{Kind, TcpRates};
use crate::snapshot::{CgroupUse, Exit, Moment, ProcessKey, Snapshot, TcpCounters};
use signs::ports_of;

const GONE_KEPT_S: f64 = 60.0;
/// Processes at rest are read every minute.
const CGROUP_KEPT_S: f64 = 150.0;

/// Everything remembered.
#[derive(Debug, Default, Clone)]
pub struct History {
    /// The first snapshot's moment.
    pub began: Option<Moment>,
    /// One per process that is, or was lately, on the machine.
    pub tracks: BTreeMap<ProcessKey, Track>,
    /// One per listening socket: `(netns, inode)`.
    pub queues: BTreeMap<(u64, u64), Queue>,
    /// One per cgroup with a limit, by the path of its directory.
    cgroups: BTreeMap<String, CgroupTrack>,
    /// Counters of each network namespace at the last looks.
    counters: BTreeMap<u64, VecDeque<(Moment, TcpCounters)>>,
}

impl History {
    /// Takes in the next snapshot.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.began.get_or_insert(snapshot.at);
        let ports = ports_of(snapshot);
        let none = BTreeSet::new();
        for process in &snapshot.processes {
            let ports = process.netns.and_then(|n| ports.get(&n)).unwrap_or(&none);
            self.tracks
                .entry(process.key)
                .and_modify(|track| track.observe(process, ports, snapshot.at))
                .or_insert_with(|| Track::new(process, ports, snapshot.at));
        }
        for exit in &snapshot.exits {
            self.note_exit(exit);
        }
        for netns in &snapshot.netns {
            for listener in &netns.listeners {
                self.queues
                    .entry((netns.inode, listener.inode))
                    .and_modify(|queue| queue.observe(listener, netns.sampled_at))
                    .or_insert_with(|| Queue::new(listener, netns.sampled_at));
            }
        }
        self.note_counters(snapshot);
        self.note_cgroups(snapshot);
        self.forget(snapshot);
    }

    fn note_counters(&mut self, snapshot: &Snapshot) {
        self.counters
            .retain(|inode, _| snapshot.netns.iter().any(|n| n.inode == *inode));
        for netns in &snapshot.netns {
            let Some(counters) = netns.counters else {
                continue;
            };
            let window = self.counters.entry(netns.inode).or_default();
            if window.back().is_none_or(|(at, _)| netns.sampled_at > *at) {
                window.push_back((netns.sampled_at, counters));
            }
            while window
                .get(1)
                .is_some_and(|(at, _)| netns.sampled_at.seconds_since(*at) > 5.0)
            {
                window.pop_front();
            }
        }
    }

    fn note_cgroups(&mut self, snapshot: &Snapshot) {
        let mut last: Option<&Arc<CgroupUse>> = None;
        for process in &snapshot.processes {
            let Some(read) = &process.cgroup_use else {
                continue;
            };
            // Processes of one cgroup share a record, and mostly stand side by side.
            if last
                .replace(read)
                .is_some_and(|before| Arc::ptr_eq(before, read))
            {
                continue;
            }
            if let Some(cpu) = &read.cpu {
                self.cgroup_of(&cpu.path).observe_cpu(cpu, read.read_at);
            }
            if let Some(memory) = &read.memory {
                self.cgroup_of(&memory.path)
                    .observe_memory(memory, read.read_at);
            }
        }
    }

    fn cgroup_of(&mut self, path: &str) -> &mut CgroupTrack {
        self.cgroups.entry(path.to_owned()).or_default()
    }

    /// What is remembered of a cgroup, by the path of its directory.
    pub fn cgroup(&self, path: &str) -> Option<&CgroupTrack> {
        self.cgroups.get(path)
    }

    /// Rates of a namespace's counters over the last five seconds; `None` until two readings are half a second apart, or when
    /// a counter went backwards.
    pub fn tcp_rates(&self, netns: u64) -> Option<TcpRates> {
        let window = self.counters.get(&netns)?;
        let ((first_at, first), (last_at, last)) = (window.front()?, window.back()?);
        let seconds = last_at.seconds_since(*first_at);
        let overflows = last.listen_overflows.checked_sub(first.listen_overflows)?;
        let drops = last.listen_drops.checked_sub(first.listen_drops)?;
        (seconds >= 0.5).then(|| TcpRates {
            overflows_per_second: overflows as f64 / seconds,
            drops_per_second: drops as f64 / seconds,
        })
    }

    fn note_exit(&mut self, exit: &Exit) {
        if let Some(track) = self.tracks.get_mut(&exit.key) {
            track.exit.get_or_insert_with(|| {
                let mut exit = exit.clone();
                if exit.last_stack.is_empty() {
                    exit.last_stack.clone_from(&track.last_main);
                }
                exit
            });
        }
    }

    fn forget(&mut self, snapshot: &Snapshot) {
        self.tracks.retain(|key, track| {
            let present = snapshot.process(key.pid).is_some_and(|p| p.key == *key);
            present || snapshot.at.seconds_since(track.process.sampled_at) < GONE_KEPT_S
        });
        self.cgroups
            .retain(|_, c| snapshot.at.seconds_since(c.seen) < CGROUP_KEPT_S);
        self.queues
            .retain(|_, queue| snapshot.at.seconds_since(queue.seen) < 5.0);
    }

    /// Notes that a process was ready to accept from its server's own socket.
    pub fn note_accepting(&mut self, key: ProcessKey, kind: Kind) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.has_accepted = true;
            track.served = Some(kind);
        }
    }

    /// The queue of a socket.
    pub fn queue(&self, netns: u64, inode: u64) -> Option<&Queue> {
        self.queues.get(&(netns, inode))
    }
}
