//! What the snapshots so far have shown of each process and each socket, reduced to what rules ask for.
//!
//! Bounded: a process that is gone is forgotten after a minute, windows have a fixed length.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

mod place;
mod queue;
mod standing;
mod tasks;
mod threads;

pub use place::Place;
use place::{Signs, other_places, ports_of};
pub use queue::Queue;
pub use standing::Standing;
pub use tasks::{TaskPlace, TaskPlaces};
pub use threads::{ThreadPlace, ThreadPlaces};

use super::traits::Traits;
use super::{Kind, TcpRates, frames, kind};
use crate::snapshot::{
    Activity, Exit, FdClasses, Frame, Moment, Process, ProcessKey, Snapshot, Stack, TcpCounters,
};

const CPU_WINDOW_S: f64 = 2.0;
const FD_MARK_EVERY_S: f64 = 2.0;
const FD_MARKS: usize = 90;
const MODULES: usize = 12;
const GONE_KEPT_S: f64 = 60.0;

/// Everything remembered.
#[derive(Debug, Default)]
pub struct History {
    /// The first snapshot's moment.
    pub began: Option<Moment>,
    /// One per process that is, or was lately, on the machine.
    pub tracks: BTreeMap<ProcessKey, Track>,
    /// One per listening socket: `(netns, inode)`.
    pub queues: BTreeMap<(u64, u64), Queue>,
    /// Counters of each network namespace at the last looks.
    counters: BTreeMap<u64, VecDeque<(Moment, TcpCounters)>>,
}

/// What is remembered of one process.
#[derive(Debug)]
pub struct Track {
    /// When it was first seen.
    pub first_seen: Moment,
    /// The process as last seen.
    pub process: Arc<Process>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// What its command line and its newest stacks say.
    pub traits: Traits,
    /// The kind of server that its stacks have proved, once they have.
    pub kind: Option<Kind>,
    /// The kind of server that its source was about to start when it was looked at.
    pub intends: Option<Kind>,
    /// The kind of server that it was when it was ready to accept: it stays that when it closes its listener.
    pub served: Option<Kind>,
    /// Where the main thread stands.
    pub place: Place,
    /// Where its tasks and threads stand.
    pub standing: Standing,
    /// When its loop last showed a sign of turning: in its poll, a connection taken, data consumed, another place.
    pub turned: Moment,
    /// When its clients' connections last showed that it takes, reads or closes them.
    pub took: Moment,
    /// When any of its threads other than the main one was last seen at another place than before.
    pub threads_moved: Moment,
    /// When it was last seen with a socket that it did not have before: it has taken a connection, or made one.
    pub new_socket: Option<Moment>,
    /// Since when it has had as many files open as it may have.
    pub full_since: Option<Moment>,
    /// True once it was ready to accept from a socket.
    pub has_accepted: bool,
    /// Modules that it was seen importing, newest last.
    pub modules: VecDeque<String>,
    /// The last stack of the main thread.
    pub last_main: Vec<Frame>,
    cpu: VecDeque<(Moment, u64)>,
    fd_marks: VecDeque<(Moment, FdClasses)>,
    stacks_at: Option<Moment>,
    stacks_read_at: Option<Moment>,
    signs: Option<Signs>,
    others: u64,
    /// Inodes of its sockets at the last scan of its files, and when that was.
    sockets: (Moment, Vec<u64>),
}

