//! Tasks, a line or two each: `task(2, "Task-2", frames).on(event(1)).awaited_by(1)`.

#![allow(dead_code, reason = "each test crate uses its own part of it")]

use steth::snapshot::{
    Entered, EventLoop, Frame, LoopKind, Moment, ObjectId, Pool, PoolKind, QueueCall, Task,
    TaskState, Tasks, Wait, WaitOn,
};

/// The loop that every task belongs to.
pub const LOOP: ObjectId = ObjectId(1_000_000);

/// All tasks of one asyncio loop on this thread, as read at that moment.
pub fn tasks(at: Moment, tid: u32, list: Vec<Task>) -> Tasks {
    Tasks {
        at,
        loops: vec![EventLoop {
            id: LOOP,
            kind: LoopKind::Asyncio,
            tid: Some(tid),
            ready: Some(0),
        }],
        list,
        torn: 0,
        left_out: 0,
        pools: Vec::new(),
    }
}

/// A task that waits for something of which nothing is known.
pub fn task(id: u64, name: &str, frames: Vec<Frame>) -> Task {
    let on = WaitOn::Future {
        class: "Future".into(),
        call: None,
    };
    Task {
        id: ObjectId(id),
        name: name.into(),
        event_loop: LOOP,
        state: TaskState::Waiting,
        frames: frames.into(),
        wait: Some(Wait { object: None, on }),
        awaited_by: Vec::new(),
        entered: Vec::new(),
    }
}

/// What a task is made to do.
pub trait Doing {
    /// It waits for this.
    fn on(self, on: WaitOn) -> Self;
    /// What it waits for is this object.
    fn object(self, id: u64) -> Self;
    /// This task waits for it.
    fn awaited_by(self, parent: u64) -> Self;
    /// It is inside `async with` of this object.
    fn holds(self, object: u64, class: &str) -> Self;
    /// It waits to get inside `async with` of this object.
    fn entering(self, object: u64, class: &str) -> Self;
    /// A time-out ends its wait in so many seconds.
    fn gives_up_in(self, seconds: f64) -> Self;
    /// It does not wait.
    fn is(self, state: TaskState) -> Self;
}

impl Doing for Task {
    fn on(mut self, on: WaitOn) -> Self {
        let object = self.wait.take().and_then(|w| w.object);
        self.wait = Some(Wait { object, on });
        self
    }

    fn object(mut self, id: u64) -> Self {
        if let Some(wait) = &mut self.wait {
            wait.object = Some(ObjectId(id));
        }
        self
    }

    fn awaited_by(mut self, parent: u64) -> Self {
        self.awaited_by.push(ObjectId(parent));
        self
    }

    fn holds(mut self, object: u64, class: &str) -> Self {
        self.entered.push(block(object, class, true, None));
        self
    }

    fn entering(mut self, object: u64, class: &str) -> Self {
        self.entered.push(block(object, class, false, None));
        self
    }

    fn gives_up_in(mut self, seconds: f64) -> Self {
        let object = self.id.0 + 7;
        self.entered
            .push(block(object, "Timeout", true, Some(seconds)));
        self
    }

    fn is(mut self, state: TaskState) -> Self {
        self.state = state;
        self.wait = None;
        self
    }
}

fn block(object: u64, class: &str, holds: bool, left_s: Option<f64>) -> Entered {
    Entered {
        object: ObjectId(object),
        class: class.into(),
        holds,
        left_s,
    }
}

pub fn sleep(delay: f64, left: f64) -> WaitOn {
    WaitOn::Sleep {
        delay_s: Some(delay),
        left_s: Some(left),
    }
}

pub fn event(waiters: u32) -> WaitOn {
    WaitOn::Event {
        waiters: Some(waiters),
    }
}

pub fn lock(waiters: u32) -> WaitOn {
    WaitOn::Lock {
        waiters: Some(waiters),
    }
}

pub fn semaphore(free: i64, waiters: u32) -> WaitOn {
    WaitOn::Semaphore {
        free: Some(free),
        waiters: Some(waiters),
    }
}

/// `Queue.get` on an empty queue that has had so many items.
pub fn get(unfinished: u32, getters: u32) -> WaitOn {
    queue(QueueCall::Get, 0, 0, unfinished, getters)
}

/// `Queue.put` on a queue with so many items of so many.
pub fn put(size: u32, most: u32) -> WaitOn {
    queue(QueueCall::Put, size, most, size, 0)
}

fn queue(call: QueueCall, size: u32, most: u32, unfinished: u32, getters: u32) -> WaitOn {
    WaitOn::Queue {
        call,
        size: Some(size),
        most: Some(most),
        getters: Some(getters),
        putters: Some(0),
        unfinished: Some(unfinished),
    }
}

pub fn children(call: &str, pending: &[u64], of: Option<u32>) -> WaitOn {
    WaitOn::Children {
        call: call.into(),
        pending: pending.iter().map(|id| ObjectId(*id)).collect(),
        of,
    }
}

pub fn end_of(id: u64) -> WaitOn {
    WaitOn::Task { id: ObjectId(id) }
}

pub fn pool(kind: PoolKind, prefix: Option<&str>, size: u32, busy: u32, queued: u32) -> Pool {
    Pool {
        id: ObjectId(2_000_000),
        kind,
        prefix: prefix.map(str::to_owned),
        size,
        busy,
        queued,
    }
}
