//! `wait`: looks until a server has got where it is wanted, telling each phase as it comes; where it does not get there, says why.
//!
//! What counts is the phase, which is made of evidence: a listener that nobody accepts from has not got there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Watcher, complain, complain_of_unmatched, judge, print};
use crate::cli::{ExitStatus, Target, Until, Wait};
use crate::diagnosis::words::duration;
use crate::diagnosis::{Diagnosis, Phase, PhaseChange, Server, sockets};
use crate::snapshot::{Moment, ProcessKey, Snapshot};
use crate::source::clock;
use crate::view::{Scene, check, format};

/// Between two looks at what is quiet; what starts is looked at more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// Looks in a row at which it has to have got there: one that begins to serve and dies of it has not.
const LOOKS: u32 = 2;

/// So long after the end of a process its log is read on.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) fn wait(arguments: &Wait) -> Result<ExitStatus> {
    let mut watcher = Watcher::new(std::slice::from_ref(&arguments.target), INTERVAL);
    watcher.wishes.patience = Duration::from_millis(300);
    let mut wait = Waiting::begin(arguments);
    loop {
        let (scene, whole) = watcher.look();
        let is_late = watcher.began.elapsed() >= arguments.timeout;
        if let Some(ended) = wait.see(scene, &whole, is_late) {
            return wait.end(ended, &whole);
        }
        watcher.wait(|watcher| !wait.is_close() && watcher.began.elapsed() >= arguments.timeout);
    }
}

/// Why it is not waited on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It has got there.
    There,
    /// The time is up.
    Late,
    /// A process that ends does not get there any more.
    Gone,
    /// There is no such process.
    Never,
}

/// What has been seen while waiting.
struct Waiting<'a> {
    arguments: &'a Wait,
    progress: Progress,
    /// Servers that the target has meant once: one that has ended listens on no port.
    followed: BTreeSet<ProcessKey>,
    now: Scene,
    /// The last look at which there was a server.
    last: Option<Scene>,
    /// Looks in a row at which it had got there.
    there: u32,
    gone: Option<Instant>,
}

impl<'a> Waiting<'a> {
    fn begin(arguments: &'a Wait) -> Self {
        Self {
            arguments,
            progress: Progress::begin(arguments),
            followed: BTreeSet::new(),
            now: Scene::before_the_first_look(INTERVAL.as_secs_f64()),
            last: None,
            there: 0,
            gone: None,
        }
    }

    /// What is there already is looked at once more, however late it is.
    fn is_close(&self) -> bool {
        self.there > 0 || self.gone.is_some()
    }

    /// Takes in a look; says whether it was the last.
    fn see(&mut self, scene: Scene, whole: &Diagnosis, is_late: bool) -> Option<Ended> {
        self.now = scene;
        self.follow(whole);
        self.progress.tell(&self.now);
        let diagnosis = &self.now.diagnosis;
        let is_there = is_there(diagnosis, self.arguments.until);
        self.there = if is_there { self.there + 1 } else { 0 };
        if has_ended(&self.arguments.target, diagnosis) {
            self.gone.get_or_insert_with(Instant::now);
        }
        if !diagnosis.servers.is_empty() {
            self.last = Some(self.now.clone());
        }
        match self.gone {
            _ if self.there >= LOOKS => Some(Ended::There),
            Some(_) if self.last.is_none() => Some(Ended::Never),
            Some(since) => (since.elapsed() >= LAST_WORDS).then_some(Ended::Gone),
            None => (is_late && self.there == 0).then_some(Ended::Late),
        }
    }

    /// Adds the servers that the target has meant before.
    fn follow(&mut self, whole: &Diagnosis) {
        let meant = self.now.diagnosis.servers.iter().map(|s| s.root);
        self.followed.extend(meant.collect::<Vec<_>>());
        let servers = whole.servers.iter();
        let followed = servers.filter(|s| self.followed.contains(&s.root)).cloned();
        let diagnosis = Arc::make_mut(&mut self.now.diagnosis);
        diagnosis.servers = followed.collect();
    }

    fn end(self, ended: Ended, whole: &Diagnosis) -> Result<ExitStatus> {
        let target = &self.arguments.target;
        let does = match self.arguments.until {
            Until::Serving => "serve",
            Until::Listening => "listen",
        };
        let after = duration(self.arguments.timeout.as_secs_f64());
        match ended {
            Ended::There => return Ok(ExitStatus::Healthy),
            Ended::Never => return Ok(self.unmatched(whole).unwrap_or(ExitStatus::Usage)),
            Ended::Gone => complain(&format!("steth: {target} has ended and does not {does}")),
            Ended::Late => complain(&format!("steth: {target} does not {does} after {after}")),
        }
        self.explain(whole).map(not_there)
    }

