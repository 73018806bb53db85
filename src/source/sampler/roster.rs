//! Who is on the machine: Python processes, those above them, and everybody else as a pid that need not be looked at again.

use std::collections::{BTreeMap, HashMap};

mod entry;

pub(super) use entry::Entry;

use super::Wishes;
use crate::snapshot::{EventSource, Moment, ProcessKey, Python};
use crate::source::memory;
use crate::source::procfs::{Depth, Looking, ProcReader};
use crate::source::python::{Detected, Interpreters, StackError};

/// Everybody.
#[derive(Default)]
pub(super) struct Roster {
    entries: BTreeMap<u32, Entry>,
    others: HashMap<u32, Other>,
    interpreters: Interpreters,
    scanned_at: Moment,
    swept_at: Moment,
}

/// Between two looks at those above Python processes.
const ABOVE_EVERY_S: f64 = 5.0;
/// Costs one stat(2) for most.
const ASK_AGAIN_S: f64 = 3.0;
const ASK_DENIED_AGAIN_S: f64 = 30.0;

/// A process that is not Python, as far as is known.
struct Other {
    next_check: Moment,
    checks: u32,
}

impl Roster {
    pub(super) fn entry(&mut self, pid: u32) -> Option<&mut Entry> {
        self.entries.get_mut(&pid)
    }

    pub(super) fn known(&self, pid: u32) -> Option<&Entry> {
        self.entries.get(&pid)
    }

    pub(super) fn has(&self, key: ProcessKey) -> bool {
        self.entries
            .get(&key.pid)
            .is_some_and(|e| e.process.key == key)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    pub(super) fn pythons(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|e| e.python.is_some())
    }

