//! Rules: each looks for one failure in what is known of one server, and answers found, clear, or not yet.
//!
//! One file per failure. The order of `RULES` is the order of causes before symptoms: what stands earlier explains what
//! stands later.

use std::sync::Arc;

use super::history::{History, Track};
use super::timeouts::Kill;
use super::words::{count, duration, shell_word};
use super::{
    Code, Finding, Member, Phase, Role, Server, ServerListener, Severity, Thresholds, frames, phase,
};
use crate::snapshot::{ListenerState, Moment, Snapshot};

mod accept_queue;
mod address;
pub(crate) mod address_in_use;
mod awaited_child;
mod backlog_clamped;
mod bound_not_listening;
mod connect_hang;
mod connection_pool;
mod cpu_throttled;
mod crash_loop;
mod debugger_wait;
mod dns_hang;
mod drain_connections;
mod drain_tasks;
mod drain_threads;
mod fd_exhausted;
mod fd_growing;
mod file_wait;
mod fork_deadlock;
mod gil_held;
mod import;
mod lock_aside;
mod lock_wait;
mod loop_blocked;
mod loop_off_main_thread;
mod no_worker_accepting;
mod oom_loop;
mod peer_silent;
mod pool_exhausted;
mod reloader_without_child;
mod server_thread_died;
mod socket_permission;
mod startup;
mod startup_await;
mod stdin_wait;
mod subprocess_wait;
mod task_deadlock;
mod task_words;
mod thread_deadlock;
mod thread_pool;
mod threadpool_exhausted;
mod uneven_listeners;
mod worker_stopped;
mod worker_timeout_loop;

/// What a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Now.
    pub at: Moment,
    /// The server, its findings still empty.
    pub server: &'a Server,
    /// The newest look.
    pub snapshot: &'a Snapshot,
    /// What was seen before.
    pub history: &'a History,
    /// When is long, when is much.
    pub thresholds: &'a Thresholds,
    /// Workers of this server that were killed for being silent, oldest first.
    pub kills: &'a [Kill],
}

/// A rule's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is not so.
    Clear,
    /// It may be so: not seen for long enough to tell.
    NotYet,
    /// It is so.
    Found(Box<Finding>),
}

type Rule = fn(&Case) -> Verdict;

/// All rules, causes before symptoms.
const RULES: &[Rule] = &[
    worker_stopped::examine,
    address_in_use::examine,
    cpu_throttled::examine,
    oom_loop::examine,
    worker_timeout_loop::examine,
    crash_loop::examine,
    reloader_without_child::examine,
    server_thread_died::examine,
    fd_exhausted::examine,
    task_deadlock::examine,
    gil_held::examine,
    lock_aside::examine_mutual,
    connection_pool::examine,
    thread_pool::examine,
    lock_aside::examine_other,
    debugger_wait::examine,
    stdin_wait::examine,
    fork_deadlock::examine,
    thread_deadlock::examine,
    connect_hang::examine,
    dns_hang::examine,
    peer_silent::examine,
    subprocess_wait::examine,
    file_wait::examine,
    lock_wait::examine,
    import::examine_blocked,
    startup::examine_blocked,
    loop_blocked::examine,
    pool_exhausted::examine,
    import::examine_slow,
    startup_await::examine,
    drain_connections::examine,
    drain_tasks::examine,
    drain_threads::examine,
    no_worker_accepting::examine,
    bound_not_listening::examine,
    accept_queue::examine_full,
    uneven_listeners::examine,
    accept_queue::examine_growing,
    address::examine_loopback,
    address::examine_ipv6,
    socket_permission::examine,
    fd_growing::examine,
    loop_off_main_thread::examine,
    backlog_clamped::examine,
];

/// Everything that is wrong with a server, ranked: while it serves the worst first, otherwise causes before symptoms.
pub fn examine_all(case: &Case) -> Vec<Finding> {
    let mut found: Vec<Finding> = RULES
        .iter()
        .filter_map(|rule| match rule(case) {
            Verdict::Found(finding) => Some(*finding),
            Verdict::Clear | Verdict::NotYet => None,
        })
        .collect();
    if case.server.phase == Phase::Serving {
        found.sort_by_key(|f| std::cmp::Reverse(f.severity));
    } else if let Some(worst) = found.iter().map(|f| f.severity).max()
        && let Some(cause) = found.first_mut()
    {
        // The cause is as bad as what it leads to.
        cause.severity = worst;
    }
    let claim = super::log::claim::contradicted(case.server, case.snapshot);
    if let Some(first) = found.first_mut() {
        first.evidence.extend(claim);
    }
    found
}

