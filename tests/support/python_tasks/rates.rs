//! Tasks of a process that never hold still: how many are delivered, and how many of those cannot have been.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Deserialize;
use steth::snapshot::{Task, TaskState, Tasks};
use steth::source::python::{StackError, TaskProbe};

use super::Python;
use crate::targets::Target;

/// A reading that takes so long hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What the process has seen of itself.
#[derive(Deserialize)]
struct Told {
    /// By kind of task, all chains that it can wait in: function, file, line.
    chains: HashMap<String, HashSet<Vec<Place>>>,
    /// The names of tasks that wait all the time.
    steady: Vec<String>,
}

type Place = (String, String, u32);

/// What came of many snapshots.
#[derive(Debug, Default)]
pub struct Rates {
    pub snapshots: u32,
    /// Snapshots that were given up as a whole.
    pub void: u32,
    pub tasks: u32,
    pub torn: u32,
    pub running: u32,
    /// Tasks that cannot have been as they were delivered.
    pub impossible: u32,
    /// Tasks that were there all the time, and were neither delivered nor counted as torn.
    pub missing: u32,
}

impl Told {
    fn check(&self, found: &Tasks, rates: &mut Rates) {
        rates.tasks += u32::try_from(found.list.len()).unwrap();
        rates.torn += found.torn;
        found
            .list
            .iter()
            .for_each(|task| rates.impossible += u32::from(!self.is_possible(task, rates)));
        let names: HashSet<&str> = found.list.iter().map(|task| &*task.name).collect();
        // No name is given twice.
        rates.impossible += u32::try_from(found.list.len() - names.len()).unwrap();
        let missing = self.steady.iter().filter(|name| !names.contains(&***name));
        let missing = u32::try_from(missing.count()).unwrap();
        rates.missing += missing.saturating_sub(found.torn);
    }

    /// True if a task can have been like this: its name, its chain or its place on a stack.
    fn is_possible(&self, task: &Task, rates: &mut Rates) -> bool {
        let (kind, number) = task.name.split_once('-').unwrap_or_default();
        let Some(chains) = self.chains.get(kind) else {
            return false;
        };
        if task.state == TaskState::Running {
            rates.running += 1;
            return can_run(kind, task) && number.parse::<u64>().is_ok();
        }
        let frames = task.frames.iter();
        let chain: Vec<Place> = frames
            .map(|f| (f.function.clone(), f.file.clone(), f.line))
            .collect();
        number.parse::<u64>().is_ok() && chains.contains(&chain)
    }
}

/// The functions of one kind call each other in the order of their numbers; in between may be anything of the library.
fn can_run(kind: &str, task: &Task) -> bool {
    let own = task
        .frames
        .iter()
        .filter_map(|frame| frame.function.rsplit_once('_'));
    let own = own.filter(|(kind, rank)| kind.len() == 1 && rank.len() == 1);
    let own: Vec<(&str, &str)> = own.collect();
    let in_order = own.windows(2).all(|pair| pair[0].1 < pair[1].1);
    // What the library makes tasks of has no name that tells its kind.
    in_order && own.iter().all(|(of, _)| *of == kind || kind == "Task")
}

/// Takes so many snapshots of a process that a Python runs, fewer if that takes too long.
pub fn of_busy(python: &Python, snapshots: u32, longest: Duration) -> Rates {
    let mut target = python.start("busy.py", &[]);
    let told = told(&mut target);
    let mut probe = attach(target.pid()).expect("an interpreter");
    let (mut rates, began) = (Rates::default(), Instant::now());
    while rates.snapshots < snapshots && began.elapsed() < longest {
        rates.snapshots += 1;
        let reading = Instant::now();
        let found = probe.read();
        assert!(reading.elapsed() < DEADLINE, "{rates:?}");
        match found {
            Ok(found) => told.check(&found, &mut rates),
            Err(StackError::Torn) => rates.void += 1,
            Err(error) => panic!("{error}"),
        }
    }
    rates
}

fn told(target: &mut Target) -> Told {
    let line = target.line();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
}

/// The probe, as soon as the process can be told what it is.
pub fn attach(pid: u32) -> Result<TaskProbe, StackError> {
    let began = Instant::now();
    loop {
        match TaskProbe::attach(pid) {
            Err(StackError::Torn | StackError::NotReady) => {}
            other => return other,
        }
        assert!(began.elapsed() < DEADLINE, "never attached");
    }
}
