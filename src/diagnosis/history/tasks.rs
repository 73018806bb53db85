//! Since when has each task stood where it stands, and when did somebody last get what others wait for?

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::diagnosis::task::{self, Graph, TaskRole, role};
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
    /// The same for tasks in the same state on the same lines.
    pub look: u64,
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
        let mut places = BTreeMap::new();
        let mut roles = Vec::with_capacity(tasks.list.len());
        for task in &tasks.list {
            let now = TaskPlace::new(task, at);
            let before = self.places.get(&task.id);
            roles.push(self.role_then(task, &now).unwrap_or_else(|| role::of(task)));
            places.insert(task.id, now.after(before));
        }
        let mut next = Self {
            graph: Graph::with_roles(tasks, roles),
            places,
            left: self.left.clone(),
        };
        next.note_who_left(self, at);
        next
    }

    /// The role of a task that has not moved since: it is told from where it stands.
    fn role_then(&self, task: &Task, now: &TaskPlace) -> Option<TaskRole> {
        let then = self.places.get(&task.id)?;
        let at = self.graph.place(task.id)?;
        (then.exact == now.exact).then(|| self.graph.role(at))
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
        let Prints { look, exact, chain } = Prints::of(task);
        Self {
            since: at,
            still_since: at,
            looks: 1,
            look,
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

/// Fingerprints of where a task stands. A file adds nothing to function and line.
struct Prints {
    /// Its state, and every frame and line.
    look: u64,
    /// The same with its name and what it waits for: another task may have got the memory of one that has ended.
    exact: u64,
    /// Its name, the functions down to the application's innermost one, and the lines above that.
    chain: u64,
}

impl Prints {
    fn of(task: &Task) -> Self {
        let depth = task::own(task).map_or(task.frames.len(), |(at, _)| at + 1);
        let mut look = DefaultHasher::new();
        let mut chain = DefaultHasher::new();
        task.name.hash(&mut chain);
        state(task.state).hash(&mut look);
        for (at, frame) in task.frames.iter().enumerate() {
            frame.function.hash(&mut look);
            frame.line.hash(&mut look);
            if at < depth {
                frame.function.hash(&mut chain);
            }
            if at + 1 < depth {
                frame.line.hash(&mut chain);
            }
        }
        // The end of one of its children is a step forward.
        let on = task::waits(task).map(|w| &w.on);
        if let Some(WaitOn::Children { pending, .. }) = on {
            pending.len().hash(&mut chain);
            pending.len().hash(&mut look);
        }
        let look = look.finish();
        let mut exact = DefaultHasher::new();
        let object = task::waits(task).and_then(|w| w.object);
        (look, &task.name, object).hash(&mut exact);
        Self {
            look,
            exact: exact.finish(),
            chain: chain.finish(),
        }
    }
}

fn state(state: TaskState) -> u8 {
    match state {
        TaskState::Running => 0,
        TaskState::Waiting => 1,
        TaskState::Runnable => 2,
        TaskState::NotStarted => 3,
    }
}
