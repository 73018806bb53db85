//! The sampler joins what the sources see into one [`Snapshot`] after another.
//!
//! A look costs what has changed. Who starts, stalls or is selected ("hot") is read at every look; who is quiet, once per
//! interval; whose threads have not run since the last look keeps its stacks. Memory is read on threads of its own
//! (`python`): a target that hangs misses its turn, the snapshot is on time.
//!
//! ```text
//!   events ──> ledger ──┐                               ┌─> namespaces ─> listeners, connections
//!   /proc  ──> roster ──┴─> who is there ─> who is due ─┼─> processes  ─> threads, files, accepting
//!                                                       └─> stacks     ─> (answers may come a look later)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::clock::now;
use super::holder::HolderReader;
use super::intent::IntentReader;
use super::log::LogReader;
use super::netns::Namespaces;
use super::procfs::{Depth, Looking, ProcError, ProcReader};
use super::python::{StackReader, StackRequest};
use super::{clock, memory, privilege};
use crate::snapshot::{
    Connections, Gap, Inquiries, Moment, NetNs, Process, ProcessKey, Python, Snapshot, TcpState,
    Thread,
};

mod ledger;
mod roster;

use ledger::Ledger;
use roster::{Entry, Roster};

/// What the next look should do.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Seconds between looks at quiet processes.
    pub interval_s: f64,
    /// Processes to be looked at closely: those that the diagnosis or the user asks for.
    pub hot: BTreeSet<ProcessKey>,
    /// How long this look may wait for stacks.
    pub patience: Duration,
    /// Inodes of sockets whose holders are to be found among all processes.
    pub holders: BTreeSet<u64>,
}

/// Makes snapshots.
pub struct Sampler {
    host: String,
    hidden: Option<Gap>,
    reader: ProcReader,
    roster: Roster,
    ledger: Ledger,
    namespaces: Namespaces,
    stacks: StackReader,
    intents: IntentReader,
    logs: LogReader,
    holders: HolderReader,
    netns: BTreeMap<u64, Arc<NetNs>>,
    netns_gaps: Vec<Gap>,
    netns_at: Moment,
    listening: BTreeSet<u64>,
    connections: BTreeMap<ProcessKey, Arc<Connections>>,
    connections_at: Moment,
    connections_cost: Duration,
}

