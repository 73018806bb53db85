//! One server as it is now: its sockets, the phases of its processes and its own, what is wrong with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::Record;
use super::{Analyst, empty_server, launcher};
use crate::diagnosis::family::Family;
use crate::diagnosis::history::History;
use crate::diagnosis::phase::{Evidence, Whole, loop_blocked_s, works};
use crate::diagnosis::rule::{self, Case};
use crate::diagnosis::{
    Code, Member, Phase, Role, Server, ServerListener, Thresholds, crashes, draining, ended_thread,
    log, sockets, timeouts, why,
};
use crate::snapshot::{ListenerState, Moment, Process, ProcessKey, Snapshot};

/// So long after the last death at boot processes still die and are replaced.
const LOOP_S: f64 = 20.0;
/// So long after a death it cannot be told yet whether there will be another.
const UNSETTLED_S: f64 = 10.0;
/// A first worker is born this soon after its server, even on a busy machine.
const LATE_S: f64 = 3.0;
/// A shutdown that has gone on for so long either has a finding or does not get one.
const SHUTDOWN_S: f64 = 4.0;
/// A loop that has not turned for so long may be blocked.
const HELD_S: f64 = 0.5;
/// A worker that is older than this has not just taken another one's place.
const YOUNG_S: f64 = 15.0;

impl Analyst {
    pub(super) fn describe(
        &mut self,
        id: ProcessKey,
        family: &Family,
        snapshot: &Snapshot,
        serve_nobody: &BTreeSet<ProcessKey>,
    ) -> Arc<Server> {
        let at = snapshot.at;
        let listeners = sockets::of(family, snapshot, &self.history);
        note_accepting(&mut self.history, family, &listeners, snapshot);
        let history = &self.history;
        let Some(record) = self.cases.get_mut(&id) else {
            return Arc::new(empty_server(id, family, at));
        };
        record.note_members(family, snapshot, history);
        let root = history.tracks.get(&family.root.key);
        let ends = root.map_or_else(|| draining::ends(&family.root), |t| t.traits.ends);
        let ending = draining::root_ends(&family.root, ends, &listeners);
        let evidence = Evidence {
            at,
            kind: family.kind,
            listeners: &listeners,
            history,
            thresholds: &self.thresholds,
            asked: &family.root.cmdline,
            killed_at: record.killed_at(),
            before: &record.member_phases,
            ending,
        };
        let listens = listens(&listeners);
        let phase_of = |(p, role): &(Arc<Process>, Role)| match evidence.of_process(p, *role) {
            // It will not get there any more.
            Phase::Importing | Phase::Starting
                if works(*role) && !listens && ended_thread::ended(p, snapshot).is_some() =>
            {
                (*role, Phase::Stalled)
            }
            phase => (*role, phase),
        };
        let phases: Vec<(Role, Phase)> = family.members.iter().map(phase_of).collect();
        record.has_served |= has_served(family, history);
        let mut server = record.draft(id, family, listeners, at);
        server.members = record.members(family, &phases, history, at);
        server
            .members
            .extend(launcher::of(id, family, snapshot, serve_nobody));
        server.above = launcher::ancestors(&family.root, snapshot);
        let deaths = Deaths::of(&server, history, at);
        let whole = Whole {
            members: &phases,
            listeners: &server.listeners,
            crash_looping: deaths == Deaths::Again,
            once_served: record.has_served,
            ending,
        };
        let phase = whole.phase();
        record.enter(phase, started_with(phase, &server), at);
        mirror_supervisors(&mut server.members, phase);
        server.phase = phase;
        server.since = record.timeline.last().map_or(at, |c| c.at);
        server.tcp_rates = family.root.netns.and_then(|n| history.tcp_rates(n));
        server.since_is_bound = record.since_is_bound && record.timeline.len() == 1;
        server.timeline.clone_from(&record.timeline);
        server.findings = rule::examine_all(&Case {
            at,
            server: &server,
            snapshot,
            history,
            thresholds: &self.thresholds,
            kills: &record.kills,
        });
        let unsettled = deaths == Deaths::Once
            || deaths == Deaths::None && may_be_replaced(&server, history, at)
            || may_be_killed(record, &server, history, at)
            || may_be_shutting_down(&server, at);
        server.unsettled = unsettled && phase != Phase::Serving
            || may_be_blocked(&server, history, &self.thresholds);
        record.log_findings(&server.findings, at);
        server.finding_log.clone_from(&record.finding_log);
        server.why = why::sentence(&server, at);
        if server.findings.is_empty()
            && let Some(claim) = log::claim::contradicted(&server, snapshot)
        {
            server.why = format!("{}; {claim}", server.why);
        }
        let server = Arc::new(server);
        record.last = Some(server.clone());
        record.seen = at;
        server
    }
}

fn listens(listeners: &[ServerListener]) -> bool {
    let mut own = listeners.iter().filter(|l| !l.side);
    own.any(|l| l.socket.state == ListenerState::Listening)
}

