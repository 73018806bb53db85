//! This program's own reader of stacks, for 3.8 to 3.15: process_vm_readv and nothing else, some five calls for all stacks of a
//! process, and only what is known to have been true is told.
//!
//! ```text
//!  look at the GIL ─► renew: all pages of the last time, one call ─► walk ─► look at the GIL
//!       ─► calm threads are settled ─► the one that may have run: read it again until it says the same
//!       ─► code objects, lines, names, thread ids ─► Stacks
//! ```

use std::collections::HashMap;
use std::ops::Range;

use super::activity::activity;
use super::attach::Found;
use super::heap::{Heap, Hints};
use super::identity::Identity;
use super::names::ThreadNames;
use super::pages::Pages;
use super::shape::{self, About};
use super::tasks::{TaskReader, ThreadOf};
use super::tid::{Tids, find_main, pthread_tid};
use super::version::Version;
use super::{StackError, StackRequest};
use crate::snapshot::{Activity, Frame, LockWait, ReadBy, Stacks, Tasks, Thread};

mod gil;
mod lock;
mod names;
mod place;
mod settle;
mod walk;

use gil::Gils;
use place::Place;
use settle::{Settled, Target, settle};
use walk::Walked;

/// Threads of one process of which it is asked what they sleep in front of.
const MOST_LOCKS: usize = 64;

/// A process whose interpreter this reader knows.
#[derive(Debug)]
pub struct Attached {
    pid: u32,
    /// Version of its interpreter.
    pub version: Version,
    /// Where `_PyRuntime` lies.
    runtime: Range<u64>,
    /// Its memory: kept between readings, as far as it says what to read again.
    heap: Heap,
    /// Pages of its tasks, between two readings of them.
    task_pages: Pages,
    tasks: TaskReader,
    /// For what is read again within a reading.
    again: Pages,
    gils: Gils,
    /// Fingerprints of the chains that were settled the last time, by thread state.
    last: Vec<(u64, u64)>,
    names: ThreadNames,
    tids: Tids,
    /// Inner thread ids by pthread_self(), for versions that do not keep them themselves.
    pthreads: HashMap<u64, u32>,
}

/// The word that a thread sleeps at without a limit of time, if it is not that of a GIL.
fn lock_word(thread: &Thread, runtime: Range<u64>) -> Option<u64> {
    let call = thread.syscall.filter(|c| c.number == libc::SYS_futex)?;
    let [word, _, _, timeout, ..] = call.args;
    let waits = activity(thread, Some(runtime), None) == Activity::Lock;
    (waits && timeout == 0).then_some(word)
}

/// The application's own code, and the standard library's that takes a lock for it: hundreds of threads may rest elsewhere.
fn may_take(file: &str, function: &str) -> bool {
    let frame = Frame {
        function: function.to_owned(),
        file: file.to_owned(),
        line: 0,
    };
    !frame.is_library()
        || file.ends_with("/contextlib.py")
        || file.ends_with("/logging/__init__.py")
}

impl Attached {
    /// Of a process that runs this version, with `_PyRuntime` here.
    pub fn new(pid: u32, identity: Identity, runtime: Range<u64>) -> Self {
        let heap = Heap::new(
            Pages::of_process(pid),
            identity.layout,
            Hints::new(identity.hints),
        );
        Self {
            pid,
            version: identity.version,
            runtime,
            again: heap.pages.sibling(),
            task_pages: heap.pages.sibling(),
            tasks: TaskReader::new(pid),
            heap,
            gils: Gils::default(),
            last: Vec::new(),
            names: ThreadNames::default(),
            tids: Tids::default(),
            pthreads: HashMap::new(),
        }
    }

    /// All pages that it holds between readings, always in the same order.
    pub fn snapshots(&mut self) -> [&mut Pages; 3] {
        [&mut self.heap.pages, &mut self.again, &mut self.task_pages]
    }

