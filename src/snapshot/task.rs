//! The asyncio tasks of one process at one moment, and the pools of threads that they hand work to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Frame, Moment};

/// All tasks of all loops of one process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// When they were read.
    pub at: Moment,
    /// The event loops.
    pub loops: Vec<EventLoop>,
    /// The tasks, in the order in which they were found: older ones mostly first.
    pub list: Vec<Task>,
    /// Tasks that could not be read consistently this time.
    pub torn: u32,
    /// Tasks beyond the number that is looked at.
    pub left_out: u32,
    /// Pools of threads that were found.
    pub pools: Vec<Pool>,
}

/// An object of the process, by its address: the same one as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(pub u64);

/// An event loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLoop {
    /// The loop object.
    pub id: ObjectId,
    /// Whose it is.
    pub kind: LoopKind,
    /// The thread that runs it, in the pid namespace of this program; `None` if none does, or it could not be told.
    pub tid: Option<u32>,
    /// Callbacks that are ready to run; `None` for uvloop, whose queue is not Python's.
    pub ready: Option<u32>,
}

/// Kinds of event loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoopKind {
    /// One of the standard library's.
    Asyncio,
    /// uvloop.Loop
    Uvloop,
    /// Another class.
    Other,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The task object.
    pub id: ObjectId,
    /// Its name, control characters escaped: `Task-3`.
    pub name: String,
    /// The loop that it belongs to.
    pub event_loop: ObjectId,
    /// What it does.
    pub state: TaskState,
    /// Its coroutines, outermost first, down to the leaf. Those of a running task are of its thread's stack.
    pub frames: Arc<[Frame]>,
    /// What the leaf waits for; `None` unless it waits.
    pub wait: Option<Wait>,
    /// Tasks that wait for this one.
    pub awaited_by: Vec<ObjectId>,
    /// `with` and `async with` blocks that it is in, outermost first.
    pub entered: Vec<Entered>,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Its loop executes it now.
    Running,
    /// It waits for something.
    Waiting,
    /// It could go on; the loop has not got to it.
    Runnable,
    /// It has not had its first turn.
    NotStarted,
}

/// What a task waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// The object waited on, where there is one: two tasks with the same id wait for the same thing.
    pub object: Option<ObjectId>,
    /// Of what kind.
    pub on: WaitOn,
}

/// The kinds of things that tasks wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum WaitOn {
    /// `asyncio.sleep`: seconds in all and seconds left, where they can be told.
    Sleep {
        /// The argument.
        delay_s: Option<f64>,
        /// Until it is over; negative if it is overdue.
        left_s: Option<f64>,
    },
    /// `Event.wait`
    Event {
        /// Tasks that wait for it.
        waiters: Option<u32>,
    },
    /// `Lock.acquire`
    Lock {
        /// Tasks that wait for it.
        waiters: Option<u32>,
    },
    /// `Condition.wait`
    Condition {
        /// Tasks that wait for it.
        waiters: Option<u32>,
    },
    /// `Semaphore.acquire`
    Semaphore {
        /// Free slots.
        free: Option<i64>,
        /// Tasks that wait for one.
        waiters: Option<u32>,
    },
    /// `Queue.get`, `Queue.put` or `Queue.join`
    Queue {
        /// Which of them.
        call: QueueCall,
        /// Items in it.
        size: Option<u32>,
        /// Items that it can hold; 0 for any number.
        most: Option<u32>,
        /// Tasks that wait to get.
        getters: Option<u32>,
        /// Tasks that wait to put.
        putters: Option<u32>,
        /// Items not yet reported as done.
        unfinished: Option<u32>,
    },
    /// A connection being made: `10.0.0.5:5432`, a path, as the program gave it.
    Connect {
        /// To where.
        address: Option<String>,
    },
    /// A read from a stream or a socket.
    Read,
    /// A write that the peer does not take.
    Drain,
    /// `gather`, `wait`, a `TaskGroup`: children that are not done.
    Children {
        /// How they were started: `gather`, `wait`, `TaskGroup`, …
        call: String,
        /// Those that are tasks.
        pending: Vec<ObjectId>,
        /// Children in all, where known.
        of: Option<u32>,
    },
    /// Another task.
    Task {
        /// Which.
        id: ObjectId,
    },
    /// A job in a thread or process pool.
    Job {
        /// Whether a thread has taken it.
        state: JobState,
    },
    /// A child process's end.
    Process,
    /// A future that nothing more is known of.
    Future {
        /// Its type.
        class: String,
        /// The function that awaits it, qualified.
        call: Option<String>,
    },
}

/// The calls of a queue that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueCall {
    /// For an item.
    Get,
    /// For room.
    Put,
    /// For all items to be done.
    Join,
}

/// Where a job of an executor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// No thread is free.
    Queued,
    /// A thread executes it.
    Running,
    /// Could not be told.
    Unknown,
}

/// A `with` block that a coroutine is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entered {
    /// The context manager.
    pub object: ObjectId,
    /// Its class: `Lock`, `Timeout`, `TaskGroup`, `Pool`.
    pub class: String,
    /// False while `__aenter__` still waits: it does not hold it yet.
    pub holds: bool,
    /// Of a time-out: seconds until it ends the block.
    pub left_s: Option<f64>,
}

/// A pool of threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The executor or limiter.
    pub id: ObjectId,
    /// Of what kind.
    pub kind: PoolKind,
    /// What the names of its threads begin with, where known.
    pub prefix: Option<String>,
    /// Threads (or tokens) that it may have.
    pub size: u32,
    /// Those that are taken.
    pub busy: u32,
    /// Jobs that wait for one.
    pub queued: u32,
}

/// Kinds of pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolKind {
    /// concurrent.futures.ThreadPoolExecutor
    Executor,
    /// anyio.CapacityLimiter
    Limiter,
}
