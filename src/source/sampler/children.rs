//! Which processes has one started that a coroutine of its own waits for? The kernel does not tell: its loop sleeps in its poll.

use std::sync::Arc;

use super::{Entry, Sampler, Wishes};
use crate::snapshot::{Child, Frame, Moment, Task, WaitOn};
use crate::source::procfs::waiting;

/// Between two looks at them.
const EVERY_S: f64 = 1.0;

/// Children as they were looked at last.
#[derive(Default)]
pub struct Children {
    pub list: Option<Arc<Vec<Child>>>,
    looked_at: Moment,
}

impl Sampler {
    /// Reads them for processes that are hot and have such a coroutine; what was known of others is dropped.
    pub(super) fn read_children(&mut self, wishes: &Wishes, at: Moment) {
        for entry in self.roster.pythons_mut() {
            let wanted = !entry.is_dead() && entry.is_hot(wishes, at) && entry.may_await_a_child();
            let due = at.seconds_since(entry.children.looked_at) >= EVERY_S;
            let list = match wanted {
                true if !due => continue,
                true => Some(waiting::children(entry.process.key.pid)),
                false => None,
            };
            entry.children.looked_at = at;
            if entry.children.list.as_deref() != list.as_ref() {
                entry.children.list = list.map(Arc::new);
                entry.record = None;
            }
        }
    }
}

impl Entry {
    fn may_await_a_child(&self) -> bool {
        let tasks = self.python.as_ref().and_then(|p| p.tasks.as_ref());
        tasks.is_some_and(|tasks| tasks.list.iter().any(may_await_a_child))
    }
}

/// True of a task that waits for a child's end, or for what it writes; and of one that reads from a stream by itself, since that
/// may be a child's.
fn may_await_a_child(task: &Task) -> bool {
    let talks = |f: &Frame| {
        let name = f.file.rsplit('/').next();
        f.is_library() && name.is_some_and(|name| name.contains("subprocess"))
    };
    let reads = || {
        let mut frames = task.frames.iter().rev();
        let streams = |f: &&Frame| f.file.ends_with("/asyncio/streams.py");
        frames
            .find(|f| !streams(f))
            .is_some_and(|f| !f.is_library())
    };
    match task.wait.as_ref().map(|w| &w.on) {
        Some(WaitOn::Process) => true,
        Some(WaitOn::Read) => task.frames.iter().any(talks) || reads(),
        _ => false,
    }
}
