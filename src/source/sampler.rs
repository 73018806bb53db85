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
use std::time::{Duration, Instant};

use super::clock::now;
use super::holder::HolderReader;
use super::intent::IntentReader;
use super::log::LogReader;
use super::netns::{Members, Namespaces};
use super::procfs::waiting::WaitReader;
use super::procfs::{Depth, Looking, ProcError, ProcReader};
use super::python::{StackReader, StackRequest};
use super::{clock, memory, privilege};
use crate::snapshot::{
    Gap, Inquiries, Moment, NetNs, Process, ProcessKey, Python, Snapshot, Thread,
};

mod children;
mod connections;
mod ledger;
mod roster;
mod socket_files;
mod waits;

/// The cause of a gap while nothing has come of a first reading.
pub const NOT_READ_YET: &str = "not read yet";

use ledger::Ledger;
use roster::{Entry, Roster};

/// What the next look should do.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Seconds between looks at quiet processes.
    pub interval_s: f64,
    /// Processes to be looked at closely, as the diagnosis asks.
    pub hot: BTreeSet<ProcessKey>,
    /// The process that the user looks at.
    pub focus: Option<ProcessKey>,
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
    /// When everybody was looked at last.
    all_at: Moment,
    listening: BTreeSet<u64>,
    connections: connections::Held,
    waits: WaitReader,
    socket_files: socket_files::SocketFiles,
}

