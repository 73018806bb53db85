//! A process as the kernel shows it: identity, state, threads, file descriptors, limits.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{CgroupUse, Child, Connections, Intent, Moment, Stack, Stacks, Tasks, ThreadWait};

/// Identity of a process over time: a pid number alone is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Pid in the pid namespace of this program.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Identity.
    pub key: ProcessKey,
    /// Parent pid; 0 for none.
    pub ppid: u32,
    /// When it started.
    pub started: Moment,
    /// When the rest of this record was read: quiet processes are read less often than snapshots are made.
    pub sampled_at: Moment,
    /// `/proc/PID/comm`, control characters escaped.
    pub comm: String,
    /// Command line, secrets masked, control characters escaped, bounded (256 arguments, 4 KiB in all); empty for a zombie.
    pub cmdline: Vec<String>,
    /// Where its arguments lie in its memory (`/proc/PID/stat`, field 48): at another address it runs another program
    /// (execve(2)), under the same identity. A title that is written over them (setproctitle) leaves them where they are.
    /// `None` where the kernel hides it.
    #[serde(default)]
    pub arg_start: Option<u64>,
    /// Working directory, where it may be read.
    pub cwd: Option<String>,
    /// Path of the executable, where it may be read.
    pub exe: Option<String>,
    /// Effective user id.
    pub uid: u32,
    /// Scheduler state of the main thread.
    pub state: ProcessState,
    /// Exit status of a zombie, as wait(2) encodes it (`/proc/PID/stat` field 52).
    pub exit_status: Option<i32>,
    /// The tracer's pid, if there is one.
    pub tracer: Option<u32>,
    /// True if its cgroup's freezer holds it; `None` if that could not be seen.
    pub frozen: Option<bool>,
    /// CPU time used so far by all threads, in nanoseconds (10 ms steps).
    pub cpu_ns: u64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Number of threads.
    pub thread_count: u32,
    /// Its threads, where they were looked at.
    pub threads: Option<Vec<Thread>>,
    /// Its file descriptors; `None` where they may not be read.
    pub fds: Option<Fds>,
    /// Its TCP connections; `None` where its sockets or its network namespace could not be read.
    pub connections: Option<Arc<Connections>>,
    /// What its sleeping threads wait for, by thread id; `None` if it was not looked at closely.
    #[serde(default)]
    pub waits: Option<Arc<Vec<ThreadWait>>>,
    /// Processes that it has started (at most 4), where a coroutine of it may wait for one; `None` if none does, or it was not
    /// looked at closely.
    #[serde(default)]
    pub children: Option<Arc<Vec<Child>>>,
    /// Inode of its network namespace.
    pub netns: Option<u64>,
    /// Listening sockets that it is ready to accept from: armed in one of its epoll sets, or a thread waits in
    /// accept/select/poll on it. `None` where that could not be seen.
    pub accepting: Option<Vec<Accepting>>,
    /// Path of its cgroup (v2, or v1's cpu controller).
    pub cgroup: Option<String>,
    /// What its cgroups allow it and have done to it; `None` if that could not be seen.
    #[serde(default)]
    pub cgroup_use: Option<Arc<CgroupUse>>,
    /// gunicorn's heartbeat file, if it has one.
    pub heartbeat: Option<Heartbeat>,
    /// What is known of its interpreter; `None` for a process that is not Python.
    pub python: Option<Python>,
}

impl Process {
    /// True if it has ended, and at most waits to be reaped. A process whose first thread has ended (pthread_exit) while others
    /// live on has that thread as a zombie too, and has not ended.
    pub fn has_ended(&self) -> bool {
        self.state.has_ended() && self.thread_count <= 1
    }

    /// True if this is a Python interpreter (or a fork of one).
    pub fn is_python(&self) -> bool {
        self.python.is_some()
    }

    /// The stack of the main thread, outermost first; `None` if it was not seen.
    pub fn main_stack(&self) -> Option<&Stack> {
        let stacks = self.python.as_ref()?.stacks.as_ref()?;
        let by_tid = stacks.list.iter().find(|s| s.tid == Some(self.key.pid));
        by_tid.or_else(|| {
            stacks.list.iter().find(|s| {
                s.name.as_deref() == Some("MainThread") || (s.tid.is_none() && s.is_main())
            })
        })
    }

    /// What the thread with this id waits for, as far as it was looked at.
    pub fn wait(&self, tid: u32) -> Option<&ThreadWait> {
        self.waits.as_ref()?.iter().find(|w| w.tid == tid)
    }

    /// The thread with this id.
    pub fn thread(&self, tid: u32) -> Option<&Thread> {
        self.threads.as_ref()?.iter().find(|t| t.tid == tid)
    }
}

/// The one-letter states of `/proc/PID/stat`, field 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    /// R
    Running,
    /// S
    Sleeping,
    /// D: uninterruptible
    DiskSleep,
    /// T: stopped by job control
    Stopped,
    /// t: stopped by a tracer
    Tracing,
    /// Z: dead, not yet reaped
    Zombie,
    /// X, x: dead
    Dead,
    /// I: idle kernel thread
    Idle,
    /// Anything else
    Unknown,
}

