//! The threads that read: each takes a request, reads with its own donor, sends the answer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attach::{Attachment, Library};
use super::donor::Donor;
use super::roots::Roots;
use super::stacks::read_stacks;
use super::status::{self, Status};
use super::{StackAnswer, StackError, StackRequest};
use crate::snapshot::{ProcessKey, Stacks};

/// An answer on its way back.
#[derive(Debug)]
pub struct Message {
    /// The answer.
    pub answer: StackAnswer,
}

/// How workers read.
#[derive(Clone, Copy)]
pub struct Reading {
    /// Sets a worker up, before its first process (whose pid it gets).
    pub donor: fn(u32) -> Option<Donor>,
    /// Reads a process.
    pub read: fn(&mut Option<Donor>, &Shared, &StackRequest) -> Read,
}

/// The reading by py-spy.
pub const PY_SPY: Reading = Reading {
    donor: |pid| Donor::new(pid).ok(),
    read: read_process,
};

/// What a reading yields: version of the interpreter, and stacks.
pub type Read = (Option<String>, Result<Stacks, StackError>);

/// What workers and their owner share. No lock is held while a target is read.
pub struct Shared {
    reading: Reading,
    state: Mutex<State>,
    wake: Condvar,
    library: Library,
    attachments: Mutex<HashMap<ProcessKey, Attachment>>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<StackRequest>,
    running: HashMap<ProcessKey, Running>,
    /// Workers that are to end when they come back.
    dismissed: HashSet<u64>,
    is_closed: bool,
}

/// A reading under way.
#[derive(Clone, Copy)]
struct Running {
    since: Instant,
    worker: u64,
    /// Thread id of the worker, where known.
    tid: Option<u32>,
}

