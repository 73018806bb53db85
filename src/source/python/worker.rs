//! The threads that read: each takes a request, reads with tools of its own, sends the answer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attach::{Attachment, Found, Library, Tools};
use super::status::{Lifeline, Status};
use super::{StackAnswer, StackError, StackRequest};
use crate::snapshot::{ProcessKey, Stacks, Tasks};

/// An answer on its way back.
#[derive(Debug)]
pub struct Message {
    /// The answer.
    pub answer: StackAnswer,
}

/// How workers read a process.
pub type Reading = fn(&mut Tools, &Shared, &StackRequest) -> Read;

/// What a reading yields.
#[derive(Debug)]
pub struct Read {
    /// Version of the interpreter.
    pub version: Option<String>,
    /// The stacks.
    pub stacks: Result<Stacks, StackError>,
    /// The tasks, where they were asked for.
    pub tasks: Option<Tasks>,
}

/// What workers and their owner share. No lock is held while a target is read.
pub struct Shared {
    reading: Reading,
    state: Mutex<State>,
    wake: Condvar,
    library: Library,
    attachments: Mutex<HashMap<ProcessKey, Kept>>,
}

/// What is kept of a process between readings.
struct Kept {
    attachment: Attachment,
    /// Device and inode of its executable; another one after exec.
    exe: (u64, u64),
    lifeline: Lifeline,
}

/// Processes that are known at a time, and those for which a descriptor is spent.
const MOST_KEPT: usize = 16_384;
const MOST_DESCRIPTORS: usize = 128;

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
    let mut tools = Tools::default();
    while let Some(request) = shared.next(number) {
        let key = request.key;
        shared.begin(key, number, tid);
        let read = catch_unwind(AssertUnwindSafe(|| {
            (shared.reading)(&mut tools, shared, &request)
        }));
        let read = read.unwrap_or_else(|_| {
            // A reader met memory that it did not expect. Its state is not trusted any more.
            tools = Tools::default();
            Read::failed(StackError::Torn)
        });
        shared.done(key);
        let at = read
            .stacks
            .as_ref()
            .map_or_else(|_| crate::source::clock::now(), |stacks| stacks.at);
        let answer = StackAnswer {
            key,
            at,
            version: read.version,
            result: read.stacks,
            tasks: read.tasks,
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

impl Read {
    /// There is nothing.
    pub fn failed(error: StackError) -> Self {
        Self {
            version: None,
            stacks: Err(error),
            tasks: None,
        }
    }
}

/// Reads a process by what is known of it; else, or where that no longer holds, finds its interpreter first.
pub fn read_process(tools: &mut Tools, shared: &Shared, request: &StackRequest) -> Read {
    let known = lock(&shared.attachments).remove(&request.key);
    let mut before = None;
    if let Some(mut known) = known.filter(|known| known.exe == request.exe) {
        match known.attachment.read(tools, request) {
            Err(StackError::Torn | StackError::Failed(_) | StackError::NotReady) => {}
            found => return known.finish(shared, request, found),
        }
        // What was found here may no longer hold: it has called exec, or was just too busy.
        before = Some(known.attachment);
    }
    match attach_and_read(tools, shared, request, before) {
        Ok((known, found)) => known.finish(shared, request, found),
        Err(error) => Read::failed(error),
    }
}

/// Attaches; a busy process gets several tries.
fn attach_and_read(
    tools: &mut Tools,
    shared: &Shared,
    request: &StackRequest,
    before: Option<Attachment>,
) -> Result<(Kept, Found), StackError> {
    let is_cheap = lock(&shared.attachments).len() < MOST_DESCRIPTORS;
    let lifeline = Lifeline::new(request.key, is_cheap).ok_or(StackError::Gone)?;
    let mut roots = before.map(Attachment::into_roots).unwrap_or_default();
    for is_last in [false, false, false, true] {
        let attached = Attachment::new(request.key.pid, tools, &shared.library);
        let mut attachment = match attached {
            Err(StackError::Torn) if !is_last => continue,
            attached => attached?.with_roots(roots),
        };
        let found = attachment.read(tools, request);
        if !is_last && matches!(found, Err(StackError::Torn | StackError::Failed(_))) {
            roots = attachment.into_roots();
            continue;
        }
        let known = Kept {
            attachment,
            exe: request.exe,
            lifeline,
        };
        return Ok((known, found));
    }
    Err(StackError::Torn)
}

impl Kept {
    /// Makes the answer, and keeps the attachment for the next reading, unless the process is gone.
    fn finish(self, shared: &Shared, request: &StackRequest, found: Found) -> Read {
        // Read between the end of one process and the start of another with its pid, it would be the other's.
        let found = match found {
            Ok(_) if !self.lifeline.holds() => Err(StackError::Gone),
            found => found,
        };
        let version = Some(self.attachment.version().to_string());
        if !matches!(found, Err(StackError::Gone)) {
            let mut attachments = lock(&shared.attachments);
            if attachments.len() < MOST_KEPT {
                attachments.insert(request.key, self);
            }
        }
        let (stacks, tasks) = match found {
            Ok((stacks, tasks)) => (Ok(stacks), tasks),
            Err(error) => (Err(error), None),
        };
        Read {
            version,
            stacks,
            tasks,
        }
    }
}