    pub(super) fn pythons_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut().filter(|e| e.python.is_some())
    }

    /// Other sockets listen than before: `concerns` tells whether that changes from which of them a process accepts.
    pub(super) fn listeners_moved(
        &mut self,
        some_are_new: bool,
        concerns: impl Fn(ProcessKey) -> bool,
    ) {
        for entry in self.entries.values_mut() {
            entry.listeners_moved |= concerns(entry.process.key);
            entry.sockets_moved |= some_are_new;
        }
    }

    /// When everybody on the machine was last looked for; 0 if that is due.
    pub(super) fn scanned_at(&self) -> Moment {
        self.scanned_at
    }

    /// The next scan is due at once, and asks about everybody again: what is known may be out of date.
    pub(super) fn trust_nothing(&mut self) {
        self.scanned_at = Moment(0);
        self.others.clear();
    }

    pub(super) fn forget(&mut self, pid: u32) -> Option<Entry> {
        self.others.remove(&pid);
        self.entries.remove(&pid)
    }

    /// Pids that have to be read in this look: those that are watched closely, and in one at all the others as well.
    pub(super) fn due(&self, wishes: &Wishes, at: Moment, all: bool) -> Vec<u32> {
        let is_due = |e: &&Entry| match e.python {
            None => at.seconds_since(e.read_at) >= ABOVE_EVERY_S,
            Some(_) => all || e.is_hot(wishes, at),
        };
        self.entries
            .values()
            .filter(|e| e.read_at < at)
            .filter(is_due)
            .map(|e| e.process.key.pid)
            .collect()
    }

    /// Looks for processes that are not known yet. Where the kernel tells of births this is only a safety net.
    pub(super) fn scan(
        &mut self,
        reader: &mut ProcReader,
        at: Moment,
        interval_s: f64,
        source: EventSource,
    ) {
        let pause = match source {
            EventSource::Connector => 5.0,
            EventSource::Polling => interval_s.min(1.0),
        };
        if self.scanned_at != Moment(0) && at.seconds_since(self.scanned_at) + 0.02 < pause {
            return;
        }
        self.scanned_at = at;
        let Ok(pids) = reader.pids() else { return };
        for pid in &pids {
            self.consider(reader, *pid, at);
        }
        self.others.retain(|pid, _| pids.binary_search(pid).is_ok());
        self.add_ancestors(reader, at);
        self.sweep(at);
    }

    /// Somebody was born, or runs another program now.
    pub(super) fn announced(&mut self, reader: &mut ProcReader, pid: u32, at: Moment) {
        self.others.remove(&pid);
        self.consider(reader, pid, at);
        if self.entries.contains_key(&pid) {
            self.add_ancestors(reader, at);
        }
    }

    /// Looks at a pid that is not known: is it Python?
    fn consider(&mut self, reader: &mut ProcReader, pid: u32, at: Moment) {
        let due = self.others.get(&pid).is_none_or(|o| o.next_check <= at);
        if !due || self.entries.get(&pid).is_some_and(|e| e.python.is_some()) {
            return;
        }
        match self.interpreters.is_python(pid) {
            Ok(Detected::Python { version }) => {
                self.others.remove(&pid);
                self.add(reader, pid, Some(version), at);
            }
            Ok(Detected::NotPython | Detected::NotYet) | Err(StackError::NotPython) => {
                self.put_off(pid, at, ASK_AGAIN_S)
            }
            Err(StackError::Gone) => self.consider_dead(reader, pid, at),
            Err(_) => {
                // Another user's executable may not be looked at: what it is called is all there is.
                if reader.is_called_python(pid) {
                    self.add(reader, pid, Some(None), at)
                } else {
                    self.put_off(pid, at, ASK_DENIED_AGAIN_S)
                }
            }
        }
    }

    /// A zombie has no executable any more; a child of a Python process was Python as long as nothing else is known.
    fn consider_dead(&mut self, reader: &mut ProcReader, pid: u32, at: Moment) {
        let child = reader.stat(pid).ok().filter(|s| {
            self.entries
                .get(&s.ppid)
                .is_some_and(|p| p.python.is_some() && p.process.comm == s.comm)
        });
        if child.is_some() {
            self.add(reader, pid, Some(None), at)
        } else {
            self.put_off(pid, at, ASK_DENIED_AGAIN_S)
        }
    }

    /// The young are asked at every scan. A shell may run Python in its place (exec) at any age, and without events only
    /// asking again tells.
    fn put_off(&mut self, pid: u32, at: Moment, longest_s: f64) {
        let other = self.others.entry(pid).or_insert(Other {
            next_check: at,
            checks: 0,
        });
        other.checks = other.checks.saturating_add(1);
        let pause = if other.checks <= 4 { 0.5 } else { longest_s };
        other.next_check = at.plus_seconds(pause);
    }

    fn add(
        &mut self,
        reader: &mut ProcReader,
        pid: u32,
        python: Option<Option<String>>,
        at: Moment,
    ) {
        let looking = Looking {
            now: at,
            memory: &|address, into| memory::read_exact_at(pid, address, into).is_ok(),
            wanted_listeners: &|_| false,
        };
        if let Ok(out) = reader.read(pid, Depth::Full, None, &looking) {
            let python = python.map(|version| Python {
                version,
                stacks: None,
                stacks_true_at: None,
                tasks: None,
                intent: None,
            });
            let mut entry = Entry::new(out.process, python);
            entry.denied = out.denied;
            entry.full_at = at;
            entry.files_at = at;
            entry.stirred_at = at;
            self.entries.insert(pid, entry);
        }
    }

    /// Those above Python processes, whatever they are: they say who restarts whom.
    fn add_ancestors(&mut self, reader: &mut ProcReader, at: Moment) {
        let mut wanted: Vec<u32> = self.pythons().map(|e| e.process.ppid).collect();
        for _ in 0..8 {
            wanted.retain(|pid| *pid > 0 && !self.entries.contains_key(pid));
            wanted.sort_unstable();
            wanted.dedup();
            if wanted.is_empty() {
                break;
            }
            for pid in std::mem::take(&mut wanted) {
                self.add(reader, pid, None, at);
                wanted.extend(self.entries.get(&pid).map(|e| e.process.ppid));
            }
        }
    }

    /// Forgets those who were ancestors and are no more.
    fn sweep(&mut self, at: Moment) {
        if at.seconds_since(self.swept_at) < 30.0 {
            return;
        }
        self.swept_at = at;
        let mut needed: Vec<u32> = self.pythons().map(|e| e.process.key.pid).collect();
        let mut at = 0;
        while let Some(pid) = needed.get(at).copied() {
            at += 1;
            let parent = self.entries.get(&pid).map(|e| e.process.ppid);
            needed.extend(parent.filter(|p| self.entries.contains_key(p) && !needed.contains(p)));
        }
        self.entries.retain(|pid, _| needed.contains(pid));
    }
}

#[cfg(test)]
pub(super) mod tests;
