//! What does one row of the table say? The facts of a server, of one of its processes, or of other Python, in one form, so that
//! columns and sorting need not know which it is.

use crate::diagnosis::{Diagnosis, Member, Outsider, Phase, Role, Server, ServerListener, sockets};
use crate::snapshot::{ListenerState, Moment, Process, ProcessKey};
use crate::view::format;

use super::standing::{mark, mark_of_phase};
use super::theme::Mark;

/// A value, none of it, or not to be seen: three things that must never look alike.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub enum Seen<T> {
    /// There is nothing to have a value.
    None,
    /// There is a value, but it could not be seen (or not yet).
    Unseen,
    /// This.
    Is(T),
}

impl<T> Seen<T> {
    /// From an option whose `None` means that it could not be seen.
    pub fn or_unseen(value: Option<T>) -> Self {
        value.map_or(Self::Unseen, Self::Is)
    }
}

/// The accept queue that a row shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Connections that wait.
    pub depth: u32,
    /// The limit that the kernel compares with.
    pub backlog: Option<u32>,
    /// Depths of the last looks, oldest first.
    pub history: Vec<u32>,
    /// Drops per second, where known and not zero.
    pub drops: Option<f64>,
}

impl Queue {
    /// True if the next connection would not be let in: the kernel admits one more than the backlog.
    pub fn is_full(&self) -> bool {
        self.backlog.is_some_and(|backlog| self.depth > backlog)
    }
}

/// One row's facts.
#[derive(Debug, Clone)]
pub struct Facts {
    /// State as a glyph.
    pub mark: Mark,
    /// State as a word.
    pub phase: Phase,
    /// Seconds in this phase.
    pub for_s: f64,
    /// True if it may be longer.
    pub for_is_bound: bool,
    /// Name for people.
    pub name: String,
    /// Its pid; of a server, the root's.
    pub pid: u32,
    /// What else is to be said beside the name, where there is room: `4 workers`, `14 exits`, `SIGKILL`.
    pub extra: String,
    /// Where it listens.
    pub listens: Seen<String>,
    /// Its fullest accept queue.
    pub queue: Seen<Queue>,
    /// Half-open connections.
    pub syn: Seen<u32>,
    /// Threads.
    pub threads: Seen<u64>,
    /// Open descriptors and their limit, of the process that is nearest to it.
    pub fds: Seen<(u64, Option<u64>)>,
    /// Percent of one core.
    pub cpu: Seen<f64>,
    /// Resident bytes.
    pub memory: Seen<u64>,
    /// Python's version.
    pub python: Seen<String>,
}

/// The server with this root.
pub fn server(diagnosis: &Diagnosis, root: ProcessKey) -> Option<&Server> {
    diagnosis
        .servers
        .iter()
        .find(|s| s.root == root)
        .map(|s| &**s)
}

/// The member with this key.
pub fn member(server: &Server, key: ProcessKey) -> Option<&Member> {
    server.members.iter().find(|m| m.process.key == key)
}

/// The outsider with this key.
pub fn outsider(diagnosis: &Diagnosis, key: ProcessKey) -> Option<&Outsider> {
    diagnosis.outsiders.iter().find(|o| o.process.key == key)
}

/// The facts of a server as a whole.
pub fn of_server(server: &Server, now: Moment) -> Facts {
    let alive: Vec<&Member> = server.members.iter().filter(|m| m.exit.is_none()).collect();
    let headline = headline(server);
    let cpu = alive
        .iter()
        .filter_map(|m| m.cpu_percent)
        .reduce(|a, b| a + b);
    let root = member(server, server.root).or(server.members.first());
    let gone = alive.is_empty();
    Facts {
        mark: mark(server),
        phase: server.phase,
        for_s: now.seconds_since(server.since),
        for_is_bound: server.since_is_bound,
        name: server.name.clone(),
        pid: server.root.pid,
        extra: extra(server, &alive),
        listens: match listens(server, headline) {
            Seen::None if !server.sockets_seen() => Seen::Unseen,
            seen => seen,
        },
        queue: headline.map_or(Seen::None, queue),
        syn: headline.map_or(Seen::None, |l| match l.socket.state {
            ListenerState::Listening if l.socket.path.is_none() => {
                Seen::or_unseen(l.socket.syn_queue)
            }
            _ => Seen::None,
        }),
        threads: if gone {
            Seen::None
        } else {
            Seen::Is(
                alive
                    .iter()
                    .map(|m| u64::from(m.process.thread_count))
                    .sum(),
            )
        },
        fds: fullest_fds(&alive),
        cpu: if gone {
            Seen::None
        } else {
            Seen::or_unseen(cpu)
        },
        memory: if gone {
            Seen::None
        } else {
            Seen::Is(alive.iter().map(|m| m.process.rss).sum())
        },
        python: root.map_or(Seen::None, |m| python(&m.process)),
    }
}