const NEWBORN_S: f64 = 10.0;
const FULL_EVERY_S: f64 = 5.0;
const LARGE_TABLE: u64 = 512;
const CONNECTIONS_LISTED: usize = 256;

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    /// A sampler that has seen nothing yet. Subscribes to process events where that is allowed.
    pub fn new() -> Self {
        Self {
            host: clock::host_name(),
            hidden: privilege::hidden_processes(&privilege::read()),
            reader: ProcReader::new(),
            roster: Roster::default(),
            ledger: Ledger::subscribe(),
            namespaces: Namespaces::new(),
            stacks: StackReader::new(),
            intents: IntentReader::default(),
            logs: LogReader::default(),
            holders: HolderReader::default(),
            netns: BTreeMap::new(),
            netns_gaps: Vec::new(),
            netns_at: Moment(0),
            listening: BTreeSet::new(),
            connections: BTreeMap::new(),
            connections_at: Moment(0),
            connections_cost: Duration::ZERO,
        }
    }

    /// Sleeps for at most `longest`, less if something is born, replaced or dies among the processes that matter: true then.
    pub fn wait(&mut self, longest: Duration) -> bool {
        self.ledger.wait(longest, &mut self.roster)
    }

    /// True if somebody is new or was asked to be looked at closely: the next look should come soon.
    pub fn is_restless(&self, wishes: &Wishes) -> bool {
        let at = now();
        self.roster
            .pythons()
            .any(|e| wishes.hot.contains(&e.process.key) || e.is_newborn(at))
    }

    /// Takes a look.
    pub fn look(&mut self, wishes: &Wishes) -> Snapshot {
        let began = now();
        self.ledger.drain(&mut self.roster);
        self.roster.scan(
            &mut self.reader,
            began,
            wishes.interval_s,
            self.ledger.source(),
        );
        // Who accepts depends on which sockets listen, and that on the namespaces that processes live in: in this order.
        self.read_namespaces(wishes, began);
        self.read_processes(wishes, began);
        self.read_connections(wishes, began);
        self.read_stacks(wishes, began);
        self.holders.ask(&wishes.holders);
        self.assemble(began)
    }

    fn read_processes(&mut self, wishes: &Wishes, at: Moment) {
        let due: Vec<u32> = self.roster.due(wishes, at);
        for pid in due {
            self.read_process(pid, wishes, at);
        }
    }

    fn read_process(&mut self, pid: u32, wishes: &Wishes, at: Moment) {
        let Some(entry) = self.roster.entry(pid) else {
            return;
        };
        let hot = entry.is_hot(wishes, at);
        let large = entry
            .process
            .fds
            .as_ref()
            .is_some_and(|f| f.open > LARGE_TABLE);
        let stale = at.seconds_since(entry.full_at);
        let searched = entry.has_news() && stale >= wishes.interval_s.min(1.0);
        let full = stale >= FULL_EVERY_S || hot && (!large || stale >= 1.0) || searched;
        let listening = &self.listening;
        let looking = Looking {
            now: at,
            memory: &|address, into| memory::read_exact_at(pid, address, into).is_ok(),
            wanted_listeners: &|inode| listening.contains(&inode),
        };
        let depth = if full { Depth::Full } else { Depth::Light };
        match self.reader.read(pid, depth, Some(&entry.process), &looking) {
            Ok(out) if entry.is_another(&out.process) => self.replace(pid, &out.process, at),
            Ok(out) => entry.take(out.process, out.denied, full, at),
            Err(ProcError::Gone) => self.ledger.missed(&mut self.roster, pid, at),
            Err(error) => entry.fail(&error),
        }
    }

    /// No event has told that this pid belongs to another process now, or runs another program.
    fn replace(&mut self, pid: u32, now: &Process, at: Moment) {
        self.ledger.replaced_unseen(&mut self.roster, pid, now, at);
        self.roster.announced(&mut self.reader, pid, at);
    }

    fn read_namespaces(&mut self, wishes: &Wishes, at: Moment) {
        let age = at.seconds_since(self.netns_at);
        let restless = self.roster.pythons().any(|e| e.is_hot(wishes, at));
        if self.netns_at != Moment(0) && age + 0.02 < wishes.interval_s && !restless {
            return;
        }
        let mut members: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        // Where somebody lives who may not be asked where: most likely in ours, which is read without any right.
        let mut homeless = false;
        for entry in self.roster.pythons().filter(|e| !e.is_dead()) {
            match entry.process.netns {
                Some(netns) => {
                    let pids = members.entry(netns).or_default();
                    pids.push(entry.process.key.pid);
                }
                None => homeless = true,
            }
        }
        if let Some(own) = self.namespaces.own_inode().filter(|_| homeless) {
            members.entry(own).or_default();
        }
        let (read, gaps) = self.namespaces.read(&members, at);
        self.netns = read.into_iter().map(|n| (n.inode, n)).collect();
        self.netns_gaps = gaps;
        self.netns_at = at;
        let listening: BTreeSet<u64> = self
            .netns
            .values()
            .flat_map(|n| n.listeners.iter().map(|l| l.inode))
            .collect();
        if listening.difference(&self.listening).next().is_some() {
            // Whoever opened it has run since its descriptors were listed.
            self.roster.sockets_moved();
        }
        self.listening = listening;
    }

    fn read_connections(&mut self, wishes: &Wishes, at: Moment) {
        let pause = wishes
            .interval_s
            .max(self.connections_cost.as_secs_f64() * 50.0);
        if self.connections_at != Moment(0) && at.seconds_since(self.connections_at) + 0.02 < pause
        {
            return;
        }
        self.connections_at = at;
        let began = std::time::Instant::now();
        self.connections.clear();
        let netns: Vec<u64> = self.netns.keys().copied().collect();
        for netns in netns {
            self.read_connections_of(netns);
        }
        self.connections_cost = began.elapsed();
    }

    fn read_connections_of(&mut self, netns: u64) {
        let mut owners: BTreeMap<u64, Vec<ProcessKey>> = BTreeMap::new();
        for entry in self
            .roster
            .pythons()
            .filter(|e| e.process.netns == Some(netns))
        {
            for inode in entry.process.fds.iter().flat_map(|f| f.sockets.iter()) {
                owners.entry(*inode).or_default().push(entry.process.key);
            }
        }
        let Some(found) = self
            .namespaces
            .connections(netns, &|inode| owners.contains_key(&inode))
        else {
            return;
        };
        let mut by_owner: BTreeMap<ProcessKey, Connections> = BTreeMap::new();
        for entry in self
            .roster
            .pythons()
            .filter(|e| e.process.netns == Some(netns) && e.process.fds.is_some())
        {
            by_owner.insert(entry.process.key, Connections::default());
        }
        for connection in found {
            for key in owners.get(&connection.inode).into_iter().flatten() {
                if let Some(all) = by_owner.get_mut(key) {
                    all.total += 1;
                    count(&mut all.by_state, connection.state);
                    if all.list.len() < CONNECTIONS_LISTED {
                        all.list.push(connection.clone());
                    }
                }
            }
        }
        for (key, mut all) in by_owner {
            all.by_state.sort_unstable();
            all.list.sort_by_key(|c| c.inode);
            self.connections.insert(key, Arc::new(all));
        }
    }

    fn read_stacks(&mut self, wishes: &Wishes, read_at: Moment) {
        let at = now();
        let mut requests = Vec::new();
        for entry in self
            .roster
            .pythons_mut()
            .filter(|e| e.was_read_at(read_at) && !e.is_dead())
        {
            if entry.stacks_still_true() || !entry.may_read_stacks(at) {
                continue;
            }
            let threads: Vec<Thread> = entry.process.threads.clone().unwrap_or_default();
            requests.push(StackRequest {
                key: entry.process.key,
                threads,
                exe: entry.executable(),
            });
        }
        self.stacks.request(requests);
        for answer in self.stacks.collect(wishes.patience) {
            if let Some(entry) = self
                .roster
                .entry(answer.key.pid)
                .filter(|e| e.process.key == answer.key)
            {
                entry.answer(answer);
                entry.search_intent(&mut self.intents);
            }
        }
        for (key, intent) in self.intents.found() {
            if let Some(entry) = self.roster.entry(key.pid).filter(|e| e.process.key == key) {
                entry.intend(intent);
            }
        }
        let roster = &self.roster;
        self.stacks.forget(&|key| roster.has(key));
    }

    fn assemble(&mut self, began: Moment) -> Snapshot {
        let at = now();
        let mut processes: Vec<Arc<Process>> = Vec::new();
        let mut gaps = self.netns_gaps.clone();
        gaps.extend(self.hidden.clone());
        gaps.extend(self.ledger.gap());
        for entry in self.roster.all_mut() {
            gaps.extend(entry.gaps());
            processes.push(entry.record(self.connections.get(&entry.process.key)));
        }
        self.logs.request(&processes);
        let told = self.logs.told();
        gaps.extend(told.gaps);
        gaps.sort();
        gaps.dedup();
        Snapshot {
            host: self.host.clone(),
            at,
            wall_ms: clock::wall_ms(),
            processes,
            netns: self.netns.values().cloned().collect(),
            exits: self.ledger.take_exits(),
            events: self.ledger.source(),
            inquiries: Inquiries {
                logs: told.tails,
                holders: self.holders.known(),
                server_threads: self.intents.server_threads(|key| self.roster.has(key)),
            },
            gaps,
            own: clock::own_cost(Duration::from_nanos(at.0.saturating_sub(began.0))),
        }
    }
}

