//! A process whose tasks never hold still, and one that ends while it is read: hardly anything is delivered that cannot have been, how
//! much is told, and reading ends.

use std::io::Write;
use std::time::{Duration, Instant};

use steth::source::python::{StackError, TaskProbe};

use crate::need;
use crate::tasks::rates::{DEADLINE, attach, of_busy};
use crate::tasks::{Python, is_stated};

/// Of each version; 2,000 in all, unless the machine is so busy that one version would take longer than `LONGEST`. Thousands of each
/// are taken by `cargo bench --bench tasks -- busy`.
const SNAPSHOTS: u32 = 500;
const LONGEST: Duration = Duration::from_secs(12);
const DEATHS: u64 = 60;

fn busy(version: &str) {
    if !matches!(version, "3.14" | "3.15") && !is_stated(version) {
        return;
    }
    let rates = of_busy(&need!(Python::of(version)), SNAPSHOTS, LONGEST);
    say(&format!("busy tasks of {version}: {rates:?}"));
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
