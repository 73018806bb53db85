//! What the tasks of one process say together: who waits for whom, who holds what, and where in the application's code each
//! stands.
//!
//! ```text
//!   task ── waits for ──> task ── waits for ──> Lock ── held by ──> task
//!     └ awaited by nobody: a root                                     └ the same one again: a deadlock
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub mod deadlock;
pub mod role;
pub mod scarce;
pub mod suspect;
pub mod words;

use crate::snapshot::{Frame, ObjectId, Task, TaskState, Tasks, Wait, WaitOn};

pub use role::TaskRole;

/// Steps from one task to the next that are followed: a chain of tasks is seldom longer than a few.
const STEPS: usize = 64;

/// Tasks among which the next step is chosen.
const CHOICES: usize = 64;

/// The tasks of one process with the ways between them. Made once for each reading; a task is known by its place in the list.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The reading.
    pub tasks: Arc<Tasks>,
    by_id: BTreeMap<ObjectId, usize>,
    /// Tasks that are awaited by the one at this place.
    children: Vec<Vec<usize>>,
    /// Tasks inside a block that holds this object.
    holders: BTreeMap<ObjectId, Vec<usize>>,
    /// Tasks that wait for this object.
    waiting: BTreeMap<ObjectId, Vec<usize>>,
    roles: Vec<TaskRole>,
}

impl Graph {
    /// Finds the ways.
    pub fn of(tasks: Arc<Tasks>) -> Self {
        let roles = tasks.list.iter().map(role::of).collect();
        Self::with_roles(tasks, roles)
    }

    /// The same, for tasks whose roles are known, in the order of the reading.
    pub fn with_roles(tasks: Arc<Tasks>, roles: Vec<TaskRole>) -> Self {
        let by_id: BTreeMap<ObjectId, usize> = tasks
            .list
            .iter()
            .enumerate()
            .map(|(at, t)| (t.id, at))
            .collect();
        let mut graph = Self {
            children: vec![Vec::new(); tasks.list.len()],
            holders: BTreeMap::new(),
            waiting: BTreeMap::new(),
            roles,
            by_id,
            tasks,
        };
        graph.link();
        graph
    }

    fn link(&mut self) {
        let tasks = self.tasks.clone();
        for (at, task) in tasks.list.iter().enumerate() {
            for parent in &task.awaited_by {
                self.adopt(self.place(*parent), Some(at));
            }
            for child in awaited(task) {
                self.adopt(Some(at), self.place(child));
            }
            for block in task.entered.iter().filter(|e| e.holds) {
                self.holders.entry(block.object).or_default().push(at);
            }
            if let Some(object) = waits(task).and_then(|w| w.object) {
                self.waiting.entry(object).or_default().push(at);
            }
        }
        for children in &mut self.children {
            children.sort_unstable();
            children.dedup();
        }
    }

    fn adopt(&mut self, parent: Option<usize>, child: Option<usize>) {
        if let (Some(parent), Some(child)) = (parent, child)
            && parent != child
            && let Some(children) = self.children.get_mut(parent)
        {
            children.push(child);
        }
    }