    /// Where `_PyRuntime` lies, and the memory.
    pub fn into_memory(self) -> (u64, Heap) {
        (self.runtime.start, self.heap)
    }

    /// Reads the stacks, and the tasks if they are asked for.
    ///
    /// # Errors
    /// `NotReady` before there is an interpreter; `Torn` where none is found any more; those of reading memory.
    pub fn read(&mut self, request: &StackRequest) -> Found {
        let (stacks, threads) = self.read_stacks(&request.threads)?;
        let tasks = request
            .tasks
            .then(|| self.read_tasks(&threads, &request.threads).ok());
        Ok((stacks, tasks.flatten()))
    }

    /// The asyncio tasks. Their pages are many, and others than those of the stacks, which are read more often.
    fn read_tasks(&mut self, threads: &[ThreadOf], seen: &[Thread]) -> Result<Tasks, StackError> {
        std::mem::swap(&mut self.heap.pages, &mut self.task_pages);
        let renewed = self.heap.renew();
        let tasks = renewed
            .map_err(|e| StackError::from_io(self.pid, &e))
            .and_then(|()| {
                let runtime = self.runtime.start;
                self.tasks.read(&mut self.heap, runtime, threads, seen)
            });
        std::mem::swap(&mut self.heap.pages, &mut self.task_pages);
        tasks
    }

    /// The stacks, and which thread each thread state is of.
    fn read_stacks(&mut self, threads: &[Thread]) -> Result<(Stacks, Vec<ThreadOf>), StackError> {
        let waits = |t: &Thread| activity(t, Some(self.runtime.clone()), None) == Activity::Gil;
        let mut target = Target {
            is_contended: threads.iter().any(waits),
            heap: &mut self.heap,
            pages: &mut self.again,
            runtime: &self.runtime,
            gils: &mut self.gils,
            last: &self.last,
        };
        let mut settled = settle(&mut target).map_err(|e| StackError::from_io(self.pid, &e))?;
        if settled.walk.interpreters.is_empty() {
            let head = self.heap.layout.runtime.interpreters;
            return Err(match self.heap.u64_in(self.runtime.start, head) {
                Some(0) => StackError::NotReady,
                _ => StackError::Torn,
            });
        }
        if settled.walk.threads.is_empty() {
            return Err(StackError::NotReady);
        }
        self.last = std::mem::take(&mut settled.last);
        self.heap.pages.keeps = false;
        self.read_names(&settled, threads);
        let tids = self.tids(&settled.walk.threads, threads);
        let locks = self.locks(&settled, &tids, threads);
        self.heap.pages.keeps = true;
        let states = settled.walk.threads.iter().map(|walked| walked.state);
        let owners = states.zip(tids.iter().copied()).collect();
        let mut stacks = self.assemble(settled, &tids, threads);
        stacks.locks = locks;
        Ok((stacks, owners))
    }

    /// What threads of the application sleep in front of, where it is one of the interpreter's locks or queues.
    fn locks(
        &mut self,
        settled: &Settled,
        tids: &[Option<u32>],
        threads: &[Thread],
    ) -> Vec<LockWait> {
        let tid_of = |pthread: u64| {
            let mut all = settled.walk.threads.iter().zip(tids);
            all.find(|(w, _)| w.pthread == pthread)
                .and_then(|(_, tid)| *tid)
        };
        let by_tid: HashMap<u32, &Thread> = threads.iter().map(|t| (t.tid, t)).collect();
        let sleeping = settled.walk.threads.iter().zip(tids);
        let sleeping = sleeping.filter_map(|(w, tid)| {
            let leaf = w.chain.frames.first()?;
            let word = lock_word(by_tid.get(&(*tid)?)?, self.runtime.clone())?;
            let code = self.heap.code(leaf.code)?;
            may_take(&code.file, &code.function).then_some(((*tid)?, leaf, word))
        });
        let asked: Vec<_> = sleeping.take(MOST_LOCKS).collect();
        let told = asked.into_iter().filter_map(|(tid, leaf, word)| {
            let found = lock::lock_of(&mut self.heap, leaf, word)?;
            Some(LockWait {
                tid,
                kind: found.kind,
                id: found.object,
                owner: found.owner.and_then(tid_of),
            })
        });
        told.collect()
    }

