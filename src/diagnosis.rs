//! From what was seen to what it means: which processes make one server, in which phase it is, and why.
//!
//! Pure: no clock, no IO. Time comes with the snapshots, so that the same evidence gives the same answer live, in a
//! replay and in a test.

use std::collections::VecDeque;
use std::sync::Arc;

pub mod analyst;
pub mod bind;
pub mod crashes;
pub mod debugger;
pub mod draining;
pub mod ended_thread;
pub mod family;
pub mod frames;
pub mod framework;
pub mod history;
pub mod kind;
pub mod log;
pub mod phase;
pub mod pool;
pub mod rule;
pub mod sockets;
pub mod stuck;
pub mod task;
pub mod thresholds;
pub mod timeouts;
pub mod traits;
pub mod waits;
pub mod why;
pub mod words;

pub use analyst::Analyst;
pub use history::Standing;
pub use thresholds::Thresholds;

use serde::{Deserialize, Serialize};

use crate::snapshot::{Exit, Listener, Moment, Process, ProcessKey};

/// What is to be said about every Python process on the machine.
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    /// Servers, in a stable order: by the start of their root process, then pid. Servers that have gone stay for a while.
    pub servers: Vec<Arc<Server>>,
    /// Python processes that are not part of any server.
    pub outsiders: Vec<Outsider>,
    /// Processes that deserve a closer look (ten times a second): they start, stall, or may be about to.
    pub attention: Vec<ProcessKey>,
    /// Inodes of sockets of which it is to be found out who holds them.
    pub unknown_holders: Vec<u64>,
}

/// The processes that together make one server.
#[derive(Debug, Clone)]
pub struct Server {
    /// The root process: master, supervisor, reloader, or the only one. Identity of the server.
    pub root: ProcessKey,
    /// Pid of the process that stands for it now: after a restart not the one of `root`.
    pub pid: u32,
    /// A name for people: `uvicorn app.main:app`.
    pub name: String,
    /// What kind of server it is.
    pub kind: Kind,
    /// Phase of the server as a whole.
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since: Moment,
    /// True if the phase began before the program looked: `since` is a bound then.
    pub since_is_bound: bool,
    /// Phases it went through, oldest first, the present one last (bounded: 64).
    pub timeline: Vec<PhaseChange>,
    /// One sentence: why it is in this phase. For a healthy server, what makes it healthy.
    pub why: String,
    /// What is wrong, ranked: the first is what to act on.
    pub findings: Vec<Finding>,
    /// Findings that have begun or ended, oldest first (bounded: 64).
    pub finding_log: Vec<FindingChange>,
    /// Sockets it listens on or has bound for listening, its own first, then side ports.
    pub listeners: Vec<ServerListener>,
    /// Its processes, root first, then by age.
    pub members: Vec<Member>,
    /// Recent deaths, newest first (bounded: 64).
    pub exits: VecDeque<MemberExit>,
    /// All deaths since the program looks.
    pub exits_total: u64,
    /// Overflows and drops of listeners in its whole network namespace over the last seconds; `None` until there are two readings.
    pub tcp_rates: Option<TcpRates>,
    /// True if somebody has died at boot or was killed a moment ago, or may have been, or the server has begun to shut
    /// down, or a loop does not turn, and it cannot be told yet whether that goes on.
    pub unsettled: bool,
    /// Pids of the processes above its root, nearest first, without init.
    pub above: Vec<u32>,
}

impl Server {
    /// False if a living member's open files could not be seen: that it has no listener is not known then.
    pub fn sockets_seen(&self) -> bool {
        let alive = |m: &&Member| m.exit.is_none() && m.process.is_python();
        self.members
            .iter()
            .filter(alive)
            .all(|m| m.process.fds.is_some())
    }
}

/// Counters of TcpExt as rates, for one network namespace. They can rise where no listener of ours overflows: a socket's own
/// drops are the proof.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TcpRates {
    /// ListenOverflows per second.
    pub overflows_per_second: f64,
    /// ListenDrops per second.
    pub drops_per_second: f64,
}

/// A phase and the moment at which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseChange {
    /// When.
    pub at: Moment,
    /// Which.
    pub phase: Phase,
}

/// A finding that began or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingChange {
    /// When.
    pub at: Moment,
    /// Which.
    pub code: Code,
    /// True where it began, false where it ended.
    pub began: bool,
}

