//! Has a process done anything since it was read? One read of its `stat` and one of each thread's `schedstat` tell: who has
//! not been on a CPU has opened, closed and called nothing.

use std::collections::BTreeMap;

use super::file;
use super::held::{Probe, Shelf};
use crate::snapshot::{Process, ProcessState, Thread};

/// Threads of one process whose files are held open.
const HELD_THREADS: usize = 32;

/// The files that tell, with what they said when the process was read.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// `/proc/PID/stat`.
    pub(super) stat: Probe,
    /// `/proc/PID/task/TID/schedstat` by thread id.
    threads: BTreeMap<u32, Probe>,
}

impl Pulse {
    /// The `schedstat` of a thread, and where it is held open if there is room.
    pub(super) fn of_thread<'s>(
        &mut self,
        tid: u32,
        shelf: &'s Shelf,
    ) -> (&mut Probe, Option<&'s Shelf>) {
        let room = self.threads.len() < HELD_THREADS;
        let probe = self.threads.entry(tid).or_default();
        (probe, room.then_some(shelf))
    }

    /// Forgets all threads but these, which are sorted.
    pub(super) fn keep(&mut self, threads: &[Thread]) {
        let is_there = |tid: &u32| threads.binary_search_by_key(tid, |t| t.tid).is_ok();
        self.threads.retain(|tid, _| is_there(tid));
    }

    /// True if nothing has run since this record was read: each thread was seen asleep, and none has been on a CPU since.
    pub(super) fn rests(&self, read: &Process) -> bool {
        let pid = read.key.pid;
        let room = &mut [0u8; file::SMALL];
        let threads = read.threads.as_deref().unwrap_or(&[]);
        // A kernel without schedstat counts no switches.
        let asleep = |t: &Thread| t.state != ProcessState::Running && t.switches > 0;
        threads.len() == read.thread_count as usize
            && threads.iter().all(asleep)
            && threads
                .iter()
                .map(|t| t.tid)
                .eq(self.threads.keys().copied())
            && self
                .stat
                .says_the_same(|| format!("/proc/{pid}/stat"), room)
            && self.threads.iter().all(|(tid, probe)| {
                probe.says_the_same(|| format!("/proc/{pid}/task/{tid}/schedstat"), room)
            })
    }
}