fn count(by_state: &mut Vec<(TcpState, u64)>, state: TcpState) {
    match by_state.iter_mut().find(|(s, _)| *s == state) {
        Some((_, n)) => *n += 1,
        None => by_state.push((state, 1)),
    }
}

impl Entry {
    fn is_newborn(&self, at: Moment) -> bool {
        at.seconds_since(self.process.started) < NEWBORN_S && !self.is_dead()
    }

    fn is_hot(&self, wishes: &Wishes, at: Moment) -> bool {
        wishes.hot.contains(&self.process.key) || self.is_newborn(at)
    }

    /// True if no thread had run since the stacks were read when threads were looked at last: they were as true then.
    fn stacks_still_true(&mut self) -> bool {
        let Some(threads) = &self.process.threads else {
            return false;
        };
        let same = !self.stack_marks.is_empty()
            && threads.len() == self.stack_marks.len()
            && threads
                .iter()
                .zip(&self.stack_marks)
                .all(|(t, mark)| (t.tid, t.run_ns, t.switches) == *mark);
        if same
            && let Some(Python {
                stacks: Some(_),
                stacks_true_at,
                ..
            }) = &mut self.python
        {
            *stacks_true_at = (*stacks_true_at).max(Some(self.process.sampled_at));
            self.record = None;
            return true;
        }
        false
    }
}
