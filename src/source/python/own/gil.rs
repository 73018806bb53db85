//! Who can have run while memory was read. Only the thread that holds the GIL changes its frames, and the GIL counts how often
//! it has gone to another thread: seen before and after, that tells which stacks stood still.
//!
//! ```text
//!  take_gil (Python/ceval_gil.c):   locked = 1;  if last_holder != me { last_holder = me; switch_number += 1 }
//!
//!  before   read …… read   after
//!  A, 7                    A, 7     only A can have run
//!  A, 7                    B, 8     A, then B
//!  A, 7                    A, 9     anybody
//! ```

use std::io;
use std::ops::Range;

use super::super::heap::Heap;

/// A GIL at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gil {
    /// The thread state that holds it, or held it last.
    last_holder: u64,
    /// Somebody holds it; `None` before there are threads.
    is_held: Option<bool>,
    switches: u64,
}

/// Where the GILs of a process are. From 3.12 on an interpreter may have its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gils {
    /// Interpreter, and where its GIL tells who holds it.
    places: Vec<(u64, u64)>,
}

/// All GILs at one moment, by where they are.
#[derive(Debug, Clone, Default)]
pub struct Look(Vec<(u64, Gil)>);

impl Gil {
    fn parse(bytes: [u8; 24]) -> Option<Self> {
        let [last_holder, locked, switches] = bytes.as_chunks::<8>().0 else {
            return None;
        };
        Some(Self {
            last_holder: u64::from_ne_bytes(*last_holder),
            is_held: match u64::from_ne_bytes(*locked) as i32 {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            switches: u64::from_ne_bytes(*switches),
        })
    }

    /// True if this thread may have run between this moment and a later one.
    fn may_have_run(&self, later: &Self, state: u64) -> bool {
        let switches = later.switches.wrapping_sub(self.switches);
        let is_known = self.is_held.is_some() && later.is_held.is_some() && switches < 2;
        !is_known || state == self.last_holder || state == later.last_holder
    }
}

impl Gils {
    /// Those of these interpreters.
    pub fn find(heap: &mut Heap, runtime: &Range<u64>, interpreters: &[u64]) -> Self {
        let only = heap.layout.runtime.gil.of(runtime.start);
        let own = heap.layout.interpreter.gil;
        let mut places = Vec::with_capacity(interpreters.len());
        for interpreter in interpreters {
            let gil = only.or_else(|| heap.pointer_in(*interpreter, own));
            let spot = gil.and_then(|gil| heap.layout.gil.last_holder.of(gil));
            places.extend(spot.map(|spot| (*interpreter, spot)));
        }
        Self { places }
    }

    /// Where to look, [`Gils::seen`] takes what is there: 24 bytes at each.
    pub fn spots(&self) -> Vec<u64> {
        let mut spots: Vec<u64> = self.places.iter().map(|(_, at)| *at).collect();
        spots.sort_unstable();
        spots.dedup();
        spots
    }

    /// What these bytes at the spots say.
    pub fn seen(&self, bytes: &[[u8; 24]]) -> Look {
        let both = self.spots().into_iter().zip(bytes);
        Look(
            both.filter_map(|(at, bytes)| Some((at, Gil::parse(*bytes)?)))
                .collect(),
        )
    }

    /// How they are now; one that cannot be read is missing.
    ///
    /// # Errors
    /// What concerns the whole process: `EPERM`, `ESRCH`.
    pub fn look(&self, heap: &mut Heap) -> io::Result<Look> {
        let mut look = Look::default();
        for at in self.spots() {
            match heap.pages.now(at) {
                Ok(bytes) => look.0.extend(Gil::parse(bytes).map(|gil| (at, gil))),
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(look)
    }

    /// True if this thread of this interpreter may have run between two looks.
    pub fn may_have_run(&self, before: &Look, after: &Look, of: (u64, u64)) -> bool {
        let (interpreter, state) = of;
        let mut places = self.places.iter();
        let at = places.find(|(own, _)| *own == interpreter);
        let both = at.and_then(|(_, at)| Some((before.of(*at)?, after.of(*at)?)));
        both.is_none_or(|(before, after)| before.may_have_run(&after, state))
    }
}

impl Look {
    fn of(&self, at: u64) -> Option<Gil> {
        let mut all = self.0.iter();
        all.find(|(own, _)| *own == at).map(|(_, gil)| *gil)
    }

    /// True if this thread held a GIL.
    pub fn is_holder(&self, state: u64) -> bool {
        let holds = |(_, gil): &(u64, Gil)| gil.is_held == Some(true) && gil.last_holder == state;
        self.0.iter().any(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_have_run() {
        let gil = |last_holder, switches| Gil {
            last_holder,
            is_held: Some(true),
            switches,
        };
        type Case<'a> = ((u64, u64), (u64, u64), &'a [u64]);
        let cases: &[Case] = &[
            ((1, 7), (1, 7), &[1]),
            ((1, 7), (2, 8), &[1, 2]),
            ((1, 7), (1, 9), &[1, 2, 3]),
            ((1, 7), (2, 10), &[1, 2, 3]),
            ((1, u64::MAX), (2, 0), &[1, 2]),
            ((1, 7), (2, 6), &[1, 2, 3]),
        ];
        for (before, after, want) in cases {
            let (before, after) = (gil(before.0, before.1), gil(after.0, after.1));
            let ran = |state: &u64| before.may_have_run(&after, *state);
            let ran: Vec<u64> = [1, 2, 3].into_iter().filter(ran).collect();
            assert_eq!(&ran, want, "{before:?} {after:?}");
        }
        let none = Gil {
            is_held: None,
            ..gil(1, 7)
        };
        assert!(none.may_have_run(&none, 2), "there is no GIL yet");
    }
}
