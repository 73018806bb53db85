//! Who keeps a server from serving by waiting, and for what: the thread that imports or starts the application, or the one
//! that should turn the loop or take the next request. Rules ask for one reason each, so that two of them never name the
//! same wait.
//!
//! A thread that idles in a loop, waits for work or for a connection to accept is none of them, and on a server that serves
//! nobody is.

use super::history::Track;
use super::rule::{Case, Verdict, socket_evidence};
use super::words::duration;
use super::{Finding, Member, Severity, frames, waits};
use crate::snapshot::{Frame, Stack, TcpState, ThreadWait, WaitTarget};

mod aside;
mod candidate;
mod locks;
mod reason;

pub use aside::{Aside, AsideCase, aside};
use candidate::{Seen, find};
pub use locks::{LockCase, forked_from, has_inherited, lacks_threads, lock_case};
pub use reason::{Reason, is_incoming, reason};

/// A thread that waits, and should not.
#[derive(Debug, Clone, Copy)]
pub struct Stuck<'a> {
    /// Whose it is.
    pub member: &'a Member,
    /// What is remembered of that process.
    pub track: &'a Track,
    /// The thread's stack.
    pub stack: &'a Stack,
    /// The main thread waits for this one, which is another.
    pub behind_main: bool,
    /// The application's frame that awaits what this thread does, where the main thread's loop idles meanwhile.
    pub awaited_in: Option<&'a Frame>,
    /// What it waits for, where that could be found out.
    pub wait: Option<&'a ThreadWait>,
    /// What it keeps from happening.
    pub stage: Stage,
    /// Seconds that it has been so, at least.
    pub stood_s: f64,
    /// How bad that is.
    pub severity: Severity,
}

/// What does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The application is being imported.
    Import,
    /// Its startup runs.
    Startup,
    /// It has served, and its loop or worker is held.
    Service,
}

impl Stuck<'_> {
    /// True if this very thread has not moved for long enough to tell.
    fn stands(&self, case: &Case) -> bool {
        let Some(wait) = self.wait else { return false };
        let slept = case.at.seconds_since(wait.since);
        let told = self.told_s(wait, case).unwrap_or(0.0);
        slept.max(told) >= case.thresholds.standing_s
    }

    /// Seconds of a wait that the kernel knows by itself.
    fn told_s(&self, wait: &ThreadWait, case: &Case) -> Option<f64> {
        match &wait.on {
            WaitTarget::Tcp(tcp) if tcp.state == TcpState::SynSent => {
                Some(waits::connecting_s(tcp.retransmits))
            }
            WaitTarget::Tcp(_) => waits::silent_s(wait, case.at),
            _ => None,
        }
    }

    /// Seconds that it has waited for this very thing, at least. The kernel may know of the time before anybody looked; and
    /// who stands in one function may wait there for one thing after the other.
    pub fn lasted_s(&self, case: &Case) -> f64 {
        let Some(wait) = self.wait else {
            return self.stood_s;
        };
        match &wait.on {
            WaitTarget::Tcp(tcp) if tcp.state == TcpState::SynSent => {
                self.stood_s.max(self.told_s(wait, case).unwrap_or(0.0))
            }
            WaitTarget::Tcp(_) => self.told_s(wait, case).unwrap_or(self.stood_s),
            WaitTarget::Children(children) => {
                let started = children.first().and_then(|child| child.started);
                started.map_or(self.stood_s, |at| {
                    self.stood_s.min(case.at.seconds_since(at))
                })
            }
            WaitTarget::Futex { .. } | WaitTarget::FifoOpen { .. } => {
                self.stood_s.min(case.at.seconds_since(wait.since))
            }
            _ => self.stood_s,
        }
    }

    fn has_loop(&self) -> bool {
        let main = self.member.process.main_stack();
        main.is_some_and(frames::has_loop)
    }

    /// The application's own frame, or the innermost one that there is.
    pub fn frame(&self) -> Option<&Frame> {
        let own = match self.stage {
            Stage::Service => frames::request_frame(self.stack),
            Stage::Import | Stage::Startup => frames::application_frame(self.stack),
        };
        own.map(|(_, frame)| frame)
            .or(self.awaited_in)
            .or(self.stack.leaf())
    }

    /// What does not go on, as the beginning of a sentence: `startup`, `the import of module app`.
    pub fn subject(&self) -> String {
        let pid = self.member.process.key.pid;
        match self.stage {
            Stage::Import => match self.track.modules.back() {
                Some(module) => format!("the import of module {module}"),
                None => "the import of the application".into(),
            },
            Stage::Startup => "startup".into(),
            Stage::Service if self.has_loop() => {
                format!("the event loop of pid {pid}")
            }
            Stage::Service => format!("worker {pid}"),
        }
    }

    /// ` in wait_for_database (app/db.py:31)`; nothing where no frame is known.
    pub fn place(&self) -> String {
        let place = self.frame().map(frames::place);
        let on_it = self.awaited_in.is_none() || frames::application_frame(self.stack).is_some();
        let thread = match (&self.stack.name, self.behind_main && on_it) {
            (Some(name), true) => format!(" on thread {name}"),
            (None, true) => " on another thread".into(),
            _ => String::new(),
        };
        place
            .map(|p| format!(" in {p}{thread}"))
            .unwrap_or_default()
    }

    /// What it leads to, as the end of a sentence.
    pub fn effect(&self, case: &Case) -> String {
        let age = duration(case.age_s(self.member));
        match (self.stage, case.listening().next(), case.depth()) {
            (Stage::Service, _, Some(waiting)) if waiting > 0 => {
                format!(
                    "{} in the accept queue",
                    super::words::count(waiting as usize, "connection")
                )
            }
            (Stage::Service, ..) => "nothing else is served meanwhile".into(),
            (_, Some(_), _) => {
                format!("clients are let in and nobody takes them (process is {age} old)")
            }
            _ => format!("nothing listens before it ends (process is {age} old)"),
        }
    }

    /// Fills in what every such finding has: the culprit, where it stands, the sockets.
    pub fn complete(&self, case: &Case, found: &mut Finding) {
        let pid = self.member.process.key.pid;
        let tid = self.stack.tid.unwrap_or(pid);
        found.culprit = self.frame().map(frames::culprit_of);
        if let Some(wait) = self.wait {
            found.evidence.insert(
                0,
                format!(
                    "thread {tid} of pid {pid} {} (/proc/{pid}/task/{tid}/syscall)",
                    is(waits::words(wait, case.at))
                ),
            );
        }
        if let Some(frame) = self.awaited_in {
            found.evidence.push(format!(
                "the event loop idles, and {} awaits what that thread does (asyncio tasks)",
                frames::place(frame)
            ));
        } else if self.track.place.looks > 1 {
            found.evidence.push(format!(
                "it has been in the same functions at {} looks (Python stack)",
                self.track.place.looks
            ));
        }
        found.evidence.push(socket_evidence(case));
    }
}

