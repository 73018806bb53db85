//! One set of labels, the server that has them now, and what has been counted under them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::counts::{self, Counts, Deaths, Drops, Ending};
use super::label::Identity;
use crate::diagnosis::{Code, Finding, Phase, PhaseChange, Server, Severity};
use crate::snapshot::{Moment, ProcessKey, Snapshot};

/// How one died whose place was taken is waited for so long.
const UNTOLD_S: f64 = 4.0;
/// A look that took longer than this tells nothing of the time between.
const LONGEST_S: f64 = 10.0;
/// Of those who had the labels before, so many may still be told of.
const FORMER: usize = 4;

/// A set of labels.
#[derive(Debug, Clone)]
pub struct Slot {
    /// What tells the server.
    pub identity: Identity,
    /// 1, or more where another server is told by the same.
    pub ordinal: u32,
    /// When it got these labels.
    pub since: Moment,
    /// Who has the labels.
    pub state: State,
    /// What has been counted.
    pub counts: Counts,
    /// When its root process was started, in whole seconds since the Unix epoch.
    pub started_s: f64,
    /// Seconds from its start to serving, of the root that there is now; `None` if that was not seen.
    pub startup_s: Option<f64>,
    /// True once the server that has the labels now was looked at under them.
    is_seen: bool,
    /// The process that stands for it now, and how it ended if it has.
    root: Option<ProcessKey>,
    root_ending: Option<Ending>,
    /// Servers that have, or had, the labels: the present one last.
    holders: Vec<Holder>,
    /// All its processes at the last look.
    members: BTreeSet<ProcessKey>,
    findings: BTreeSet<(Code, Severity)>,
    drops: Drops,
    /// Roots whose place was taken, and since when it is asked how they ended.
    replaced: Vec<(ProcessKey, Moment)>,
}

/// Who has the labels.
#[derive(Debug, Clone)]
pub enum State {
    /// This server, as last seen.
    Here(Arc<Server>),
    /// Nobody: the server was last seen then.
    Gone(Moment),
}

/// A server that has the labels, or had them.
#[derive(Debug, Clone)]
struct Holder {
    /// Identity of the server: its first root.
    server: ProcessKey,
    deaths: Deaths,
}

impl Slot {
    /// For a server that is seen for the first time.
    pub fn new(identity: Identity, ordinal: u32, server: &Arc<Server>, at: Moment) -> Self {
        Self {
            identity,
            ordinal,
            since: at,
            state: State::Here(server.clone()),
            counts: Counts::default(),
            started_s: 0.0,
            startup_s: None,
            is_seen: false,
            root: None,
            root_ending: None,
            holders: vec![Holder::of(server)],
            members: BTreeSet::new(),
            findings: BTreeSet::new(),
            drops: Drops::default(),
            replaced: Vec::new(),
        }
    }

    /// True if this server has the labels.
    pub fn is_held_by(&self, server: &Server) -> bool {
        self.holders.last().is_some_and(|h| h.server == server.root)
    }

    /// True if another server may take the labels over.
    pub fn is_free(&self) -> bool {
        match &self.state {
            State::Here(server) => server.phase == Phase::Exited,
            State::Gone(_) => true,
        }
    }

    /// The labels are those of another server from now on, which has taken the place of this one.
    pub fn pass_to(&mut self, server: &Arc<Server>) {
        self.holders.retain(|h| h.server != server.root);
        self.holders.push(Holder::of(server));
        let excess = self.holders.len().saturating_sub(FORMER);
        self.holders.drain(..excess);
        self.state = State::Here(server.clone());
        self.is_seen = false;
        self.findings.clear();
    }

    /// The server that has other labels so far has taken the place of this one.
    pub fn inherit(&mut self, successor: Self) {
        self.holders.extend(successor.holders);
        let excess = self.holders.len().saturating_sub(FORMER);
        self.holders.drain(..excess);
        self.state = successor.state;
        self.is_seen = successor.is_seen;
        self.findings = successor.findings;
        self.replaced.extend(successor.replaced);
        self.drops.extend(successor.drops);
        self.counts.add(successor.counts);
    }

    /// Takes in what a look shows of the server that has the labels; `elapsed_s` since the look before.
    pub fn observe(&mut self, server: &Arc<Server>, snapshot: &Snapshot, elapsed_s: f64) {
        let at = snapshot.at;
        if self.is_seen && elapsed_s <= LONGEST_S {
            self.count_time(elapsed_s);
        }
        self.is_seen = true;
        self.note_root(server, snapshot);
        self.observe_end(server, at);
        self.count_findings(&server.findings);
        self.drops.count(server, at, &mut self.counts);
        if self.startup_s.is_none() {
            self.startup_s = startup_s(server);
        }
        self.members = server.members.iter().map(|m| m.process.key).collect();
        self.state = State::Here(server.clone());
    }

