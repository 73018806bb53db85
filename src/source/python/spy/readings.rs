//! How far the readings of one thread are to be believed.
//!
//! A thread that slept through a reading is read truly at once. Of one that ran, the frames may be of different moments: it
//! is read until two readings agree, at most three times, and else believed as far inward as two of them agree.

use std::collections::HashMap;

use py_spy::StackTrace;

use super::super::status::Turns;
use super::roots::During;
use crate::snapshot::{ProcessState, Thread};

/// Readings of a thread that runs, which must agree.
const READINGS: usize = 3;

/// Tells which threads sleep through a reading.
pub struct Sleepers {
    pid: u32,
    before: HashMap<u32, Turns>,
}

impl Sleepers {
    /// As the sampler saw them before the first reading.
    pub fn before(pid: u32, threads: &[Thread]) -> Self {
        let turns = |t: &Thread| Turns {
            switches: t.switches,
            is_asleep: t.state != ProcessState::Running && (t.syscall.is_some() || !t.syscall_seen),
        };
        let before = threads.iter().map(|t| (t.tid, turns(t))).collect();
        Self { pid, before }
    }

    /// Whether the thread has run since it was last asked for (or since the beginning).
    pub fn during(&mut self, tid: u32) -> During {
        let Some(now) = Turns::read(self.pid, tid) else {
            return During::Awake;
        };
        match self.before.insert(tid, now) {
            Some(before) if before.is_asleep && before.switches == now.switches => During::Asleep,
            _ => During::Awake,
        }
    }
}

/// What was read of one thread.
#[derive(Default)]
pub struct Readings {
    /// In the last one.
    pub holds_gil: bool,
    /// Believed ones; once settled, only the one that holds.
    stacks: Vec<StackTrace>,
    is_settled: bool,
}

impl Readings {
    /// One is enough of a thread that slept through it. What was read of a running one may be of two moments, and is true as
    /// far as two readings agree.
    pub fn add(&mut self, trace: StackTrace, during: During) {
        let same_path =
            |other: &StackTrace| common(&other.frames, &trace.frames) == trace.frames.len();
        let agrees =
            |other: &StackTrace| other.frames.len() == trace.frames.len() && same_path(other);
        if during == During::Asleep || self.stacks.iter().any(agrees) {
            self.is_settled = true;
            self.stacks.clear();
        }
        self.stacks.push(trace);
    }

    /// True once more readings would not help.
    pub fn is_enough(&self) -> bool {
        self.is_settled || self.stacks.len() >= READINGS
    }

    /// The stack to deliver: the settled one, else the outer frames that the two most similar readings share.
    pub fn into_stack(mut self) -> Option<StackTrace> {
        if self.is_settled {
            return self.stacks.pop();
        }
        let last = self.stacks.pop()?;
        let shared = self
            .stacks
            .iter()
            .map(|other| (common(&other.frames, &last.frames), other));
        let (shared, other) = shared.max_by_key(|(shared, _)| *shared)?;
        let mut kept = other.clone();
        kept.frames.drain(..kept.frames.len() - shared);
        kept.frames.first()?;
        Some(kept)
    }
}

/// How many frames two stacks share, counted from the outermost; they are given innermost first.
fn common(one: &[py_spy::Frame], other: &[py_spy::Frame]) -> usize {
    let pairs = one.iter().rev().zip(other.iter().rev());
    pairs
        .take_while(|(a, b)| a.name == b.name && a.filename == b.filename)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str) -> py_spy::Frame {
        py_spy::Frame {
            name: name.to_owned(),
            filename: "a.py".to_owned(),
            module: None,
            short_filename: None,
            line: 1,
            locals: None,
            is_entry: false,
            is_shim_entry: false,
        }
    }

    fn reading(names: &str) -> StackTrace {
        StackTrace {
            pid: 1,
            thread_id: 1,
            thread_name: None,
            os_thread_id: None,
            active: true,
            owns_gil: false,
            frames: names.split_whitespace().rev().map(frame).collect(),
            process_info: None,
        }
    }

    /// Outermost first, as delivered.
    fn delivered(readings: &[(&str, During)]) -> Option<Vec<String>> {
        let mut all = Readings::default();
        for (names, during) in readings {
            all.add(reading(names), *during);
        }
        let stack = all.into_stack()?;
        Some(stack.frames.into_iter().rev().map(|f| f.name).collect())
    }

    #[test]
    fn a_running_thread_is_believed_as_far_as_two_readings_agree() {
        use During::{Asleep, Awake};
        type Case<'a> = (&'a [(&'a str, During)], Option<&'a str>);
        let cases: &[Case] = &[
            (&[("m f g", Asleep)], Some("m f g")),
            (&[("m f g", Awake)], None),
            (&[("m f g", Awake), ("m f g", Awake)], Some("m f g")),
            (
                &[("m f g", Awake), ("m f h", Awake), ("m f g", Awake)],
                Some("m f g"),
            ),
            (
                &[("m f g", Awake), ("m f h", Awake), ("m f i", Awake)],
                Some("m f"),
            ),
            (
                &[("m f g h", Awake), ("x", Awake), ("m f g i", Awake)],
                Some("m f g"),
            ),
            (
                &[("m f g h", Awake), ("m", Awake), ("m f", Asleep)],
                Some("m f"),
            ),
            (&[("a", Awake), ("b", Awake), ("c", Awake)], None),
        ];
        for (readings, want) in cases {
            let want = want.map(|names| names.split_whitespace().map(str::to_owned).collect());
            assert_eq!(delivered(readings), want, "{readings:?}");
        }
    }
}
