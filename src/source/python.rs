//! Python stacks of running processes, without stopping them, read on threads of their own.
//!
//! ```text
//!  request ──► queue ──► worker: attached? ─► own reader (3.8 to 3.15), else py-spy's ──► answers ──► collect
//!                          │  (at most 4, and 4 that hang)                                  in time, or with a later call
//!                          └─ what is learned of a binary is shared by all
//! ```
//! A target that hangs costs its own answer and nothing else: after a second its worker is written off and another one
//! takes over. What was found in a process is kept for the next reading, by (pid, start time), and found again after an exec.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::snapshot::{Moment, ProcessKey, Stacks, Tasks, Thread};

mod activity;
mod attach;
mod binary;
mod detect;
mod error;
mod files;
mod heap;
mod identity;
mod layout;
#[cfg(test)]
mod lies;
mod loader;
mod locals;
mod maps;
mod names;
mod own;
mod pages;
mod shape;
mod spy;
mod status;
mod tasks;
mod tid;
mod version;
mod worker;

pub use activity::activity;
pub use attach::Library;
pub use detect::{Detected, Interpreters};
pub use error::{Denial, StackError};
pub use locals::{locals_of, read_locals};
pub use tasks::TaskProbe;

use worker::{Message, Reading, Shared};

/// A wish for the stacks of one process.
#[derive(Debug, Clone)]
pub struct StackRequest {
    /// Which process.
    pub key: ProcessKey,
    /// Its threads as just read: what they do, and whether they run meanwhile, is told by these.
    pub threads: Vec<Thread>,
    /// Device and inode of `/proc/PID/exe`: another one means that it has called exec.
    pub exe: (u64, u64),
    /// True if its asyncio tasks are wished for too.
    pub tasks: bool,
}

/// What came of a wish.
#[derive(Debug, Clone)]
pub struct StackAnswer {
    /// Which process.
    pub key: ProcessKey,
    /// When it was read (or given up).
    pub at: Moment,
    /// Version of its interpreter, such as `3.11.7`, once it is known.
    pub version: Option<String>,
    /// The stacks.
    pub result: Result<Stacks, StackError>,
    /// The asyncio tasks, if they were asked for and the stacks could be read.
    pub tasks: Option<Tasks>,
}

/// Reads stacks in the background.
#[derive(Debug)]
pub struct StackReader {
    shared: Arc<Shared>,
    answers: Receiver<Message>,
    sender: Sender<Message>,
    /// Requests without an answer.
    flights: HashMap<ProcessKey, Flight>,
    /// Worker threads that take from the queue.
    active: usize,
    /// Worker threads that hang, and were written off.
    stuck: usize,
    next_worker: u64,
    /// Workers that this machine calls for; asked once, because the answer is read from cgroup files.
    most_workers: usize,
}

/// A request without its true answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    /// Queued, or being read.
    Due,
    /// `Hanging` was answered, and another worker has taken over from the one that reads it.
    Replaced,
    /// `Hanging` was answered; there were too many already to start another worker.
    Blocking,
}

const MOST_WORKERS: usize = 4;
const MOST_STUCK: usize = 4;
const PATIENCE: Duration = Duration::from_secs(1);

impl Default for StackReader {
    fn default() -> Self {
        Self::new()
    }
}

impl StackReader {
    /// Starts nothing yet.
    pub fn new() -> Self {
        Self::reading(worker::read_process)
    }

    fn reading(reading: Reading) -> Self {
        let (sender, answers) = mpsc::channel();
        Self {
            shared: Arc::new(Shared::new(reading)),
            answers,
            sender,
            flights: HashMap::new(),
            active: 0,
            stuck: 0,
            next_worker: 0,
            most_workers: std::thread::available_parallelism()
                .map_or(2, usize::from)
                .clamp(2, MOST_WORKERS),
        }
    }

    /// Queues readings; never blocks. A process whose answer is still due is not queued twice.
    pub fn request(&mut self, requests: Vec<StackRequest>) {
        for request in requests {
            if self.flights.contains_key(&request.key) {
                continue;
            }
            self.flights.insert(request.key, Flight::Due);
            self.shared.push(request);
        }
        self.man();
    }

