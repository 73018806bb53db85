//! What is remembered of one server from look to look: phases, roles, deaths, findings.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::empty_server;
use crate::diagnosis::family::Family;
use crate::diagnosis::history::History;
use crate::diagnosis::phase::works;
use crate::diagnosis::timeouts::{self, Kill};
use crate::diagnosis::{
    Finding, FindingChange, Kind, Member, MemberExit, Phase, PhaseChange, Role, Server,
    ServerListener, kind,
};
use crate::snapshot::{Exit, ExitStatus, Moment, Process, ProcessKey, Snapshot};

const TIMELINE: usize = 64;
const EXITS: usize = 64;

/// What is remembered of one server.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) root: Arc<Process>,
    /// When the root's program began.
    began: Moment,
    pub(super) timeline: Vec<PhaseChange>,
    pub(super) since_is_bound: bool,
    pub(super) member_phases: BTreeMap<ProcessKey, (Phase, Moment)>,
    pub(super) roles: BTreeMap<ProcessKey, Role>,
    pub(super) exits: VecDeque<MemberExit>,
    pub(super) exits_total: u64,
    /// Workers that were killed for being silent, oldest first.
    pub(super) kills: Vec<Kill>,
    pub(super) findings: Vec<Finding>,
    pub(super) finding_log: Vec<FindingChange>,
    pub(super) last: Option<Arc<Server>>,
    pub(super) seen: Moment,
    /// True once a process under the present root has accepted, also if that process is gone.
    pub(super) has_served: bool,
}

impl Record {
    pub(super) fn new(family: &Family) -> Self {
        Self {
            kind: family.kind,
            name: kind::name(&family.root, Some(family.kind)),
            root: family.root.clone(),
            began: family.root.started,
            timeline: Vec::new(),
            since_is_bound: true,
            member_phases: BTreeMap::new(),
            roles: BTreeMap::new(),
            exits: VecDeque::new(),
            exits_total: 0,
            kills: Vec::new(),
            findings: Vec::new(),
            finding_log: Vec::new(),
            last: None,
            seen: Moment(0),
            has_served: false,
        }
    }

    /// Remembers who is who, and takes in the deaths of those who were or whose parent is a member.
    pub(super) fn note_members(&mut self, family: &Family, snapshot: &Snapshot, history: &History) {
        self.kind = family.kind;
        self.note_program(family, history);
        for (process, role) in &family.members {
            self.roles.insert(process.key, *role);
            if process.has_ended() && !self.exits.iter().any(|e| e.exit.key == process.key) {
                self.note(exit_of_zombie(process, snapshot.at), *role, history);
            }
        }
        self.note_exits(&snapshot.exits, history);
    }

    /// Another process is the root from now on.
    pub(super) fn succeed(&mut self, root: &Arc<Process>) {
        self.root = root.clone();
        self.began = root.started;
        self.has_served = false;
    }

    /// A root that runs another program is another server in the same place.
    fn note_program(&mut self, family: &Family, history: &History) {
        let root = &family.root;
        let began = history
            .tracks
            .get(&root.key)
            .map_or(root.started, |t| t.began);
        if self.root.key == root.key && began > self.began {
            self.began = began;
            self.root = root.clone();
            self.name = kind::name(root, Some(family.kind));
            self.has_served = false;
            self.kills.clear();
        }
    }

    pub(super) fn note_exits(&mut self, exits: &[Exit], history: &History) {
        for exit in exits {
            let known = self.roles.get(&exit.key).copied();
            let role = known.or_else(|| self.role_of_unseen(exit, history));
            if let Some(role) = role {
                self.note(exit.clone(), role, history);
            }
        }
    }

    /// The role of somebody who was born and died between two looks; `None` for a stranger. What is born to a process that
    /// takes connections itself is its helper, and so is what a working process starts that ends well (`subprocess`, a pool), and
    /// whatever a helper starts.
    pub(super) fn role_of_unseen(&self, exit: &Exit, history: &History) -> Option<Role> {
        if self.is_next_life(exit) {
            return Some(Role::Single);
        }
        let parents = || self.roles.iter().filter(|(k, _)| k.pid == exit.ppid);
        if !exit.python || parents().next().is_none() {
            return None;
        }
        let accepts = |key| history.tracks.get(key).is_some_and(|t| t.has_accepted);
        let helps = parents().any(|(key, role)| {
            *role == Role::Helper || works(*role) && (accepts(key) || exit.code == Some(0))
        });
        Some(if helps { Role::Helper } else { Role::Worker })
    }

    /// True for somebody who was started in the place of a root that has died, and died before anybody knew what it was.
    fn is_next_life(&self, exit: &Exit) -> bool {
        let root = &self.root;
        let died = self.exits.iter().find(|e| e.exit.key == root.key);
        let born_after = |died: &MemberExit| {
            let lived_ns = exit.lived_ns?;
            Some(exit.at.0.saturating_sub(lived_ns) >= died.exit.at.0)
        };
        exit.python
            && exit.ppid == root.ppid
            && exit.ppid > 1
            && exit.cmdline == root.cmdline
            && died.and_then(born_after) == Some(true)
    }

