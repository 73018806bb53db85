//! Where the tasks and threads of one process stand, and for how long: what rules and the screen ask for.

use std::sync::Arc;

use super::tasks::{TaskPlace, TaskPlaces};
use super::threads::ThreadPlaces;
use crate::diagnosis::task::{Graph, TaskRole};
use crate::snapshot::{Moment, ObjectId, Process, Python, Stacks, Tasks};

/// Seconds for which tasks are remembered until they are read again: quiet processes may be read every ten seconds.
const UNREAD_KEPT_S: f64 = 60.0;

/// What is known of the tasks and threads of one process. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Its tasks; `None` if they are not seen now.
    pub tasks: Option<Arc<TaskPlaces>>,
    /// Its threads.
    pub threads: Arc<ThreadPlaces>,
    /// Until when the tasks are known to have been so: read then, or no thread of the process has run since.
    true_at: Moment,
    /// The tasks at the last reading, seen now or not.
    last: Option<Arc<TaskPlaces>>,
    stacks: Option<Arc<Stacks>>,
    stacks_true_at: Option<Moment>,
}

impl Standing {
    /// Of tasks that are seen for the first time.
    pub fn of(tasks: Arc<Tasks>) -> Self {
        let mut standing = Self::default();
        standing.read_tasks(&tasks);
        standing
    }

    /// Takes in what a look has shown of a process.
    pub fn observe(&mut self, process: &Process) {
        let Some(python) = &process.python else {
            return;
        };
        self.observe_threads(python);
        match &python.tasks {
            Some(tasks) => {
                self.read_tasks(tasks);
                self.true_at = self.true_at.max(true_at(python, tasks));
            }
            None => self.tasks = None,
        }
    }

    fn read_tasks(&mut self, tasks: &Arc<Tasks>) {
        let known = |last: &Arc<TaskPlaces>| Arc::ptr_eq(&last.graph.tasks, tasks);
        if !self.last.as_ref().is_some_and(known) {
            let fresh = |last: &&Arc<TaskPlaces>| {
                tasks.at.seconds_since(last.graph.tasks.at) < UNREAD_KEPT_S
            };
            let places = match self.last.as_ref().filter(fresh) {
                Some(last) => last.next(tasks.clone()),
                None => TaskPlaces::first(tasks.clone()),
            };
            self.last = Some(Arc::new(places));
            self.true_at = tasks.at;
        }
        self.tasks.clone_from(&self.last);
    }

    fn observe_threads(&mut self, python: &Python) {
        let Some(stacks) = &python.stacks else {
            return;
        };
        if self.stacks.as_ref().is_some_and(|s| Arc::ptr_eq(s, stacks)) {
            if self.stacks_true_at != python.stacks_true_at && self.threads.has_changes() {
                Arc::make_mut(&mut self.threads).unchanged();
            }
        } else {
            let next = self.threads.next(self.stacks.as_deref(), stacks);
            self.threads = Arc::new(next);
            self.stacks = Some(stacks.clone());
        }
        self.stacks_true_at = python.stacks_true_at;
    }

    /// The tasks with the ways between them.
    pub fn graph(&self) -> Option<&Graph> {
        self.tasks.as_ref().map(|t| &t.graph)
    }

    /// True if a task of the server runs its shutdown.
    pub fn shuts_down(&self) -> bool {
        let ends = |graph: &Graph| graph.each().any(|(.., role)| role == TaskRole::Shutdown);
        self.graph().is_some_and(ends)
    }

    /// Where a task stands.
    pub fn place(&self, id: ObjectId) -> Option<&TaskPlace> {
        self.tasks.as_ref()?.of(id)
    }

    /// Seconds for which a task has been in the same functions down to the application's innermost one.
    pub fn stood_s(&self, id: ObjectId) -> f64 {
        self.place(id)
            .map_or(0.0, |p| self.true_at.seconds_since(p.since))
    }

    /// Seconds for which a task has been on the same lines, waiting for the same thing.
    pub fn still_s(&self, id: ObjectId) -> f64 {
        self.place(id)
            .map_or(0.0, |p| self.true_at.seconds_since(p.still_since))
    }

    /// Seconds for which nobody has got what others wait for: since a waiter last left, or since this one waits.
    pub fn stuck_s(&self, object: Option<ObjectId>, waiter: ObjectId) -> f64 {
        let left = object.and_then(|o| self.tasks.as_ref()?.left(o));
        let still = self.still_s(waiter);
        left.map_or(still, |at| self.true_at.seconds_since(at).min(still))
    }

    /// Seconds for which every thread with this in its name has been in the same frames; `None` if there is none.
    pub fn threads_still_s(&self, stacks: &Stacks, prefix: &str) -> Option<f64> {
        let named = |s: &&crate::snapshot::Stack| {
            s.name
                .as_deref()
                .is_some_and(|name| name.starts_with(prefix))
        };
        let threads = stacks.list.iter().filter(named);
        let still = threads.map(|s| {
            let place = s.tid.and_then(|tid| self.threads.of(tid));
            let until = self.stacks_true_at.unwrap_or(stacks.at);
            place.map_or(0.0, |p| until.seconds_since(p.since))
        });
        still.reduce(f64::min)
    }
}

/// Until when tasks are known to have been as they were read. Stacks that were read before them and are known to be true still
/// say that no thread has run since.
fn true_at(python: &Python, tasks: &Tasks) -> Moment {
    let stacks_at = python.stacks.as_ref().map(|s| s.at);
    let idle_until = python
        .stacks_true_at
        .filter(|_| stacks_at.is_some_and(|at| at <= tasks.at));
    idle_until.map_or(tasks.at, |until| until.max(tasks.at))
}