    /// Prints the verdict on what was seen last.
    fn explain(&self, whole: &Diagnosis) -> Result<ExitStatus> {
        let targets = std::slice::from_ref(&self.arguments.target);
        let Some(last) = &self.last else {
            let status = self.unmatched(whole);
            if status.is_none() {
                print(&check::text(&self.now))?;
            }
            return Ok(status.unwrap_or_else(|| judge(&self.now, targets)));
        };
        if let (true, Some(now), Some(then)) = (
            self.now.diagnosis.servers.is_empty(),
            &self.now.snapshot,
            &last.snapshot,
        ) {
            let ago = duration(now.at.seconds_since(then.at));
            complain(&format!(
                "steth: it has gone; as it was last seen, {ago} ago:"
            ));
        }
        print(&check::text(last))?;
        Ok(judge(last, targets))
    }

    fn unmatched(&self, whole: &Diagnosis) -> Option<ExitStatus> {
        let targets = std::slice::from_ref(&self.arguments.target);
        complain_of_unmatched(whole, self.now.snapshot.as_deref(), targets)
    }
}

/// True if there is a server, and all that the target means, but for those that have ended, have got there.
fn is_there(diagnosis: &Diagnosis, until: Until) -> bool {
    let is_wanted = |phase| match until {
        Until::Serving => phase == Phase::Serving,
        Until::Listening => matches!(phase, Phase::Listening | Phase::Serving),
    };
    let alive = || {
        diagnosis
            .servers
            .iter()
            .filter(|s| s.phase != Phase::Exited)
    };
    alive().next().is_some() && alive().all(|s| is_wanted(s.phase) && !s.unsettled)
}

/// True for a process that cannot get there any more, since a pid does not come back.
fn has_ended(target: &Target, diagnosis: &Diagnosis) -> bool {
    let Target::Pid(pid) = target else {
        return false;
    };
    let servers = &diagnosis.servers;
    match servers.is_empty() {
        true => diagnosis.outsiders.is_empty() && !Path::new(&format!("/proc/{pid}")).exists(),
        false => servers.iter().all(|s| s.phase == Phase::Exited),
    }
}

/// The time is up, whatever else may be right; unless it could not be seen.
fn not_there(status: ExitStatus) -> ExitStatus {
    match status {
        ExitStatus::Unseen => ExitStatus::Unseen,
        _ => ExitStatus::Critical,
    }
}

/// What has been told on standard error.
struct Progress {
    utc_offset_s: i32,
    began: Moment,
    /// Of each server, the last phase that was told, and since when it was in it.
    told: BTreeMap<ProcessKey, PhaseChange>,
}

impl Progress {
    fn begin(arguments: &Wait) -> Self {
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
    fn tell(&mut self, scene: &Scene) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{diagnosis, outsider, server};

    fn in_phase(phase: Phase) -> Server {
        let mut server = server(10, 8000);
        server.phase = phase;
        server
    }

    #[test]
    fn what_has_got_there() {
        use Phase::{Bound, Exited, Listening, Serving, Stalled, Starting};
        let unsettled = Server {
            unsettled: true,
            ..in_phase(Serving)
        };
        let cases = [
            ("nothing", vec![], (false, false)),
            ("starting", vec![in_phase(Starting)], (false, false)),
            ("bound", vec![in_phase(Bound)], (false, false)),
            ("listening", vec![in_phase(Listening)], (true, false)),
            ("serving", vec![in_phase(Serving)], (true, true)),
            ("stalled", vec![in_phase(Stalled)], (false, false)),
            ("dies at boot now and then", vec![unsettled], (false, false)),
            ("ended", vec![in_phase(Exited)], (false, false)),
            (
                "the old one has ended",
                vec![in_phase(Exited), in_phase(Serving)],
                (true, true),
            ),
            (
                "one of two",
                vec![in_phase(Serving), in_phase(Starting)],
                (false, false),
            ),
        ];
        for (what, servers, want) in cases {
            let seen = diagnosis(servers, vec![outsider(40, "python batch.py")]);
            let is = |until| is_there(&seen, until);
            assert_eq!((is(Until::Listening), is(Until::Serving)), want, "{what}");
        }
    }

    #[test]
    fn only_a_pid_ends_for_good() {
        let own = std::process::id();
        let ended = || diagnosis(vec![in_phase(Phase::Exited)], vec![]);
        let alive = diagnosis(vec![in_phase(Phase::Starting)], vec![]);
        let nothing = diagnosis(vec![], vec![]);
        assert!(has_ended(&Target::Pid(10), &ended()));
        assert!(!has_ended(&Target::Port(8000), &ended()));
        assert!(!has_ended(&Target::Pid(10), &alive));
        // A shell that is to become the server is there, and no Python yet.
        assert!(!has_ended(&Target::Pid(own), &nothing));
        assert!(has_ended(&Target::Pid(u32::MAX), &nothing));
        assert!(!has_ended(&Target::Name("gunicorn".into()), &nothing));
    }
}
