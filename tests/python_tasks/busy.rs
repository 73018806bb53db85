//! A process whose tasks never hold still, and one that ends while it is read: hardly anything is delivered that cannot have been, how
//! much is told, and reading ends.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::{Duration, Instant};

use serde::Deserialize;
use steth::snapshot::{Task, TaskState, Tasks};
use steth::source::python::{StackError, TaskProbe};

use crate::need;
use crate::targets::Target;
use crate::tasks::{Python, is_stated};

/// Of each version; 2,000 in all, unless the machine is so busy that one version would take longer than `LONGEST`.
const SNAPSHOTS: u32 = 500;
const LONGEST: Duration = Duration::from_secs(12);
/// A reading that takes so long hangs.
const DEADLINE: Duration = Duration::from_secs(60);
const DEATHS: u64 = 60;

/// What the process has seen of itself.
#[derive(Deserialize)]
struct Told {
    /// By kind of task, all chains that it can wait in: function, file, line.
    chains: HashMap<String, HashSet<Vec<Place>>>,
    /// The names of tasks that wait all the time.
    steady: Vec<String>,
}

type Place = (String, String, u32);

#[derive(Debug, Default)]
struct Rates {
    snapshots: u32,
    /// Snapshots that were given up as a whole.
    void: u32,
    tasks: u32,
    torn: u32,
    running: u32,
    /// Tasks that cannot have been as they were delivered.
    impossible: u32,
    /// Tasks that were there all the time, and were neither delivered nor counted as torn.
    missing: u32,
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

fn told(target: &mut Target) -> Told {
    let line = target.line();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
}

/// The probe, as soon as the process can be told what it is.
fn attach(pid: u32) -> Result<TaskProbe, StackError> {
    let began = Instant::now();
    loop {
        match TaskProbe::attach(pid) {
            Err(StackError::Torn | StackError::NotReady) => {}
            other => return other,
        }
        assert!(began.elapsed() < DEADLINE, "never attached");
    }
}

fn busy(version: &str) {
    if !matches!(version, "3.14" | "3.15") && !is_stated(version) {
        return;
    }
    let mut target = need!(Python::of(version)).start("busy.py", &[]);
    let told = told(&mut target);
    let mut probe = attach(target.pid()).expect("an interpreter");
    let (mut rates, began) = (Rates::default(), Instant::now());
    while rates.snapshots < SNAPSHOTS && began.elapsed() < LONGEST {
        rates.snapshots += 1;
        let reading = Instant::now();
        let found = probe.read();
        assert!(reading.elapsed() < DEADLINE, "{version}: {rates:?}");
        match found {
            Ok(found) => told.check(&found, &mut rates),
            Err(StackError::Torn) => rates.void += 1,
            Err(error) => panic!("{version}: {error}"),
        }
    }
    say(&format!(
        "busy tasks of {version} in {:?}: {rates:?}",
        began.elapsed()
    ));
    assert!(rates.tasks > 0, "{version}: nothing was delivered");
    // Between its last await and its end a coroutine is in no place that it tells of itself; a reader that mixes two
    // moments delivers one in seventy.
    let most = rates.tasks.div_ceil(200);
    assert!(rates.impossible <= most, "{version}: {rates:?}");
}

/// It is killed at any moment of a reading, or of the search for its interpreter.
#[test]
fn a_process_that_ends_while_it_is_read_is_gone() {
    let mut parent = need!(Python::any()).start("busy.py", &["fork"]);
    let (mut read, mut torn) = (0, 0);
    for round in 0..DEATHS {
        parent.tell("fork");
        let pid: u32 = parent.line().trim().parse().expect("a pid");
        let told = parent.line();
        assert!(told.starts_with('{'), "{told}");
        let mut probe = attach(pid).expect("an interpreter");
        let killer = std::thread::spawn(move || {
            // At a different point of the work each time.
            std::thread::sleep(Duration::from_micros(round * round * 50));
            kill(pid);
        });
        let began = Instant::now();
        let error = loop {
            assert!(began.elapsed() < DEADLINE, "it never ends");
            let failed = match round % 3 {
                0 => TaskProbe::attach(pid).err(),
                _ => probe.read().map(|_| read += 1).err(),
            };
            match failed {
                Some(StackError::Torn | StackError::NotReady) => torn += 1,
                Some(error) => break error,
                None => {}
            }
        };
        assert_eq!(error, StackError::Gone, "round {round}");
        killer.join().unwrap();
        assert_eq!(parent.line(), "ended\n");
    }
    say(&format!(
        "{DEATHS} processes killed: {read} readings before, {torn} torn"
    ));
}

fn kill(pid: u32) {
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: a signal to a process that this test has had started, and that its parent has not waited for yet.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Not eprintln!: the harness captures it in a test that passes.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

macro_rules! versions {
    ($($name:ident $how:ident $version:literal,)*) => {
        $(#[test] fn $name() { $how($version); })*
    };
}

versions! {
    busy_tasks_of_3_8 busy "3.8",
    busy_tasks_of_3_11 busy "3.11",
    busy_tasks_of_3_13 busy "3.13",
    busy_tasks_of_3_14 busy "3.14",
}