    pub(super) fn note(&mut self, mut exit: Exit, role: Role, history: &History) {
        if let Some(before) = self.exits.iter_mut().find(|e| e.exit.key == exit.key) {
            before.exit.code = before.exit.code.or(exit.code);
            before.exit.signal = before.exit.signal.or(exit.signal);
            before.exit.lived_ns = before.exit.lived_ns.or(exit.lived_ns);
            if before.exit.last_stack.is_empty() {
                before.exit.last_stack = exit.last_stack;
            }
            if before.exit.cmdline.is_empty() {
                before.exit.cmdline = exit.cmdline;
            }
            return;
        }
        if exit.cmdline.is_empty() && (exit.key == self.root.key || role == Role::Single) {
            // Of a zombie the kernel shows none, and who takes a root's place runs the same.
            exit.cmdline.clone_from(&self.root.cmdline);
        }
        let track = history.tracks.get(&exit.key);
        let kill = track.and_then(|t| timeouts::kill(&exit, role, self.kind, &self.root, t));
        self.kills.extend(kill);
        let excess = self.kills.len().saturating_sub(EXITS);
        self.kills.drain(..excess);
        exit.cmdline.truncate(16);
        self.exits.push_front(MemberExit { exit, role });
        self.exits.truncate(EXITS);
        self.exits_total += 1;
    }

    /// When a worker was last killed: for being silent, or by a signal that nobody can answer, or by the one before it.
    pub(super) fn killed_at(&self) -> Option<Moment> {
        let killed = |e: &&MemberExit| works(e.role) && matches!(e.exit.signal, Some(6 | 9));
        let by_signal = self.exits.iter().filter(killed).map(|e| e.exit.at).max();
        by_signal.max(self.kills.last().map(|k| k.exit.at))
    }

    pub(super) fn enter(&mut self, phase: Phase, began: Option<Moment>, at: Moment) {
        let first = self.timeline.is_empty();
        if self.timeline.last().is_some_and(|c| c.phase == phase) {
            return;
        }
        let began = if first {
            began.filter(|b| *b <= at)
        } else {
            None
        };
        self.since_is_bound = first && began.is_none();
        self.timeline.push(PhaseChange {
            at: began.unwrap_or(at),
            phase,
        });
        if self.timeline.len() > TIMELINE {
            self.timeline.remove(0);
        }
    }

    pub(super) fn log_findings(&mut self, now: &[Finding], at: Moment) {
        let mut change = |code, began| self.finding_log.push(FindingChange { at, code, began });
        for finding in now
            .iter()
            .filter(|n| !self.findings.iter().any(|f| f.code == n.code))
        {
            change(finding.code, true);
        }
        for finding in self
            .findings
            .iter()
            .filter(|f| !now.iter().any(|n| n.code == f.code))
        {
            change(finding.code, false);
        }
        let excess = self.finding_log.len().saturating_sub(TIMELINE);
        self.finding_log.drain(..excess);
        self.findings = now.to_vec();
    }

    pub(super) fn draft(
        &self,
        id: ProcessKey,
        family: &Family,
        listeners: Vec<ServerListener>,
        at: Moment,
    ) -> Server {
        Server {
            root: id,
            pid: family.root.key.pid,
            name: self.name.clone(),
            kind: family.kind,
            listeners,
            exits: self.exits.clone(),
            exits_total: self.exits_total,
            ..empty_server(id, family, at)
        }
    }

    pub(super) fn members(
        &mut self,
        family: &Family,
        phases: &[(Role, Phase)],
        history: &History,
        at: Moment,
    ) -> Vec<Member> {
        let alive: Vec<ProcessKey> = family.members.iter().map(|(p, _)| p.key).collect();
        self.member_phases.retain(|key, _| alive.contains(key));
        self.roles
            .retain(|key, _| alive.contains(key) || history.tracks.contains_key(key));
        let mut members = Vec::with_capacity(phases.len());
        for ((process, role), (_, phase)) in family.members.iter().zip(phases) {
            let entry = self
                .member_phases
                .entry(process.key)
                .or_insert((*phase, at));
            if entry.0 != *phase {
                *entry = (*phase, at);
            }
            let track = history.tracks.get(&process.key);
            members.push(Member {
                process: process.clone(),
                role: *role,
                phase: *phase,
                since: entry.1,
                cpu_percent: track.and_then(|t| t.cpu_percent()),
                fd_growth: track.map(|t| t.fd_growth()).unwrap_or_default(),
                same_frame_s: track.and_then(|t| t.same_place_s()),
                standing: track.map(|t| t.standing.clone()).unwrap_or_default(),
                exit: self
                    .exits
                    .iter()
                    .find(|e| e.exit.key == process.key)
                    .cloned(),
            });
        }
        members
    }
}

/// A zombie: its status is all that is left of it. When it died is not known, only that it is dead by now.
fn exit_of_zombie(process: &Process, at: Moment) -> Exit {
    let status = process.exit_status.map(ExitStatus::from_wait);
    let status = status.unwrap_or_default();
    Exit {
        key: process.key,
        ppid: process.ppid,
        at,
        lived_ns: Some(at.0.saturating_sub(process.started.0)),
        code: status.code,
        signal: status.signal,
        cmdline: process.cmdline.clone(),
        python: process.is_python(),
        last_stack: Vec::new(),
    }
}
