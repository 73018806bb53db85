//! In which phase a process is, and a server as a whole: by evidence of the kernel and of stacks, never by what a log claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::framework::{self, Says};
use super::history::{History, Queue, Track};
use super::{Kind, Phase, Role, ServerListener, Thresholds, draining, frames, kind, pool};
use crate::snapshot::{Activity, ListenerState, Moment, Process, ProcessKey, ProcessState, Stack};

/// What a phase is told from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Now.
    pub at: Moment,
    /// Kind of the server.
    pub kind: Kind,
    /// Sockets of the server.
    pub listeners: &'a [ServerListener],
    /// What was seen before.
    pub history: &'a History,
    /// When is long.
    pub thresholds: &'a Thresholds,
    /// Command line of the root: what it was asked to do.
    pub asked: &'a [String],
    /// When a worker was last killed by SIGABRT or SIGKILL, as a supervisor does with one that misses its heartbeat.
    pub killed_at: Option<Moment>,
    /// Phases of the processes at the last look, and since when.
    pub before: &'a BTreeMap<ProcessKey, (Phase, Moment)>,
    /// True if the root is on its way out, and waits for the others.
    pub ending: bool,
}

impl Evidence<'_> {
    /// Phase of one process of a server.
    pub fn of_process(&self, process: &Arc<Process>, role: Role) -> Phase {
        if process.has_ended() {
            return Phase::Exited;
        }
        if process.state.has_ended() {
            // Its first thread has ended, and took with it what /proc shows of the others.
            return Phase::Unseen;
        }
        if is_stopped(process) {
            return Phase::Stopped;
        }
        if role == Role::Helper {
            return Phase::NotAServer;
        }
        if process.fds.is_none() && process.main_stack().is_none() {
            return Phase::Unseen;
        }
        let track = self.history.tracks.get(&process.key);
        if track.is_some_and(|t| t.standing.shuts_down()) {
            return Phase::Draining;
        }
        let held: Vec<&ServerListener> = self.held_by(process.key.pid);
        let accepted = track.is_some_and(|t| t.has_accepted);
        if self.ending {
            return Phase::Draining;
        }
        if track.is_some_and(|t| t.server_thread.gone_since.is_some()) {
            // It lives, and will not serve before somebody changes a file.
            return Phase::Stalled;
        }
        if held.is_empty() {
            let closed = accepted && role != Role::Master;
            if closed
                || draining::has_clients(process, self.asked, self.listeners)
                || track.map_or_else(|| draining::ends(process), |t| t.traits.ends)
            {
                return Phase::Draining;
            }
            return self.before_serving(process);
        }
        if self.is_stalled(process, track, &held) {
            return Phase::Stalled;
        }
        if self.accepts(process, &held) || accepted {
            return Phase::Serving;
        }
        self.before_serving(process)
    }

    fn held_by(&self, pid: u32) -> Vec<&ServerListener> {
        let own = |l: &&ServerListener| !l.side && l.socket.state == ListenerState::Listening;
        self.listeners
            .iter()
            .filter(own)
            .filter(|l| l.holders.contains(&pid))
            .collect()
    }

    fn accepts(&self, process: &Process, held: &[&ServerListener]) -> bool {
        match &process.accepting {
            Some(ready) => ready
                .iter()
                .any(|a| held.iter().any(|l| l.socket.inode == a.inode)),
            // Not allowed to see who accepts: an empty queue, and a main thread that waits in its poll or may not be seen
            // either, is the best evidence that is left. There is a gap then.
            None => {
                let busy = process
                    .main_stack()
                    .is_some_and(|s| s.activity != Activity::Selector);
                !busy && held.iter().all(|l| l.socket.accept_queue == Some(0))
            }
        }
    }

    fn before_serving(&self, process: &Process) -> Phase {
        let Some(main) = process.main_stack() else {
            let has_more = process.thread_count > 1;
            return if has_more {
                Phase::Starting
            } else {
                Phase::Importing
            };
        };
        let pid = process.key.pid;
        let has_socket = self
            .listeners
            .iter()
            .any(|l| !l.side && l.holders.contains(&pid));
        let framework = kind::by_stack(main).is_some() || frames::has_loop(main) || has_socket;
        if frames::is_importing(main) || !framework {
            Phase::Importing
        } else {
            Phase::Starting
        }
    }

    /// True if clients are not served by a process that could serve: its queue is not drained, its loop does not turn, or
    /// every thread that could work is taken.
    fn is_stalled(
        &self,
        process: &Arc<Process>,
        track: Option<&Track>,
        held: &[&ServerListener],
    ) -> bool {
        let Some(track) = track.filter(|t| t.has_accepted) else {
            return false;
        };
        let queues = held
            .iter()
            .filter_map(|l| self.history.queue(l.netns, l.socket.inode));
        let waiting = queues
            .map(|q: &Queue| q.stuck_s(self.at))
            .fold(0.0, f64::max);
        let waits = held
            .iter()
            .any(|l| l.socket.accept_queue.is_some_and(|depth| depth > 0));
        waits && self.replaces_killed(process)
            || waiting >= self.thresholds.queue_stuck_s
                && !self.takes_now(process, held)
                && !self.progresses(process, track)
                && !self.took_lately(process, track)
            || loop_blocked_s(process, track).is_some_and(|s| s >= self.thresholds.loop_blocked_s)
            || track
                .full_since
                .is_some_and(|since| self.at.seconds_since(since) >= self.thresholds.queue_stuck_s)
            || pool::exhausted(process, track, self.at, self.thresholds).is_some()
    }

    /// A connection that lives for milliseconds is seldom seen, but a process that takes one after the other has another
    /// socket at each look, and a gunicorn worker beats between two of them.
    fn took_lately(&self, process: &Process, track: &Track) -> bool {
        let new = track
            .new_socket
            .is_some_and(|at| self.at.seconds_since(at) < self.thresholds.queue_stuck_s);
        let beats = || {
            let age = process.heartbeat.and_then(|h| h.age_ms);
            age.is_some_and(|ms| ms < 1000)
                && process
                    .main_stack()
                    .is_some_and(|s| framework::says(s, Says::BeatsToAccept))
        };
        process.thread_count == 1 && new || beats()
    }

    /// Under steady load a queue is as deep at every look, though it is drained and filled again in between: who works, or
    /// takes connections, is not the one that keeps it. A loop that waits in its poll is, unless its clients change.
    fn progresses(&self, process: &Process, track: &Track) -> bool {
        let at_rest = process.main_stack().is_some_and(is_at_rest);
        // Once stalled, to move is not enough: a worker that is told to abort moves too.
        let was_stalled = self
            .before
            .get(&process.key)
            .is_some_and(|(phase, _)| *phase == Phase::Stalled);
        let last = if at_rest || was_stalled {
            track.took
        } else {
            track.turned
        };
        !is_full(process) && self.at.seconds_since(last) < self.thresholds.queue_stuck_s
    }

    /// Who has just taken the place of one that was killed has not shown yet that it does better: that it has taken one
    /// connection says nothing.
    fn replaces_killed(&self, process: &Process) -> bool {
        // Start times come in ticks of 10 ms, rounded down.
        self.killed_at
            .is_some_and(|killed| process.started.plus_seconds(0.05) >= killed)
            && self.at.seconds_since(process.started) < self.thresholds.queue_stuck_warning_s
    }

    /// A thread waits for exactly these sockets at this moment: what waits in the queue will be taken at once.
    fn takes_now(&self, process: &Process, held: &[&ServerListener]) -> bool {
        let waits = |inode| {
            process
                .accepting
                .iter()
                .flatten()
                .any(|a| a.inode == inode && a.tid.is_some())
        };
        !is_full(process)
            && held
                .iter()
                .any(|l| waits(l.socket.inode) && l.socket.accept_queue == Some(0))
    }
}

