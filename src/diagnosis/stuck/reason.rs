//! For what reason is a thread stuck? One answer for each wait; `None` where it cannot be told, or is nobody's fault.

use super::{Case, Stage, Stuck, is_event, locks};
use crate::diagnosis::{debugger, frames, waits};
use crate::snapshot::{
    Activity, Frame, ListenerState, LockObject, TcpState, TcpWait, ThreadWait, WaitTarget,
};

/// Data that came, or went, less than this ago: the other side is not silent.
const LIVELY_S: f64 = 1.0;
/// The port of name servers.
const DOMAIN: u16 = 53;

/// Reasons to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A debugger: its attaching, or its word at a breakpoint.
    Debugger,
    /// What a person would type.
    Stdin,
    /// A name that does not resolve.
    Name,
    /// A connection that is not made.
    Connect,
    /// An answer that does not come.
    Peer,
    /// A child, or what it writes.
    Child,
    /// A path, file, FIFO, or a terminal or pipe that takes no more.
    File,
    /// A lock on a file.
    FileLock,
    /// A lock in memory.
    Lock,
}

/// The reason.
pub fn reason(case: &Case, stuck: &Stuck) -> Option<Reason> {
    // It looks around many times a second while it waits.
    if debugger::is_awaited(stuck.stack) {
        return Some(Reason::Debugger);
    }
    let inner = debugger::called(stuck.stack);
    let asleep = !matches!(stuck.stack.activity, Activity::Running | Activity::Gil);
    if !asleep {
        return None;
    }
    if asks_person(stuck.wait, inner) {
        return Some(Reason::Stdin);
    }
    if resolves(stuck.wait, inner) {
        return Some(Reason::Name);
    }
    let wait = stuck.wait?;
    let reason = behind(case, stuck, wait, inner)?;
    // A manager's worker that waits for its manager's word has none of the application's frames.
    let own = frames::application_frame(stuck.stack).is_some() || stuck.awaited_in.is_some();
    let outside = matches!(reason, Reason::Connect | Reason::FileLock | Reason::File)
        || reason == Reason::Peer && matches!(wait.on, WaitTarget::Tcp(_));
    (own || outside).then_some(reason)
}

/// The reason, by what is behind the call.
fn behind(case: &Case, stuck: &Stuck, wait: &ThreadWait, inner: &[Frame]) -> Option<Reason> {
    match &wait.on {
        WaitTarget::Tcp(tcp) => of_tcp(case, stuck, wait, tcp),
        WaitTarget::Unix { path: Some(_), .. } if wait.call == libc::SYS_connect => {
            Some(Reason::Connect)
        }
        WaitTarget::Unix {
            path: Some(path), ..
        } => (!is_own_path(case, path)).then_some(Reason::Peer),
        WaitTarget::Children(_) => Some(Reason::Child),
        WaitTarget::Pipe { path: Some(_), .. } => Some(Reason::File),
        WaitTarget::Pipe { .. } if waits::is_write(wait) => Some(Reason::File),
        WaitTarget::Pipe { others, .. } => {
            let somebody = others
                .iter()
                .flatten()
                .any(|p| p.pid != stuck.member.process.key.pid);
            (somebody || inner.iter().any(is_subprocess)).then_some(Reason::Child)
        }
        WaitTarget::FileLock { .. } => Some(Reason::FileLock),
        WaitTarget::FifoOpen { .. } => Some(Reason::File),
        // Large reads sleep often and briefly: the same sleep has to last.
        WaitTarget::File { .. } => {
            let slept = case.at.seconds_since(wait.since);
            (slept >= case.thresholds.standing_s).then_some(Reason::File)
        }
        WaitTarget::Terminal { .. } => waits::is_write(wait).then_some(Reason::File),
        WaitTarget::Futex { timed, .. } => {
            let event = stuck.stack.leaf().is_some_and(is_event) || inner.iter().any(is_mp_queue);
            let stacks = stuck.member.process.python.as_ref();
            let known = stacks
                .and_then(|p| p.stacks.as_ref()?.lock_of(stuck.stack.tid?))
                .map(|lock| lock.kind);
            let event = event || known == Some(LockObject::Queue);
            let lock = stuck.stack.activity == Activity::Lock
                && (!event || locks::lacks_threads(case, stuck));
            (lock && !timed).then_some(Reason::Lock)
        }
        WaitTarget::Unix { path: None, .. } | WaitTarget::Udp { .. } | WaitTarget::Sleep { .. } => {
            None
        }
    }
}

