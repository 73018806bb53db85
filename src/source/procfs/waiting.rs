//! What does each sleeping thread of a process wait for? Asked of processes that are looked at closely, for threads that have
//! slept in one call for a while. What is found is believed for a second or more, and of a thread that sleeps on for longer and
//! longer: who watches a hundred sleepers must not ask about each of them all the time.
//!
//! ```text
//!   thread asleep ─ same call as before? ─> settled ─> call: a descriptor, path, child, lock ─> target: what is behind it
//!                                                        └─ memory: poll arrays, paths           └─ sock_diag, parties, locks
//! ```

use std::collections::HashMap;

use crate::snapshot::{
    Child, Connection, Moment, Process, ProcessKey, ProcessState, Syscall, Thread, ThreadWait,
    WaitTarget,
};
use crate::source::netns::by_inode::Datagram;
use crate::source::sock_diag::single::{TcpNow, UnixPeer};

mod call;
mod locks;
mod parties;
mod target;

/// Threads of one process that are looked at.
const LIMIT: usize = 128;
/// A thread that has been in a call for less may be gone from it before anybody has read this.
const SETTLED_S: f64 = 0.25;
/// A thread that is seen running between two sleeps in the same call (a retry) is not forgotten for so long.
const FORGIVEN_S: f64 = 1.0;

/// What is known of sockets by others than /proc/PID.
pub trait Sockets {
    /// A TCP connection.
    fn connection(&mut self, inode: u64) -> Option<Connection>;
    /// How it is now; `None` if that cannot be told, or it is no more.
    fn now(&mut self, connection: &Connection) -> Option<TcpNow>;
    /// What a unix socket is connected to.
    fn unix_peer(&mut self, inode: u64) -> Option<UnixPeer>;
    /// A UDP socket.
    fn udp(&mut self, inode: u64) -> Option<Datagram>;
}

/// What a look at the waits of one process depends on.
pub struct Asked<'a> {
    /// The process, its threads as they were read in this look.
    pub process: &'a Process,
    /// The moment of this look.
    pub now: Moment,
    /// Reads memory of the process at an address into the whole slice; false if that failed.
    pub memory: &'a dyn Fn(u64, &mut [u8]) -> bool,
    /// Asks about sockets.
    pub sockets: &'a mut dyn Sockets,
}

/// Remembers of each process what its threads were found to wait for.
#[derive(Default)]
pub struct WaitReader {
    known: HashMap<ProcessKey, Vec<Kept>>,
}

/// What is remembered of one thread.
#[derive(Debug, Clone)]
struct Kept {
    tid: u32,
    call: Syscall,
    run: (u64, u64),
    /// Since when it has not run.
    since: Moment,
    /// Since when it has been in this call, however often it has run in between.
    entered: Moment,
    seen: Moment,
    found: Option<Found>,
}

/// What was found behind a call, and when.
#[derive(Debug, Clone)]
struct Found {
    at: Moment,
    fd: Option<u32>,
    on: Option<WaitTarget>,
}

impl WaitReader {
    /// What the sleeping threads of a process wait for, by thread id. Those of which it cannot be told are left out.
    pub fn read(&mut self, asked: &mut Asked<'_>) -> Vec<ThreadWait> {
        let mut before = self.known.remove(&asked.process.key).unwrap_or_default();
        let threads = asked.process.threads.as_deref().unwrap_or_default();
        let readable = may_read_memory(threads);
        let mut kept: Vec<Kept> = Vec::new();
        let mut waits = Vec::new();
        for thread in threads.iter().take(LIMIT) {
            let was = before.iter().position(|k| k.tid == thread.tid);
            let was = was.map(|at| before.swap_remove(at));
            let Some(call) = call_asleep(thread) else {
                let recent = |k: &Kept| asked.now.seconds_since(k.seen) < FORGIVEN_S;
                kept.extend(was.filter(recent));
                continue;
            };
            let mut now = follow(thread, call, was, asked.now);
            if now.is_due(asked.now) {
                now.found = Some(target::find(thread, &now, readable, asked));
            }
            waits.extend(now.wait());
            kept.push(now);
        }
        if !kept.is_empty() {
            self.known.insert(asked.process.key, kept);
        }
        waits
    }

    /// Forgets all processes but these.
    pub fn retain(&mut self, wanted: &dyn Fn(ProcessKey) -> bool) {
        self.known.retain(|key, _| wanted(*key));
    }
}

/// The processes that one has started, the first few of them.
pub fn children(pid: u32) -> Vec<Child> {
    parties::children(pid, None)
}

/// A page fault that hangs, or a call that changes the memory map, may keep whoever reads that memory.
fn may_read_memory(threads: &[Thread]) -> bool {
    let harmless = |thread: &Thread| {
        let call = thread.syscall.map(|call| call.number);
        thread.state != ProcessState::DiskSleep
            || call.is_some_and(|number| {
                !matches!(
                    number,
                    libc::SYS_mmap
                        | libc::SYS_munmap
                        | libc::SYS_mremap
                        | libc::SYS_mprotect
                        | libc::SYS_brk
                        | libc::SYS_execve
                        | libc::SYS_exit_group
                        | libc::SYS_exit
                ) && number >= 0
            })
    };
    threads.iter().all(harmless)
}

/// The call that it sleeps in now; `None` if it does not sleep in one.
fn call_asleep(thread: &Thread) -> Option<Syscall> {
    let asleep = matches!(
        thread.state,
        ProcessState::Sleeping | ProcessState::DiskSleep
    );
    thread.syscall.filter(|_| asleep)
}

/// The thread in the call that it sleeps in now.
fn follow(thread: &Thread, call: Syscall, was: Option<Kept>, now: Moment) -> Kept {
    let run = (thread.run_ns, thread.switches);
    let same = was.filter(|k| k.call == call);
    // A kernel without schedstat has zeros: then the same call is all there is to go by.
    let still = same.as_ref().filter(|k| k.run == run);
    Kept {
        tid: thread.tid,
        call,
        run,
        since: still.map_or(now, |k| k.since),
        entered: same.as_ref().map_or(now, |k| k.entered),
        seen: now,
        found: same.and_then(|k| k.found),
    }
}

impl Kept {
    fn is_due(&self, now: Moment) -> bool {
        match &self.found {
            None => now.seconds_since(self.entered) >= SETTLED_S,
            // Another sleep in the same call has another end.
            Some(found)
                if matches!(found.on, Some(WaitTarget::Sleep { .. })) && self.since > found.at =>
            {
                true
            }
            Some(found) => now.seconds_since(found.at) >= self.believed_s(found),
        }
    }

    /// For how long the answer is believed: what has held through a long sleep is likely to hold for as long again.
    fn believed_s(&self, found: &Found) -> f64 {
        let (shortest, longest) = target::believed_s(found.on.as_ref());
        let had_slept = found.at.seconds_since(self.since);
        had_slept.clamp(shortest, longest)
    }

    fn wait(&self) -> Option<ThreadWait> {
        let found = self.found.as_ref()?;
        Some(ThreadWait {
            tid: self.tid,
            since: self.since,
            call: self.call.number,
            fd: found.fd,
            on: found.on.clone()?,
        })
    }
}

#[cfg(test)]
mod tests;
