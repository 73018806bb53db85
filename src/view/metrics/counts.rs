//! What is counted of one server from look to look. Nothing here ever goes down.

use std::collections::{BTreeMap, BTreeSet};

use super::label;
use crate::diagnosis::{Code, MemberExit, Phase, Role, Server, Severity};
use crate::snapshot::{Moment, ProcessKey, signal_name};

/// So many ways to end are told apart; further ones are `other`.
const ENDINGS: usize = 12;
/// Addresses of which drops are kept, whether a socket is there now or not.
const ADDRESSES: usize = 32;
/// After so long nobody will tell any more how a process ended.
const UNTOLD_S: f64 = 3.0;
/// So many sockets that are not seen now are remembered, for so long.
const UNSEEN: usize = 256;
const UNSEEN_S: f64 = 900.0;

/// How a process ended: `0`, `3`, `SIGKILL`, `unknown`, `other`.
pub type Ending = String;

/// The counters of one server.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Seconds that it was seen in each phase.
    pub phase_s: BTreeMap<Phase, f64>,
    /// Ends of its processes.
    pub exits: BTreeMap<(Role, Ending), u64>,
    /// Times that another process took its root's place, by how that one had ended.
    pub restarts: BTreeMap<Ending, u64>,
    /// Findings that have begun.
    pub findings: BTreeMap<(Code, Severity), u64>,
    /// Times that a loop was held.
    pub stalls: u64,
    /// Seconds for which one was.
    pub stalled_s: f64,
    /// Connections dropped by sockets, by address.
    pub drops: BTreeMap<String, u64>,
}

impl Counts {
    /// A process has ended.
    pub fn note_exit(&mut self, role: Role, ending: &str, times: u64) {
        let endings: BTreeSet<&str> = self.exits.keys().map(|(_, e)| e.as_str()).collect();
        let ending = bounded(ending, &endings);
        *self.exits.entry((role, ending)).or_default() += times;
    }

    /// Another process has taken the place of one that ended so.
    pub fn note_restart(&mut self, ending: &str) {
        let endings: BTreeSet<&str> = self.restarts.keys().map(String::as_str).collect();
        let ending = bounded(ending, &endings);
        *self.restarts.entry(ending).or_default() += 1;
    }

    /// So many more connections were dropped at an address.
    pub fn note_drops(&mut self, address: String, more: u32) {
        let room = self.drops.len() < ADDRESSES || self.drops.contains_key(&address);
        if room {
            *self.drops.entry(address).or_default() += u64::from(more);
        }
    }

    /// What was counted under other labels belongs to these.
    pub fn add(&mut self, other: Self) {
        for (phase, seconds) in other.phase_s {
            *self.phase_s.entry(phase).or_default() += seconds;
        }
        for ((role, ending), times) in other.exits {
            self.note_exit(role, &ending, times);
        }
        for (ending, times) in other.restarts {
            *self.restarts.entry(ending).or_default() += times;
        }
        for (finding, times) in other.findings {
            *self.findings.entry(finding).or_default() += times;
        }
        for (address, drops) in other.drops {
            *self.drops.entry(address).or_default() += drops;
        }
        self.stalls += other.stalls;
        self.stalled_s += other.stalled_s;
    }
}

fn bounded(ending: &str, known: &BTreeSet<&str>) -> Ending {
    let room = known.len() < ENDINGS || known.contains(ending);
    if room { ending } else { "other" }.to_owned()
}

/// Which deaths of one family have been counted.
#[derive(Debug, Clone, Default)]
pub struct Deaths {
    counted: BTreeSet<ProcessKey>,
    number: u64,
}

impl Deaths {
    /// Counts those that are new. One of which nobody has told yet how it ended is waited for.
    pub fn count(&mut self, server: &Server, at: Moment, counts: &mut Counts) {
        let mut waiting = 0;
        for exit in &server.exits {
            if self.counted.contains(&exit.exit.key) {
                continue;
            }
            if !is_told(exit, at) {
                waiting += 1;
                continue;
            }
            self.counted.insert(exit.exit.key);
            self.number += 1;
            counts.note_exit(exit.role, &ending(exit), 1);
        }
        // More have died between two looks than are remembered one by one.
        let untold = server.exits_total.saturating_sub(self.number + waiting);
        if untold > 0 {
            self.number += untold;
            counts.note_exit(Role::Worker, UNKNOWN, untold);
        }
        self.counted
            .retain(|key| server.exits.iter().any(|e| e.exit.key == *key));
    }
}

/// Of one who ended unseen.
pub const UNKNOWN: &str = "unknown";

/// True once it is known how a process ended, or will not be known any more.
pub fn is_told(exit: &MemberExit, at: Moment) -> bool {
    let exit = &exit.exit;
    exit.code.is_some() || exit.signal.is_some() || at.seconds_since(exit.at) >= UNTOLD_S
}

/// How a process ended, as a label.
pub fn ending(exit: &MemberExit) -> Ending {
    match (exit.exit.signal, exit.exit.code) {
        (Some(signal), _) => signal_name(signal),
        (None, Some(code)) => code.to_string(),
        (None, None) => UNKNOWN.to_owned(),
    }
}

/// Readings of the drops of each socket, by network namespace and inode.
#[derive(Debug, Clone, Default)]
pub struct Drops {
    last: BTreeMap<(u64, u64), Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    drops: u32,
    at: Moment,
}

impl Drops {
    /// Counts what has been dropped since the last look at which the socket was seen; of one that is new, all that it has dropped.
    pub fn count(&mut self, server: &Server, at: Moment, counts: &mut Counts) {
        for listener in server.listeners.iter().filter(|l| !l.side) {
            let socket = &listener.socket;
            let Some(drops) = socket.drops.filter(|_| socket.accept_queue.is_some()) else {
                continue;
            };
            let id = (listener.netns, socket.inode);
            let before = self.last.insert(id, Reading { drops, at });
            let before = before.map_or(0, |reading| reading.drops);
            // A counter that goes backwards yields nothing.
            counts.note_drops(label::address(listener), drops.saturating_sub(before));
        }
        self.forget(at);
    }

    /// Readings of sockets that have not been seen for long. A look may miss one that is there: what it has dropped before then
    /// would be counted again.
    fn forget(&mut self, at: Moment) {
        self.last
            .retain(|_, reading| at.seconds_since(reading.at) <= UNSEEN_S);
        let mut unseen: Vec<_> = self
            .last
            .iter()
            .filter(|(_, reading)| reading.at != at)
            .map(|(id, reading)| (reading.at, *id))
            .collect();
        unseen.sort_unstable();
        let excess = unseen.len().saturating_sub(UNSEEN);
        for (_, id) in unseen.into_iter().take(excess) {
            self.last.remove(&id);
        }
    }

    /// Readings of other sockets belong to these.
    pub fn extend(&mut self, other: Self) {
        self.last.extend(other.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_are_not_seen_are_remembered_within_bounds() {
        let second = |n: u64| Moment(n * 1_000_000_000);
        let reading = |n| {
            (
                (1, n),
                Reading {
                    drops: 1,
                    at: second(n),
                },
            )
        };
        let mut drops = Drops {
            last: (0..1_000).map(reading).collect(),
        };
        drops.forget(second(999));
        assert_eq!(drops.last.len(), UNSEEN + 1, "and the one that is seen");
        assert!(drops.last.contains_key(&(1, 998)) && !drops.last.contains_key(&(1, 99)));
        drops.forget(second(1_890));
        assert_eq!(drops.last.len(), 10);
        drops.forget(second(1_900));
        assert!(drops.last.is_empty());
    }
}
