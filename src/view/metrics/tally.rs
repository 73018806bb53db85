//! Which labels does each server have, and what is remembered under them? Taken in look by look, bounded.
//!
//! ```text
//!   server ──> identity (kind, name, address) ──> slot    who has it: one server at a time, or nobody any more
//!                                                  ├─ a server that takes the place of one that has ended takes its slot: a restart
//!                                                  ├─ one that is told by the same while the other lives gets the next ordinal
//!                                                  └─ an address that becomes known later changes the labels, the counts go with it
//! ```

use std::sync::Arc;

use super::label::Identity;
use super::slot::{Slot, State};
use crate::diagnosis::{Phase, Server};
use crate::snapshot::{Moment, Snapshot};
use crate::view::Scene;

/// Servers that are told of; the rest is counted.
pub const SERVERS: usize = 128;
/// Sets of labels that are remembered, so that their counters go on when the server comes back.
const REMEMBERED: usize = 512;
/// A server that has gone is told of for so long.
pub const GONE_TOLD_S: f64 = 900.0;
/// A second one with the same labels that is no older than this may turn out to be the first one's successor.
const YOUNG_S: f64 = 10.0;

/// Everything that is counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// In the order in which they were first seen.
    slots: Vec<Slot>,
    /// Looks so far.
    pub looks: u64,
    /// Servers for which there was no room.
    homeless: usize,
    at: Option<Moment>,
}

impl Tally {
    /// Takes in the next look.
    pub fn observe(&mut self, scene: &Scene) {
        let Some(snapshot) = &scene.snapshot else {
            return;
        };
        let before = self.at.unwrap_or(snapshot.at);
        let elapsed_s = snapshot.at.seconds_since(before);
        self.looks += 1;
        self.at = Some(snapshot.at);
        self.homeless = 0;
        for server in &scene.diagnosis.servers {
            self.observe_server(server, snapshot, elapsed_s);
        }
        for slot in &mut self.slots {
            slot.settle(snapshot.at);
            let servers = &scene.diagnosis.servers;
            if !servers.iter().any(|s| slot.is_held_by(s)) {
                slot.leave(before);
            }
        }
    }

    fn observe_server(&mut self, server: &Arc<Server>, snapshot: &Snapshot, elapsed_s: f64) {
        let at = snapshot.at;
        let held = self.slots.iter().position(|s| s.is_held_by(server));
        let slot = match held {
            Some(held) => Some(self.keep(held, server, at)),
            None if server.phase == Phase::Exited => {
                // Its labels are another one's already.
                self.slots
                    .iter_mut()
                    .any(|slot| slot.observe_end(server, at));
                return;
            }
            None => self.take(server, at),
        };
        match slot.and_then(|slot| self.slots.get_mut(slot)) {
            Some(slot) => slot.observe(server, snapshot, elapsed_s),
            None => self.homeless += 1,
        }
    }

    /// The slot of a server that has one; another one than before if more is known of it now.
    fn keep(&mut self, held: usize, server: &Arc<Server>, at: Moment) -> usize {
        let Some(slot) = self.slots.get(held) else {
            return held;
        };
        if server.phase == Phase::Exited {
            return held;
        }
        let identity = Identity::of(server, Some(&slot.identity.address));
        let is_same = identity == slot.identity;
        let is_young = at.seconds_since(slot.since) < YOUNG_S;
        if is_same && (slot.ordinal == 1 || !is_young) {
            return held;
        }
        let free = |s: &Slot| s.is_free() && s.identity == identity;
        if let Some(heir) = self.slots.iter().position(free) {
            return self.succeed(held, heir);
        }
        let ordinal = self.free_ordinal(&identity, Some(held));
        if let Some(slot) = self.slots.get_mut(held).filter(|_| !is_same) {
            slot.identity = identity;
            slot.ordinal = ordinal;
        }
        held
    }

    /// A server has turned out to be the successor of one that has gone.
    fn succeed(&mut self, held: usize, heir: usize) -> usize {
        let former = self.slots.remove(held);
        let heir = if heir > held { heir - 1 } else { heir };
        if let Some(slot) = self.slots.get_mut(heir) {
            slot.inherit(former);
        }
        heir
    }

    /// A slot for a server that has none: that of one which has gone and is told by the same, else a new one. `None` if there is
    /// no room.
    fn take(&mut self, server: &Arc<Server>, at: Moment) -> Option<usize> {
        let identity = Identity::of(server, None);
        let mut free = self.slots.iter().enumerate().filter(|(_, s)| s.is_free());
        let same = free.clone().find(|(_, s)| s.identity == identity);
        let heir = same.or_else(|| free.find(|(_, s)| s.identity.may_be(&identity)));
        if let Some(heir) = heir.map(|(heir, _)| heir) {
            let slot = self.slots.get_mut(heir)?;
            slot.pass_to(server);
            return Some(self.keep(heir, server, at));
        }
        if self.slots.len() >= REMEMBERED {
            self.forget_one()?;
        }
        let ordinal = self.free_ordinal(&identity, None);
        self.slots.push(Slot::new(identity, ordinal, server, at));
        self.slots.len().checked_sub(1)
    }

    /// The lowest ordinal that no other slot with this identity has.
    fn free_ordinal(&self, identity: &Identity, but: Option<usize>) -> u32 {
        let others = self.slots.iter().enumerate();
        let taken: Vec<u32> = others
            .filter(|(at, s)| Some(*at) != but && s.identity == *identity)
            .map(|(_, s)| s.ordinal)
            .collect();
        (1..).find(|n| !taken.contains(n)).unwrap_or(1)
    }

    /// Forgets the labels whose server has been gone for longest; `None` if all of them are there.
    fn forget_one(&mut self) -> Option<()> {
        let gone = self.slots.iter().enumerate();
        let gone = gone.filter_map(|(at, slot)| match slot.state {
            State::Gone(since) => Some((since, at)),
            State::Here(_) => None,
        });
        let (_, oldest) = gone.min()?;
        self.slots.remove(oldest);
        Some(())
    }

    /// Those that are told of, in a stable order: servers that are there before those that have gone, and how many are left out.
    pub fn told(&self) -> (Vec<&Slot>, usize) {
        let now = self.at.unwrap_or_default();
        let is_here = |slot: &&Slot| matches!(slot.state, State::Here(_));
        let has_just_gone = |slot: &&Slot| match slot.state {
            State::Gone(since) => now.seconds_since(since) < GONE_TOLD_S,
            State::Here(_) => false,
        };
        let here = self.slots.iter().filter(is_here);
        let mut told: Vec<&Slot> = here
            .chain(self.slots.iter().filter(has_just_gone))
            .collect();
        let left_out = told.len().saturating_sub(SERVERS) + self.homeless;
        told.truncate(SERVERS);
        (told, left_out)
    }
}
