//! `wait`: looks until a server has got where it is wanted, telling each phase as it comes; where it does not get there, says why.
//!
//! What counts is the phase, which is made of evidence: a listener that nobody accepts from has not got there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Watcher, complain, complain_of_unmatched, judge, print};
use crate::cli::{ExitStatus, Target, Until, Wait};
use crate::diagnosis::words::duration;
use crate::diagnosis::{Diagnosis, Phase, Server};
use crate::snapshot::{Moment, ProcessKey};
use crate::view::{Scene, check};

mod progress;

use progress::Progress;

/// Between two looks at what is quiet; what starts is looked at more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// So long a server has to be seen there whose way there was watched: one that begins to serve and dies of it has not got there.
const WATCHED: Duration = Duration::from_millis(100);

/// The same for one that listened before: a loop that is blocked shows by standing still. So many looks are enough, which come slowly
/// on a machine that is busy; and at last it is believed.
const FOUND: Duration = Duration::from_secs(3);
const FOUND_LOOKS: u32 = 20;
const FOUND_LONG: Duration = Duration::from_secs(5);

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
        let first = wait.now.diagnosis.servers.first();
        watcher.focus_on(first.map(|server| server.root));
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

/// So long after an end all that it left behind has been read: its exit, those of its workers, its log.
const TOLD_S: f64 = 4.0;