/// A socket of a server.
#[derive(Debug, Clone)]
pub struct ServerListener {
    /// The socket.
    pub socket: Listener,
    /// Network namespace it lives in.
    pub netns: u64,
    /// True if it is a side port: metrics, a debugger's adapter, a manager's private socket, a bound socket that a server
    /// keeps beside those it listens on.
    pub side: bool,
    /// Pids of members that hold it.
    pub holders: Vec<u32>,
    /// Pids of members that are ready to accept from it; `None` where that could not be seen for any holder.
    pub accepting: Option<Vec<u32>>,
    /// Depth of the accept queue over the last looks, oldest first (bounded: 64).
    pub depth_history: VecDeque<u32>,
    /// Drops per second by this socket over the last seconds; `None` if not known yet.
    pub drops_per_second: Option<f64>,
}

/// One process of a server.
#[derive(Debug, Clone)]
pub struct Member {
    /// The process as last seen.
    pub process: Arc<Process>,
    /// Its role.
    pub role: Role,
    /// Its own phase.
    pub phase: Phase,
    /// Since when.
    pub since: Moment,
    /// Percent of one core over the last second or so; `None` until there are two readings.
    pub cpu_percent: Option<f64>,
    /// Change of each class of open files per minute, where it is known and not zero: `("sockets", +12.0)`.
    pub fd_growth: Vec<(&'static str, f64)>,
    /// How long the main thread has stood on the same innermost frames; `None` if stacks are not seen.
    pub same_frame_s: Option<f64>,
    /// Where its tasks and threads stand.
    pub standing: Standing,
    /// How it ended, if it has; it stays for a while.
    pub exit: Option<MemberExit>,
}

/// A death in the family.
#[derive(Debug, Clone)]
pub struct MemberExit {
    /// What the source told.
    pub exit: Exit,
    /// Role it had.
    pub role: Role,
}

/// A Python process that belongs to no server.
#[derive(Debug, Clone)]
pub struct Outsider {
    /// The process.
    pub process: Arc<Process>,
    /// A name for people: `celery -A app worker`.
    pub name: String,
    /// Percent of one core.
    pub cpu_percent: Option<f64>,
    /// Where its tasks and threads stand.
    pub standing: Standing,
    /// Present phase: `not-a-server`, `stopped`, `exited`, or not seen.
    pub phase: Phase,
}

/// Kinds of servers that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the name of a program")]
pub enum Kind {
    Uvicorn,
    Gunicorn,
    Hypercorn,
    Granian,
    Daphne,
    Django,
    Flask,
    Waitress,
    Aiohttp,
    Tornado,
    Sanic,
    Uwsgi,
    HttpServer,
    Asyncio,
    /// Listens and accepts, in a way that is not one of the above.
    Other,
}

impl Kind {
    /// The word in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Uvicorn => "uvicorn",
            Self::Gunicorn => "gunicorn",
            Self::Hypercorn => "hypercorn",
            Self::Granian => "granian",
            Self::Daphne => "daphne",
            Self::Django => "django",
            Self::Flask => "flask",
            Self::Waitress => "waitress",
            Self::Aiohttp => "aiohttp",
            Self::Tornado => "tornado",
            Self::Sanic => "sanic",
            Self::Uwsgi => "uwsgi",
            Self::HttpServer => "http.server",
            Self::Asyncio => "asyncio",
            Self::Other => "other",
        }
    }
}

/// Roles of processes in a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the contract's words")]
pub enum Role {
    Single,
    Master,
    Worker,
    Supervisor,
    Reloader,
    Helper,
}

impl Role {
    /// The word in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Master => "master",
            Self::Worker => "worker",
            Self::Supervisor => "supervisor",
            Self::Reloader => "reloader",
            Self::Helper => "helper",
        }
    }
}

/// Phases of a process and of a server; see the contract for what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the contract's words")]
pub enum Phase {
    Importing,
    Starting,
    Bound,
    Listening,
    Serving,
    Stalled,
    Draining,
    CrashLooping,
    Stopped,
    Exited,
    NotAServer,
    /// Neither its sockets nor its stacks may be seen: null in JSON.
    Unseen,
}