    /// Names of threads that have come since the last time.
    fn read_names(&mut self, settled: &Settled, threads: &[Thread]) {
        self.names.refresh(threads);
        for interpreter in &settled.walk.interpreters {
            let of = settled.walk.threads.iter();
            let of = of.filter(|thread| thread.interpreter == *interpreter);
            let new = of.filter(|thread| !self.names.known.contains_key(&thread.pthread));
            let new: Vec<u64> = new.map(|thread| thread.pthread).collect();
            if new.is_empty() {
                continue;
            }
            let mut found = names::names(&mut self.heap, *interpreter).unwrap_or_default();
            for pthread in new {
                let known = found.remove(&pthread);
                if let Some(daemon) = known.as_ref().and_then(|k| k.daemon) {
                    self.names.daemons.insert(pthread, daemon);
                }
                self.names.known.insert(pthread, known.map(|k| k.name));
            }
        }
    }

    /// The kernel's thread ids, in the order of the thread states; each is one of `threads`.
    fn tids(&mut self, walked: &[Walked], threads: &[Thread]) -> Vec<Option<u32>> {
        let mut tids: Vec<Option<u32>> = walked.iter().map(|w| self.tid(w, threads)).collect();
        find_main(self.pid, &mut tids, threads, |at| {
            let name = walked
                .get(at)
                .and_then(|w| self.names.known.get(&w.pthread));
            name.is_some_and(|name| name.as_deref() == Some("MainThread"))
        });
        tids
    }

    fn tid(&mut self, walked: &Walked, threads: &[Thread]) -> Option<u32> {
        if let Some(native) = walked.native {
            return self
                .tids
                .outer(self.pid, u32::try_from(native).ok()?, threads);
        }
        let known = self.pthreads.get(&walked.pthread).copied();
        let outer = |tids: &mut Tids, inner| tids.outer(self.pid, inner, threads);
        if let Some(tid) = known.and_then(|inner| outer(&mut self.tids, inner)) {
            return Some(tid);
        }
        let inner = self.heap.pages.u32(pthread_tid(walked.pthread))?;
        if self.pthreads.len() >= 4096 {
            self.pthreads.clear();
        }
        self.pthreads.insert(walked.pthread, inner);
        outer(&mut self.tids, inner)
    }

    fn assemble(&self, settled: Settled, tids: &[Option<u32>], threads: &[Thread]) -> Stacks {
        let most = shape::most_frames(tids.len());
        let mut list = Vec::with_capacity(tids.len());
        let mut torn = 0;
        let found = settled.walk.threads.iter().zip(settled.places);
        for ((walked, places), tid) in found.zip(tids) {
            let Some(places) = places else {
                torn += 1;
                continue;
            };
            let about = About {
                tid: *tid,
                name: self.names.known.get(&walked.pthread).cloned().flatten(),
                daemon: self.names.daemons.get(&walked.pthread).copied(),
                holds_gil: settled.gils.is_holder(walked.state),
            };
            let frames = self.frames(&places, most);
            list.push(shape::stack(about, frames, threads, Some(&self.runtime)));
        }
        shape::stacks(self.pid, list, torn, ReadBy::Own)
    }

    /// Outermost first.
    fn frames(&self, places: &[Place], most: usize) -> Vec<Frame> {
        let kept = shape::kept(places.len(), most);
        let from_outermost = kept.filter_map(|at| places.get(places.len() - 1 - at));
        from_outermost
            .map(|place| place.frame(self.heap.layout.minor))
            .collect()
    }
}
