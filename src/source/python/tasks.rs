//! The asyncio tasks of a process, read from its memory: 3.8 to 3.15, asyncio and uvloop.
//!
//! ```text
//!  interpreter ─► anchors: where asyncio keeps what ─► roll: all tasks ─► chain: coroutines, down to a future   (all at once)
//!                                                                           │ ends at the future that the task names?
//!                              no: that task alone again, at most 4 times ◄─┤
//!                                                                           ▼ yes
//!                                        wait · entered · awaiter: what for, in which blocks, for whom
//! ```
//! The target runs meanwhile. A task whose coroutines do not lead to the future that it says it waits for, or that is not the same when it
//! is looked at once more, was read in two moments, and is not shown. Everything is bounded: tasks, links, containers, and the work of one snapshot as a whole.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::Rc;
use std::sync::Arc;

use super::StackError;
use super::heap::{AddressHasher, Heap};
use super::pages::ByAddress;
use crate::snapshot::{Frame, Task, Tasks, Thread, WaitOn};
use crate::source::clock;

mod anchors;
mod asleep;
mod awaiter;
mod call;
mod chain;
mod cython;
mod entered;
mod event_loop;
mod frame;
mod image;
mod kind;
mod moved;
mod pool;
mod probe;
mod resource;
mod roll;
mod running;
mod site;
mod survey;
mod task;
mod wait;

pub use probe::TaskProbe;

use anchors::Anchors;
use asleep::Asleep;
use call::Call;
use frame::RawFrame;
use kind::Kind;
use site::{Site, Sites, Spots};

/// Tasks that are listed; the others are counted.
const MOST_TASKS: usize = 50_000;
/// Tasks that are read at once: their memory stays in a CPU's cache while they are walked level by level.
const CHUNK: usize = 1024;
/// How often a task that makes no sense is read again.
const AGAIN: usize = 4;
/// Reads of one snapshot. Ten thousand tasks take about two million.
const MOST_WORK: u64 = 60_000_000;
/// Kinds that are found without a look into the map.
const RECENT_KINDS: usize = 32;
/// Threads whose stacks are followed.
const MOST_STACKS: usize = 512;

/// Reads the tasks of one process, and remembers where they are.
#[derive(Debug)]
pub struct TaskReader {
    pid: u32,
    /// By interpreter.
    anchors: HashMap<u64, Anchors>,
    sites: Sites,
}

/// A thread state, and the thread that it is of, in the pid namespace of this program.
pub type ThreadOf = (u64, Option<u32>);

impl TaskReader {
    /// Of this process, of which nothing is known yet.
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            anchors: HashMap::new(),
            sites: Sites::default(),
        }
    }

    /// Reads all tasks. The heap is renewed by the caller, who may read other things of the same moment with it; `seen` are all threads as
    /// they were before that, or none.
    ///
    /// # Errors
    /// `NotReady` before there is an interpreter; `Torn` if the tasks could not be found; `Gone`, `NoPermission` from the kernel.
    pub fn read(
        &mut self,
        heap: &mut Heap,
        runtime: u64,
        threads: &[ThreadOf],
        seen: &[Thread],
    ) -> Result<Tasks, StackError> {
        let asleep = Asleep::of(self.pid, seen);
        let mut found = Tasks {
            at: clock::now(),
            loops: Vec::new(),
            list: Vec::new(),
            torn: 0,
            left_out: 0,
            pools: Vec::new(),
        };
        let mut is_void = false;
        let interpreters = heap.interpreters(runtime);
        for interpreter in interpreters.iter().flatten() {
            let anchors = self.anchors.entry(*interpreter).or_default();
            anchors.refresh(heap, *interpreter);
            let mut look = Look::new(heap, anchors, &mut self.sites, &asleep);
            look.read(*interpreter, threads, &mut found);
            is_void |= look.is_void;
        }
        let alive = interpreters.unwrap_or_default();
        self.anchors.retain(|known, _| alive.contains(known));
        match heap.pages.failure() {
            Some(error) => Err(StackError::from_io(self.pid, &error)),
            None if alive.is_empty() => Err(StackError::NotReady),
            None if is_void => Err(StackError::Torn),
            None => Ok(found),
        }
    }
}

/// One snapshot of one interpreter, and what was learned on the way.
struct Look<'a> {
    heap: &'a mut Heap,
    asyncio: &'a Anchors,
    sites: &'a mut Sites,
    asleep: &'a Asleep,
    spots: Spots,
    kinds: ByAddress<Kind>,
    /// Types that were met lately, and their kinds, each in the place that its address says.
    recent_kinds: [(u64, Kind); RECENT_KINDS],
    memo: Memo,
    /// Seconds of CLOCK_MONOTONIC, on which loops count.
    now: f64,
    /// Where the count of reads may get to.
    most_work: u64,
    /// True if tasks may be missing without being counted.
    is_void: bool,
}

/// Answers that are the same for many tasks.
#[derive(Default)]
struct Memo {
    /// No tasks.
    nobody: Rc<[u64]>,
    /// Future → the tasks that it lets go on.
    awaiters: ByAddress<Rc<[u64]>>,
    /// The same for callbacks and groups.
    callbacks: ByAddress<Rc<[u64]>>,
    /// Definition of a builtin function → its name.
    definitions: ByAddress<Option<Arc<str>>>,
    /// Function → its qualified name.
    functions: ByAddress<Option<Arc<str>>>,
    /// Function → whether it ends a `with` block.
    exits: ByAddress<bool>,
    /// Places, outermost first → the frames that a person sees there.
    frames: HashMap<Vec<usize>, Arc<[Frame]>, BuildHasherDefault<AddressHasher>>,
    /// Room for one such list of places.
    places: Vec<usize>,
    /// Outermost frames of tasks that are executed.
    running: Vec<u64>,
    /// What is waited for at an object.
    waits: ByAddress<(Call, Option<Rc<WaitOn>>)>,
    /// Children that were listed.
    children: usize,
}

/// What came of reading one task.
enum Read {
    /// It is like this.
    Right(Task),
    /// It is done, or was never one.
    Over,
    /// It changed while it was read.
    Torn,
}

/// The stack of a thread, innermost frame first.
struct ThreadStack {
    thread: u64,
    event_loop: Option<u64>,
    frames: Vec<RawFrame>,
}

impl<'a> Look<'a> {
    fn new(
        heap: &'a mut Heap,
        asyncio: &'a Anchors,
        sites: &'a mut Sites,
        asleep: &'a Asleep,
    ) -> Self {
        let most_work = heap.pages.work.saturating_add(MOST_WORK);
        Self {
            heap,
            asyncio,
            sites,
            asleep,
            spots: Spots::default(),
            kinds: ByAddress::default(),
            recent_kinds: [(0, Kind::Other); RECENT_KINDS],
            memo: Memo::default(),
            now: clock::monotonic_ns() as f64 / 1e9,
            most_work,
            is_void: false,
        }
    }

    /// True when this snapshot has cost enough: the target lies, or is larger than anything known.
    fn is_spent(&self) -> bool {
        self.heap.pages.work > self.most_work
    }

    /// The function with this code.
    fn site(&mut self, code: u64) -> Option<Arc<Site>> {
        self.sites.of(self.heap, code)
    }
}