impl Running {
    /// A worker that is ready to run has no CPU, or much to read: slow is not hanging, for a while.
    fn hangs(self, patience: Duration) -> bool {
        let elapsed = self.since.elapsed();
        let is_ready = || {
            let status = self
                .tid
                .and_then(|tid| Status::of_thread(std::process::id(), tid));
            status.is_some_and(|status| status.state == 'R')
        };
        elapsed > patience && (elapsed > 10 * patience || !is_ready())
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// With nothing to do.
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            state: Mutex::default(),
            wake: Condvar::new(),
            library: Library::default(),
            attachments: Mutex::default(),
        }
    }

    /// Queues a request.
    pub fn push(&self, request: StackRequest) {
        self.state().queue.push_back(request);
        self.wake.notify_one();
    }

    /// Since when this process has been read, if it is.
    pub fn running_since(&self, key: ProcessKey) -> Option<Instant> {
        self.state().running.get(&key).map(|running| running.since)
    }

    /// Readings that have waited for longer, and who does them.
    pub fn hanging(&self, patience: Duration) -> Vec<(ProcessKey, u64)> {
        let running = self.state().running.clone();
        let late = running
            .into_iter()
            .filter(|(_, running)| running.hangs(patience));
        late.map(|(key, running)| (key, running.worker)).collect()
    }

    /// Tells a worker to end once it returns from this process; false if it has returned meanwhile.
    pub fn dismiss(&self, key: ProcessKey, worker: u64) -> bool {
        let mut state = self.state();
        let still = state
            .running
            .get(&key)
            .is_some_and(|running| running.worker == worker);
        still && state.dismissed.insert(worker)
    }

    /// Drops what is known of dead processes.
    pub fn forget(&self, alive: &dyn Fn(ProcessKey) -> bool) {
        lock(&self.attachments).retain(|key, _| alive(*key));
    }

    /// Lets all workers end.
    pub fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.queue.clear();
        self.wake.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits for a request; `None` when the worker is to end.
    fn next(&self, worker: u64) -> Option<StackRequest> {
        let mut state = self.state();
        loop {
            if state.is_closed || state.dismissed.remove(&worker) {
                return None;
            }
            if let Some(request) = state.queue.pop_front() {
                return Some(request);
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The clock of a reading starts when its worker is ready for it.
    fn begin(&self, key: ProcessKey, worker: u64, tid: Option<u32>) {
        let since = Instant::now();
        let running = Running { since, worker, tid };
        self.state().running.insert(key, running);
    }

    fn done(&self, key: ProcessKey) {
        self.state().running.remove(&key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a worker thread; false if the system has none to give.
pub fn start(number: u64, shared: Arc<Shared>, answers: Sender<Message>) -> bool {
    let thread = std::thread::Builder::new().name(format!("stacks-{number}"));
    thread
        .spawn(move || work(number, &shared, &answers))
        .is_ok()
}

fn work(number: u64, shared: &Shared, answers: &Sender<Message>) {
    let tid = own_tid();
    let mut donor = None;
    while let Some(request) = shared.next(number) {
        let key = request.key;
        if donor.is_none() {
            donor = catch_unwind(|| (shared.reading.donor)(key.pid)).unwrap_or(None);
        }
        shared.begin(key, number, tid);
        let read = catch_unwind(AssertUnwindSafe(|| {
            (shared.reading.read)(&mut donor, shared, &request)
        }));
        let (version, result) = read.unwrap_or_else(|_| {
            // py-spy met memory that it did not expect. Its state is not trusted any more.
            donor = None;
            (None, Err(StackError::Torn))
        });
        shared.done(key);
        let at = result
            .as_ref()
            .map_or_else(|_| crate::source::clock::now(), |stacks| stacks.at);
        let answer = StackAnswer {
            key,
            at,
            version,
            result,
        };
        if answers.send(Message { answer }).is_err() {
            return;
        }
    }
}

fn own_tid() -> Option<u32> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

fn read_process(donor: &mut Option<Donor>, shared: &Shared, request: &StackRequest) -> Read {
    let Some(donor) = donor else {
        return (
            None,
            Err(StackError::Failed("py-spy could not be set up".to_owned())),
        );
    };
    if !status::is_alive(request.key) {
        return (None, Err(StackError::Gone));
    }
    let known = lock(&shared.attachments).remove(&request.key);
    let mut roots = None;
    if let Some(mut attachment) = known.filter(|a| a.exe == request.exe) {
        match read_stacks(donor, &mut attachment, &request.threads) {
            Err(StackError::Torn | StackError::Failed(_) | StackError::NotReady) => {}
            result => return keep(shared, request.key, attachment, result),
        }
        // What was found here may no longer hold: it has called exec, or was just too busy.
        roots = Some(attachment.roots);
    }
    match attach_and_read(donor, shared, request, roots) {
        Ok((attachment, result)) => keep(shared, request.key, attachment, result),
        Err(error) => (None, Err(error)),
    }
}

/// Attaches by what the binary's other processes have taught, then, if that does not fit, without.
fn attach_and_read(
    donor: &mut Donor,
    shared: &Shared,
    request: &StackRequest,
    mut roots: Option<Roots>,
) -> Result<(Attachment, Result<Stacks, StackError>), StackError> {
    let pid = request.key.pid;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let attached = Attachment::new(pid, request.exe, donor, &shared.library);
        let mut attachment = match attached {
            Err(StackError::Torn) if attempts < 4 => continue,
            attached => attached?,
        };
        attachment.roots = roots.take().unwrap_or_default();
        let result = read_stacks(donor, &mut attachment, &request.threads);
        if attempts < 2 && matches!(result, Err(StackError::Torn | StackError::Failed(_))) {
            shared.library.distrust(pid);
            roots = Some(attachment.roots);
            continue;
        }
        return Ok((attachment, result));
    }
}

/// Keeps the attachment for the next reading, unless the process is gone.
fn keep(
    shared: &Shared,
    key: ProcessKey,
    attachment: Attachment,
    result: Result<Stacks, StackError>,
) -> Read {
    // Read between the end of one process and the start of another with its pid, it would be the other's.
    let result = match result {
        Ok(_) if !status::is_alive(key) => Err(StackError::Gone),
        result => result,
    };
    let version = Some(attachment.version.to_string());
    if result != Err(StackError::Gone) {
        let mut attachments = lock(&shared.attachments);
        if attachments.len() < 16_384 {
            attachments.insert(key, attachment);
        }
    }
    (version, result)
}