impl Phase {
    /// The word in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Importing => "importing",
            Self::Starting => "starting",
            Self::Bound => "bound",
            Self::Listening => "listening",
            Self::Serving => "serving",
            Self::Stalled => "stalled",
            Self::Draining => "draining",
            Self::CrashLooping => "crash-looping",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
            Self::NotAServer => "not-a-server",
            Self::Unseen => "not seen",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is broken.
    Info,
    /// Part of the server does not work, or soon will not.
    Warning,
    /// Clients are not served.
    Critical,
}

impl Severity {
    /// The word in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Codes of findings: stable words that scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the contract's words")]
pub enum Code {
    BoundNotListening,
    NoWorkerAccepting,
    AcceptQueueFull,
    AcceptQueueGrowing,
    ImportSlow,
    ImportBlocked,
    StartupBlocked,
    StartupAwait,
    LoopBlocked,
    CrashLoop,
    WorkerStopped,
    FdExhausted,
    ThreadpoolExhausted,
    ReloaderWithoutChild,
    WorkerTimeoutLoop,
    ServerThreadDied,
    TaskDeadlock,
    PoolExhausted,
    DrainTasks,
    ConnectHang,
    PeerSilent,
    DnsHang,
    SubprocessWait,
    FileWait,
    StdinWait,
    DebuggerWait,
    LockWait,
    ThreadDeadlock,
    ForkDeadlock,
    AddressInUse,
    DrainConnections,
    DrainThreads,
    CpuThrottled,
    GilHeld,
    OomLoop,
    LoopbackOnly,
    Ipv6Only,
    SocketPermission,
    BacklogClamped,
    UnevenListeners,
    LoopOffMainThread,
    FdGrowing,
}

impl Code {
    /// The word in JSON and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::BoundNotListening => "bound-not-listening",
            Self::NoWorkerAccepting => "no-worker-accepting",
            Self::AcceptQueueFull => "accept-queue-full",
            Self::AcceptQueueGrowing => "accept-queue-growing",
            Self::ImportSlow => "import-slow",
            Self::ImportBlocked => "import-blocked",
            Self::StartupBlocked => "startup-blocked",
            Self::StartupAwait => "startup-await",
            Self::LoopBlocked => "loop-blocked",
            Self::CrashLoop => "crash-loop",
            Self::WorkerStopped => "worker-stopped",
            Self::FdExhausted => "fd-exhausted",
            Self::ThreadpoolExhausted => "threadpool-exhausted",
            Self::ReloaderWithoutChild => "reloader-without-child",
            Self::WorkerTimeoutLoop => "worker-timeout-loop",
            Self::ServerThreadDied => "server-thread-died",
            Self::TaskDeadlock => "task-deadlock",
            Self::PoolExhausted => "pool-exhausted",
            Self::DrainTasks => "drain-tasks",
            Self::ConnectHang => "connect-hang",
            Self::PeerSilent => "peer-silent",
            Self::DnsHang => "dns-hang",
            Self::SubprocessWait => "subprocess-wait",
            Self::FileWait => "file-wait",
            Self::StdinWait => "stdin-wait",
            Self::DebuggerWait => "debugger-wait",
            Self::LockWait => "lock-wait",
            Self::ThreadDeadlock => "thread-deadlock",
            Self::ForkDeadlock => "fork-deadlock",
            Self::AddressInUse => "address-in-use",
            Self::DrainConnections => "drain-connections",
            Self::DrainThreads => "drain-threads",
            Self::CpuThrottled => "cpu-throttled",
            Self::GilHeld => "gil-held",
            Self::OomLoop => "oom-loop",
            Self::LoopbackOnly => "loopback-only",
            Self::Ipv6Only => "ipv6-only",
            Self::SocketPermission => "socket-permission",
            Self::BacklogClamped => "backlog-clamped",
            Self::UnevenListeners => "uneven-listeners",
            Self::LoopOffMainThread => "loop-off-main-thread",
            Self::FdGrowing => "fd-growing",
        }
    }
}

/// What is wrong with a server, in one sentence, with evidence and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// One sentence with numbers.
    pub summary: String,
    /// The application's own frame that is to blame, where there is one.
    pub culprit: Option<Culprit>,
    /// Facts, each with its source in brackets.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: String,
    /// A command that confirms it without this program.
    pub confirm: String,
}

/// A place in the application's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// File as the code object names it.
    pub file: String,
    /// Line; 0 if unknown.
    pub line: u32,
    /// Function.
    pub function: String,
}