    /// The place of a task.
    pub fn place(&self, id: ObjectId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// The task at a place.
    pub fn task(&self, at: usize) -> Option<&Task> {
        self.tasks.list.get(at)
    }

    /// The task that is this object.
    pub fn task_of(&self, id: ObjectId) -> Option<&Task> {
        self.task(self.place(id)?)
    }

    /// What a task is for.
    pub fn role(&self, at: usize) -> TaskRole {
        self.roles.get(at).copied().unwrap_or(TaskRole::Unknown)
    }

    /// Every task with its place and role.
    pub fn each(&self) -> impl Iterator<Item = (usize, &Task, TaskRole)> {
        let all = self.tasks.list.iter().enumerate();
        all.map(|(at, task)| (at, task, self.role(at)))
    }

    /// Tasks that the one at this place awaits, or has started and will await.
    pub fn children(&self, at: usize) -> &[usize] {
        self.children.get(at).map_or(&[], Vec::as_slice)
    }

    /// Tasks that nobody awaits, in the order of the reading; then one of each circle, which has no beginning.
    pub fn roots(&self) -> Vec<usize> {
        let mut awaited = vec![false; self.tasks.list.len()];
        for child in self.children.iter().flatten() {
            if let Some(mark) = awaited.get_mut(*child) {
                *mark = true;
            }
        }
        let mut roots: Vec<usize> = (0..awaited.len())
            .filter(|at| awaited.get(*at) == Some(&false))
            .collect();
        let mut reached = BTreeSet::new();
        for root in &roots {
            self.reach(*root, &mut reached);
        }
        for at in 0..awaited.len() {
            if !reached.contains(&at) {
                roots.push(at);
                self.reach(at, &mut reached);
            }
        }
        roots
    }

    fn reach(&self, from: usize, reached: &mut BTreeSet<usize>) {
        let mut ahead = vec![from];
        while let Some(at) = ahead.pop() {
            if reached.insert(at) {
                ahead.extend(self.children(at));
            }
        }
    }

    /// The task at this place and all below it.
    pub fn family(&self, at: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        self.reach(at, &mut reached);
        reached
    }

    /// Tasks inside a block that holds this object: `async with lock:`.
    pub fn holders(&self, object: ObjectId) -> impl Iterator<Item = usize> {
        self.holders.get(&object).into_iter().flatten().copied()
    }

    /// Tasks that wait for this object.
    pub fn waiting(&self, object: ObjectId) -> &[usize] {
        self.waiting.get(&object).map_or(&[], Vec::as_slice)
    }

    /// The request or connection that a task works for: itself, or the outermost of those above it.
    pub fn request_of(&self, at: usize) -> Option<usize> {
        let mut found = None;
        let mut here = at;
        let mut seen = BTreeSet::new();
        for _ in 0..STEPS {
            if !seen.insert(here) {
                break;
            }
            if self.role(here) == TaskRole::Request {
                found = Some(here);
            }
            let parents = self.task(here).map_or(&[][..], |t| &t.awaited_by);
            match parents.iter().find_map(|id| self.place(*id)) {
                Some(parent) => here = parent,
                None => break,
            }
        }
        found
    }

    /// All requests that are being answered, by their outermost tasks.
    pub fn requests(&self) -> BTreeSet<usize> {
        let of_role = self
            .each()
            .filter(|(_, _, role)| *role == TaskRole::Request);
        of_role.filter_map(|(at, ..)| self.request_of(at)).collect()
    }

    /// From a task along what it waits for now, down to the task that waits for something else: where it really stands. Of
    /// several that it waits for, one that stands in the application's own code.
    pub fn standing_for(&self, at: usize) -> usize {
        self.way_from(at).last().copied().unwrap_or(at)
    }

    /// The tasks on that way, from this one on.
    pub fn way_from(&self, at: usize) -> Vec<usize> {
        let mut way = vec![at];
        while way.len() < STEPS
            && let Some(here) = way.last().copied()
            && let Some(task) = self.task(here)
        {
            let next: Vec<usize> = self.waited_for(here, task);
            let fresh = || next.iter().copied().filter(|n| !way.contains(n));
            let own = fresh().find(|n| self.stands_in_own_code(*n));
            let Some(next) = own.or_else(|| fresh().next()) else {
                break;
            };
            way.push(next);
        }
        way
    }

    /// Tasks whose end this one waits for. A library may wait for a task that it has started by way of an event or a stream.
    fn waited_for(&self, at: usize, task: &Task) -> Vec<usize> {
        let named = awaited(task).filter_map(|id| self.place(id));
        let named: Vec<usize> = named.take(CHOICES).collect();
        if named.is_empty() && waits_inside_a_package(task) {
            return self.children(at).iter().take(CHOICES).copied().collect();
        }
        named
    }

    fn stands_in_own_code(&self, at: usize) -> bool {
        let end = self.standing_from(at);
        self.task(end).is_some_and(|t| own_frame(t).is_some())
    }

    /// The same walk without a choice: the first child each time.
    fn standing_from(&self, at: usize) -> usize {
        let mut here = at;
        for _ in 0..STEPS {
            let next = self
                .task(here)
                .and_then(|t| self.waited_for(here, t).first().copied());
            match next {
                Some(next) if next != at => here = next,
                _ => break,
            }
        }
        here
    }
}

/// Tasks that a task waits for by name: one, or children that are not done.
pub fn awaited(task: &Task) -> impl Iterator<Item = ObjectId> {
    let (one, many) = match task.wait.as_ref().map(|w| &w.on) {
        Some(WaitOn::Task { id }) => (Some(*id), None),
        Some(WaitOn::Children { pending, .. }) => (None, Some(pending)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().copied())
}

/// The application's innermost frame on a task, with its position.
pub fn own(task: &Task) -> Option<(usize, &Frame)> {
    let frames = task.frames.iter().enumerate();
    frames.rev().find(|(_, f)| !f.is_library())
}

/// The application's innermost frame on a task.
pub fn own_frame(task: &Task) -> Option<&Frame> {
    own(task).map(|(_, frame)| frame)
}

/// Frames inside the application's innermost one: what it calls.
pub fn below_own(task: &Task) -> &[Frame] {
    let from = own(task).map_or(0, |(at, _)| at + 1);
    task.frames.get(from..).unwrap_or(&[])
}

/// The frame to name a task by: the application's innermost one, else a package's, else the leaf.
pub fn telling_frame(task: &Task) -> Option<&Frame> {
    let of_package = || task.frames.iter().rev().find(|f| is_packaged(f));
    own_frame(task)
        .or_else(of_package)
        .or_else(|| task.frames.last())
}

/// True for a frame of an installed package: neither the application's nor the standard library's.
fn is_packaged(frame: &Frame) -> bool {
    frame.file.contains("/site-packages/") || frame.file.contains("/dist-packages/")
}

fn waits_inside_a_package(task: &Task) -> bool {
    task.state == TaskState::Waiting && below_own(task).iter().any(is_packaged)
}

/// The last part of a function's name: interpreters before 3.11 know no more.
pub fn short_name(frame: &Frame) -> &str {
    frame.function.rsplit('.').next().unwrap_or(&frame.function)
}

/// What a task waits for, if it does.
pub fn waits(task: &Task) -> Option<&Wait> {
    task.wait
        .as_ref()
        .filter(|_| task.state == TaskState::Waiting)
}
