//! Tasks that wait for their turn with something of which there are only so many: a semaphore's slot, a connection of a
//! pool, room in a bounded queue.
//!
//! A task that waits for an item in an empty queue is no such thing: consumers do that all day. It is one where the queue is a
//! pool: a library's, or one that the application enters with `async with` and that has had items before.

use std::collections::BTreeMap;

use super::{Graph, own, short_name, waits};
use crate::snapshot::{Frame, ObjectId, QueueCall, Task, Wait, WaitOn};

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scarce {
    /// Slots of a semaphore.
    Slots,
    /// Room in a bounded queue.
    Room,
    /// Connections of this library's pool.
    Connections(&'static str),
    /// Items of a queue that the application uses as a pool.
    Items,
}

impl Scarce {
    /// What waiters wait for, as it ends a sentence.
    pub fn wanted(self) -> String {
        match self {
            Self::Slots => "a slot of a Semaphore that has none free".to_owned(),
            Self::Room => "room in a Queue that is full".to_owned(),
            Self::Connections(library) => format!("a connection of the {library} pool"),
            Self::Items => "an item of a pool that has none left".to_owned(),
        }
    }
}

/// Tasks that wait for the same thing, and those that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// What they wait for.
    pub scarce: Scarce,
    /// The object, where all wait for the same one.
    pub object: Option<ObjectId>,
    /// Those that wait, by their places.
    pub waiters: Vec<usize>,
    /// Those that are known to have one, by their places; one that has one and waits for another is in both.
    pub holders: Vec<usize>,
    /// How that is known.
    pub known_by: KnownBy,
}

/// How holders are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownBy {
    /// They are inside an `async with` of it.
    Block,
    /// They have made the same call of the library as those that wait, and are past the wait: whether they have one of this very
    /// pool is not known.
    Call,
}

/// Where libraries wait for a connection that somebody else gives back: file, function, name of the pool.
const CHECKOUTS: &[(&str, &[&str], &str)] = &[
    (
        "/asyncpg/pool.py",
        &["_acquire", "_acquire_impl", "acquire"],
        "asyncpg",
    ),
    ("/psycopg_pool/", &["getconn", "wait"], "psycopg"),
    (
        "/sqlalchemy/util/_concurrency_py3k.py",
        &["greenlet_spawn"],
        "SQLAlchemy",
    ),
    (
        "/sqlalchemy/util/concurrency.py",
        &["greenlet_spawn"],
        "SQLAlchemy",
    ),
    ("/redis/asyncio/connection.py", &["get_connection"], "redis"),
    (
        "/aiohttp/connector.py",
        &["_wait_for_available_connection"],
        "aiohttp client",
    ),
    (
        "/httpcore/_async/connection_pool.py",
        &["wait_for_connection"],
        "httpx",
    ),
    (
        "/aiomysql/pool.py",
        &["_acquire", "fill_free_pool"],
        "aiomysql",
    ),
    ("/aiopg/pool.py", &["_acquire"], "aiopg"),
    (
        "/pymongo/asynchronous/pool.py",
        &["_get_conn", "checkout"],
        "pymongo",
    ),
];

/// Parts of the paths of what stands between a library and the wait itself: wrappers of events, locks and time-outs.
const WRAPPERS: &[&str] = &[
    "/anyio/_core/_synchronization.py",
    "/anyio/_backends/",
    "/async_timeout/",
    "/httpcore/_synchronization.py",
    "/sqlalchemy/util/compat.py",
    "/pymongo/lock.py",
    "/pymongo/_asyncio_lock.py",
];

/// Queues that are told of.
const MOST: usize = 32;

/// Such queues, the longest first.
pub fn queues(graph: &Graph) -> Vec<Queue> {
    let mut queues: BTreeMap<(Scarce, Option<ObjectId>), Vec<usize>> = BTreeMap::new();
    for (at, task, _) in graph.each() {
        // Whoever waits for a thread waits for a pool of them: that is another matter.
        let key = wanted(graph, task).filter(|(_, object)| !is_thread_pool(graph, *object));
        if let Some(key) = key {
            queues.entry(key).or_default().push(at);
        }
    }
    let mut queues: Vec<_> = queues.into_iter().collect();
    queues.sort_by_key(|(_, waiters)| std::cmp::Reverse(waiters.len()));
    let queues = queues.into_iter().take(MOST);
    queues
        .map(|((scarce, object), waiters)| {
            let (holders, known_by) = match (in_blocks(graph, object, &waiters), scarce) {
                (none, Scarce::Connections(_)) if none.is_empty() => {
                    (past_the_wait(graph, &waiters), KnownBy::Call)
                }
                (holders, _) => (holders, KnownBy::Block),
            };
            Queue {
                scarce,
                object,
                waiters,
                holders,
                known_by,
            }
        })
        .collect()
}

fn is_thread_pool(graph: &Graph, object: Option<ObjectId>) -> bool {
    graph.tasks.pools.iter().any(|p| Some(p.id) == object)
}

