//! Tasks that wait for each other in a circle: for the end of one another, or for a lock that one of them holds.

use std::collections::BTreeSet;

use super::{Graph, waits};
use crate::snapshot::{ObjectId, Task, WaitOn};

/// Circles that are told of: one is enough to act on.
const MOST: usize = 8;

/// One task of a circle, and what keeps it from going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The task, by its place.
    pub task: usize,
    /// What it waits for.
    pub for_what: Blocker,
}

/// What keeps a task from going on, for as long as another task does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocker {
    /// A lock that the task at this place holds.
    Lock(usize),
    /// The end of the task at this place.
    End(usize),
}

impl Blocker {
    /// The task that has to go on first.
    pub fn task(self) -> usize {
        match self {
            Self::Lock(at) | Self::End(at) => at,
        }
    }
}

/// The circles, each from the task that holds a lock; a task that waits for what it holds itself is a circle of one.
pub fn circles(graph: &Graph) -> Vec<Vec<Link>> {
    let mut circles = Vec::new();
    let mut done = BTreeSet::new();
    for (at, ..) in graph.each() {
        if circles.len() >= MOST {
            break;
        }
        if let Some(circle) = circle_from(graph, at, &mut done) {
            circles.push(from_a_holder(circle));
        }
    }
    circles
}

/// Walks on from a task, depth first, until it comes to one that is on the way already.
fn circle_from(graph: &Graph, start: usize, done: &mut BTreeSet<usize>) -> Option<Vec<Link>> {
    if done.contains(&start) {
        return None;
    }
    let mut way: Vec<Link> = Vec::new();
    let mut ahead: Vec<Vec<Blocker>> = Vec::new();
    let mut here = start;
    loop {
        done.insert(here);
        ahead.push(blockers(graph, here));
        loop {
            let next = ahead.last_mut()?.pop();
            let Some(next) = next else {
                ahead.pop();
                let back = way.pop()?;
                here = back.task;
                continue;
            };
            way.push(Link {
                task: here,
                for_what: next,
            });
            if let Some(from) = way.iter().position(|link| link.task == next.task()) {
                return way.get(from..).map(<[Link]>::to_vec);
            }
            if done.contains(&next.task()) {
                way.pop();
                continue;
            }
            here = next.task();
            break;
        }
    }
}

/// What keeps this task from going on. A time-out around it will end its wait: nothing then.
fn blockers(graph: &Graph, at: usize) -> Vec<Blocker> {
    let Some(task) = graph.task(at).filter(|t| !gives_up(t)) else {
        return Vec::new();
    };
    let Some(wait) = waits(task) else {
        return Vec::new();
    };
    let ends = |ids: &[ObjectId]| {
        let places = ids.iter().filter_map(|id| graph.place(*id));
        places.map(Blocker::End).collect()
    };
    match &wait.on {
        WaitOn::Lock { .. } => wait
            .object
            .into_iter()
            .flat_map(|lock| graph.holders(lock))
            .map(Blocker::Lock)
            .collect(),
        WaitOn::Task { id } => ends(&[*id]),
        WaitOn::Children { call, pending, .. } if waits_for_all(call, pending.len()) => {
            ends(pending)
        }
        _ => Vec::new(),
    }
}

fn gives_up(task: &Task) -> bool {
    task.entered.iter().any(|block| block.left_s.is_some())
}

/// `gather` and a `TaskGroup` end with the last of their children; `wait` may be content with the first, `wait_for` and
/// `timeout` with none.
fn waits_for_all(call: &str, pending: usize) -> bool {
    match call.rsplit('.').next().unwrap_or(call) {
        "wait" => pending == 1,
        "wait_for" | "as_completed" | "timeout" => false,
        _ => true,
    }
}

/// The circle from a task that others wait for because of a lock: the one whose code breaks the rule.
fn from_a_holder(mut circle: Vec<Link>) -> Vec<Link> {
    let holder = circle.iter().find_map(|link| match link.for_what {
        Blocker::Lock(holder) => Some(holder),
        Blocker::End(_) => None,
    });
    if let Some(first) = circle.iter().position(|l| Some(l.task) == holder) {
        circle.rotate_left(first);
    }
    circle
}
