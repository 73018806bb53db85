//! Who has kept the GIL, in the same place at every reading, while others waited for it all the time?

use std::collections::BTreeMap;

use super::place::fingerprints;
use crate::snapshot::{Activity, Moment, Stacks};

/// A thread that keeps the GIL.
#[derive(Debug, Clone, Default)]
pub struct GilTrack {
    holder: Option<Holder>,
}

/// The thread, and since when.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The thread.
    pub tid: u32,
    /// Since when it has held it in the same frames, on the same lines.
    pub since: Moment,
    /// The last reading at which it did.
    pub until: Moment,
    /// Readings in that time.
    pub looks: u32,
    exact: u64,
    /// Threads that have done nothing else in that time than to wait for it: their frames, and at how many readings the kernel
    /// showed them waiting.
    waiting: BTreeMap<u32, (u64, u32)>,
}

impl GilTrack {
    /// Takes in the next reading.
    pub(super) fn observe(&mut self, stacks: &Stacks) {
        let Some(stack) = stacks.list.iter().find(|s| s.holds_gil) else {
            self.holder = None;
            return;
        };
        let Some(tid) = stack.tid else {
            self.holder = None;
            return;
        };
        let exact = fingerprints(stack).1;
        let before = self
            .holder
            .take()
            .filter(|h| (h.tid, h.exact) == (tid, exact));
        let others = stacks.list.iter().filter(|s| s.tid != Some(tid));
        // A thread that waits for the GIL wakes every few milliseconds to ask for it.
        let waits = others.filter(|s| matches!(s.activity, Activity::Gil | Activity::Running));
        let waiting = waits.filter_map(|s| {
            let (tid, exact) = (s.tid?, fingerprints(s).1);
            let shown = u32::from(s.activity == Activity::Gil);
            match &before {
                None => Some((tid, (exact, shown))),
                Some(before) => {
                    let (_, seen) = before.waiting.get(&tid).filter(|w| w.0 == exact)?;
                    Some((tid, (exact, seen.saturating_add(shown))))
                }
            }
        });
        self.holder = Some(Holder {
            tid,
            since: before.as_ref().map_or(stacks.at, |h| h.since),
            until: stacks.at,
            looks: before.as_ref().map_or(1, |h| h.looks.saturating_add(1)),
            exact,
            waiting: waiting.collect(),
        });
    }

    /// The thread that has kept the GIL from others, if there is one.
    pub fn holder(&self) -> Option<&Holder> {
        self.holder
            .as_ref()
            .filter(|h| h.kept_from().next().is_some())
    }
}

impl Holder {
    /// Threads that have waited for it all that time.
    pub fn kept_from(&self) -> impl Iterator<Item = u32> {
        let waits = |(_, (_, shown)): &(&u32, &(u64, u32))| *shown >= 2;
        self.waiting.iter().filter(waits).map(|(tid, _)| *tid)
    }

    /// Seconds for which that is known.
    pub fn held_s(&self) -> f64 {
        self.until.seconds_since(self.since)
    }
}