    /// Takes in who has died of a server that has the labels or had them; says whether it is one of those.
    pub fn observe_end(&mut self, server: &Server, at: Moment) -> bool {
        let holder = self.holders.iter_mut().find(|h| h.server == server.root);
        let Some(holder) = holder else { return false };
        holder.deaths.count(server, at, &mut self.counts);
        let ending_of = |root: &ProcessKey| {
            let exit = server.exits.iter().find(|e| e.exit.key == *root);
            exit.filter(|e| counts::is_told(e, at)).map(counts::ending)
        };
        if let Some(ending) = self.root.as_ref().and_then(ending_of) {
            self.root_ending = Some(ending);
        }
        let counts = &mut self.counts;
        self.replaced.retain(|(root, _)| {
            let ending = ending_of(root);
            if let Some(ending) = &ending {
                counts.note_restart(ending);
            }
            ending.is_none()
        });
        true
    }

    /// Counts restarts of which nobody has told in time how the former root ended.
    pub fn settle(&mut self, at: Moment) {
        let counts = &mut self.counts;
        self.replaced.retain(|(_, since)| {
            let waits = at.seconds_since(*since) < UNTOLD_S;
            if !waits {
                counts.note_restart(counts::UNKNOWN);
            }
            waits
        });
    }

    /// The server is not there any more.
    pub fn leave(&mut self, at: Moment) {
        if matches!(self.state, State::Here(_)) {
            self.state = State::Gone(at);
            self.findings.clear();
        }
    }

    fn count_time(&mut self, elapsed_s: f64) {
        let State::Here(before) = &self.state else {
            return;
        };
        if before.phase != Phase::Unseen {
            *self.counts.phase_s.entry(before.phase).or_default() += elapsed_s;
        }
        if self.findings.iter().any(|(code, _)| holds_loop(*code)) {
            self.counts.stalled_s += elapsed_s;
        }
    }

    /// A root that is younger than the one before, and was none of its processes, has taken its place.
    fn note_root(&mut self, server: &Server, snapshot: &Snapshot) {
        let Some(root) = server.members.first().map(|m| &m.process) else {
            return;
        };
        if Some(root.key) == self.root {
            return;
        }
        let is_other = |before: &ProcessKey| {
            root.key.start_time >= before.start_time && !self.members.contains(&root.key)
        };
        if let Some(before) = self.root.filter(is_other) {
            match self.root_ending.take() {
                Some(ending) => self.counts.note_restart(&ending),
                None => self.replaced.push((before, snapshot.at)),
            }
            self.startup_s = None;
        }
        self.root = Some(root.key);
        self.root_ending = None;
        self.started_s = (snapshot.wall_ms_of(root.started) as f64 / 1000.0).round();
    }

    fn count_findings(&mut self, findings: &[Finding]) {
        let now: BTreeSet<(Code, Severity)> =
            findings.iter().map(|f| (f.code, f.severity)).collect();
        for finding in now.difference(&self.findings) {
            *self.counts.findings.entry(*finding).or_default() += 1;
        }
        let is_held = |all: &BTreeSet<(Code, Severity)>| all.iter().any(|(c, _)| holds_loop(*c));
        if is_held(&now) && !is_held(&self.findings) {
            self.counts.stalls += 1;
        }
        self.findings = now;
    }
}

impl Holder {
    fn of(server: &Server) -> Self {
        Self {
            server: server.root,
            deaths: Deaths::default(),
        }
    }
}

/// Findings that say that an event loop does not turn.
fn holds_loop(code: Code) -> bool {
    matches!(code, Code::LoopBlocked | Code::GilHeld)
}

/// From the start of the root to the first moment at which the server was seen to serve, if it was seen on its way there.
fn startup_s(server: &Server) -> Option<f64> {
    let started = server.members.first()?.process.started;
    let is_of_root = |c: &&PhaseChange| c.at >= started;
    let was_before = server.timeline.iter().any(|c| c.at < started);
    let mut changes = server.timeline.iter().filter(is_of_root);
    let on_its_way = |c: &&PhaseChange| {
        use Phase::{Bound, CrashLooping, Importing, Listening, Starting};
        let phase = c.phase;
        matches!(
            phase,
            Importing | Starting | Bound | Listening | CrashLooping
        )
    };
    let first = changes.clone().next()?;
    let from_the_start = was_before || matches!(first.phase, Phase::Importing | Phase::Starting);
    let arrived = changes.find(|c| !on_its_way(c))?;
    let serves = arrived.phase == Phase::Serving;
    (from_the_start && serves).then(|| arrived.at.seconds_since(started))
}
