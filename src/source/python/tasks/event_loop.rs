//! Event loops: whose they are, which thread runs them, how much waits to be called.

use super::Look;
use super::kind::Kind;
use crate::snapshot::{EventLoop, LoopKind, ObjectId};

/// What the thread's dictionary has for its running loop (to 3.12).
const RUNNING: &str = "__asyncio_running_event_loop__";

impl Look<'_> {
    /// The loop that runs in a thread.
    pub fn running_loop(&mut self, thread: u64) -> Option<u64> {
        let fields = &self.heap.layout.thread;
        if fields.running_loop.exists() {
            return self.heap.pointer_in(thread, fields.running_loop);
        }
        let dict = self.heap.pointer_in(thread, fields.dict)?;
        let found = self.heap.dict_get(dict, RUNNING)?;
        let kind = self.heap.type_of(found)?;
        let held = match kind.name.contains("RunningLoopHolder") {
            // Up to 3.11 a holder, which knows for which process it was made.
            true => self.heap.pointer(found.checked_add(16)?)?,
            false => found,
        };
        (self.kind(held) != Kind::Nothing).then_some(held)
    }

    /// The tasks that are executed now, by what the interpreter says of itself.
    pub fn current_tasks(&mut self, threads: &[u64]) -> Vec<u64> {
        let field = self.heap.layout.thread.running_task;
        let of_threads = threads.iter();
        let mut found: Vec<u64> = of_threads
            .filter_map(|thread| self.heap.pointer_in(*thread, field))
            .collect();
        for dict in self.asyncio.current.clone() {
            let pairs = self.heap.dict(dict).unwrap_or_default();
            found.extend(pairs.into_iter().map(|pair| pair.1));
        }
        found
    }

    /// What there is to say of a loop.
    pub fn event_loop(&mut self, object: u64, tid: Option<u32>) -> EventLoop {
        let kind = self.loop_kind(object);
        let ready = match kind {
            LoopKind::Uvloop => None,
            LoopKind::Asyncio | LoopKind::Other => self.count(object, "_ready"),
        };
        EventLoop {
            id: ObjectId(object),
            kind,
            tid,
            ready,
        }
    }

    fn loop_kind(&mut self, object: u64) -> LoopKind {
        let mut kind = self.heap.type_of(object);
        for _ in 0..16 {
            let Some(class) = kind else {
                break;
            };
            if class.name.starts_with("uvloop.") {
                return LoopKind::Uvloop;
            }
            if &*class.name == "BaseEventLoop" {
                return LoopKind::Asyncio;
            }
            kind = self.heap.type_at(class.base);
        }
        LoopKind::Other
    }
}
