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

use super::super::heap::{Heap, is_pointer};

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
    /// Interpreter and GIL.
    places: Vec<(u64, u64)>,
}

/// All GILs at one moment, by address.
#[derive(Debug, Clone, Default)]
pub struct Look(Vec<(u64, Gil)>);

impl Gil {
    /// True if this thread may have run between this moment and a later one.
    fn may_have_run(&self, later: &Self, state: u64) -> bool {
        let switches = later.switches.wrapping_sub(self.switches);
        let is_known = self.is_held.is_some() && later.is_held.is_some() && switches < 2;
        !is_known || state == self.last_holder || state == later.last_holder
    }

    fn read(heap: &mut Heap, at: u64) -> io::Result<Self> {
        let fields = &heap.layout.gil;
        let refused = || io::Error::from_raw_os_error(libc::EFAULT);
        let first = fields.last_holder.of(at).ok_or_else(refused)?;
        let bytes: [u8; 24] = heap.pages.now(first)?;
        let word = |field: super::super::layout::Field| {
            let offset = usize::try_from(field.of(at)?.checked_sub(first)?).ok()?;
            let word = bytes.get(offset..offset.checked_add(8)?)?;
            Some(u64::from_ne_bytes(word.try_into().ok()?))
        };
        Ok(Self {
            last_holder: word(fields.last_holder).ok_or_else(refused)?,
            is_held: match word(fields.locked).ok_or_else(refused)? as i32 {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
            switches: word(fields.switches).ok_or_else(refused)?,
        })
    }
}

impl Gils {
    /// Those of these interpreters.
    pub fn find(heap: &mut Heap, runtime: &Range<u64>, interpreters: &[u64]) -> Self {
        let only = heap.layout.runtime.gil.of(runtime.start);
        let mut place = |interpreter: &u64| {
            let own = heap.layout.interpreter.gil;
            let gil = only.or_else(|| heap.pointer_in(*interpreter, own))?;
            is_pointer(gil).then_some((*interpreter, gil))
        };
        let places = interpreters.iter().filter_map(&mut place).collect();
        Self { places }
    }

    /// True if there are none, or none are known.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How they are now.
    ///
    /// # Errors
    /// What concerns the whole process: `EPERM`, `ESRCH`. One that cannot be read is missing.
    pub fn look(&self, heap: &mut Heap) -> io::Result<Look> {
        let mut look = Look::default();
        for (_, at) in &self.places {
            if look.of(*at).is_some() {
                continue;
            }
            match Gil::read(heap, *at) {
                Ok(gil) => look.0.push((*at, gil)),
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