impl<'a> Case<'a> {
    /// Living members that take connections themselves.
    pub fn workers(&self) -> impl Iterator<Item = &'a Member> {
        self.server
            .members
            .iter()
            .filter(|m| phase::works(m.role) && m.exit.is_none() && m.phase != Phase::Exited)
    }

    /// The member that imports or starts the application: the oldest worker, or else a master that preloads. One that only
    /// watches has its server's phase, and nothing to do with why it lasts.
    pub fn boots(&self, wanted: Phase) -> Option<(&'a Member, &'a Track)> {
        let imports = |m: &Member| m.process.main_stack().is_some_and(frames::is_importing);
        let boots = |m: &&Member| {
            phase::works(m.role) || m.role != Role::Helper && imports(m) || self.boots_alone(m)
        };
        let candidates = self.server.members.iter().filter(|m| m.phase == wanted);
        let oldest = candidates.filter(boots).min_by_key(|m| {
            (
                !self.boots_alone(m) && !phase::works(m.role),
                m.process.key.start_time,
            )
        })?;
        Some((oldest, self.track(oldest)?))
    }

    /// True of a root whose main thread does work of its own: what it has started beside it is not what it waits for.
    fn boots_alone(&self, member: &Member) -> bool {
        let is_root = member.process.key == self.server.root;
        let own =
            |t: &Track| (!t.traits.supervises || t.traits.in_hook) && !t.traits.waits_for_others;
        is_root && self.track(member).is_some_and(own)
    }

    /// What is remembered of a member.
    pub fn track(&self, member: &Member) -> Option<&'a Track> {
        self.history.tracks.get(&member.process.key)
    }

    /// The server's own sockets that listen.
    pub fn listening(&self) -> impl Iterator<Item = &'a ServerListener> {
        let listens = |l: &&ServerListener| l.socket.state == ListenerState::Listening;
        self.server
            .listeners
            .iter()
            .filter(|l| !l.side)
            .filter(listens)
    }

    /// The deepest accept queue of the server's own sockets; `None` if none could be seen.
    pub fn depth(&self) -> Option<u32> {
        self.listening().filter_map(|l| l.socket.accept_queue).max()
    }

    /// Seconds since the program first looked.
    pub fn observed_s(&self) -> f64 {
        self.history
            .began
            .map_or(0.0, |began| self.at.seconds_since(began))
    }

    /// Seconds since a process started, or since it has run its present program.
    pub fn age_s(&self, member: &Member) -> f64 {
        let began = self
            .track(member)
            .map_or(member.process.started, |t| t.began);
        self.at.seconds_since(began)
    }

    /// How bad it is that connections have waited so long and none was taken.
    pub fn severity_of_stall(&self, seconds: f64) -> Severity {
        if seconds >= self.thresholds.queue_stuck_critical_s {
            Severity::Critical
        } else if seconds >= self.thresholds.queue_stuck_warning_s {
            Severity::Warning
        } else {
            Severity::Info
        }
    }

    /// A lone script with a socket that listens, from which it has not been seen to accept, for which nobody waits, and with
    /// no call ahead that would serve: it may poll the socket now and then, or have it for a visitor that never comes.
    fn may_be_none(&self) -> bool {
        let mut own = self.server.own_members();
        let (Some(only), None) = (own.next(), own.next()) else {
            return false;
        };
        let says_nothing = self
            .track(only)
            .is_some_and(|t| t.kind.is_none() && t.intends.is_none() && !t.has_accepted);
        let unknown = crate::diagnosis::kind::intent(&only.process.cmdline)
            == crate::diagnosis::kind::Intent::Unknown;
        let mut listening = self.listening().peekable();
        let listens = listening.peek().is_some();
        unknown
            && says_nothing
            && listens
            && listening
                .all(|l| l.socket.accept_queue == Some(0) && l.socket.drops.unwrap_or(0) == 0)
    }

    /// How bad it is that a server has not got there after so many seconds. While others of it serve it is no more than a
    /// warning, and where nothing but an unused socket speaks for a server it is no more than worth a word.
    pub fn severity_of_delay(&self, seconds: f64) -> Severity {
        if self.may_be_none() {
            Severity::Info
        } else if seconds >= self.thresholds.delay_critical_s && self.server.phase != Phase::Serving
        {
            Severity::Critical
        } else if seconds >= self.thresholds.delay_warning_s {
            Severity::Warning
        } else {
            Severity::Info
        }
    }
}

/// Starts a finding; the rest is filled in with struct update or field by field.
pub fn finding(code: Code, severity: Severity, summary: String) -> Finding {
    Finding {
        code,
        severity,
        summary,
        culprit: None,
        evidence: Vec::new(),
        remedy: String::new(),
        confirm: String::new(),
    }
}

/// A sentence on where sockets of a server stand, by sock_diag.
pub fn socket_evidence(case: &Case) -> String {
    let own: Vec<&Arc<crate::snapshot::Process>> =
        case.server.members.iter().map(|m| &m.process).collect();
    let pid = own.first().map_or(case.server.pid, |p| p.key.pid);
    match case.listening().next() {
        Some(l) => format!(
            "{} listens with a backlog of {}, {} in its accept queue (sock_diag)",
            super::sockets::address(&l.socket),
            l.socket
                .backlog
                .map_or_else(|| "?".into(), |b| b.to_string()),
            l.socket
                .accept_queue
                .map_or_else(|| "?".into(), |d| count(d as usize, "connection")),
        ),
        None => match case.server.listeners.iter().find(|l| !l.side) {
            Some(l) => format!(
                "{} is bound and does not listen (sock_diag)",
                super::sockets::address(&l.socket)
            ),
            None => format!("no socket of pid {pid} is bound to a port (sock_diag)"),
        },
    }
}