/// `in connect() …` is not a sentence yet, `waits for …` is one.
fn is(words: String) -> String {
    if words.starts_with("in ") {
        format!("is {words}")
    } else {
        words
    }
}

/// The thread that keeps the server from serving, if that is why it stands; otherwise the answer of the rule that asks.
pub fn because<'a>(case: &Case<'a>, wanted: Reason) -> Result<Stuck<'a>, Verdict> {
    let stuck = match find(case) {
        Seen::Nobody => return Err(Verdict::Clear),
        Seen::NotYet => return Err(Verdict::NotYet),
        Seen::This(stuck) => stuck,
    };
    if reason(case, &stuck) != Some(wanted) {
        return Err(Verdict::Clear);
    }
    let thresholds = case.thresholds;
    let (lasted, enough) = match wanted {
        // It may look around many times a second while it waits for the same.
        Reason::Stdin | Reason::Debugger => (stuck.stood_s, thresholds.doubtless_s),
        Reason::Lock if matches!(lock_case(case, &stuck), LockCase::Alone) => {
            (stuck.lasted_s(case), thresholds.doubtless_s)
        }
        _ => (stuck.lasted_s(case), thresholds.standing_s),
    };
    if stuck.stage != Stage::Service && lasted < enough {
        return Err(Verdict::NotYet);
    }
    Ok(stuck)
}

/// A frame that waits for something to happen, and for no lock that somebody holds.
fn is_event(leaf: &Frame) -> bool {
    let name = leaf.function.rsplit('.').next().unwrap_or("");
    let file = leaf.file.as_str();
    let threads = file.ends_with("/threading.py")
        && matches!(
            name,
            "wait" | "wait_for" | "join" | "_wait_for_tstate_lock" | "_shutdown" | "_join_thread"
        );
    let processes =
        file.ends_with("/multiprocessing/synchronize.py") && matches!(name, "wait" | "wait_for");
    threads || processes || file.ends_with("/queue.py") || file.contains("/concurrent/futures/")
}
