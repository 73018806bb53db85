//! The analyst takes snapshot after snapshot and says what each means, with what it remembers of those before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod describe;
mod gone;
mod launcher;
mod record;
mod rest;

use record::Record;

use super::family::{self, Family};
use super::history::History;
use super::{Diagnosis, Phase, Server, Thresholds};
use crate::snapshot::{Moment, Process, ProcessKey, Snapshot};

const GONE_SHOWN_S: f64 = 30.0;
const ADOPT_WITHIN_S: f64 = 30.0;

/// Says what snapshots mean.
#[derive(Debug, Default, Clone)]
pub struct Analyst {
    thresholds: Thresholds,
    history: History,
    cases: BTreeMap<ProcessKey, Record>,
    /// Root of a family as it is now → the root under which its record is kept.
    identity: BTreeMap<ProcessKey, ProcessKey>,
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
        let serve_nobody = launcher::who_serve_nobody(&rest, &families);
        for (id, family) in ids.into_iter().zip(&families) {
            // A root that is dead and not reaped may have a successor already, which is the server now.
            match self.cases.get_mut(&id) {
                Some(record) if record.root.key != family.root.key => {
                    record.note_members(family, snapshot, &self.history);
                }
                _ => servers.push(self.describe(id, family, snapshot, &serve_nobody)),
            }
        }
        servers.extend(self.gone(snapshot));
        servers.sort_by_key(|s| (s.root.start_time, s.root.pid));
        self.forget(snapshot.at);
        let outsiders = self.outsiders(launcher::left_out(rest, &servers));
        let attention = self.attention(&servers, snapshot.at);
        let unknown_holders = self.unknown_holders(&servers, snapshot);
        Diagnosis {
            servers,
            outsiders,
            attention,
            unknown_holders,
        }
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
        record.succeed(&family.root);
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
                    .is_none_or(|p| p.key != record.root.key || p.has_ended())
                && family.root.started > record.root.started
                && snapshot.at.seconds_since(record.seen) < ADOPT_WITHIN_S
        };
        self.cases
            .iter()
            .find(|(_, record)| same(record))
            .map(|(id, _)| *id)
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
        above: Vec::new(),
        unsettled: false,
    }
}