/// What has been seen while waiting.
struct Waiting<'a> {
    arguments: &'a Wait,
    progress: Progress,
    /// Servers that the target has meant once: one that has ended listens on no port.
    followed: BTreeSet<ProcessKey>,
    now: Scene,
    /// The last look at which there was a server.
    last: Option<Scene>,
    /// When a server that the target means was seen to have ended with an error, and the last look at one.
    failed: Option<(Moment, Scene)>,
    /// Since when it has been there at every look, and how many those were.
    there: Option<(Instant, u32)>,
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
            failed: None,
            there: None,
            gone: None,
        }
    }

    /// What is there already is looked at until that is sure, however late it is.
    fn is_close(&self) -> bool {
        self.there.is_some() || self.gone.is_some()
    }

    /// Takes in a look; says whether it was the last.
    fn see(&mut self, scene: Scene, whole: &Diagnosis, is_late: bool) -> Option<Ended> {
        self.now = scene;
        self.follow(whole);
        self.progress.tell(&self.now);
        let diagnosis = &self.now.diagnosis;
        let failed = diagnosis.servers.iter().filter_map(|s| failed_at(s)).max();
        // Later looks forget what the processes below it died of.
        let told = |(known, scene): &(Moment, Scene)| {
            let seen = scene.snapshot.as_ref().map(|s| s.at);
            Some(*known) == failed && seen.is_some_and(|seen| seen.seconds_since(*known) >= TOLD_S)
        };
        if let Some(at) = failed
            && !self.failed.as_ref().is_some_and(told)
        {
            self.failed = Some((at, self.now.clone()));
        }
        let failed = self.failed.as_ref().map(|(at, _)| *at);
        let is_there = is_there(diagnosis, self.arguments.until, failed);
        let (since, looks) = self.there.unwrap_or_else(|| (Instant::now(), 0));
        self.there = is_there.then_some((since, looks + 1));
        if has_ended(&self.arguments.target, diagnosis) {
            self.gone.get_or_insert_with(Instant::now);
        }
        if !diagnosis.servers.is_empty() {
            self.last = Some(self.now.clone());
        }
        let is_sure = match diagnosis.servers.iter().all(|s| was_watched(s)) {
            _ if diagnosis.servers.iter().any(|s| s.unsettled) => false,
            true => since.elapsed() >= WATCHED,
            false if looks + 1 >= FOUND_LOOKS => since.elapsed() >= FOUND,
            false => since.elapsed() >= FOUND_LONG,
        };
        match self.gone {
            _ if is_there && is_sure => Some(Ended::There),
            Some(_) if self.last.is_none() => Some(Ended::Never),
            Some(since) => (since.elapsed() >= LAST_WORDS).then_some(Ended::Gone),
            None => (is_late && self.there.is_none()).then_some(Ended::Late),
        }
    }

    /// Adds the servers that the target has meant before.
    fn follow(&mut self, whole: &Diagnosis) {
        let selected = &self.now.diagnosis;
        self.followed
            .extend(selected.servers.iter().map(|s| s.root));
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
        let lives = |scene: &&Scene| {
            let servers = &scene.diagnosis.servers;
            servers.iter().any(|s| s.phase != Phase::Exited)
        };
        let failed = self.failed.as_ref().map(|(_, scene)| scene);
        let now = Some(&self.now).filter(lives);
        let Some(last) = now.or(failed).or(self.last.as_ref()) else {
            let status = self.unmatched(whole);
            if status.is_none() {
                print(&check::text(&self.now))?;
            }
            return Ok(status.unwrap_or_else(|| judge(&self.now, targets)));
        };
        if let (Some(now), Some(then)) = (&self.now.snapshot, &last.snapshot)
            && now.at.seconds_since(then.at) >= TOLD_S
        {
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

/// True if there is a server, and all that the target means, but for those that have ended, have got there. After a failure it takes
/// one that was started later: that another still holds the port is no success.
fn is_there(diagnosis: &Diagnosis, until: Until, failed: Option<Moment>) -> bool {
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
    let is_newer = |s: &Server| {
        let alive = s
            .own_members()
            .filter(|m| m.exit.is_none() && m.process.is_python());
        let started = alive.map(|m| m.process.started).min();
        failed.is_none_or(|failed| started.is_some_and(|started| started > failed))
    };
    // One that serves and may be blocked is there, but not for sure.
    let is_there =
        |s: &Arc<Server>| is_wanted(s.phase) && (!s.unsettled || s.phase == Phase::Serving);
    alive().any(|s| is_newer(s)) && alive().all(is_there)
}

/// True if it was seen before it listened.
fn was_watched(server: &Server) -> bool {
    let first = server.timeline.first().map(|change| change.phase);
    matches!(
        first,
        Some(Phase::Importing | Phase::Starting | Phase::Bound)
    )
}

/// When a server ended with an error of its own; one that was asked to end by a signal has not failed.
fn failed_at(server: &Server) -> Option<Moment> {
    const BY_SIGNAL: [i32; 2] = [128 + libc::SIGINT, 128 + libc::SIGTERM];
    let own = server.members.iter().find_map(|m| m.exit.as_ref());
    let exit = &own.or(server.exits.front())?.exit;
    let failed = exit
        .code
        .is_some_and(|code| code != 0 && !BY_SIGNAL.contains(&code));
    (server.phase == Phase::Exited && failed).then_some(exit.at)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{death, diagnosis, outsider, server};

    fn in_phase(phase: Phase) -> Server {
        let mut server = server(10, 8000);
        server.phase = phase;
        server
    }

    #[test]
    fn what_has_got_there() {
        use Phase::{Bound, Exited, Listening, Serving, Stalled, Starting};
        let unsettled = |phase| Server {
            unsettled: true,
            ..in_phase(phase)
        };
        let cases = [
            ("nothing", vec![], (false, false)),
            ("starting", vec![in_phase(Starting)], (false, false)),
            ("bound", vec![in_phase(Bound)], (false, false)),
            ("listening", vec![in_phase(Listening)], (true, false)),
            ("serving", vec![in_phase(Serving)], (true, true)),
            ("stalled", vec![in_phase(Stalled)], (false, false)),
            (
                "dies at boot now and then",
                vec![unsettled(Listening)],
                (false, false),
            ),
            (
                "its loop is held for the moment",
                vec![unsettled(Serving)],
                (true, true),
            ),
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
            let is = |until| is_there(&seen, until, None);
            assert_eq!((is(Until::Listening), is(Until::Serving)), want, "{what}");
        }
    }

    #[test]
    fn after_a_failure_only_a_later_server_counts() {
        let started = server(10, 8000).members[0].process.started;
        let before = Moment(started.0 - 1);
        let serving = diagnosis(vec![in_phase(Phase::Serving)], vec![]);
        let is = |failed| is_there(&serving, Until::Serving, failed);
        assert!(is(None));
        assert!(is(Some(before)));
        assert!(!is(Some(started)));
    }

    #[test]
    fn what_is_a_failure() {
        for (phase, code, signal, want) in [
            (Phase::Exited, Some(1), None, true),
            (Phase::Exited, Some(0), None, false),
            (Phase::Exited, Some(143), None, false),
            (Phase::Exited, None, Some(15), false),
            (Phase::Exited, None, None, false),
            // Its worker has.
            (Phase::Serving, Some(1), None, false),
        ] {
            let mut server = in_phase(phase);
            server.exits.push_front(death(10, 1, code, signal));
            assert_eq!(failed_at(&server).is_some(), want, "{code:?} {signal:?}");
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
