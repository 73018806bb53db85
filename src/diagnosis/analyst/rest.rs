//! What is said of everybody else, and who deserves a closer look.

use std::sync::Arc;

use super::Analyst;
use crate::diagnosis::kind::{Helper, Intent};
use crate::diagnosis::phase::{self, works};
use crate::diagnosis::rule::{self, Case};
use crate::diagnosis::{Code, Member, Outsider, Phase, Server, kind};
use crate::snapshot::{Activity, Moment, Process, ProcessKey, Snapshot};

impl Analyst {
    pub(super) fn outsiders(&self, rest: Vec<Arc<Process>>) -> Vec<Outsider> {
        rest.into_iter()
            .map(|process| Outsider {
                name: kind::name(&process, None),
                cpu_percent: self
                    .history
                    .tracks
                    .get(&process.key)
                    .and_then(|t| t.cpu_percent()),
                standing: self
                    .history
                    .tracks
                    .get(&process.key)
                    .map(|t| t.standing.clone())
                    .unwrap_or_default(),
                phase: phase_of(&process),
                process,
            })
            .collect()
    }

    /// Who deserves a closer look: whatever does not just serve, and whoever serves but was not waiting when last seen.
    pub(super) fn attention(&self, servers: &[Arc<Server>], at: Moment) -> Vec<ProcessKey> {
        let restless = |m: &&Member| {
            let young = at.seconds_since(m.process.started) < 10.0;
            let settled = matches!(
                m.phase,
                Phase::Serving | Phase::Exited | Phase::NotAServer | Phase::Stopped
            );
            let away = m.process.main_stack().is_some_and(|s| {
                matches!(
                    s.activity,
                    Activity::Running | Activity::Syscall(_) | Activity::Lock | Activity::Gil
                )
            });
            // One look that finds it away from its poll says nothing: a second that has not moved does.
            let track = self.history.tracks.get(&m.process.key);
            let stands = track.map_or(0.0, |t| at.seconds_since(t.turned));
            let suspicious = works(m.role) && away && (0.5..60.0).contains(&stands);
            m.exit.is_none() && (young || !settled || suspicious)
        };
        let keys = servers
            .iter()
            .flat_map(|s| s.members.iter().filter(restless).map(|m| m.process.key));
        keys.take(64).collect()
    }

    /// Sockets in the way of servers that cannot bind, whose holders are none of the processes that are looked at.
    pub(super) fn unknown_holders(&self, servers: &[Arc<Server>], snapshot: &Snapshot) -> Vec<u64> {
        let refused = |s: &&Arc<Server>| s.findings.iter().any(|f| f.code == Code::AddressInUse);
        let ask = |server: &Arc<Server>| {
            rule::address_in_use::unknown_holders(&Case {
                at: snapshot.at,
                server,
                snapshot,
                history: &self.history,
                thresholds: &self.thresholds,
                kills: &[],
            })
        };
        servers.iter().filter(refused).filter_map(ask).collect()
    }
}

/// The phase of a process that is in no server.
fn phase_of(process: &Process) -> Phase {
    // The command line is for everybody to read: of celery it says enough.
    let known = matches!(
        kind::intent(&process.cmdline),
        Intent::Works | Intent::Helper(Helper::Tracker)
    );
    if process.has_ended() {
        Phase::Exited
    } else if phase::is_stopped(process) {
        Phase::Stopped
    } else if !known && process.fds.is_none() && process.main_stack().is_none() {
        Phase::Unseen
    } else {
        Phase::NotAServer
    }
}
