//! Since when has each thread stood where it stands, and which of its frames has changed since the reading before?

use std::collections::BTreeMap;

use crate::snapshot::{Frame, Moment, Stack, Stacks};

/// The threads of one process at the last reading, by thread id.
#[derive(Debug, Clone, Default)]
pub struct ThreadPlaces {
    places: BTreeMap<u32, ThreadPlace>,
}

/// Where a thread stands, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlace {
    /// Since when every frame and line has been the same.
    pub since: Moment,
    /// Since when it has been in the application's code at every reading, in the same outermost function of it; `None` while it
    /// is not.
    pub inside_since: Option<Moment>,
    /// The outermost frame that is another, or on another line, than at the reading before, counted from the outermost; `None`
    /// where none is, or where there was no reading before.
    pub changed: Option<usize>,
}

impl ThreadPlaces {
    /// Of a reading, and what is known from the one before it.
    pub fn next(&self, before: Option<&Stacks>, now: &Stacks) -> Self {
        let known: BTreeMap<u32, &Stack> = before
            .into_iter()
            .flat_map(|s| &s.list)
            .filter_map(|s| Some((s.tid?, s)))
            .collect();
        let place = |stack: &Stack| {
            let tid = stack.tid?;
            let inside = outermost(stack);
            let fresh = ThreadPlace {
                since: now.at,
                inside_since: inside.map(|_| now.at),
                changed: None,
            };
            let (Some(then), Some(place)) = (known.get(&tid), self.places.get(&tid)) else {
                return Some((tid, fresh));
            };
            let changed = first_change(&then.frames, &stack.frames);
            let since = if changed.is_none() {
                place.since
            } else {
                now.at
            };
            let stays = inside.is_some() && inside == outermost(then);
            let known = place.inside_since.filter(|_| stays);
            Some((
                tid,
                ThreadPlace {
                    since,
                    inside_since: known.or(fresh.inside_since),
                    changed,
                },
            ))
        };
        Self {
            places: now.list.iter().filter_map(place).collect(),
        }
    }

    /// The same, where no thread has run since.
    pub fn unchanged(&mut self) {
        for place in self.places.values_mut() {
            place.changed = None;
        }
    }

    /// True if some frame has changed at the last reading.
    pub fn has_changes(&self) -> bool {
        self.places.values().any(|p| p.changed.is_some())
    }

    /// Where a thread stands.
    pub fn of(&self, tid: u32) -> Option<&ThreadPlace> {
        self.places.get(&tid)
    }
}

/// The outermost function of the application: what a request, or a thread of its own, has come in by.
fn outermost(stack: &Stack) -> Option<(&str, &str)> {
    let own = stack.frames.iter().find(|f| !f.is_library())?;
    Some((&own.function, &own.file))
}

/// The outermost frame that differs; where the thread has only returned, the one that it has returned to.
fn first_change(then: &[Frame], now: &[Frame]) -> Option<usize> {
    let pairs = then.iter().zip(now);
    let differs = pairs.clone().position(|(a, b)| a != b);
    let shorter = then.len().min(now.len());
    match (differs, then.len() == now.len()) {
        (Some(at), _) => Some(at),
        (None, true) => None,
        (None, false) => Some(shorter.min(now.len().saturating_sub(1))),
    }
}
