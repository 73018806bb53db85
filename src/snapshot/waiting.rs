//! What sleeping threads wait for: what is behind the descriptor, the path or the pid that their system call names.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Moment, ProcessState, TcpState};

/// A thread that sleeps in a system call, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadWait {
    /// Thread id in the pid namespace of this program.
    pub tid: u32,
    /// Since when it has slept in this very call without running in between; a lower bound.
    pub since: Moment,
    /// Number of the system call.
    pub call: i64,
    /// The descriptor that it names, where it names one.
    pub fd: Option<u32>,
    /// What is behind it.
    pub on: WaitTarget,
}

/// What a thread may wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitTarget {
    /// A TCP connection, or one that is being made.
    Tcp(TcpWait),
    /// A unix socket: the path that it is, or would be, connected to, abstract names with a leading `@`.
    Unix {
        /// `None` for a socket without a name: a socketpair.
        path: Option<String>,
        /// True if the other side has not accepted the connection yet.
        pending: bool,
    },
    /// A datagram of UDP.
    Udp {
        /// Whom it is connected to; `None` if to nobody.
        peer: Option<(IpAddr, u16)>,
    },
    /// A pipe, or a FIFO that is open.
    Pipe {
        /// Path of a FIFO; `None` for a pipe.
        path: Option<String>,
        /// What the thread would do with it.
        end: PipeEnd,
        /// Who has the other end open (at most 4); `None` if that was not or could not be looked for.
        others: Option<Vec<Party>>,
    },
    /// A FIFO that it opens, and of which nobody has the other end open.
    FifoOpen {
        /// Its path.
        path: String,
        /// What the thread would do with it.
        end: PipeEnd,
    },
    /// A file, directory or path.
    File {
        /// Its path.
        path: String,
        /// The mount that it is on, where that could be read.
        mount: Option<Mount>,
    },
    /// A terminal, or standard input of another kind.
    Terminal {
        /// `/dev/pts/3`
        path: String,
    },
    /// The end of a child process; more than one where it waits for any (at most 4 are named).
    Children(Vec<Child>),
    /// A lock on a file.
    FileLock {
        /// Path of the file.
        path: String,
        /// By which call.
        kind: LockKind,
        /// Who holds it (at most 4), as `/proc/locks` tells; empty if that is not told.
        holders: Vec<Party>,
    },
    /// A lock or condition in memory.
    Futex {
        /// Address of the word: two threads of a process that wait at the same one wait for the same thing.
        address: u64,
        /// True if only threads of the same process can wake it (FUTEX_PRIVATE_FLAG).
        private: bool,
        /// True if it waits for a limited time only.
        timed: bool,
    },
    /// Time to pass.
    Sleep {
        /// When it is over, where that could be read.
        until: Option<Moment>,
    },
}

/// A TCP connection that is waited on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpWait {
    /// State; unknown where only the address that connect(2) was given could be read.
    pub state: TcpState,
    /// Local address and port; `None` if not known.
    pub local: Option<(IpAddr, u16)>,
    /// Address and port of the other side.
    pub peer: (IpAddr, u16),
    /// Retransmits of the segment in flight.
    pub retransmits: u8,
    /// Bytes that have come and were not read.
    pub recv_q: u32,
    /// Bytes that the other side has not acknowledged.
    pub send_q: u32,
    /// When data came last, or the connection was made; `None` if not known, and while it is being made.
    pub heard: Option<Moment>,
    /// When data was sent last, or the connection was made.
    pub sent: Option<Moment>,
}

/// The ends of a pipe, by what is done with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PipeEnd {
    /// Read from.
    Reads,
    /// Written to.
    Writes,
}

/// Another process, for a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Its pid.
    pub pid: u32,
    /// Its command line in one string, control characters escaped, bounded (200 characters); its name for one that has none.
    pub command: String,
}

/// A child process that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Who it is.
    pub party: Party,
    /// When it started; `None` if that could not be read.
    pub started: Option<Moment>,
    /// Its scheduler state.
    pub state: ProcessState,
    /// What it sleeps in itself; `None` if it runs, or that may not be seen.
    pub sleeps: Option<ChildSleep>,
    /// Its own child, where it waits for one.
    pub child: Option<Box<Child>>,
}

/// The system call that a child sleeps in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildSleep {
    /// Number of the call.
    pub call: i64,
    /// The descriptor that it names.
    pub fd: Option<u32>,
    /// What that is: `pipe:[…]`, a path.
    pub on: Option<String>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where.
    pub at: String,
    /// `ext4`, `nfs4`, `fuse.sshfs`
    pub fs: String,
    /// What: `nas:/export`
    pub source: String,
}

/// Kinds of locks on files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// flock(2)
    Flock,
    /// fcntl(2), F_SETLKW
    Record,
    /// The lock of an SQLite database, which is asked for again and again.
    Sqlite,
}

impl PipeEnd {
    /// What is done with the other end.
    pub fn other(self) -> Self {
        match self {
            Self::Reads => Self::Writes,
            Self::Writes => Self::Reads,
        }
    }
}