/// True if no file can be opened any more, but for the one that is opened and closed in vain.
fn is_full(process: &Process) -> bool {
    let fds = process.fds.as_ref();
    fds.is_some_and(|f| f.limit.is_some_and(|limit| f.open + 1 >= limit))
}

/// True if job control, a tracer or the freezer holds the process.
pub fn is_stopped(process: &Process) -> bool {
    matches!(process.state, ProcessState::Stopped | ProcessState::Tracing)
        || process.frozen == Some(true)
}

/// Seconds for which the event loop on the main thread is known not to have turned; `None` if there is no loop there, its
/// stack is not seen, or it waits in its poll right now.
pub fn loop_blocked_s(process: &Process, track: &Track) -> Option<f64> {
    let main = process.main_stack()?;
    if is_at_rest(main) || track.place.looks < 3 || !frames::has_loop(main) {
        return None;
    }
    // Who waits for a processor would turn, if it were let.
    Some((track.known_s(track.held_since()) - track.starved.seconds()).max(0.0))
}

fn is_at_rest(main: &Stack) -> bool {
    main.activity == Activity::Selector || main.activity == Activity::Stopped
}

/// What the server as a whole is in, from the phases of its processes.
#[derive(Debug, Clone, Copy)]
pub struct Whole<'a> {
    /// Processes with role and phase, root first.
    pub members: &'a [(Role, Phase)],
    /// Sockets.
    pub listeners: &'a [ServerListener],
    /// True if processes die at boot and are replaced.
    pub crash_looping: bool,
    /// True if a process under the present root has accepted once, alive or not.
    pub once_served: bool,
    /// True if the root is on its way out.
    pub ending: bool,
}

