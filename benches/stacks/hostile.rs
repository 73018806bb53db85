//! How many stacks of a target that never holds still are delivered, and how many of those can never have been.

use std::time::Duration;

use steth::snapshot::Stack;
use steth::source::python::{StackError, StackReader};

use super::py_spy;
use super::support::{Interpreter, Target, request};

const SAMPLES: u32 = 5000;
const THREADS: u32 = 3;

/// Counts of one reader.
#[derive(Default)]
struct Rates {
    wanted: u32,
    delivered: u32,
    wrong: u32,
}

/// Prints the rates for every interpreter that there is.
pub fn rates() {
    println!(
        "\n{:<58} {:>23} {:>23}",
        "three tight threads", "steth", "py-spy"
    );
    println!(
        "{:<58} {:>11} {:>11} {:>11} {:>11}",
        "", "delivered", "wrong", "delivered", "wrong"
    );
    for interpreter in Interpreter::all() {
        let mut target = interpreter.start("hostile.py");
        assert_eq!(target.line(), "ready\n");
        let (ours, theirs) = (ours(&target), theirs(&target));
        let [a, b] = [&ours, &theirs].map(Rates::cells);
        println!("{:<58} {a} {b}", interpreter.path);
    }
}

impl Rates {
    fn add(&mut self, names: &[String]) {
        self.delivered += 1;
        self.wrong += u32::from(!super::support::is_possible(names));
    }

    fn cells(&self) -> String {
        let share = |part: u32, of: u32| 100.0 * f64::from(part) / f64::from(of.max(1));
        let delivered = share(self.delivered, self.wanted);
        format!(
            "{delivered:>10.2}% {:>10.3}%",
            share(self.wrong, self.delivered)
        )
    }
}

fn ours(target: &Target) -> Rates {
    let mut reader = StackReader::new();
    let mut rates = Rates::default();
    for _ in 0..SAMPLES {
        rates.wanted += THREADS;
        reader.request(vec![request(target.pid())]);
        match reader.collect(Duration::from_secs(9)).remove(0).result {
            Ok(stacks) => stacks.list.iter().for_each(|s| rates.add(&names(s))),
            Err(StackError::Torn) => {}
            Err(error) => panic!("{error}"),
        }
    }
    rates
}

fn names(stack: &Stack) -> Vec<String> {
    stack.frames.iter().map(|f| f.function.clone()).collect()
}

fn theirs(target: &Target) -> Rates {
    let mut spy = py_spy(target.pid());
    let mut rates = Rates::default();
    for _ in 0..SAMPLES {
        rates.wanted += THREADS;
        for stack in spy.get_stack_traces().into_iter().flatten() {
            let names: Vec<String> = stack.frames.into_iter().rev().map(|f| f.name).collect();
            rates.add(&names);
        }
    }
    rates
}