impl History {
    /// Takes in the next snapshot.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.began.get_or_insert(snapshot.at);
        let ports = ports_of(snapshot);
        let none = BTreeSet::new();
        for process in &snapshot.processes {
            let ports = process.netns.and_then(|n| ports.get(&n)).unwrap_or(&none);
            self.tracks
                .entry(process.key)
                .and_modify(|track| track.observe(process, ports, snapshot.at))
                .or_insert_with(|| Track::new(process, ports, snapshot.at));
        }
        for exit in &snapshot.exits {
            self.note_exit(exit);
        }
        for netns in &snapshot.netns {
            for listener in &netns.listeners {
                self.queues
                    .entry((netns.inode, listener.inode))
                    .and_modify(|queue| queue.observe(listener, netns.sampled_at))
                    .or_insert_with(|| Queue::new(listener, netns.sampled_at));
            }
        }
        self.note_counters(snapshot);
        self.forget(snapshot);
    }

    fn note_counters(&mut self, snapshot: &Snapshot) {
        self.counters
            .retain(|inode, _| snapshot.netns.iter().any(|n| n.inode == *inode));
        for netns in &snapshot.netns {
            let Some(counters) = netns.counters else {
                continue;
            };
            let window = self.counters.entry(netns.inode).or_default();
            if window.back().is_none_or(|(at, _)| netns.sampled_at > *at) {
                window.push_back((netns.sampled_at, counters));
            }
            while window
                .get(1)
                .is_some_and(|(at, _)| netns.sampled_at.seconds_since(*at) > 5.0)
            {
                window.pop_front();
            }
        }
    }

    /// Rates of a namespace's counters over the last five seconds; `None` until two readings are half a second apart, or when
    /// a counter went backwards.
    pub fn tcp_rates(&self, netns: u64) -> Option<TcpRates> {
        let window = self.counters.get(&netns)?;
        let ((first_at, first), (last_at, last)) = (window.front()?, window.back()?);
        let seconds = last_at.seconds_since(*first_at);
        let overflows = last.listen_overflows.checked_sub(first.listen_overflows)?;
        let drops = last.listen_drops.checked_sub(first.listen_drops)?;
        (seconds >= 0.5).then(|| TcpRates {
            overflows_per_second: overflows as f64 / seconds,
            drops_per_second: drops as f64 / seconds,
        })
    }

    fn note_exit(&mut self, exit: &Exit) {
        if let Some(track) = self.tracks.get_mut(&exit.key) {
            track.exit.get_or_insert_with(|| {
                let mut exit = exit.clone();
                if exit.last_stack.is_empty() {
                    exit.last_stack.clone_from(&track.last_main);
                }
                exit
            });
        }
    }

    fn forget(&mut self, snapshot: &Snapshot) {
        self.tracks.retain(|key, track| {
            let present = snapshot.process(key.pid).is_some_and(|p| p.key == *key);
            present || snapshot.at.seconds_since(track.process.sampled_at) < GONE_KEPT_S
        });
        self.queues
            .retain(|_, queue| snapshot.at.seconds_since(queue.seen) < 5.0);
    }

    /// Notes that a process was ready to accept from its server's own socket.
    pub fn note_accepting(&mut self, key: ProcessKey, kind: Kind) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.has_accepted = true;
            track.served = Some(kind);
        }
    }

    /// The queue of a socket.
    pub fn queue(&self, netns: u64, inode: u64) -> Option<&Queue> {
        self.queues.get(&(netns, inode))
    }
}

impl Track {
    fn new(process: &Arc<Process>, ports: &BTreeSet<u16>, at: Moment) -> Self {
        let mut track = Self {
            first_seen: at,
            process: process.clone(),
            exit: None,
            traits: Traits::of(process),
            kind: None,
            intends: None,
            served: None,
            place: Place {
                since: at,
                still_since: at,
                ..Place::default()
            },
            standing: Standing::default(),
            turned: at,
            took: at,
            threads_moved: at,
            others: 0,
            new_socket: None,
            full_since: None,
            sockets: (Moment(0), Vec::new()),
            has_accepted: false,
            modules: VecDeque::new(),
            last_main: Vec::new(),
            cpu: VecDeque::new(),
            fd_marks: VecDeque::new(),
            stacks_at: None,
            stacks_read_at: None,
            signs: Signs::of(process, ports),
        };
        track.observe(process, ports, at);
        track
    }

    fn observe(&mut self, process: &Arc<Process>, ports: &BTreeSet<u16>, at: Moment) {
        if self.process.cmdline != process.cmdline {
            self.traits = Traits::of(process);
        }
        self.process = process.clone();
        if self
            .cpu
            .back()
            .is_none_or(|(when, _)| process.sampled_at > *when)
        {
            self.cpu.push_back((process.sampled_at, process.cpu_ns));
        }
        while self
            .cpu
            .get(1)
            .is_some_and(|(when, _)| at.seconds_since(*when) > CPU_WINDOW_S)
        {
            self.cpu.pop_front();
        }
        self.mark_fds(process);
        // It is searched for while looks go on, and comes with a later one than the stack that it belongs to.
        if let Some(intent) = process.python.as_ref().and_then(|p| p.intent.as_ref()) {
            self.intends = Some(kind::by_call(&intent.call));
        }
        self.watch_stack(process);
        self.standing.observe(process);
        let signs = Signs::of(process, ports);
        if let (Some(now), Some(before)) = (&signs, &self.signs)
            && now.show_turning_since(before)
        {
            self.turned = at;
            self.took = at;
        }
        self.signs = signs.or(self.signs.take());
    }