fn of_tcp(case: &Case, stuck: &Stuck, wait: &ThreadWait, tcp: &TcpWait) -> Option<Reason> {
    match tcp.state {
        // A connection that is a moment old is likely to be made; many such moments are not.
        TcpState::SynSent => {
            let slow = tcp.retransmits > 0 || stuck.stood_s >= 2.0 * case.thresholds.standing_s;
            slow.then_some(Reason::Connect)
        }
        TcpState::Unknown => (wait.call == libc::SYS_connect).then_some(Reason::Connect),
        // A client that says nothing is no reason for a loop or a pool; it is for who serves one after the other.
        _ if is_incoming(case, stuck, tcp) && !serves_alone(stuck) => None,
        _ => {
            // Of a worker that is new each time, its connection is too: the server has stood for longer.
            let young = case.age_s(stuck.member) < 2.0 * LIVELY_S;
            let silent = waits::silent_s(wait, case.at);
            silent
                .is_none_or(|silent| young || silent >= LIVELY_S)
                .then_some(Reason::Peer)
        }
    }
}

/// The main thread has taken a connection, and takes no other before it has done with that one.
fn serves_alone(stuck: &Stuck) -> bool {
    stuck.stage == Stage::Service && !stuck.behind_main
}

/// A client of this server, or of another one here: the local port is one that listens.
pub fn is_incoming(case: &Case, stuck: &Stuck, tcp: &TcpWait) -> bool {
    let Some((_, port)) = tcp.local else {
        return false;
    };
    let netns = case.snapshot.netns.iter();
    netns
        .filter(|n| {
            stuck
                .member
                .process
                .netns
                .is_none_or(|mine| n.inode == mine)
        })
        .flat_map(|n| &n.listeners)
        .any(|l| l.port == port && l.state == ListenerState::Listening && l.path.is_none())
}

fn is_own_path(case: &Case, path: &str) -> bool {
    let own = |l: &&crate::diagnosis::ServerListener| l.socket.path.as_deref() == Some(path);
    case.server.listeners.iter().find(own).is_some()
}

/// True if only a person, or whoever has the other end of standard input, can end the wait.
fn asks_person(wait: Option<&ThreadWait>, inner: &[Frame]) -> bool {
    let prompts = |f: &Frame| {
        let file = f.file.as_str();
        let prompt =
            file.ends_with("/pdb.py") || file.ends_with("/cmd.py") || file.ends_with("/getpass.py");
        f.is_library() && prompt || file.contains("/IPython/terminal/")
    };
    match wait {
        Some(wait) if waits::is_write(wait) => false,
        Some(ThreadWait {
            on: WaitTarget::Terminal { .. },
            ..
        }) => true,
        Some(ThreadWait { fd: Some(0), .. }) => true,
        Some(_) => false,
        None => inner.iter().any(prompts),
    }
}

/// True if the thread resolves a name: by what it calls, or by whom it asks.
fn resolves(wait: Option<&ThreadWait>, inner: &[Frame]) -> bool {
    let asks = wait.is_some_and(|wait| match &wait.on {
        WaitTarget::Udp { peer } => peer.is_some_and(|(_, port)| port == DOMAIN),
        WaitTarget::Tcp(tcp) => tcp.peer.1 == DOMAIN,
        WaitTarget::Unix {
            path: Some(path), ..
        } => path.starts_with("/run/systemd/resolve/") || path.contains("/nscd/socket"),
        _ => false,
    });
    const CALLS: &[&str] = &[
        "getaddrinfo",
        "getfqdn",
        "gethostbyname",
        "gethostbyaddr",
        "getnameinfo",
    ];
    let calls = |f: &&Frame| f.is_library() && CALLS.contains(&last_part(f));
    asks || inner.last().is_some_and(|leaf| calls(&leaf))
}

/// A reader waits for its turn at the pipe: for what comes through it, that is.
fn is_mp_queue(frame: &Frame) -> bool {
    frame.is_library() && frame.file.ends_with("/multiprocessing/queues.py")
}

fn is_subprocess(frame: &Frame) -> bool {
    frame.is_library()
        && (frame.file.ends_with("/subprocess.py")
            || frame.file.ends_with("/os.py") && frame.function == "popen")
}

/// `Popen.wait` → `wait`: qualified names exist from 3.11 on.
fn last_part(frame: &Frame) -> &str {
    frame.function.rsplit('.').next().unwrap_or("")
}
