//! All tasks of an interpreter, by their addresses: from the sets that they are registered in, and from the lists of 3.14 and newer.
//!
//! Such a list runs through the tasks themselves. A task that ends while the list is walked takes itself out and cuts the walk short:
//! then it is walked from its other end too.

use super::Look;
use super::kind::Kind;
use crate::source::python::heap::is_pointer;
use crate::source::python::pages::ByAddress;

/// Nodes of a list that are followed.
const MOST_NODES: usize = 2_000_000;
/// Bytes around a node that are fetched when it is not yet known: tasks that were made together lie together.
const NEIGHBOURS: usize = 32 << 10;

/// The way along a list: from a node to the next, or to the one before.
#[derive(Clone, Copy)]
enum Way {
    Forward,
    Backward,
}

impl Look<'_> {
    /// The tasks; done ones may be among them.
    pub fn roll(&mut self, interpreter: u64, threads: &[u64]) -> Vec<u64> {
        let listed = self.listed(interpreter, threads);
        let (mut tasks, mut seen) = (Vec::new(), ByAddress::default());
        seen.reserve(listed.len());
        for task in listed {
            if seen.insert(task, ()).is_none() {
                tasks.push(task);
            }
        }
        let mut registered = self.registered();
        // A set has no order of its own; memory is mostly given out upwards.
        registered.sort_unstable();
        tasks.extend(
            registered
                .into_iter()
                .filter(|task| seen.insert(*task, ()).is_none()),
        );
        tasks
    }

    fn registered(&mut self) -> Vec<u64> {
        let mut tasks = Vec::new();
        let (weak_sets, sets) = (self.asyncio.weak_sets.clone(), self.asyncio.sets.clone());
        for set in weak_sets {
            let references = self.members(set);
            self.heap.prepare(references.iter().copied(), 24);
            let target = |reference: u64| self.heap.pointer(reference.checked_add(16)?);
            tasks.extend(references.into_iter().filter_map(target));
        }
        for set in sets {
            tasks.extend(self.members(set));
        }
        self.heap.prepare(tasks.iter().copied(), super::task::TASK);
        // What a dead reference refers to is None.
        tasks.retain(|task| self.kind(*task) != Kind::Nothing);
        tasks
    }

    /// The members of a set that registers tasks. One that cannot be read is not empty: the whole reading is void then.
    fn members(&mut self, set: u64) -> Vec<u64> {
        let members = self.heap.set(set);
        self.is_void |= members.is_none();
        members.unwrap_or_default()
    }

    fn listed(&mut self, interpreter: u64, threads: &[u64]) -> Vec<u64> {
        let of_interpreter = self.heap.layout.interpreter.asyncio_tasks;
        let of_thread = self.heap.layout.thread.asyncio_tasks;
        let heads = threads.iter().filter_map(|thread| of_thread.of(*thread));
        let heads: Vec<u64> = heads.chain(of_interpreter.of(interpreter)).collect();
        let mut tasks = Vec::new();
        for head in heads {
            let (forward, whole) = self.walk_list(head, Way::Forward);
            tasks.extend(forward);
            if !whole {
                let (mut backward, _) = self.walk_list(head, Way::Backward);
                backward.reverse();
                tasks.extend(backward);
            }
        }
        tasks
    }

    /// The tasks of a list; false if it ended elsewhere than at its head.
    fn walk_list(&mut self, head: u64, way: Way) -> (Vec<u64>, bool) {
        let link = |node: u64| match way {
            Way::Forward => Some(node),
            Way::Backward => node.checked_add(8),
        };
        let mut tasks = Vec::new();
        // Brent's: a node that comes again is met when the number of steps has passed the next power of two.
        let mut met = head;
        let Some(into_task) = self.heap.layout.future.node.of(0) else {
            return (tasks, true);
        };
        let mut node = head;
        while tasks.len() < MOST_NODES && !self.is_spent() {
            let next = link(node).and_then(|at| self.heap.pages.u64(at));
            let Some(next) = next.filter(|next| is_pointer(*next)) else {
                return (tasks, false);
            };
            if next == head {
                return (tasks, true);
            }
            if next == met {
                return (tasks, false);
            }
            if !self.heap.pages.is_known(next) {
                self.heap.prepare([next], NEIGHBOURS);
            }
            let task = next.saturating_sub(into_task);
            if self.kind(task) != Kind::Task {
                return (tasks, false);
            }
            tasks.push(task);
            if tasks.len().is_power_of_two() {
                met = next;
            }
            node = next;
        }
        (tasks, false)
    }
}