/// What a task waits for, if it is scarce, and the object where it is one that all share.
fn wanted(graph: &Graph, task: &Task) -> Option<(Scarce, Option<ObjectId>)> {
    let wait = end_of_wait_for(graph, task)?;
    let checkout = || checkout(task).map(Scarce::Connections);
    let (scarce, shared) = match &wait.on {
        WaitOn::Semaphore { free, .. } if free.is_some_and(|n| n <= 0) => {
            (checkout().unwrap_or(Scarce::Slots), true)
        }
        WaitOn::Queue {
            call: QueueCall::Put,
            size: Some(size),
            most: Some(most),
            ..
        } if *most > 0 && size >= most => (Scarce::Room, true),
        WaitOn::Queue {
            call: QueueCall::Get,
            size: Some(0),
            unfinished,
            ..
        } => {
            let had_items = unfinished.is_some_and(|n| n > 0) && enters(task).is_some();
            let scarce = checkout().or(had_items.then_some(Scarce::Items))?;
            (scarce, true)
        }
        WaitOn::Condition { .. } => (checkout()?, true),
        WaitOn::Event { .. } | WaitOn::Future { .. } => (checkout()?, false),
        _ => return None,
    };
    Some((scarce, wait.object.filter(|_| shared)))
}

/// What a task waits for. `asyncio.wait_for` made a task of its own of what it was given until 3.12: what that one waits for.
fn end_of_wait_for<'a>(graph: &'a Graph, task: &'a Task) -> Option<&'a Wait> {
    let wait = waits(task)?;
    let inner = match &wait.on {
        WaitOn::Task { id } if task.frames.last().is_some_and(is_wait_for) => graph.task_of(*id),
        _ => None,
    };
    let of_library = |inner: &&Task| inner.frames.iter().all(Frame::is_library);
    inner.filter(of_library).map_or(Some(wait), waits)
}

fn is_wait_for(frame: &Frame) -> bool {
    frame.file.ends_with("/asyncio/tasks.py") && short_name(frame) == "wait_for"
}

/// The pool that this task waits in, where nothing but the standard library and wrappers of it are further in.
fn checkout(task: &Task) -> Option<&'static str> {
    // Most tasks have no such frame, and are asked for at every look.
    task.frames.iter().find_map(checkout_of)?;
    let (_, frame) = checkout_frame(task)?;
    checkout_of(frame)
}

/// The pool whose connections this function waits for.
fn checkout_of(frame: &Frame) -> Option<&'static str> {
    let name = short_name(frame);
    let found = CHECKOUTS
        .iter()
        .find(|(file, functions, _)| functions.contains(&name) && frame.file.contains(file));
    found.map(|(_, _, pool)| *pool)
}

/// The innermost frame of a package that is not a mere wrapper, and its position.
fn checkout_frame(task: &Task) -> Option<(usize, &Frame)> {
    let wraps = |f: &Frame| WRAPPERS.iter().any(|mark| f.file.contains(mark));
    let mut frames = task.frames.iter().enumerate().rev();
    frames.find(|(_, f)| super::is_packaged(f) && !wraps(f))
}

/// The application's frame whose `async with` the task waits to enter.
fn enters(task: &Task) -> Option<&Frame> {
    let (innermost, _) = own(task)?;
    let enters = |f: &Frame| short_name(f) == "__aenter__";
    let at = task.frames.iter().rposition(enters)?;
    let caller = at.checked_sub(1).and_then(|at| task.frames.get(at))?;
    // A frame or two further in is the code that takes the item; the rest of an application would be much deeper.
    (innermost <= at + 2 && !caller.is_library()).then_some(caller)
}

/// Tasks that have what the others wait for: inside a block of the object itself, or of the class that a waiter wants to enter.
/// Who waits for a condition is inside its block too, and has nothing.
fn in_blocks(graph: &Graph, object: Option<ObjectId>, waiters: &[usize]) -> Vec<usize> {
    let holds = |at: &usize| {
        let wait = graph.task(*at).and_then(waits);
        !wait.is_some_and(|w| w.object == object && matches!(w.on, WaitOn::Condition { .. }))
    };
    let inside = object.into_iter().flat_map(|o| graph.holders(o));
    let mut holders: Vec<usize> = inside.filter(holds).collect();
    let entering = waiters.iter().find_map(|at| {
        let task = graph.task(*at)?;
        let block = task.entered.iter().rev().find(|b| !b.holds)?;
        Some((block.class.as_str(), enters(task)))
    });
    if let Some((class, caller)) = entering {
        let has = |task: &Task| {
            let inside = task.entered.iter().any(|b| b.holds && b.class == class);
            inside && (!is_any_generator(class) || caller.is_some_and(|c| runs(task, c)))
        };
        let of_class = graph.each().filter(|(_, task, _)| has(task));
        holders.extend(of_class.map(|(at, ..)| at));
    }
    holders.sort_unstable();
    holders.dedup();
    holders
}

/// Tasks that have called the same function of the library as a waiter, and stand elsewhere in it: with a connection, that is.
fn past_the_wait(graph: &Graph, waiters: &[usize]) -> Vec<usize> {
    let calls = |at: &usize| {
        let task = graph.task(*at)?;
        let (innermost, _) = own(task)?;
        let (checkout, _) = checkout_frame(task)?;
        task.frames.get(innermost + 1..checkout)
    };
    let Some(calls) = waiters.iter().find_map(calls) else {
        return Vec::new();
    };
    let has = |task: &Task| calls.iter().any(|call| runs(task, call));
    let others = graph.each().filter(|(at, ..)| !waiters.contains(at));
    let past = others.filter(|(_, task, _)| waits(task).is_some() && has(task));
    past.map(|(at, ..)| at).collect()
}

/// The class of every `@asynccontextmanager`: it says nothing of what it manages.
fn is_any_generator(class: &str) -> bool {
    class.contains("GeneratorContextManager")
}

fn runs(task: &Task, function: &Frame) -> bool {
    let same = |f: &Frame| f.function == function.function && f.file == function.file;
    task.frames.iter().any(same)
}