const NEWBORN_S: f64 = 10.0;
/// All of a process is read this often: of one that runs, of one that is watched closely, of one that does nothing. What of
/// the last can change is its limits, its cgroup and its tracer, by somebody else's hand.
const FULL_EVERY_S: f64 = 5.0;
const FULL_HOT_EVERY_S: f64 = 1.0;
const FULL_STILL_EVERY_S: f64 = 60.0;
/// Looks are as close as can be until so long after somebody who is watched has done something: longer than any threshold of
/// the diagnosis that a process can reach by doing nothing more.
const LINGER_S: f64 = 3.0;
const LARGE_TABLE: u64 = 512;

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
            all_at: Moment(0),
            listening: BTreeSet::new(),
            connections: connections::Held::default(),
            waits: WaitReader::default(),
            socket_files: socket_files::SocketFiles::default(),
        }
    }

    /// Sleeps for at most `longest`, less if something is born, replaced or dies among the processes that matter: true then.
    pub fn wait(&mut self, longest: Duration) -> bool {
        self.ledger.wait(longest, &mut self.roster)
    }

    /// True if the next look should come soon: somebody who is watched closely has done something since the last one, or not
    /// long before it. Costs a few short reads for each of those.
    pub fn stirs(&mut self, wishes: &Wishes) -> bool {
        let at = now();
        let watched: Vec<&Entry> = self
            .roster
            .pythons()
            .filter(|e| e.is_hot(wishes, at))
            .collect();
        let lingers =
            |e: &&Entry| e.is_urgent(wishes, at) && at.seconds_since(e.stirred_at) < LINGER_S;
        watched.iter().any(lingers) || watched.iter().any(|e| !self.reader.rests(&e.process, at))
    }

    /// How long it is until everybody is due to be looked at.
    pub fn due_in(&self, wishes: &Wishes) -> Duration {
        let left = wishes.interval_s - now().seconds_since(self.all_at);
        Duration::try_from_secs_f64(left).unwrap_or_default()
    }

    /// Takes a look.
    pub fn look(&mut self, wishes: &Wishes) -> Snapshot {
        let began = now();
        let all = began.seconds_since(self.all_at) + 0.02 >= wishes.interval_s;
        if all {
            self.all_at = began;
        }
        self.ledger.drain(&mut self.roster);
        self.roster.scan(
            &mut self.reader,
            began,
            wishes.interval_s,
            self.ledger.source(),
        );
        // Who accepts depends on which sockets listen, and that on the namespaces that processes live in: in this order.
        self.read_namespaces(wishes, began, all);
        for pid in self.roster.due(wishes, began, all) {
            self.read_process(pid, wishes, began);
        }
        self.read_connections();
        self.read_waits(wishes, began);
        self.read_stacks(wishes, began);
        self.read_children(wishes, began);
        self.holders.ask(&wishes.holders);
        self.assemble(began)
    }

    fn read_process(&mut self, pid: u32, wishes: &Wishes, at: Moment) {
        let Some(entry) = self.roster.entry(pid) else {
            return;
        };
        let still = !entry.listeners_moved && self.reader.is_still(&entry.process, at);
        if still && at.seconds_since(entry.full_at) < FULL_STILL_EVERY_S {
            return entry.still(at);
        }
        let depth = entry.depth(wishes, at);
        let listening = &self.listening;
        let looking = Looking {
            now: at,
            memory: &|address, into| memory::read_exact_at(pid, address, into).is_ok(),
            wanted_listeners: &|inode| listening.contains(&inode),
        };
        match self.reader.read(pid, depth, Some(&entry.process), &looking) {
            Ok(out) if entry.is_another(&out.process) => self.replace(pid, &out.process, at),
            Ok(out) => entry.take(out.process, out.denied, depth, at),
            Err(ProcError::Gone) => self.ledger.missed(&mut self.roster, pid, at),
            Err(error) => entry.fail(&error),
        }
    }

    /// No event has told that this pid belongs to another process now, or runs another program.
    fn replace(&mut self, pid: u32, now: &Process, at: Moment) {
        self.ledger.replaced_unseen(&mut self.roster, pid, now, at);
        self.roster.announced(&mut self.reader, pid, at);
    }

    fn read_namespaces(&mut self, wishes: &Wishes, at: Moment, all: bool) {
        if !all && !self.roster.pythons().any(|e| e.is_hot(wishes, at)) {
            return;
        }
        let members = self.members();
        let (read, gaps) = self.namespaces.read(&members, at);
        self.netns = read.into_iter().map(|n| (n.inode, n)).collect();
        self.netns_gaps = gaps;
        let listening: BTreeSet<u64> = self
            .netns
            .values()
            .flat_map(|n| n.listeners.iter().map(|l| l.inode))
            .collect();
        let moved: Vec<u64> = listening
            .symmetric_difference(&self.listening)
            .copied()
            .collect();
        if !moved.is_empty() {
            // Whoever opened one has run since its descriptors were listed.
            let some_are_new = moved.iter().any(|inode| listening.contains(inode));
            let concerns = |key| self.reader.waits_for_any(key, &moved);
            self.roster.listeners_moved(some_are_new, concerns);
        }
        self.listening = listening;
    }

    /// Who lives in which namespace, and has which TCP sockets that are not known to listen.
    fn members(&self) -> BTreeMap<u64, Members> {
        let mut members: BTreeMap<u64, Members> = BTreeMap::new();
        // Where somebody lives who may not be asked where: most likely in ours, which is read without any right.
        let mut homeless = false;
        for entry in self.roster.pythons().filter(|e| !e.is_dead()) {
            let Some(netns) = entry.process.netns else {
                homeless = true;
                continue;
            };
            let all = members.entry(netns).or_default();
            all.pids.push(entry.process.key.pid);
            let sockets = self.reader.tcp_sockets(entry.process.key);
            let others = sockets.iter().filter(|i| !self.listening.contains(i));
            all.others.extend(others);
        }
        for all in members.values_mut() {
            all.others.sort_unstable();
            all.others.dedup();
        }
        if let Some(own) = self.namespaces.own_inode().filter(|_| homeless) {
            members.entry(own).or_default();
        }
        members
    }

    fn read_connections(&mut self) {
        self.connections.forget(&self.roster);
        for netns in self.netns.keys().copied() {
            let (roster, reader) = (&self.roster, &self.reader);
            match self.namespaces.take_connections(netns) {
                Some(found) => self.connections.take(roster, netns, &found),
                None => {
                    let listens = |inode: &u64| self.listening.contains(inode);
                    let has_none = |key| reader.tcp_sockets(key).iter().all(listens);
                    self.connections.leave(roster, netns, has_none);
                }
            }
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
            let tasks = entry.may_read_tasks(at);
            let owed = tasks && entry.owes_tasks();
            if entry.stacks_still_true() && !owed || !entry.may_read_stacks(at) {
                continue;
            }
            entry.ask_tasks(tasks, at);
            let threads: Vec<Thread> = entry.process.threads.clone().unwrap_or_default();
            requests.push(StackRequest {
                key: entry.process.key,
                threads,
                exe: entry.executable(),
                tasks,
            });
        }
        self.stacks.request(requests);
        let until = Instant::now() + wishes.patience;
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
        for (key, intent) in self.intents.found(until) {
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
        gaps.extend(self.ledger.gap(self.roster.scanned_at(), at));
        for entry in self.roster.all_mut() {
            gaps.extend(entry.gaps());
            processes.push(entry.record(self.connections.of(entry.process.key)));
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
            socket_files: self.socket_files.read(&self.netns, &self.roster, at),
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

impl Entry {
    fn is_newborn(&self, at: Moment) -> bool {
        at.seconds_since(self.process.started) < NEWBORN_S && !self.is_dead()
    }

    /// True if it is looked at closely.
    fn is_hot(&self, wishes: &Wishes, at: Moment) -> bool {
        wishes.focus == Some(self.process.key) || self.is_urgent(wishes, at)
    }

    /// True if the diagnosis waits for what comes of it.
    fn is_urgent(&self, wishes: &Wishes, at: Moment) -> bool {
        wishes.hot.contains(&self.process.key) || self.is_newborn(at)
    }

    /// How much of it is read, now that it is known to have done something, or that it is time.
    fn depth(&self, wishes: &Wishes, at: Moment) -> Depth {
        let hot = self.is_hot(wishes, at);
        let (full_s, files_s) = (
            at.seconds_since(self.full_at),
            at.seconds_since(self.files_at),
        );
        let large = self
            .process
            .fds
            .as_ref()
            .is_some_and(|f| f.open > LARGE_TABLE);
        let searched = self.has_news() && files_s >= wishes.interval_s.min(1.0);
        if full_s >= FULL_EVERY_S || hot && full_s >= FULL_HOT_EVERY_S {
            Depth::Full
        } else if hot && (!large || files_s >= 1.0) || searched {
            Depth::Files
        } else {
            Depth::Light
        }
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