    /// The answers that have come; returns as soon as all outstanding ones are in, or when `wait` is over. What is late comes
    /// with a later call.
    pub fn collect(&mut self, wait: Duration) -> Vec<StackAnswer> {
        let deadline = Instant::now() + wait;
        let mut answers = Vec::new();
        loop {
            while let Ok(message) = self.answers.try_recv() {
                answers.push(self.land(message));
            }
            self.write_off(&mut answers);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.expects_answers() {
                return answers;
            }
            // Short enough to notice in time that a worker hangs.
            match self
                .answers
                .recv_timeout(left.min(Duration::from_millis(100)))
            {
                Ok(message) => answers.push(self.land(message)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// Drops what is remembered of processes that are no more.
    pub fn forget(&mut self, alive: &dyn Fn(ProcessKey) -> bool) {
        self.shared.forget(alive);
    }

    /// How long a reading of this process has been under way; `None` if none is.
    pub fn in_flight(&self, key: ProcessKey) -> Option<Duration> {
        self.shared.running_since(key).map(|since| since.elapsed())
    }

    /// Starts workers up to what the queue and the machine call for.
    fn man(&mut self) {
        let most = self.most_workers;
        let wanted = self.flights.len().saturating_sub(self.stuck).min(most);
        while self.active < wanted {
            let number = self.next_worker;
            if !worker::start(number, Arc::clone(&self.shared), self.sender.clone()) {
                // No more threads for this user now; the next request tries again.
                return;
            }
            self.next_worker += 1;
            self.active += 1;
        }
    }

    /// True if an answer is due and there is a worker that could give it.
    fn expects_answers(&self) -> bool {
        let count = |state| self.flights.values().filter(|f| **f == state).count();
        count(Flight::Due) > 0 && count(Flight::Blocking) < self.active
    }

    fn land(&mut self, message: Message) -> StackAnswer {
        if self.flights.remove(&message.answer.key) == Some(Flight::Replaced) {
            self.stuck = self.stuck.saturating_sub(1);
        }
        message.answer
    }

    /// Reports readings that have taken too long, and replaces their workers.
    fn write_off(&mut self, answers: &mut Vec<StackAnswer>) {
        for (key, worker) in self.shared.hanging(PATIENCE) {
            let Some(flight) = self.flights.get_mut(&key).filter(|f| **f == Flight::Due) else {
                continue;
            };
            *flight = Flight::Blocking;
            if self.stuck < MOST_STUCK && self.shared.dismiss(key, worker) {
                *flight = Flight::Replaced;
                self.stuck += 1;
                self.active = self.active.saturating_sub(1);
            }
            answers.push(StackAnswer {
                key,
                at: crate::source::clock::now(),
                version: None,
                result: Err(StackError::Hanging),
                tasks: None,
            });
        }
        self.man();
    }
}

impl Drop for StackReader {
    fn drop(&mut self) {
        // Not joined: one that hangs would hang us.
        self.shared.close();
    }
}

#[cfg(test)]
mod tests {
    use super::attach::Tools;
    use super::worker::Read;
    use super::*;

    /// A process that hangs for as many tenths of a second as its start time says; one with an odd pid panics.
    fn fake(_: &mut Tools, _: &Shared, request: &StackRequest) -> Read {
        assert!(request.key.pid.is_multiple_of(2), "a fault of the reader");
        std::thread::sleep(Duration::from_millis(100 * request.key.start_time));
        Read::failed(StackError::NotReady)
    }

    fn request(pid: u32, tenths: u64) -> StackRequest {
        let key = ProcessKey {
            pid,
            start_time: tenths,
        };
        StackRequest {
            key,
            threads: Vec::new(),
            exe: (0, 0),
            tasks: false,
        }
    }

    fn results(answers: &[StackAnswer]) -> Vec<(u32, StackError)> {
        let result = |a: &StackAnswer| (a.key.pid, a.result.clone().unwrap_err());
        let mut results: Vec<_> = answers.iter().map(result).collect();
        results.sort_by_key(|(pid, _)| *pid);
        results
    }

    #[test]
    fn a_target_that_hangs_delays_no_other() {
        let mut reader = StackReader::reading(fake);
        reader.request(vec![request(2, 15), request(4, 0), request(6, 0)]);
        let first = reader.collect(Duration::from_millis(300));
        assert_eq!(
            results(&first),
            [(4, StackError::NotReady), (6, StackError::NotReady)]
        );
        assert!(reader.in_flight(request(2, 15).key).unwrap() >= Duration::from_millis(200));
        reader.request(vec![request(2, 15), request(4, 0)]);
        let second = reader.collect(Duration::from_secs(5));
        assert_eq!(
            results(&second),
            [(2, StackError::Hanging), (4, StackError::NotReady)]
        );
        assert_eq!((reader.stuck, reader.flights.len()), (1, 1));
        std::thread::sleep(Duration::from_millis(700));
        let late = reader.collect(Duration::ZERO);
        assert_eq!(
            results(&late),
            [(2, StackError::NotReady)],
            "the late answer comes too"
        );
        assert_eq!((reader.stuck, reader.flights.len()), (0, 0));
    }

    #[test]
    fn hanging_targets_cost_a_bounded_number_of_threads() {
        let mut reader = StackReader::reading(fake);
        reader.request((1..=12).map(|n| request(2 * n, 36_000)).collect());
        let began = Instant::now();
        let mut hanging = 0;
        while began.elapsed() < Duration::from_secs(60) && reader.expects_answers() {
            let answers = reader.collect(Duration::from_secs(1));
            assert!(answers.iter().all(|a| a.result == Err(StackError::Hanging)));
            hanging += answers.len();
        }
        assert!(
            hanging > MOST_STUCK && hanging <= MOST_STUCK + MOST_WORKERS,
            "{hanging}"
        );
        assert!(
            reader.collect(Duration::from_secs(3600)).is_empty(),
            "no worker is left to wait for"
        );
        assert!(reader.next_worker <= (MOST_STUCK + MOST_WORKERS) as u64);
        // Its workers hang on: the test would hang with them, were they waited for.
        drop(reader);
    }

    #[test]
    fn a_panic_costs_one_answer() {
        let mut reader = StackReader::reading(fake);
        reader.request(vec![request(3, 0), request(4, 0)]);
        let answers = reader.collect(Duration::from_secs(5));
        assert_eq!(
            results(&answers),
            [(3, StackError::Torn), (4, StackError::NotReady)]
        );
        reader.request(vec![request(4, 0)]);
        assert_eq!(
            reader.collect(Duration::from_secs(5)).len(),
            1,
            "the worker lives on"
        );
    }
}
