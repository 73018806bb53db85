//! A future or task as it lies in memory: those written in C by their layout, those written in Python by their attributes.

use super::Look;
use super::image::Image;
use super::kind::Kind;

/// The fields of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawTask {
    /// Where it is.
    pub addr: u64,
    /// The loop that it belongs to.
    pub event_loop: u64,
    /// Whether it is done.
    pub state: Progress,
    /// Its coroutine.
    pub coroutine: u64,
    /// The future that it waits for.
    pub waiter: Option<u64>,
    /// Its name: a `str`, or the number of one that was not given a name.
    pub name: Option<u64>,
}

/// What a future calls when it is done: mostly one, which needs no list.
#[derive(Debug, Default)]
pub struct Callbacks {
    /// The one that a future written in C has in itself.
    pub first: Option<u64>,
    /// Those that are in its list.
    pub more: Vec<u64>,
}

impl IntoIterator for Callbacks {
    type Item = u64;
    type IntoIter = std::iter::Chain<std::option::IntoIter<u64>, std::vec::IntoIter<u64>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

/// How far a future is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It has no result yet.
    Pending,
    /// It has one, or was cancelled.
    Done,
}

/// Bytes of a task that are fetched, and those up to its name.
pub const TASK: usize = 184;
const TASK_HEAD: usize = 176;
const LONGEST_NAME: usize = 256;
/// Done callbacks of one future that are followed.
const MOST_CALLBACKS: usize = 65_536;

fn progress(state: i32) -> Option<Progress> {
    match state {
        0 => Some(Progress::Pending),
        1 | 2 => Some(Progress::Done),
        _ => None,
    }
}

impl Look<'_> {
    /// The fields of the task at this address; `None` if there is none.
    pub fn task(&mut self, addr: u64) -> Option<RawTask> {
        match self.kind(addr) {
            Kind::Task => self.c_task(addr),
            // Whatever is registered as a task and looks like one.
            _ => self.python_task(addr),
        }
    }

    fn c_task(&mut self, addr: u64) -> Option<RawTask> {
        let image = Image::<TASK_HEAD>::of(self.heap, addr)?;
        let fields = &self.heap.layout.future;
        Some(RawTask {
            addr,
            event_loop: image.pointer(0, fields.loop_)?,
            state: progress(image.i32(0, fields.state)?)?,
            // Without these two it is being made, where another one was before.
            coroutine: image.pointer(0, fields.coro)?,
            waiter: image.pointer(0, fields.waiter),
            name: Some(image.pointer(0, fields.name)?),
        })
    }

    fn python_task(&mut self, addr: u64) -> Option<RawTask> {
        let waiter = self.heap.attribute(addr, "_fut_waiter");
        Some(RawTask {
            addr,
            event_loop: self.heap.attribute(addr, "_loop")?,
            state: self.progress(addr)?,
            coroutine: self.heap.attribute(addr, "_coro")?,
            waiter: waiter.filter(|waiter| self.kind(*waiter) != Kind::Nothing),
            name: self.heap.attribute(addr, "_name"),
        })
    }

    /// Whether a future or task is done; `None` if it is none.
    pub fn progress(&mut self, future: u64) -> Option<Progress> {
        let kind = self.kind(future);
        if matches!(kind, Kind::Future | Kind::Task) {
            let field = self.heap.layout.future.state;
            return progress(self.heap.i32_in(future, field)?);
        }
        let Some(state) = self.heap.attribute(future, "_state") else {
            // Up to its end a future of Python's has the one of its class.
            return kind.is_future().then_some(Progress::Pending);
        };
        let is = |look: &mut Self, word: &str| look.heap.text_is(state, word);
        if is(self, "PENDING") {
            return Some(Progress::Pending);
        }
        (is(self, "FINISHED") || is(self, "CANCELLED")).then_some(Progress::Done)
    }

    /// What a task is called: `Task-3`.
    pub fn name_of(&mut self, task: &RawTask) -> Option<String> {
        let name = task.name?;
        if self.is_text(name) {
            return self.heap.text(name, LONGEST_NAME);
        }
        // 3.12+: a number until somebody asks for the name.
        self.heap.int(name).map(|number| format!("Task-{number}"))
    }

    /// The callables that a future will call when it is done.
    pub fn callbacks(&mut self, future: u64) -> Callbacks {
        let is_c = matches!(self.kind(future), Kind::Future | Kind::Task);
        let (first, list) = if is_c {
            let fields = &self.heap.layout.future;
            let first = self.heap.pointer_in(future, fields.callback0);
            (first, self.heap.pointer_in(future, fields.callbacks))
        } else {
            (None, self.heap.attribute(future, "_callbacks"))
        };
        let more = list.map_or(Vec::new(), |list| self.listed_callbacks(list));
        Callbacks { first, more }
    }

    fn listed_callbacks(&mut self, list: u64) -> Vec<u64> {
        let is_list = self.heap.type_of(list).is_some_and(|k| &*k.name == "list");
        let pairs = if is_list { self.heap.list(list) } else { None };
        let pairs = pairs.unwrap_or_default();
        let pairs = pairs.get(..MOST_CALLBACKS).unwrap_or(&pairs);
        self.heap.prepare(pairs.iter().copied(), 40);
        let items = self.heap.layout.object.tuple_items;
        // Pairs of a callable and its context.
        let callable = |pair: &u64| self.heap.pointer_in(*pair, items);
        pairs.iter().filter_map(callable).collect()
    }
}
