//! Servers whose processes have all gone.

use std::sync::Arc;

use super::{Analyst, GONE_SHOWN_S};
use crate::diagnosis::history::Track;
use crate::diagnosis::rule::{self, Case};
use crate::diagnosis::{Member, Phase, Server, crashes, why};
use crate::snapshot::Snapshot;

/// So soon after it was last seen a server has not gone unless somebody has told of its end.
const UNTOLD_S: f64 = 1.0;

impl Analyst {
    /// Servers whose processes have all gone, shown for a while with how they ended.
    pub(super) fn gone(&mut self, snapshot: &Snapshot) -> Vec<Arc<Server>> {
        let at = snapshot.at;
        let mut gone = Vec::new();
        for record in self.cases.values_mut() {
            if record.seen >= at || at.seconds_since(record.seen) > GONE_SHOWN_S {
                continue;
            }
            record.note_exits(&snapshot.exits, &self.history);
            let Some(last) = record.last.clone() else {
                continue;
            };
            // Between one program and the next (execve) nobody knows for a look what it is. An end is told.
            let ended = record.exits.iter().any(|e| e.exit.key == record.root.key);
            if !ended && at.seconds_since(record.seen) < UNTOLD_S {
                gone.push(last);
                continue;
            }
            // It lives, and nothing says any more that it ever meant to serve.
            let is_none = |t: &Track| {
                let same = t.process.cmdline == record.root.cmdline && !t.process.has_ended();
                same && t.intends.is_none() && t.kind.is_none()
            };
            let track = self.history.tracks.get(&record.root.key);
            if !ended && !record.has_served && track.is_some_and(is_none) {
                continue;
            }
            let mut server = Server::clone(&last);
            server.exits.clone_from(&record.exits);
            server.exits_total = record.exits_total;
            let deaths = crashes::at_boot(&server, &self.history, at);
            let between = crashes::is_loop(&server, &deaths)
                && deaths
                    .first()
                    .is_some_and(|d| at.seconds_since(d.exit.at) < 10.0);
            let last_death = deaths.first().map(|d| d.exit.at);
            server.unsettled = !between && last_death.is_some_and(|d| at.seconds_since(d) < 5.0);
            let phase = if between {
                Phase::CrashLooping
            } else {
                Phase::Exited
            };
            record.enter(phase, None, at);
            server.phase = phase;
            server.since = record.timeline.last().map_or(at, |c| c.at);
            server.since_is_bound = record.since_is_bound;
            server.timeline.clone_from(&record.timeline);
            server.listeners.clear();
            // Who restarts the server is alive.
            let launches: Vec<bool> = server
                .members
                .iter()
                .map(|m| server.is_launcher(m) && lives(m, snapshot))
                .collect();
            for (member, launches) in server.members.iter_mut().zip(launches) {
                if launches {
                    member.phase = phase;
                    continue;
                }
                member.phase = Phase::Exited;
                member.cpu_percent = None;
                let exit = record
                    .exits
                    .iter()
                    .find(|e| e.exit.key == member.process.key);
                member.exit = exit.cloned().or(member.exit.take());
            }
            let case = Case {
                at,
                server: &server,
                snapshot,
                history: &self.history,
                thresholds: &self.thresholds,
                kills: &record.kills,
            };
            server.findings = if between {
                rule::examine_all(&case)
            } else {
                Vec::new()
            };
            record.log_findings(&server.findings, at);
            server.finding_log.clone_from(&record.finding_log);
            server.why = why::sentence(&server, at);
            gone.push(Arc::new(server));
        }
        gone
    }
}

fn lives(member: &Member, snapshot: &Snapshot) -> bool {
    let key = member.process.key;
    let process = snapshot.process(key.pid).filter(|p| p.key == key);
    process.is_some_and(|p| !p.has_ended())
}
