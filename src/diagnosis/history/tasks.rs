//! Since when has each task stood where it stands, and when did somebody last get what others wait for?

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::diagnosis::task::{self, Graph};
use crate::snapshot::{Moment, ObjectId, Task, TaskState, Tasks, WaitOn};

/// Seconds for which a task that is missing from an incomplete reading is remembered.
const TORN_KEPT_S: f64 = 2.0;

/// The tasks of one process at the last reading, and what those before it have shown of them.
#[derive(Debug, Clone)]
pub struct TaskPlaces {
    /// The reading.
    pub graph: Graph,
    places: BTreeMap<ObjectId, TaskPlace>,
    /// When a task that waited for this object was first seen to wait for it no more.
    left: BTreeMap<ObjectId, Moment>,
}

/// Where a task stands, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskPlace {
    /// Since when it has been in the same functions down to the application's innermost one, on the same lines above that.
    pub since: Moment,
    /// Since when its state, every frame and line, and what it waits for have been the same.
    pub still_since: Moment,
    /// Readings in that time.
    pub looks: u32,
    chain: u64,
    exact: u64,
    waits_for: Option<ObjectId>,
    seen: Moment,
}

impl TaskPlaces {
    /// Of the first reading.
    pub fn first(tasks: Arc<Tasks>) -> Self {
        let at = tasks.at;
        let graph = Graph::of(tasks);
        let list = &graph.tasks.list;
        let places = list.iter().map(|t| (t.id, TaskPlace::new(t, at))).collect();
        Self {
            graph,
            places,
            left: BTreeMap::new(),
        }
    }

    /// Of a reading, and what is known from those before it.
    pub fn next(&self, tasks: Arc<Tasks>) -> Self {
        let at = tasks.at;
        let graph = Graph::of(tasks);
        let mut next = Self {
            places: BTreeMap::new(),
            left: self.left.clone(),
            graph,
        };
        for task in &next.graph.tasks.list {
            let now = TaskPlace::new(task, at);
            let before = self.places.get(&task.id);
            next.places.insert(task.id, now.after(before));
        }
        next.note_who_left(self, at);
        next
    }

    fn note_who_left(&mut self, before: &Self, at: Moment) {
        let incomplete = self.graph.tasks.torn > 0 || self.graph.tasks.left_out > 0;
        for (id, place) in &before.places {
            match self.places.get(id) {
                None if incomplete && at.seconds_since(place.seen) < TORN_KEPT_S => {
                    self.places.insert(*id, *place);
                }
                Some(now) if now.exact == place.exact => {}
                _ => {
                    if let Some(object) = place.waits_for {
                        self.left.insert(object, at);
                    }
                }
            }
        }
        let graph = &self.graph;
        self.left
            .retain(|object, _| !graph.waiting(*object).is_empty());
    }

    /// Where a task stands.
    pub fn of(&self, id: ObjectId) -> Option<&TaskPlace> {
        self.places.get(&id)
    }

    /// When a task that waited for this object was last seen to wait for it no more; `None` if that never was.
    pub fn left(&self, object: ObjectId) -> Option<Moment> {
        self.left.get(&object).copied()
    }
}

impl TaskPlace {
    fn new(task: &Task, at: Moment) -> Self {
        let (chain, exact) = fingerprints(task);
        Self {
            since: at,
            still_since: at,
            looks: 1,
            chain,
            exact,
            waits_for: task::waits(task).and_then(|w| w.object),
            seen: at,
        }
    }

    fn after(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before {
            if before.chain == self.chain {
                self.since = before.since;
            }
            if before.exact == self.exact {
                self.still_since = before.still_since;
                self.looks = before.looks.saturating_add(1);
            }
        }
        self
    }
}

/// Of a task: the functions down to the application's innermost one with the lines above it; and everything. Its name is in
/// both: another task may have got the memory of one that has ended. A file adds nothing to function and line.
fn fingerprints(task: &Task) -> (u64, u64) {
    let depth = task::own(task).map_or(task.frames.len(), |(at, _)| at + 1);
    let mut chain = DefaultHasher::new();
    let mut exact = DefaultHasher::new();
    task.name.hash(&mut chain);
    task.name.hash(&mut exact);
    for (at, frame) in task.frames.iter().enumerate() {
        frame.function.hash(&mut exact);
        frame.line.hash(&mut exact);
        if at < depth {
            frame.function.hash(&mut chain);
        }
        if at + 1 < depth {
            frame.line.hash(&mut chain);
        }
    }
    // The end of one of its children is a step forward.
    if let Some(WaitOn::Children { pending, .. }) = task::waits(task).map(|w| &w.on) {
        pending.len().hash(&mut chain);
        pending.len().hash(&mut exact);
    }
    let state = match task.state {
        TaskState::Running => 1,
        TaskState::Waiting => 2,
        TaskState::Runnable => 3,
        TaskState::NotStarted => 4,
    };
    state.hash(&mut exact);
    task::waits(task).and_then(|w| w.object).hash(&mut exact);
    (chain.finish(), exact.finish())
}