impl Whole<'_> {
    /// Phase of the server: what its clients meet.
    pub fn phase(&self) -> Phase {
        let working: Vec<Phase> = self
            .members
            .iter()
            .filter(|(r, _)| works(*r))
            .map(|(_, p)| *p)
            .collect();
        let any = |phase: Phase| working.contains(&phase);
        let live = working.iter().any(|p| *p != Phase::Exited);
        let root = self.members.first().map_or(Phase::Exited, |(_, p)| *p);
        if self.ending && root != Phase::Exited && root != Phase::Stopped {
            Phase::Draining
        } else if any(Phase::Serving) {
            Phase::Serving
        } else if live
            && working
                .iter()
                .all(|p| matches!(p, Phase::Unseen | Phase::Exited))
        {
            Phase::Unseen
        } else if self.crash_looping {
            Phase::CrashLooping
        } else if root == Phase::Exited && !live {
            Phase::Exited
        } else if root == Phase::Stopped && !live
            || live
                && working
                    .iter()
                    .all(|p| matches!(p, Phase::Stopped | Phase::Exited))
        {
            Phase::Stopped
        } else if any(Phase::Stalled) || self.once_served && self.listens() && !any(Phase::Draining)
        {
            Phase::Stalled
        } else if any(Phase::Draining) {
            Phase::Draining
        } else {
            self.before_serving(&working, root)
        }
    }

    fn before_serving(&self, working: &[Phase], root: Phase) -> Phase {
        let bound = self
            .listeners
            .iter()
            .any(|l| !l.side && l.socket.state == ListenerState::Bound);
        if self.listens() {
            Phase::Listening
        } else if bound {
            Phase::Bound
        } else if working.contains(&Phase::Starting)
            || !working.contains(&Phase::Importing) && root == Phase::Starting
        {
            Phase::Starting
        } else {
            Phase::Importing
        }
    }

    fn listens(&self) -> bool {
        self.listeners
            .iter()
            .any(|l| !l.side && l.socket.state == ListenerState::Listening)
    }
}

/// Roles that take connections themselves.
pub fn works(role: Role) -> bool {
    matches!(role, Role::Single | Role::Worker)
}
