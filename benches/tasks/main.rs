//! What does it cost to read the tasks of a process, beside CPython's own tool on the same target in this run?
//!
//!     cargo bench --bench tasks               everything, about a minute
//!     cargo bench --bench tasks -- 1000       one of: 1000, 10000, busy
//!
//! Prints measurements and ratios; asserts nothing. The peer needs root and a Python 3.14 in `STETH_PYTHON_ROOT`
//! (tests/pythons/make_root.sh); without it an older Python is the target, and there is no peer.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the bench"
)]

#[path = "../support/mod.rs"]
mod measure;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../tests/support/python_stacks/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod targets;
#[path = "../../tests/support/python_tasks/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod tasks;

use std::process::Command;
use std::time::Duration;

use measure::cost::{cpu_of, cpu_to_run, median_of, resident};
use measure::{heading, row, wanted};
use steth::source::python::TaskProbe;
use targets::Target;
use tasks::Python;
use tasks::rates::of_busy;

/// Runs of the peer: it takes its time.
const PEER_RUNS: usize = 3;
const SNAPSHOTS: u32 = 5000;

fn main() {
    heading("asyncio ps");
    for count in ["1000", "10000"] {
        if wanted(count) {
            measure(count);
        }
    }
    if wanted("busy") {
        busy();
    }
}

/// Of tasks that never hold still: how many are delivered as they cannot have been, how many are missing.
fn busy() {
    println!("\n{SNAPSHOTS} snapshots of tasks that never hold still");
    let share = |part: u32, of: u32| 100.0 * f64::from(part) / f64::from(of.max(1));
    for version in ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"] {
        let Ok(python) = Python::of(version) else {
            println!("{version:<5} is not there");
            continue;
        };
        let rates = of_busy(&python, SNAPSHOTS, Duration::from_secs(120));
        let (torn, wrong, missing) = (rates.torn, rates.impossible, rates.missing);
        println!(
            "{version:<5} {} snapshots, {} void, {} tasks delivered, {:.2}% torn, {:.4}% impossible, {:.4}% missing",
            rates.snapshots,
            rates.void,
            rates.tasks,
            share(torn, rates.tasks + torn),
            share(wrong, rates.tasks),
            share(missing, rates.tasks + missing),
        );
    }
}

fn measure(count: &str) {
    let (python, has_peer) = match Python::of("3.14") {
        Ok(python) => (python.seeing_proc(), true),
        Err(reason) => {
            println!("no peer: {reason}");
            (Python::any().expect("a Python of this machine"), false)
        }
    };
    let mut target = python.start("many.py", &[count]);
    assert!(target.line().starts_with('{'));
    target.settle();
    let theirs = has_peer.then(|| Peer::measure(&target));
    let what = |which: &str| format!("{count} tasks, chains of five with lines, {which}");
    let whole = theirs.as_ref().map(|peer| peer.whole);
    row(
        &what("one-off"),
        1e6 * cold(&target),
        whole.map(|s| 1e6 * s),
        "us",
    );
    let own = theirs.map(|peer| 1e6 * (peer.whole - peer.start));
    let (warm, calls, held) = warm(&target, count.parse().unwrap());
    row(&what("again and again"), 1e6 * warm, own, "us");
    row(&what("system calls"), calls, None, "");
    row(
        &what("memory held and handed out"),
        held / 1024.0,
        None,
        "KiB",
    );
}

/// CPU seconds of the first snapshot of a process, its interpreter being found.
fn cold(target: &Target) -> f64 {
    let once = || {
        let mut round = || {
            let mut probe = TaskProbe::attach(target.pid()).expect("an interpreter");
            assert!(probe.read().is_ok());
        };
        cpu_of(1, &mut round)
    };
    median_of(5, once)
}

/// CPU seconds of each further snapshot, its system calls, and bytes of memory.
fn warm(target: &Target, count: usize) -> (f64, f64, f64) {
    let before = resident();
    let mut probe = TaskProbe::attach(target.pid()).expect("an interpreter");
    let first = probe.read().expect("readable");
    let held = resident() - before;
    assert!(first.list.len() > count && first.torn == 0);
    let calls = probe.calls();
    let found = probe.read().expect("readable");
    let calls = probe.calls() - calls;
    drop((first, found));
    let once = || cpu_of(1, &mut || assert!(probe.read().is_ok()));
    (median_of(21, once), calls as f64, held)
}

/// `python -m asyncio ps PID`, CPU seconds.
struct Peer {
    /// All of it.
    whole: f64,
    /// What it takes to do nothing.
    start: f64,
}

impl Peer {
    fn measure(target: &Target) -> Self {
        let pid = target.pid().to_string();
        let run = |args: &[&str]| {
            // It opens the files that the target's maps name, and so must have its root and mounts.
            let mut command = Command::new("nsenter");
            command.args(["--target", &pid, "--mount", "--root"]);
            command.arg("/usr/bin/python3.14").args(args);
            cpu_to_run(&mut command, &[0])
        };
        Self {
            whole: median_of(PEER_RUNS, || run(&["-m", "asyncio", "ps", &pid])),
            start: median_of(PEER_RUNS, || run(&["-c", "import asyncio.tools"])),
        }
    }
}
