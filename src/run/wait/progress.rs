//! What `wait` tells on standard error: each phase as it comes, with its time.

use std::collections::BTreeMap;

use crate::cli::{Until, Wait};
use crate::diagnosis::words::duration;
use crate::diagnosis::{Phase, PhaseChange, Server, sockets};
use crate::run::complain;
use crate::snapshot::{Moment, ProcessKey, Snapshot};
use crate::source::clock;
use crate::view::{Scene, format};

/// What has been told on standard error.
pub(super) struct Progress {
    utc_offset_s: i32,
    began: Moment,
    /// Of each server, the last phase that was told, and since when it was in it.
    told: BTreeMap<ProcessKey, PhaseChange>,
}

impl Progress {
    pub(super) fn begin(arguments: &Wait) -> Self {
        let progress = Self {
            utc_offset_s: clock::utc_offset_s(),
            began: clock::now(),
            told: BTreeMap::new(),
        };
        let wanted = match arguments.until {
            Until::Serving => "serve",
            Until::Listening => "listen",
        };
        let most = duration(arguments.timeout.as_secs_f64());
        let words = format!(
            "waiting for {} to {wanted}, at most {most}",
            arguments.target
        );
        progress.line(clock::wall_ms(), progress.began, &words);
        progress
    }

    /// Phases that have been entered since the last look.
    pub(super) fn tell(&mut self, scene: &Scene) {
        let Some(snapshot) = &scene.snapshot else {
            return;
        };
        for server in &scene.diagnosis.servers {
            let told = self.told.get(&server.root).copied();
            let is_new = |change: &&PhaseChange| told.is_none_or(|told| change.at > told.at);
            for change in server.timeline.iter().filter(is_new) {
                self.change(server, *change, snapshot);
            }
            if let Some(change) = server.timeline.last() {
                self.told.insert(server.root, *change);
            }
        }
    }

    fn change(&self, server: &Server, change: PhaseChange, snapshot: &Snapshot) {
        let now = change.phase == server.phase;
        let words = format!(
            "{} ({}): {}{}",
            server.name,
            server.root.pid,
            change.phase.word(),
            if now { detail(server) } else { String::new() },
        );
        self.line(snapshot.wall_ms_of(change.at), change.at, &words);
    }

    /// One line, written at once: who reads this through a pipe reads it now.
    fn line(&self, wall_ms: i64, at: Moment, words: &str) {
        let clock = format::clock(wall_ms, self.utc_offset_s);
        let after = at.seconds_since(self.began).max(0.0);
        complain(&format!("{clock} {after:>6.1} s  {words}"));
    }
}

/// ` on 0.0.0.0:8000`, ` with code 3`: what belongs to the phase that it is in now.
fn detail(server: &Server) -> String {
    let addresses = || {
        let own = server.listeners.iter().filter(|l| !l.side);
        own.map(|l| sockets::address(&l.socket)).collect::<Vec<_>>()
    };
    let last = server
        .members
        .iter()
        .find_map(|m| m.exit.as_ref())
        .or(server.exits.front());
    match (server.phase, last) {
        (Phase::Bound | Phase::Listening | Phase::Serving | Phase::Stalled, _) => {
            match addresses().as_slice() {
                [] => String::new(),
                some => format!(" on {}", some.join(", ")),
            }
        }
        (Phase::Exited | Phase::CrashLooping, Some(exit)) => {
            let ending = format::ending(&exit.exit);
            format!(", {}", ending.trim_start_matches("ended, "))
        }
        _ => String::new(),
    }
}
