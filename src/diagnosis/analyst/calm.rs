//! While nothing happens and all is well, what was said last still holds: only what has an age is made anew.

use std::sync::Arc;

use super::Analyst;
use crate::diagnosis::history::History;
use crate::diagnosis::{Diagnosis, Member, Outsider, Phase, Server};
use crate::snapshot::{Moment, Process, Snapshot};

/// Nothing follows any more from what has changed so long ago: windows of rates and thresholds of phases are over.
const STEADY_S: f64 = 5.0;
/// It is thought over again after so long, whatever does not happen.
const RETHINK_S: f64 = 3.0;

/// What was said last, and when.
#[derive(Debug, Default)]
pub(super) struct Calm {
    said: Option<(Moment, Diagnosis)>,
}

impl Calm {
    /// Takes note of a diagnosis. One that time alone may change is not kept: of a server that has not got there, that fails, or
    /// of which somebody is watched.
    pub(super) fn note(&mut self, diagnosis: &Diagnosis, at: Moment) {
        let is_calm = diagnosis.attention.is_empty() && diagnosis.servers.iter().all(is_well);
        self.said = is_calm.then(|| (at, diagnosis.clone()));
    }
}

impl Analyst {
    /// Takes in a snapshot that shows, but for the time, what all since `changed_at` have shown; says what it means where that
    /// is what was said last. `None`: nothing was taken in, it is to be thought over by [`Analyst::observe`].
    pub fn carry_on(&mut self, snapshot: &Snapshot, changed_at: Moment) -> Option<Diagnosis> {
        let (at, said) = self.calm.said.as_ref()?;
        let steady = snapshot.at.seconds_since(changed_at) >= STEADY_S;
        if !steady || snapshot.at.seconds_since(*at) >= RETHINK_S {
            return None;
        }
        self.history.observe(snapshot);
        let again = Again {
            snapshot,
            history: &self.history,
        };
        Some(Diagnosis {
            servers: said.servers.iter().map(|s| again.server(s)).collect(),
            outsiders: said.outsiders.iter().map(|o| again.outsider(o)).collect(),
            attention: Vec::new(),
        })
    }
}

fn is_well(server: &Arc<Server>) -> bool {
    server.phase == Phase::Serving
        && server.findings.is_empty()
        && !server.unsettled
        && server.members.iter().all(|m| m.exit.is_none())
}

/// The same as it is in a later snapshot.
struct Again<'a> {
    snapshot: &'a Snapshot,
    history: &'a History,
}

impl Again<'_> {
    fn server(&self, said: &Arc<Server>) -> Arc<Server> {
        let mut server = Server::clone(said);
        for member in &mut server.members {
            self.member(member);
        }
        for listener in &mut server.listeners {
            let queue = self.history.queue(listener.netns, listener.socket.inode);
            listener.depth_history = queue.map(|q| q.depths.clone()).unwrap_or_default();
            listener.drops_per_second = queue.and_then(|q| q.drops_per_second());
        }
        Arc::new(server)
    }

    fn member(&self, member: &mut Member) {
        member.process = self.process(&member.process);
        let track = self.history.tracks.get(&member.process.key);
        member.cpu_percent = track.and_then(|t| t.cpu_percent());
        member.same_frame_s = track.and_then(|t| t.same_place_s(self.snapshot.at));
    }

    fn outsider(&self, said: &Outsider) -> Outsider {
        let mut outsider = said.clone();
        outsider.process = self.process(&said.process);
        let track = self.history.tracks.get(&outsider.process.key);
        outsider.cpu_percent = track.and_then(|t| t.cpu_percent());
        outsider
    }

    fn process(&self, said: &Arc<Process>) -> Arc<Process> {
        let now = self.snapshot.process(said.key.pid);
        let same = now.filter(|now| now.key == said.key);
        Arc::clone(same.unwrap_or(said))
    }
}
