//! The world at one moment: plain data that sources fill in and everything else only reads.
//!
//! No IO, no clock, no opinion. What could not be seen is `None` and has a [`Gap`]; it is never zero.
//! A [`Snapshot`] is immutable and shared by `Arc`; what did not change since the last one is shared too.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub mod cgroup;
pub mod inquiry;
pub mod locals;
pub mod log;
pub mod process;
pub mod signal;
pub mod socket;
pub mod stack;
pub mod syscall;
pub mod task;
pub mod waiting;

pub use cgroup::{CgroupUse, CpuQuota, MemoryUse};
pub use inquiry::{Holder, Inquiries, ServerThread};
pub use locals::{FrameLocals, Local, LocalsAnswer, ThreadLocals};
pub use log::{Level, LogLine, LogTail, Sink, Traceback};
pub use process::{
    Accepting, FdClasses, Fds, Heartbeat, Process, ProcessKey, ProcessState, Python, Syscall,
    Thread,
};
pub use signal::signal_name;
pub use socket::{
    Connection, Connections, Family, Listener, ListenerState, NetNs, SocketFile, TcpCounters,
    TcpState,
};
pub use stack::{Activity, Frame, Intent, LockObject, LockWait, Reach, ReadBy, Stack, Stacks};
pub use syscall::syscall_name;
pub use task::{
    Entered, EventLoop, JobState, LoopKind, ObjectId, Pool, PoolKind, QueueCall, Task, TaskState,
    Tasks, Wait, WaitOn,
};
pub use waiting::{
    Child, ChildSleep, LockKind, Mount, Party, PipeEnd, TcpWait, ThreadWait, WaitTarget,
};

/// A point in time: nanoseconds of CLOCK_BOOTTIME, the clock of `/proc/PID/stat` start times.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Moment(pub u64);

impl Moment {
    /// Seconds from `earlier` to this moment; 0 when `earlier` is in fact later.
    pub fn seconds_since(self, earlier: Moment) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e9
    }

    /// The moment `seconds` later.
    pub fn plus_seconds(self, seconds: f64) -> Moment {
        Moment(self.0.saturating_add((seconds * 1e9) as u64))
    }
}

/// Everything that was seen in one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Host name, as uname(2) gives it.
    pub host: String,
    /// When the look ended.
    pub at: Moment,
    /// The same moment in milliseconds since the Unix epoch, for people.
    pub wall_ms: i64,
    /// Python processes, and those of their ancestors that are not Python (`python` is `None` there),
    /// sorted by key. Zombies of Python parents are included.
    pub processes: Vec<Arc<Process>>,
    /// One per network namespace that a Python process lives in, and this program's own where it cannot be seen in which one
    /// does; sorted by inode.
    pub netns: Vec<Arc<NetNs>>,
    /// Files of the unix sockets that Python processes listen on, where they could be seen, sorted by the socket's inode.
    #[serde(default)]
    pub socket_files: Vec<SocketFile>,
    /// Processes that ended since the previous snapshot: Python ones and children of Python ones.
    pub exits: Vec<Exit>,
    /// How the program learns of process births and deaths.
    pub events: EventSource,
    /// What slow sources have found out beside the looks.
    #[serde(default)]
    pub inquiries: Inquiries,
    /// What could not be seen, sorted.
    pub gaps: Vec<Gap>,
    /// What this program itself costs.
    pub own: OwnCost,
}

impl Snapshot {
    /// The process with this pid, of those that the snapshot holds.
    pub fn process(&self, pid: u32) -> Option<&Arc<Process>> {
        let at = self.processes.partition_point(|p| p.key.pid < pid);
        self.processes.get(at).filter(|p| p.key.pid == pid)
    }

    /// Milliseconds since the Unix epoch of a moment near this snapshot.
    pub fn wall_ms_of(&self, moment: Moment) -> i64 {
        let delta = (moment.0 as i128 - self.at.0 as i128) / 1_000_000;
        self.wall_ms.saturating_add(delta as i64)
    }
}

/// How births and deaths of processes are learned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventSource {
    /// The kernel's proc connector: every fork, exec and exit, at once, with exit codes.
    Connector,
    /// Comparing one look with the next, and pidfds for the moment of an exit; codes only of zombies.
    Polling,
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Which process.
    pub key: ProcessKey,
    /// Its parent when it was last seen.
    pub ppid: u32,
    /// When it ended (or was first missed).
    pub at: Moment,
    /// How long it lived, in nanoseconds, where its birth is known.
    pub lived_ns: Option<u64>,
    /// Exit code, when it exited by itself and the code could be seen.
    pub code: Option<i32>,
    /// Signal that ended it, where that could be seen.
    pub signal: Option<i32>,
    /// Command line, empty if it died before it could be read.
    pub cmdline: Vec<String>,
    /// True if it is known to have been Python (or a fork of a Python process).
    pub python: bool,
    /// Its last main-thread stack, outermost first; empty if none was taken.
    pub last_stack: Vec<Frame>,
}

/// How a process ended: by itself with a code, or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitStatus {
    /// The code that it gave to exit(2).
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// From a status as wait(2) encodes it; bit 7 only tells of a core dump.
    pub fn from_wait(status: i32) -> Self {
        match status & 0x7f {
            0 => Self {
                code: Some((status >> 8) & 0xff),
                signal: None,
            },
            signal => Self {
                code: None,
                signal: Some(signal),
            },
        }
    }
}

/// Something that could not be seen, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gap {
    /// The source that failed: `python-stack`, `fds`, `sock_diag`, `events`, …
    pub source: String,
    /// The process it concerns; `None` where it concerns the machine.
    pub pid: Option<u32>,
    /// Lower-case fragment: what went wrong.
    pub cause: String,
    /// What would make it visible: a command, or a right; `None` where nothing would.
    pub unlock: Option<String>,
}

/// What this program itself costs the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCost {
    /// CPU time of this process so far, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Wall time of this look, in nanoseconds.
    pub look_ns: u64,
}
