//! What does it cost to read stacks, and how often are they wrong, beside py-spy's library on the same targets in this run?
//!
//!     cargo bench --bench stacks               everything, about three minutes
//!     cargo bench --bench stacks -- sample     one of: sample, attach, hostile
//!
//! Prints measurements and ratios; asserts nothing. Interpreters that are not installed are left out.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the bench"
)]

#[path = "../../tests/support/python_stacks/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod support;

mod hostile;
#[path = "../support/mod.rs"]
mod measure;

use std::time::Duration;

use py_spy::PythonSpy;
use py_spy::config::{Config, LockingStrategy};
use steth::source::python::{Library, StackReader, TaskProbe};

use measure::cost::{cpu_of, median, resident};
use measure::{heading, row, wanted};
use support::{Interpreter, Target, request};

const PROCESSES: usize = 50;
const SAMPLES: u32 = 2000;

fn main() {
    heading("py-spy");
    if wanted("sample") {
        for version in ["3.8", "3.11", "3.13"] {
            sample(version);
        }
    }
    if wanted("attach") {
        attach();
    }
    if wanted("hostile") {
        hostile::rates();
    }
}

fn installed(version: &str) -> Option<Interpreter> {
    Interpreter::first_of(&[version]).filter(|found| found.is_version(version))
}

fn start(interpreter: &Interpreter) -> Target {
    let mut command = interpreter.command();
    command.arg("benches/stacks/deep.py");
    let mut target = Target::start(command, None);
    assert_eq!(target.line(), "ready\n");
    target
}

fn py_spy(pid: u32) -> PythonSpy {
    let config = Config {
        blocking: LockingStrategy::NonBlocking,
        ..Config::default()
    };
    let pid = i32::try_from(pid).expect("a pid");
    PythonSpy::retry_new(pid, &config, 5).expect("py-spy finds the interpreter")
}

/// CPU time of one sample of 3 threads and 46 frames: everything in this process that it takes, and the reading alone.
fn sample(version: &str) {
    let Some(interpreter) = installed(version) else {
        println!("Python {version} is missing");
        return;
    };
    let target = start(&interpreter);
    target.settle();
    let mut spy = py_spy(target.pid());
    let mut reader = StackReader::new();
    let wish = request(target.pid());
    let mut ours = || {
        reader.request(vec![wish.clone()]);
        let answer = reader.collect(Duration::from_secs(9)).remove(0);
        let stacks = answer.result.expect("readable").list;
        let frames: usize = stacks.iter().map(|stack| stack.frames.len()).sum();
        assert_eq!((stacks.len(), frames), (3, 46));
    };
    let mut theirs = || {
        let stacks = spy.get_stack_traces().expect("readable");
        assert_eq!(stacks.len(), 3);
    };
    // In turn, so that both meet the same load.
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        own.push(cpu_of(SAMPLES / 10, &mut ours));
        peer.push(cpu_of(SAMPLES / 100, &mut theirs));
    }
    let what = format!("one sample, 3 threads, 46 frames, {version}");
    row(&what, median(own) * 1e6, Some(median(peer) * 1e6), "us");
}

/// CPU time of the first reading of a process, of further ones of the same binary, of all when they are known; and memory.
fn attach() {
    let interpreter = installed("3.13").or(installed("3.11"));
    let interpreter = interpreter.expect("a Python of this machine");
    let targets: Vec<Target> = (0..PROCESSES).map(|_| start(&interpreter)).collect();
    targets.iter().for_each(Target::settle);
    let mut reader = StackReader::new();
    let (first, others) = targets.split_at(1);
    let before = resident();
    let first = look(&mut reader, first);
    let each = look(&mut reader, others) / others.len() as f64;
    let again: Vec<f64> = (0..20).map(|_| look(&mut reader, &targets)).collect();
    let again = median(again) / targets.len() as f64;
    let grown = (resident() - before) / targets.len() as f64;
    let theirs: Vec<f64> = targets
        .iter()
        .take(5)
        .map(|target| cpu_of(1, &mut || drop(py_spy(target.pid()))))
        .collect();
    let theirs = median(theirs);
    let (first_found, each_found) = find(&targets);
    row(
        "first process of a binary: find the interpreter",
        first_found * 1e6,
        Some(theirs * 1e6),
        "us",
    );
    row(
        "each further one of fifty: find the interpreter",
        each_found * 1e6,
        Some(theirs * 1e6),
        "us",
    );
    row(
        "a further one, of what the first costs",
        100.0 * each_found / first_found,
        None,
        "%",
    );
    row(
        "first process of a binary: attach and read",
        first * 1e6,
        Some(theirs * 1e6),
        "us",
    );
    row(
        "each further one of fifty: attach and read",
        each * 1e6,
        Some(theirs * 1e6),
        "us",
    );
    row("each of fifty in a later look", again * 1e6, None, "us");
    row("memory for each of fifty", grown / 1024.0, None, "KiB");
}

/// CPU time to find the interpreter of the first of these processes, and of each further one with what is known then.
fn find(targets: &[Target]) -> (f64, f64) {
    let once = || {
        let library = Library::default();
        let of = |target: &Target| {
            cpu_of(1, &mut || {
                TaskProbe::attach_by(target.pid(), &library).expect("an interpreter");
            })
        };
        let first = of(&targets[0]);
        let others: Vec<f64> = targets.iter().skip(1).map(of).collect();
        (first, median(others))
    };
    let rounds: Vec<(f64, f64)> = (0..5).map(|_| once()).collect();
    let (first, each) = rounds.into_iter().unzip();
    (median(first), median(each))
}

fn look(reader: &mut StackReader, targets: &[Target]) -> f64 {
    let wishes: Vec<_> = targets.iter().map(|target| request(target.pid())).collect();
    let mut wishes = Some(wishes);
    cpu_of(1, &mut || {
        reader.request(wishes.take().expect("once"));
        let answers = reader.collect(Duration::from_secs(30));
        assert_eq!(answers.len(), targets.len());
        assert!(answers.iter().all(|answer| answer.result.is_ok()));
    })
}
