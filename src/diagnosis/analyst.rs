//! The analyst takes snapshot after snapshot and says what each means, with what it remembers of those before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod calm;
mod record;

use record::Record;

use super::family::{self, Family};
use super::history::History;
use super::phase::{Evidence, Whole, works};
use super::rule::{self, Case};
use super::{
    Diagnosis, Member, Outsider, Phase, Role, Server, Thresholds, crashes, kind, sockets, why,
};
use crate::snapshot::{Activity, Moment, Process, ProcessKey, ProcessState, Snapshot};

const GONE_SHOWN_S: f64 = 30.0;
const ADOPT_WITHIN_S: f64 = 30.0;

/// Says what snapshots mean.
#[derive(Debug, Default)]
pub struct Analyst {
    thresholds: Thresholds,
    history: History,
    cases: BTreeMap<ProcessKey, Record>,
    /// Root of a family as it is now → the root under which its record is kept.
    identity: BTreeMap<ProcessKey, ProcessKey>,
    calm: calm::Calm,
}

impl Analyst {
    /// An analyst with its own idea of when is long.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            ..Self::default()
        }
    }

    /// Takes in the next snapshot and says what it means.
    pub fn observe(&mut self, snapshot: &Snapshot) -> Diagnosis {
        self.history.observe(snapshot);
        let (families, rest) = family::families(snapshot, &self.history);
        let mut servers: Vec<Arc<Server>> = Vec::new();
        let ids: Vec<ProcessKey> = families
            .iter()
            .map(|f| self.identify(f, snapshot))
            .collect();
        for (id, family) in ids.into_iter().zip(&families) {
            // A root that is dead and not reaped may have a successor already, which is the server now.
            match self.cases.get_mut(&id) {
                Some(record) if record.root.key != family.root.key => {
                    record.note_members(family, snapshot, &self.history);
                }
                _ => servers.push(self.describe(id, family, snapshot)),
            }
        }
        servers.extend(self.gone(snapshot));
        servers.sort_by_key(|s| (s.root.start_time, s.root.pid));
        self.forget(snapshot.at);
        let outsiders = self.outsiders(rest);
        let attention = self.attention(&servers, snapshot.at);
        let diagnosis = Diagnosis {
            servers,
            outsiders,
            attention,
        };
        self.calm.note(&diagnosis, snapshot.at);
        diagnosis
    }

    /// The root under which a family's record is kept: its own, or that of the server whose place it has taken: same
    /// parent, same command line, and that one has ended a moment ago.
    fn identify(&mut self, family: &Family, snapshot: &Snapshot) -> ProcessKey {
        let root = family.root.key;
        if let Some(id) = self.identity.get(&root) {
            return *id;
        }
        let id = self.predecessor(family, snapshot).unwrap_or(root);
        self.identity.insert(root, id);
        let record = self.cases.entry(id).or_insert_with(|| Record::new(family));
        record.root = family.root.clone();
        record.has_served = false;
        id
    }

    fn predecessor(&self, family: &Family, snapshot: &Snapshot) -> Option<ProcessKey> {
        let same = |record: &Record| {
            record.root.ppid == family.root.ppid
                && (record.root.cmdline == family.root.cmdline
                    || record.kind == family.kind
                        && is_titled(&record.root) != is_titled(&family.root))
                && record.root.cwd == family.root.cwd
                && snapshot
                    .process(record.root.key.pid)
                    .is_none_or(|p| p.key != record.root.key || is_dead(p))
                && family.root.started > record.root.started
                && snapshot.at.seconds_since(record.seen) < ADOPT_WITHIN_S
        };
        self.cases
            .iter()
            .find(|(_, record)| same(record))
            .map(|(id, _)| *id)
    }

    fn describe(&mut self, id: ProcessKey, family: &Family, snapshot: &Snapshot) -> Arc<Server> {
        let at = snapshot.at;
        let listeners = sockets::of(family, snapshot, &self.history);
        for listener in listeners.iter().filter(|l| !l.side) {
            for process in listener
                .holders
                .iter()
                .filter_map(|pid| snapshot.process(*pid))
            {
                let armed = listener
                    .accepting
                    .iter()
                    .flatten()
                    .any(|pid| *pid == process.key.pid);
                let takes =
                    armed && sockets::surely_takes(family.kind, process, listener.socket.inode);
                if takes
                    || sockets::has_taken_from(process, &listener.socket)
                    || sockets::is_past_boot(process)
                {
                    self.history.note_accepting(process.key, family.kind);
                }
            }
        }
        let Some(record) = self.cases.get_mut(&id) else {
            return Arc::new(empty_server(id, family, at));
        };
        record.note_members(family, snapshot, &self.history);
        let evidence = Evidence {
            at,
            kind: family.kind,
            listeners: &listeners,
            history: &self.history,
            thresholds: &self.thresholds,
            asked: &family.root.cmdline,
            killed_at: record.killed_at(),
            before: &record.member_phases,
        };
        let phases: Vec<(Role, Phase)> = family
            .members
            .iter()
            .map(|(p, role)| (*role, evidence.of_process(p, *role)))
            .collect();
        record.has_served |= family.members.iter().any(|(p, role)| {
            works(*role)
                && !is_dead(p)
                && self
                    .history
                    .tracks
                    .get(&p.key)
                    .is_some_and(|t| t.has_accepted)
        });
        let mut server = record.draft(id, family, listeners, at);
        server.members = record.members(family, &phases, &self.history, at);
        server.members.extend(restarter(id, family, snapshot));
        let deaths = crashes::at_boot(&server, &self.history, at);
        let looping = crashes::is_loop(&server, &deaths);
        let last_death_s = deaths.first().map(|d| at.seconds_since(d.exit.at));
        let crash_looping = looping && last_death_s.is_some_and(|s| s < 20.0);
        let unsettled = !looping && last_death_s.is_some_and(|s| s < 10.0);
        let whole = Whole {
            members: &phases,
            listeners: &server.listeners,
            crash_looping,
            once_served: record.has_served,
        };
        let phase = whole.phase();
        record.enter(phase, started_with(phase, &server), at);
        mirror_supervisors(&mut server.members, phase);
        server.phase = phase;
        server.unsettled = unsettled && phase != Phase::Serving;
        server.since = record.timeline.last().map_or(at, |c| c.at);
        server.tcp_rates = family.root.netns.and_then(|n| self.history.tcp_rates(n));
        server.since_is_bound = record.since_is_bound && record.timeline.len() == 1;
        server.timeline.clone_from(&record.timeline);
        let case = Case {
            at,
            server: &server,
            snapshot,
            history: &self.history,
            thresholds: &self.thresholds,
        };
        server.findings = rule::examine_all(&case);
        record.log_findings(&server.findings, at);
        server.finding_log.clone_from(&record.finding_log);
        server.why = why::sentence(&server, at);
        let server = Arc::new(server);
        record.last = Some(server.clone());
        record.seen = at;
        server
    }

    /// Servers whose processes have all gone, shown for a while with how they ended.
    fn gone(&mut self, snapshot: &Snapshot) -> Vec<Arc<Server>> {
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
            // A shell that restarts the server is alive.
            for member in &mut server.members {
                if !member.process.is_python() {
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

    fn outsiders(&self, rest: Vec<Arc<Process>>) -> Vec<Outsider> {
        rest.into_iter()
            .map(|process| Outsider {
                name: kind::name(&process, None),
                cpu_percent: self
                    .history
                    .tracks
                    .get(&process.key)
                    .and_then(|t| t.cpu_percent()),
                phase: if is_dead(&process) {
                    Phase::Exited
                } else if super::phase::is_stopped(&process) {
                    Phase::Stopped
                } else {
                    Phase::NotAServer
                },
                process,
            })
            .collect()
    }

    /// Who deserves a closer look: whatever does not just serve, and whoever serves but was not waiting when last seen.
    fn attention(&self, servers: &[Arc<Server>], at: Moment) -> Vec<ProcessKey> {
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

    fn forget(&mut self, at: Moment) {
        self.cases
            .retain(|_, record| at.seconds_since(record.seen) <= GONE_SHOWN_S.max(ADOPT_WITHIN_S));
        let cases = &self.cases;
        self.identity.retain(|_, id| cases.contains_key(id));
    }
}

/// gunicorn gives itself a title some time after it has started.
fn is_titled(process: &Process) -> bool {
    process
        .cmdline
        .first()
        .is_some_and(|a| a.starts_with("gunicorn: "))
}

fn is_dead(process: &Process) -> bool {
    matches!(process.state, ProcessState::Zombie | ProcessState::Dead)
}

/// Whoever starts the server again when it ends, once it has been seen to do so: a shell's loop, a process supervisor.
/// Init is left out: it starts everything.
fn restarter(id: ProcessKey, family: &Family, snapshot: &Snapshot) -> Option<Member> {
    let parent = snapshot.process(family.root.ppid)?;
    let restarts = id != family.root.key && parent.key.pid > 1 && !parent.is_python();
    restarts.then(|| Member {
        process: parent.clone(),
        role: Role::Supervisor,
        phase: Phase::NotAServer,
        since: parent.started,
        cpu_percent: None,
        fd_growth: Vec::new(),
        same_frame_s: None,
        exit: None,
    })
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

fn empty_server(id: ProcessKey, family: &Family, at: Moment) -> Server {
    Server {
        root: id,
        pid: family.root.key.pid,
        name: String::new(),
        kind: family.kind,
        phase: Phase::Importing,
        since: at,
        since_is_bound: true,
        timeline: Vec::new(),
        why: String::new(),
        findings: Vec::new(),
        finding_log: Vec::new(),
        listeners: Vec::new(),
        members: Vec::new(),
        exits: VecDeque::new(),
        exits_total: 0,
        tcp_rates: None,
        unsettled: false,
    }
}