/// Notes who is ready to accept from the server's own sockets, or must have been.
fn note_accepting(
    history: &mut History,
    family: &Family,
    listeners: &[ServerListener],
    snapshot: &Snapshot,
) {
    for listener in listeners.iter().filter(|l| !l.side) {
        let socket = &listener.socket;
        let holders = listener.holders.iter();
        for process in holders.filter_map(|pid| snapshot.process(*pid)) {
            let mut ready = listener.accepting.iter().flatten();
            let armed = ready.any(|pid| *pid == process.key.pid);
            if armed && sockets::surely_takes(family.kind, process, socket.inode)
                || sockets::has_taken_from(process, socket)
                || sockets::is_past_boot(process)
            {
                history.note_accepting(process.key, family.kind);
            }
        }
    }
}

fn has_served(family: &Family, history: &History) -> bool {
    let mut alive = family
        .members
        .iter()
        .filter(|(p, role)| works(*role) && !p.has_ended());
    alive.any(|(p, _)| history.tracks.get(&p.key).is_some_and(|t| t.has_accepted))
}

/// What deaths at boot, if any, amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deaths {
    /// None, or long ago.
    None,
    /// There was one, and there may be another.
    Once,
    /// They repeat.
    Again,
}

impl Deaths {
    fn of(server: &Server, history: &History, at: Moment) -> Self {
        let deaths = crashes::at_boot(server, history, at);
        let last_s = deaths.first().map(|d| at.seconds_since(d.exit.at));
        match (crashes::is_loop(server, &deaths), last_s) {
            (true, Some(s)) if s < LOOP_S => Self::Again,
            (false, Some(s)) if s < UNSETTLED_S => Self::Once,
            _ => Self::None,
        }
    }
}

/// True if a worker has been killed for being silent, or may be soon, and that it repeats is not told yet.
fn may_be_killed(record: &Record, server: &Server, history: &History, at: Moment) -> bool {
    let told = server
        .findings
        .iter()
        .any(|f| f.code == Code::WorkerTimeoutLoop);
    let last = record.kills.last();
    let killed = last.is_some_and(|k| at.seconds_since(k.exit.at) < UNSETTLED_S);
    let workers = server.members.iter().filter(|m| works(m.role));
    let mut tracks = workers.filter_map(|m| history.tracks.get(&m.process.key));
    !told && (killed || tracks.any(|t| timeouts::is_near(&record.root, server.kind, t, at)))
}

/// True if a loop has not turned for a while, and it cannot be told yet whether it will.
fn may_be_blocked(server: &Server, history: &History, thresholds: &Thresholds) -> bool {
    let workers = server.members.iter().filter(|m| works(m.role));
    let held_s = |m: &Member| {
        let track = history.tracks.get(&m.process.key)?;
        loop_blocked_s(&m.process, track).filter(|_| track.has_accepted)
    };
    let mut held = workers.filter_map(held_s);
    held.any(|s| (HELD_S..thresholds.loop_blocked_s).contains(&s))
}

/// True if a shutdown was first seen a moment ago, and what it waits for, if for anything, is not told yet.
fn may_be_shutting_down(server: &Server, at: Moment) -> bool {
    let fresh = at.seconds_since(server.since) < SHUTDOWN_S;
    server.phase == Phase::Draining && fresh && server.findings.is_empty()
}

/// True if all workers are younger than their server by far, and none has accepted: they may have taken the place of some
/// that died before anybody looked.
fn may_be_replaced(server: &Server, history: &History, at: Moment) -> bool {
    let Some((root, others)) = server.members.split_first() else {
        return false;
    };
    let accepted = |m: &Member| {
        let track = history.tracks.get(&m.process.key);
        track.is_some_and(|t| t.has_accepted)
    };
    let late = |m: &Member| {
        let born_s = m.process.started.seconds_since(root.process.started);
        let age_s = at.seconds_since(m.process.started);
        born_s >= LATE_S && age_s < YOUNG_S && !accepted(m)
    };
    let working = |m: &&Member| works(m.role) && !m.process.has_ended();
    let mut workers = others.iter().filter(working).peekable();
    workers.peek().is_some() && workers.all(late)
}

/// Boot phases began with the process itself, where the server has one that is in them.
fn started_with(phase: Phase, server: &Server) -> Option<Moment> {
    (phase == Phase::Importing)
        .then(|| server.members.iter().map(|m| m.process.started).max())
        .flatten()
}

/// A master, supervisor or reloader is in no phase of its own: it is in that of its server, unless it is stopped or gone.
fn mirror_supervisors(members: &mut [Member], phase: Phase) {
    for member in members {
        let watches = matches!(
            member.role,
            Role::Master | Role::Supervisor | Role::Reloader
        );
        if watches && !matches!(member.phase, Phase::Stopped | Phase::Exited) {
            member.phase = phase;
        }
    }
}
