//! Children of Python processes between their birth and the first look at them.

use std::collections::{BTreeMap, VecDeque};

use crate::snapshot::Moment;

/// So many are remembered.
pub(super) const BIRTHS: usize = 4096;

/// A child that a Python process has forked and that has not been read from /proc yet.
pub(super) struct Birth {
    pub(super) parent: u32,
    pub(super) at: Moment,
    pub(super) python: bool,
}

/// The children that are not read yet, and in which order they were born: the oldest make room for the newest.
#[derive(Default)]
pub(super) struct Births {
    pub(super) by_pid: BTreeMap<u32, Birth>,
    pub(super) order: VecDeque<(u32, Moment)>,
}

impl Births {
    pub(super) fn get(&self, pid: u32) -> Option<&Birth> {
        self.by_pid.get(&pid)
    }

    pub(super) fn get_mut(&mut self, pid: u32) -> Option<&mut Birth> {
        self.by_pid.get_mut(&pid)
    }

    pub(super) fn remove(&mut self, pid: u32) -> Option<Birth> {
        self.by_pid.remove(&pid)
    }

    pub(super) fn insert(&mut self, pid: u32, birth: Birth) {
        self.order.push_back((pid, birth.at));
        self.by_pid.insert(pid, birth);
        // Those that were removed since stand in the order still.
        while self.by_pid.len() > BIRTHS || self.order.len() > 2 * BIRTHS {
            let Some((oldest, at)) = self.order.pop_front() else {
                break;
            };
            if self.by_pid.get(&oldest).is_some_and(|b| b.at == at) {
                self.by_pid.remove(&oldest);
            }
        }
    }
}