    fn mark_fds(&mut self, process: &Process) {
        let Some(fds) = &process.fds else { return };
        if fds.scanned_at != self.sockets.0 {
            let known = |inode: &u64| self.sockets.1.binary_search(inode).is_ok();
            if self.sockets.0 != Moment(0) && !fds.sockets.iter().all(known) {
                self.new_socket = Some(fds.scanned_at);
            }
            self.sockets = (fds.scanned_at, fds.sockets.clone());
        }
        let full = fds.limit.is_some_and(|limit| fds.open >= limit);
        self.full_since = full.then(|| self.full_since.unwrap_or(fds.scanned_at));
        let due = self
            .fd_marks
            .back()
            .is_none_or(|(when, _)| fds.scanned_at.seconds_since(*when) >= FD_MARK_EVERY_S);
        if due {
            self.fd_marks.push_back((fds.scanned_at, fds.classes));
        }
        while self.fd_marks.len() > FD_MARKS {
            self.fd_marks.pop_front();
        }
    }

    fn watch_stack(&mut self, process: &Process) {
        let Some(python) = &process.python else {
            return;
        };
        let Some(at) = python.stacks_true_at else {
            return;
        };
        if self.stacks_at == Some(at) {
            return;
        }
        self.stacks_at = Some(at);
        let read_at = python.stacks.as_ref().map(|s| s.at);
        if read_at == self.stacks_read_at {
            self.stood_still(process, at);
        } else {
            self.stacks_read_at = read_at;
            self.moved(process, at);
        }
    }

    /// No thread has run since the stacks were taken in.
    fn stood_still(&mut self, process: &Process, at: Moment) {
        self.place.looks = self.place.looks.saturating_add(1);
        if process
            .main_stack()
            .is_some_and(|main| main.activity == Activity::Selector)
        {
            self.turned = at;
        }
    }

    fn moved(&mut self, process: &Process, at: Moment) {
        self.traits = Traits::of(process);
        self.kind = self.traits.kind.or(self.kind);
        if let Some(stacks) = process.python.as_ref().and_then(|p| p.stacks.as_ref()) {
            let others = other_places(stacks, process.key.pid);
            if others != self.others {
                self.others = others;
                self.threads_moved = at;
            }
        }
        let Some(main) = process.main_stack() else {
            return;
        };
        self.last_main.clone_from(&main.frames);
        if self.place.move_to(main, at) || main.activity == Activity::Selector {
            self.turned = at;
        }
        self.note_import(main);
    }

    fn note_import(&mut self, main: &Stack) {
        if frames::is_importing(main)
            && let Some(module) = frames::imported_module(main)
            && self.modules.back() != Some(&module)
        {
            self.modules.push_back(module);
            if self.modules.len() > MODULES {
                self.modules.pop_front();
            }
        }
    }

    /// Percent of one core over the last two seconds; `None` until two readings are half a second apart.
    pub fn cpu_percent(&self) -> Option<f64> {
        let (first_at, first) = self.cpu.front()?;
        let (last_at, last) = self.cpu.back()?;
        let seconds = last_at.seconds_since(*first_at);
        let used = last.checked_sub(*first)?;
        (seconds >= 0.5).then(|| used as f64 / 1e7 / seconds)
    }

    /// Connections that clients have made to ports that listen; `None` where connections are not seen.
    pub fn clients(&self) -> Option<u64> {
        self.signs
            .as_ref()
            .map(|signs| signs.connections.len() as u64)
    }

    /// Change per minute of each class of open files that changed, over the last three minutes at most; nothing until ten
    /// seconds have been seen.
    pub fn fd_growth(&self) -> Vec<(&'static str, f64)> {
        let (Some((first_at, first)), Some((last_at, last))) =
            (self.fd_marks.front(), self.fd_marks.back())
        else {
            return Vec::new();
        };
        let minutes = last_at.seconds_since(*first_at) / 60.0;
        if minutes < 1.0 / 6.0 {
            return Vec::new();
        }
        first
            .by_word()
            .into_iter()
            .zip(last.by_word())
            .filter(|((_, before), (_, now))| before != now)
            .map(|((class, before), (_, now))| (class, (now as f64 - before as f64) / minutes))
            .collect()
    }

    /// Seconds for which the main thread has stood in the same functions; `None` if its stack is not seen.
    pub fn same_place_s(&self, now: Moment) -> Option<f64> {
        self.stacks_at.map(|_| now.seconds_since(self.place.since))
    }
}
