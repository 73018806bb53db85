//! A server as the families tell it: its slot, its labels, and the server itself where it is there.

use super::page::Labels;
use super::slot::{Slot, State};
use crate::diagnosis::{Member, Phase, Server};
use crate::snapshot::Moment;

/// One server.
#[derive(Debug)]
pub struct Told<'a> {
    /// What was counted.
    pub slot: &'a Slot,
    /// Its labels.
    pub labels: Labels,
    /// The server; `None` once it has gone.
    pub server: Option<&'a Server>,
    /// Its phase.
    pub phase: Phase,
    /// Seconds for which it has been in that.
    pub phase_age_s: f64,
}

impl<'a> Told<'a> {
    /// What is told of a slot at this moment.
    pub fn of(slot: &'a Slot, at: Moment) -> Self {
        let (server, phase, since) = match &slot.state {
            State::Here(server) => (Some(server.as_ref()), server.phase, server.since),
            State::Gone(since) => (None, Phase::Exited, *since),
        };
        Self {
            slot,
            labels: slot.identity.labels(slot.ordinal),
            server,
            phase,
            phase_age_s: at.seconds_since(since),
        }
    }

    /// Its own processes that live; none of a server that has ended.
    pub fn living(&self) -> Vec<&'a Member> {
        let server = self.server.filter(|s| s.phase != Phase::Exited);
        let lives = |m: &&Member| m.exit.is_none() && !m.process.has_ended();
        server
            .into_iter()
            .flat_map(|s| s.own_members().filter(lives))
            .collect()
    }
}
