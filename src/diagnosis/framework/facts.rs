//! What one frame says, worked out once: the same functions stand on stacks look after look, and rules ask again and again.
//!
//! A few thousand functions are remembered on each thread that asks, as many as there is room for. Nothing depends on it but
//! time.

use std::cell::RefCell;

use super::table::TABLE;
use super::{Mark, Says};
use crate::snapshot::Frame;

/// Places for functions; two that want the same take turns.
const SLOTS: usize = 4096;
/// Names that are longer, of function and file together, are not remembered.
const LONGEST: usize = 512;
/// So much of the ends of names tells where they are remembered.
const TOLD_BY: usize = 32;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// It is not the application's own.
    pub(super) library: bool,
    /// A bit for each word that its marks say. To import a file is not to run it.
    says: u32,
    /// The first row of the table whose kind it proves.
    pub(super) kind: Option<usize>,
    /// The first row with a kind whose loop it is.
    pub(super) turns: Option<usize>,
    /// A bit for each row in whose pool it takes work.
    pools: u64,
}

impl Facts {
    pub(super) fn says(self, what: Says) -> bool {
        self.says & bit(what) != 0
    }

    pub(super) fn takes_work(self, row: usize) -> bool {
        self.pools & row_bit(row) != 0
    }

    fn work_out(frame: &Frame) -> Self {
        let mut facts = Self {
            library: frame.is_library(),
            ..Self::default()
        };
        let runs = frame.function != "<module>";
        for (at, row) in TABLE.iter().enumerate() {
            for Mark(.., says) in row.marks.iter().filter(|mark| mark.is_on(frame)) {
                if runs {
                    facts.says |= says.iter().fold(0, |bits, what| bits | bit(*what));
                }
                if says.contains(&Says::Kind) {
                    facts.kind.get_or_insert(at);
                }
                if says.contains(&Says::Loop) && row.kind.is_some() {
                    facts.turns.get_or_insert(at);
                }
            }
            if let Some(pool) = &row.pool
                && Mark(pool.file, pool.function, &[]).is_on(frame)
            {
                facts.pools |= row_bit(at);
            }
        }
        facts
    }
}

fn bit(what: Says) -> u32 {
    1 << (what as u32)
}

fn row_bit(row: usize) -> u64 {
    const { assert!(TABLE.len() <= 64) };
    1 << row
}

#[derive(Debug)]
struct Known {
    function: String,
    file: String,
    facts: Facts,
}

thread_local! {
    static KNOWN: RefCell<Vec<Option<Known>>> = const { RefCell::new(Vec::new()) };
}

/// What it says.
pub(super) fn of(frame: &Frame) -> Facts {
    KNOWN.with_borrow_mut(|all| {
        if all.is_empty() {
            all.resize_with(SLOTS, || None);
        }
        let Some(slot) = all.get_mut(slot_of(frame)) else {
            return Facts::work_out(frame);
        };
        if let Some(known) = slot
            && known.function == frame.function
            && known.file == frame.file
        {
            return known.facts;
        }
        let facts = Facts::work_out(frame);
        if frame.function.len() + frame.file.len() <= LONGEST {
            *slot = Some(Known {
                function: frame.function.clone(),
                file: frame.file.clone(),
                facts,
            });
        }
        facts
    })
}

fn slot_of(frame: &Frame) -> usize {
    let hash = mixed(mixed(0, &frame.function), &frame.file);
    usize::try_from(hash >> 40).unwrap_or(0) % SLOTS
}

/// Names differ at their ends.
fn mixed(hash: u64, name: &str) -> u64 {
    let bytes = name.as_bytes();
    let end = bytes.get(bytes.len().saturating_sub(TOLD_BY)..);
    let seed = hash ^ bytes.len() as u64;
    end.unwrap_or_default().chunks(8).fold(seed, |hash, chunk| {
        let mut word = [0; 8];
        word.iter_mut()
            .zip(chunk)
            .for_each(|(to, from)| *to = *from);
        let mixed = hash.rotate_left(5) ^ u64::from_le_bytes(word);
        // A large odd number without a pattern: FxHash's.
        mixed.wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        Frame {
            function: function.into(),
            file: file.into(),
            line: 1,
        }
    }

    #[test]
    fn what_is_remembered_is_what_was_worked_out() {
        let package = "/venv/lib/python3.11/site-packages";
        let mut all = vec![frame("run", "/srv/app/main.py"), frame("", "")];
        for row in TABLE {
            let pools = row.pool.iter().map(|p| (p.file, p.function));
            for (file, function) in row.marks.iter().map(|m| (m.0, m.1)).chain(pools) {
                let function = function.trim_end_matches('*');
                for name in [function, "<module>", "Other.thing"] {
                    all.push(frame(name, &format!("{package}{file}")));
                }
            }
        }
        // More than there is room for, so that some take the places of others.
        let many = (0..2 * SLOTS).map(|n| frame(&format!("f{n}"), &format!("/srv/{n}.py")));
        all.extend(many);
        all.push(frame(&"x".repeat(LONGEST), "/srv/long.py"));
        for _ in 0..2 {
            for frame in &all {
                assert_eq!(of(frame), Facts::work_out(frame), "{frame:?}");
            }
        }
    }

    #[test]
    fn functions_are_spread_over_the_places() {
        let taken: std::collections::BTreeSet<usize> = (0..1000)
            .map(|n| slot_of(&frame(&format!("view_{n}"), "/srv/shop/views.py")))
            .collect();
        assert!(taken.len() > 700, "{}", taken.len());
    }
}
