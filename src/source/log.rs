//! What do servers write to their logs? Read without disturbing anybody: files are read, pipes and terminals never, since what
//! is read from those is taken from whoever they belong to.
//!
//! ```text
//!   outlet    stdout, stderr, log files ──> regular file ─> tail ─┐
//!   container a runtime's own file ─────────────────────────────> ├─> split ─> wrapped ─> book ─> LogTail
//!   journal   what journald keeps ──────────> journalctl ───────┘              (ansi, text, mask,
//!   stream    a pipe, a terminal: a gap, in words                               stamp, level, traceback)
//! ```
//!
//! All of it on a thread of its own: a file on a dead mount may hang it, and then it is left alone and another one started
//! that keeps off that process.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::snapshot::{Gap, LogTail, Process, ProcessKey, ProcessState};

mod ansi;
mod book;
mod container;
mod frame_line;
mod journal;
mod json_line;
mod kept;
mod level;
mod mask;
mod outlet;
mod split;
mod stamp;
mod stream;
mod tail;
mod traceback;
mod worker;
mod wrapped;

use worker::Worker;

/// So long may one file take before the thread is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Threads that are started in all: each one that hangs is lost.
const THREADS: u32 = 5;
/// Between two rounds.
const PACE: Duration = Duration::from_millis(100);

/// Reads the logs of processes.
#[derive(Debug, Default)]
pub struct LogReader {
    shared: Option<Arc<Shared>>,
    threads: u32,
    hanging: BTreeSet<ProcessKey>,
}

/// What has been read.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The logs, in a stable order.
    pub tails: Vec<Arc<LogTail>>,
    /// Processes whose logs cannot be read, and why.
    pub gaps: Vec<Gap>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The newest wish; older ones are forgotten.
    wanted: Option<Vec<Arc<Process>>>,
    /// What the thread is at, and since when.
    busy: Option<(Instant, ProcessKey)>,
    told: Arc<Told>,
    is_closed: bool,
}

impl LogReader {
    /// Has the logs of these processes read. Never blocks.
    pub fn request(&mut self, processes: &[Arc<Process>]) {
        self.give_up_what_hangs();
        self.hanging
            .retain(|key| processes.iter().any(|p| p.key == *key));
        let wanted: Vec<Arc<Process>> = processes
            .iter()
            .filter(|p| is_readable(p) && !self.hanging.contains(&p.key))
            .cloned()
            .collect();
        if wanted.is_empty() && self.shared.is_none() {
            return;
        }
        if self.shared.is_none() && self.threads < THREADS {
            self.shared = start(Arc::default());
            self.threads += 1;
        }
        if let Some(shared) = &self.shared {
            shared.state().wanted = Some(wanted);
            shared.wake.notify_one();
        }
    }

    /// What was read last.
    pub fn told(&self) -> Told {
        let told = self.shared.as_ref().map(|s| Arc::clone(&s.state().told));
        let mut told = told.map(|t| Told::clone(&t)).unwrap_or_default();
        let hangs = |gap: &Gap| self.hanging.iter().any(|key| gap.pid == Some(key.pid));
        told.gaps.retain(|gap| !hangs(gap));
        told.gaps.extend(self.hanging.iter().map(|key| Gap {
            source: "log".to_owned(),
            pid: Some(key.pid),
            cause: "its log lies on a file system that does not answer".to_owned(),
            unlock: None,
        }));
        told
    }

    fn give_up_what_hangs(&mut self) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.state();
        let Some((_, key)) = state.busy.filter(|(since, _)| since.elapsed() > PATIENCE) else {
            return;
        };
        state.is_closed = true;
        let told = Arc::clone(&state.told);
        drop(state);
        self.hanging.insert(key);
        self.shared = None;
        if self.threads < THREADS {
            self.shared = start(told);
            self.threads += 1;
        }
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.state().is_closed = true;
            shared.wake.notify_one();
        }
    }
}

fn is_readable(process: &Process) -> bool {
    let is_dead = matches!(process.state, ProcessState::Zombie | ProcessState::Dead);
    process.is_python() && !is_dead
}

/// Starts a thread; `told` stands until it has read something. `None` if the system has no thread to give.
fn start(told: Arc<Told>) -> Option<Arc<Shared>> {
    let shared = Arc::new(Shared::default());
    shared.state().told = told;
    let theirs = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("steth-log".to_owned())
        .spawn(move || run(&theirs))
        .ok()?;
    Some(shared)
}

fn run(shared: &Shared) {
    let mut worker = Worker::default();
    while let Some(wanted) = shared.next() {
        let told = worker.round(&wanted, &|key| shared.mark(key));
        let mut state = shared.state();
        state.busy = None;
        state.told = Arc::new(told);
        drop(state);
        std::thread::sleep(PACE);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a wish; `None` when the thread is to end.
    fn next(&self) -> Option<Vec<Arc<Process>>> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(wanted) = state.wanted.take() {
                return Some(wanted);
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes what the thread does next.
    fn mark(&self, key: ProcessKey) {
        self.state().busy = Some((Instant::now(), key));
    }
}

#[cfg(test)]
mod tests;
