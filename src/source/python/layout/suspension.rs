//! How suspended generators look in each minor version: their states, and where the object lies that they await.

use super::MINORS;

/// How a frame that is not executed tells so, and what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspension {
    /// State of a generator that has not begun (`gi_frame_state`, 3.10: `f_state`; up to 3.9 there is none).
    pub created: i8,
    /// States of one that is suspended.
    pub suspended: &'static [i8],
    /// State of one that is executed.
    pub executing: i8,
    /// What tells that it awaits something, and not only yields.
    pub awaits: Awaits,
    /// The awaited object lies so many words below the stack pointer.
    pub depth: u64,
    /// The two lowest bits of a word on the stack are a tag.
    pub is_tagged: bool,
    /// Bytes that `f_lasti` counts in.
    pub unit: u64,
}

/// What tells that a suspended generator awaits something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// The next instruction is this one (YIELD_FROM).
    Next(u8),
    /// The next instruction (RESUME) has an argument whose two lowest bits are at least this.
    Argument(u8),
    /// The state is one of these.
    State(&'static [i8]),
}

/// A column for each of [`MINORS`]; `Include/internal/pycore_frame.h`, `_PyGen_yf` in `Objects/genobject.c`.
pub(super) const SUSPENSIONS: [Suspension; MINORS.len()] = {
    const OLD: Suspension = Suspension {
        created: -2,
        suspended: &[-1],
        executing: 0,
        awaits: Awaits::Next(72),
        depth: 1,
        is_tagged: false,
        unit: 1,
    };
    const UNITS: Suspension = Suspension { unit: 2, ..OLD };
    const RESUME: Suspension = Suspension {
        awaits: Awaits::Argument(2),
        ..UNITS
    };
    const STATE: Suspension = Suspension {
        created: -3,
        suspended: &[-2, -1],
        awaits: Awaits::State(&[-1]),
        ..UNITS
    };
    const TAGGED: Suspension = Suspension {
        is_tagged: true,
        ..STATE
    };
    const LOCKED: Suspension = Suspension {
        created: 0,
        suspended: &[1, 2, 3],
        executing: 4,
        awaits: Awaits::State(&[2, 3]),
        depth: 2,
        ..TAGGED
    };
    [OLD, OLD, UNITS, RESUME, RESUME, STATE, TAGGED, LOCKED]
};
