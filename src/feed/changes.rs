//! What changed, and when? Phases of servers and findings that began or ended, noted look by look: the places that one jumps to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnosis::{Code, Diagnosis, Phase, Severity};
use crate::snapshot::{ProcessKey, Snapshot};

/// So many are kept; of a fleet that crashes for hours the oldest are forgotten.
const MOST: usize = 4096;

/// Something began or ended at a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When that look was, in milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Name and pid of the server.
    pub server: String,
    /// What it was.
    pub what: What,
}

/// What can begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A server went from one phase to another; `None` for one that was not there before.
    Phase(Option<Phase>, Phase),
    /// A finding that is no mere hint began, or ended.
    Finding(Code, bool),
}

impl What {
    /// In words: `starting → serving`, `loop-blocked began`.
    pub fn words(self) -> String {
        match self {
            Self::Phase(Some(before), after) => format!("{} → {}", before.word(), after.word()),
            Self::Phase(None, after) => format!("seen {}", after.word()),
            Self::Finding(code, true) => format!("{} began", code.word()),
            Self::Finding(code, false) => format!("{} ended", code.word()),
        }
    }
}

/// Notes changes from look to look.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    list: Arc<Vec<Change>>,
    last: BTreeMap<ProcessKey, State>,
    began: bool,
}

/// What a server was like at the last look.
#[derive(Debug, Clone, PartialEq)]
struct State {
    phase: Phase,
    findings: Vec<Code>,
}

impl Changes {
    /// Takes in what a look meant. Servers that were there at the very first one have not changed by that.
    pub fn note(&mut self, snapshot: &Snapshot, diagnosis: &Diagnosis) {
        let mut now = BTreeMap::new();
        let mut news = Vec::new();
        for server in &diagnosis.servers {
            let of_weight = server
                .findings
                .iter()
                .filter(|f| f.severity != Severity::Info);
            let state = State {
                phase: server.phase,
                findings: of_weight.map(|f| f.code).collect(),
            };
            let before = self.last.get(&server.root);
            let mut tell = |what| {
                news.push(Change {
                    wall_ms: snapshot.wall_ms,
                    server: format!("{} ({})", server.name, server.pid),
                    what,
                });
            };
            if before.is_some_and(|b| b.phase != state.phase) || before.is_none() && self.began {
                tell(What::Phase(before.map(|b| b.phase), state.phase));
            }
            let had = before.map(|b| b.findings.as_slice()).unwrap_or_default();
            for code in state.findings.iter().filter(|code| !had.contains(code)) {
                tell(What::Finding(*code, true));
            }
            for code in had.iter().filter(|code| !state.findings.contains(code)) {
                tell(What::Finding(*code, false));
            }
            now.insert(server.root, state);
        }
        self.last = now;
        self.began = true;
        if !news.is_empty() {
            let list = Arc::make_mut(&mut self.list);
            list.extend(news);
            let excess = list.len().saturating_sub(MOST);
            list.drain(..excess);
        }
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Arc<Vec<Change>> {
        Arc::clone(&self.list)
    }

    /// Forgets those before a time, in milliseconds since the Unix epoch.
    pub fn forget_before(&mut self, wall_ms: i64) {
        let old = self.list.partition_point(|c| c.wall_ms < wall_ms);
        if old > 0 {
            Arc::make_mut(&mut self.list).drain(..old);
        }
    }
}
