//! Which rows has the tree of tasks, in which order? Who is awaited stands below who waits; what stands in one place is one row.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnosis::Standing;
use crate::diagnosis::task::{Graph, TaskRole, own_frame};
use crate::snapshot::Task;

/// Tasks in one place from which on they share a row.
const ALIKE: usize = 3;

/// Rows that are made at the most: more than any screen is scrolled through.
const MOST: usize = 4000;

/// Steps below a root beyond which nothing is shown.
const DEEPEST: usize = 32;

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The task, by its place in the reading; of several in one place, the one that has stood there for longest.
    pub task: usize,
    /// Steps below a task that nobody awaits.
    pub depth: usize,
    /// Tasks that share it.
    pub times: usize,
}

/// Rows of those tasks that are wanted, each tree from its root.
pub(super) fn of(
    graph: &Graph,
    standing: &Standing,
    suspect: Option<usize>,
    wanted: impl Fn(&Task) -> bool,
) -> Vec<Row> {
    let with_suspect: BTreeSet<usize> = ancestors(graph, suspect);
    let maker = Maker {
        graph,
        standing,
        suspect,
        with_suspect,
    };
    let mut roots = graph.roots();
    roots.retain(|at| graph.task(*at).is_some_and(&wanted));
    let mut rows = Vec::new();
    maker.add(roots, 0, &mut BTreeSet::new(), &mut rows);
    rows
}

struct Maker<'a> {
    graph: &'a Graph,
    standing: &'a Standing,
    suspect: Option<usize>,
    /// The suspect and all above it.
    with_suspect: BTreeSet<usize>,
}

impl Maker<'_> {
    fn add(
        &self,
        mut tasks: Vec<usize>,
        depth: usize,
        seen: &mut BTreeSet<usize>,
        rows: &mut Vec<Row>,
    ) {
        tasks.retain(|at| !seen.contains(at));
        for (task, times) in self.folded(self.in_order(tasks)) {
            if rows.len() >= MOST || !seen.insert(task) {
                continue;
            }
            rows.push(Row { task, depth, times });
            if times == 1 && depth < DEEPEST {
                self.add(self.graph.children(task).to_vec(), depth + 1, seen, rows);
            }
        }
    }

    /// The suspect's first; then requests, the application's own and libraries', each by the time that they have stood in their
    /// place; then what is at rest.
    fn in_order(&self, tasks: Vec<usize>) -> Vec<usize> {
        let mut keyed: Vec<(bool, u8, f64, usize)> = tasks
            .into_iter()
            .map(|at| {
                let still = self.task(at).map_or(0.0, |t| self.standing.still_s(t.id));
                (!self.with_suspect.contains(&at), self.class(at), -still, at)
            })
            .collect();
        keyed.sort_by(|a, b| {
            (a.0, a.1)
                .cmp(&(b.0, b.1))
                .then(a.2.total_cmp(&b.2))
                .then(a.3.cmp(&b.3))
        });
        keyed.into_iter().map(|(.., at)| at).collect()
    }

    fn class(&self, at: usize) -> u8 {
        let own = self.task(at).is_some_and(|t| own_frame(t).is_some());
        match self.graph.role(at) {
            TaskRole::Startup | TaskRole::Shutdown => 0,
            TaskRole::Request => 1,
            TaskRole::Idle => 4,
            _ if own || !self.graph.children(at).is_empty() => 2,
            _ => 3,
        }
    }

    /// Tasks without children in one place are one row, unless they are few; the suspect has its own.
    fn folded(&self, tasks: Vec<usize>) -> Vec<(usize, usize)> {
        let mut alike: BTreeMap<u64, usize> = BTreeMap::new();
        for look in tasks.iter().filter_map(|at| self.look(*at)) {
            *alike.entry(look).or_insert(0) += 1;
        }
        let mut told = BTreeSet::new();
        let mut rows = Vec::new();
        for at in tasks {
            let look = self.look(at);
            let times = look.and_then(|l| alike.get(&l).copied()).unwrap_or(1);
            if times < ALIKE {
                rows.push((at, 1));
            } else if look.is_some_and(|l| told.insert(l)) {
                rows.push((at, times));
            }
        }
        rows
    }

    /// What a task has in common with those that share its row; `None` for one that shares none.
    fn look(&self, at: usize) -> Option<u64> {
        let task = self.task(at)?;
        let alone = self.suspect == Some(at) || !self.graph.children(at).is_empty();
        let place = self.standing.place(task.id).filter(|_| !alone)?;
        Some(place.look)
    }

    fn task(&self, at: usize) -> Option<&Task> {
        self.graph.task(at)
    }
}

/// The task and all that wait for it, through others too.
fn ancestors(graph: &Graph, of: Option<usize>) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut ahead: Vec<usize> = of.into_iter().collect();
    while let Some(at) = ahead.pop() {
        if found.insert(at) {
            let parents = graph.task(at).map_or(&[][..], |t| &t.awaited_by);
            ahead.extend(parents.iter().filter_map(|id| graph.place(*id)));
        }
    }
    found
}