impl ProcessState {
    /// From the letter in `/proc/PID/stat`.
    pub fn from_letter(letter: char) -> Self {
        match letter {
            'R' => Self::Running,
            'S' => Self::Sleeping,
            'D' => Self::DiskSleep,
            'T' => Self::Stopped,
            't' => Self::Tracing,
            'Z' => Self::Zombie,
            'X' | 'x' => Self::Dead,
            'I' => Self::Idle,
            _ => Self::Unknown,
        }
    }

    /// True if the thread in this state has ended.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Zombie | Self::Dead)
    }

    /// The letter that `ps` shows.
    pub fn letter(self) -> char {
        match self {
            Self::Running => 'R',
            Self::Sleeping => 'S',
            Self::DiskSleep => 'D',
            Self::Stopped => 'T',
            Self::Tracing => 't',
            Self::Zombie => 'Z',
            Self::Dead => 'X',
            Self::Idle => 'I',
            Self::Unknown => '?',
        }
    }
}

/// What is known of the interpreter in a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Python {
    /// Version such as `3.11.7`, once it is known.
    pub version: Option<String>,
    /// Stacks of all Python threads; `None` if they could not be read (there is a gap then) or not yet.
    pub stacks: Option<Arc<Stacks>>,
    /// When the stacks were last known to be true: read then, or no thread of the process has run since.
    pub stacks_true_at: Option<Moment>,
    /// Its asyncio tasks, none in a program that uses none; `None` if they could not be read (there is a gap then) or not yet.
    pub tasks: Option<Arc<Tasks>>,
    /// What its source says that it is about to do, if it is about to start a server.
    pub intent: Option<Intent>,
}

/// One thread of a process (`/proc/PID/task/TID`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Thread id in the pid namespace of this program.
    pub tid: u32,
    /// `comm` of the thread, control characters escaped.
    pub name: String,
    /// Scheduler state.
    pub state: ProcessState,
    /// The system call it sleeps in; `None` if it runs, or if that may not be read (see `seen`).
    pub syscall: Option<Syscall>,
    /// False if `/proc/PID/task/TID/syscall` may not be read.
    pub syscall_seen: bool,
    /// Time on a CPU so far, in nanoseconds (`schedstat`, field 1). Two equal readings, together with
    /// `switches`, mean that the thread did not run in between.
    pub run_ns: u64,
    /// Time that it was ready to run and waited for a CPU, in nanoseconds (`schedstat`, field 2); a wait counts once it is over.
    #[serde(default)]
    pub waited_ns: u64,
    /// Times it was put on a CPU (`schedstat`, field 3).
    pub switches: u64,
    /// What the descriptor is that its system call has as first argument, for calls that take one:
    /// `socket:[…]`, `anon_inode:[eventpoll]`, a path.
    pub waits_on: Option<String>,
}

/// Readiness to accept from one listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Accepting {
    /// Inode of the listening socket.
    pub inode: u64,
    /// The thread that waits for it right now; `None`: armed in an epoll set in which no thread waits right now.
    pub tid: Option<u32>,
}

/// A system call with its arguments (`/proc/PID/syscall`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syscall {
    /// Number on this architecture.
    pub number: i64,
    /// Raw arguments.
    pub args: [u64; 6],
}

/// Open file descriptors of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fds {
    /// How many are open.
    pub open: u64,
    /// Soft RLIMIT_NOFILE; `None` if it could not be read.
    pub limit: Option<u64>,
    /// How many of each class, at the last full scan.
    pub classes: FdClasses,
    /// Inodes of its sockets at the last full scan, sorted (bounded: 65,536).
    pub sockets: Vec<u64>,
    /// Path behind descriptors 0, 1 and 2, where they are open: `/dev/pts/3`, `pipe:[…]`, a file.
    pub stdio: [Option<String>; 3],
    /// When the full scan was.
    pub scanned_at: Moment,
}

/// Open descriptors by class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdClasses {
    /// Sockets of every family.
    pub sockets: u64,
    /// Regular files, directories and FIFOs that have a path.
    pub files: u64,
    /// Pipes without a path.
    pub pipes: u64,
    /// Event polls (epoll).
    pub epolls: u64,
    /// Other anonymous inodes: eventfd, timerfd, inotify, io_uring, …
    pub anon: u64,
    /// Terminals.
    pub terminals: u64,
    /// Devices other than terminals, /proc, /sys and the rest.
    pub others: u64,
}

impl FdClasses {
    /// Each class by its word, in the order of the fields.
    pub fn by_word(&self) -> [(&'static str, u64); 7] {
        [
            ("sockets", self.sockets),
            ("files", self.files),
            ("pipes", self.pipes),
            ("epolls", self.epolls),
            ("anon", self.anon),
            ("terminals", self.terminals),
            ("others", self.others),
        ]
    }
}

/// gunicorn's heartbeat file of one worker: an unlinked temporary file whose time stamp the worker touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Seconds since the last beat, by the newest of the clocks that gunicorn used; `None`: it has never beaten.
    /// gunicorn 22 and newer writes CLOCK_MONOTONIC into the file's mtime, older ones touch its ctime.
    pub age_ms: Option<u64>,
}