/// The facts of one process of a server.
pub fn of_member(server: &Server, member: &Member, now: Moment) -> Facts {
    let process = &member.process;
    let gone = member.exit.is_some();
    let ending = member.exit.as_ref().map(|e| format::ending(&e.exit));
    let own = server
        .listeners
        .iter()
        .filter(|l| !l.side && l.holders.contains(&process.key.pid));
    let headline = own.max_by_key(|l| l.socket.accept_queue);
    Facts {
        mark: mark_of_phase(member.phase),
        phase: member.phase,
        for_s: now.seconds_since(member.since),
        for_is_bound: member.since == process.started && server.since_is_bound,
        name: member.role.word().to_owned(),
        pid: process.key.pid,
        extra: ending.unwrap_or_default(),
        listens: accepts(process, server, gone),
        queue: headline
            .filter(|_| !gone && server.members.len() > 1)
            .map_or(Seen::None, queue),
        syn: Seen::None,
        threads: if gone {
            Seen::None
        } else {
            Seen::Is(u64::from(process.thread_count))
        },
        fds: if gone { Seen::None } else { fds(process) },
        cpu: if gone {
            Seen::None
        } else {
            Seen::or_unseen(member.cpu_percent)
        },
        memory: if gone {
            Seen::None
        } else {
            Seen::Is(process.rss)
        },
        python: python(process),
    }
}

/// The facts of a Python process that is no server.
pub fn of_outsider(outsider: &Outsider, now: Moment) -> Facts {
    let process = &outsider.process;
    Facts {
        mark: mark_of_phase(outsider.phase),
        phase: outsider.phase,
        for_s: now.seconds_since(process.started),
        for_is_bound: false,
        name: outsider.name.clone(),
        pid: process.key.pid,
        extra: String::new(),
        listens: Seen::None,
        queue: Seen::None,
        syn: Seen::None,
        threads: Seen::Is(u64::from(process.thread_count)),
        fds: fds(process),
        cpu: Seen::or_unseen(outsider.cpu_percent),
        memory: Seen::Is(process.rss),
        python: python(process),
    }
}

/// The listener that stands for a server: one that is full, else its first own one.
pub fn headline(server: &Server) -> Option<&ServerListener> {
    let own = || server.listeners.iter().filter(|l| !l.side);
    let full = |l: &&ServerListener| matches!(queue(l), Seen::Is(q) if q.is_full());
    own().find(full).or_else(|| own().next())
}

/// The accept queue of a listener.
pub fn queue(listener: &ServerListener) -> Seen<Queue> {
    if listener.socket.state == ListenerState::Bound {
        return Seen::None;
    }
    match listener.socket.accept_queue {
        None => Seen::Unseen,
        Some(depth) => Seen::Is(Queue {
            depth,
            backlog: listener.socket.backlog,
            history: listener.depth_history.iter().copied().collect(),
            drops: listener.drops_per_second.filter(|rate| *rate >= 0.05),
        }),
    }
}

fn listens(server: &Server, headline: Option<&ServerListener>) -> Seen<String> {
    let Some(first) = headline else {
        return Seen::None;
    };
    let own = server.listeners.iter().filter(|l| !l.side).count();
    let mut text = sockets::address(&first.socket);
    if own > 1 {
        text.push_str(&format!(" +{}", own - 1));
    }
    Seen::Is(text)
}

fn accepts(process: &Process, server: &Server, gone: bool) -> Seen<String> {
    if gone || server.listeners.is_empty() {
        return Seen::None;
    }
    let pid = process.key.pid;
    let known: Vec<&Vec<u32>> = server
        .listeners
        .iter()
        .filter(|l| !l.side)
        .filter_map(|l| l.accepting.as_ref())
        .collect();
    if known.iter().any(|pids| pids.contains(&pid)) {
        return Seen::Is("accepting".to_owned());
    }
    let holds = server
        .listeners
        .iter()
        .any(|l| !l.side && l.holders.contains(&pid));
    match (holds, known.is_empty()) {
        (true, true) => Seen::Unseen,
        (true, false) => Seen::Is("holds it".to_owned()),
        (false, _) => Seen::None,
    }
}

fn extra(server: &Server, alive: &[&Member]) -> String {
    let workers = alive.iter().filter(|m| m.role == Role::Worker).count();
    match (server.phase, server.exits_total, workers) {
        (Phase::CrashLooping, 1, _) => "1 exit".to_owned(),
        (Phase::CrashLooping, exits, _) if exits > 0 => format!("{exits} exits"),
        (Phase::Exited, ..) => {
            let last = server
                .members
                .iter()
                .find_map(|m| m.exit.as_ref())
                .or(server.exits.front());
            last.map_or_else(String::new, |e| format::ending(&e.exit))
        }
        (_, _, 0) => String::new(),
        (_, _, 1) => "1 worker".to_owned(),
        (_, _, n) => format!("{n} workers"),
    }
}

fn fds(process: &Process) -> Seen<(u64, Option<u64>)> {
    Seen::or_unseen(process.fds.as_ref().map(|fds| (fds.open, fds.limit)))
}

fn fullest_fds(alive: &[&Member]) -> Seen<(u64, Option<u64>)> {
    if alive.is_empty() {
        return Seen::None;
    }
    let share =
        |open: u64, limit: Option<u64>| limit.map_or(0.0, |l| open as f64 / l.max(1) as f64);
    let seen = alive
        .iter()
        .filter_map(|m| m.process.fds.as_ref())
        .map(|f| (f.open, f.limit));
    let fullest = seen.max_by(|a, b| {
        share(a.0, a.1)
            .total_cmp(&share(b.0, b.1))
            .then(a.0.cmp(&b.0))
    });
    Seen::or_unseen(fullest)
}

fn python(process: &Process) -> Seen<String> {
    match &process.python {
        None => Seen::None,
        Some(python) => Seen::or_unseen(
            python
                .version
                .as_deref()
                .map(|v| format::python_minor(v).to_owned()),
        ),
    }
}
