//! One process over time.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::gil::GilTrack;
use super::intends;
use super::place::Place;
use super::pools::{self, PoolTrack};
use super::server_thread::ServerThread;
use super::signs::{Signs, Unread};
use super::standing::Standing;
use super::starved::Starved;
use crate::diagnosis::traits::Traits;
use crate::diagnosis::{Kind, frames};
use crate::snapshot::{Activity, Exit, FdClasses, Frame, Moment, Process, Stack};

const CPU_WINDOW_S: f64 = 2.0;
const FD_MARK_EVERY_S: f64 = 2.0;
const FD_MARKS: usize = 90;
/// Files that rise for less long, or less often, may be those of a start, or of clients that come.
const FD_TREND_S: f64 = 120.0;
const FD_RISES: usize = 10;
const MODULES: usize = 12;

/// What is remembered of one process.
#[derive(Debug, Clone)]
pub struct Track {
    /// When it was first seen.
    pub first_seen: Moment,
    /// When its program began: with the process, or when it was first seen to run another one (execve(2)).
    pub began: Moment,
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
    /// How long it has been kept from running since its loop last turned.
    pub starved: Starved,
    /// Who keeps the GIL.
    pub gil: GilTrack,
    /// Its pools of worker threads.
    pub pools: Vec<PoolTrack>,
    /// When it was last seen with a socket that it did not have before: it has taken a connection, or made one.
    pub new_socket: Option<Moment>,
    /// The thread that serves while the main thread only looks for changed files.
    pub server_thread: ServerThread,
    /// Since when it has had as many files open as it may have.
    pub full_since: Option<Moment>,
    /// True once it was ready to accept from a socket.
    pub has_accepted: bool,
    /// Modules that it was seen importing, newest last.
    pub modules: VecDeque<String>,
    /// When it last beat, if it is a gunicorn worker.
    pub beat: Option<Beat>,
    /// True if the main thread was waiting in its poll when it was last seen.
    pub rests: bool,
    /// The last stack of the main thread.
    pub last_main: Vec<Frame>,
    /// The application's frame in which the main thread was last seen.
    pub last_own: Option<Frame>,
    cpu: VecDeque<(Moment, u64)>,
    fd_marks: VecDeque<(Moment, FdClasses)>,
    stacks_at: Option<Moment>,
    stacks_read_at: Option<Moment>,
    signs: Option<Signs>,
    unread: Unread,
    /// Inodes of its sockets at the last scan of its files, and when that was.
    sockets: (Moment, Vec<u64>),
}

/// A class of open files that rises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FdTrend {
    /// Its word.
    pub class: &'static str,
    /// How many there were at first.
    pub then: u64,
    /// How many there are now.
    pub now: u64,
    /// Seconds in between.
    pub seconds: f64,
}

/// When a worker last beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Not yet.
    Never,
    /// Then.
    At(Moment),
}

impl Track {
    /// When a thread of any pool was last seen to move; first seen, where there is no pool.
    pub fn threads_moved(&self) -> Moment {
        let moved = self.pools.iter().map(|pool| pool.moved).max();
        moved.unwrap_or(self.first_seen)
    }

    pub(super) fn new(process: &Arc<Process>, ports: &BTreeSet<u16>, at: Moment) -> Self {
        let mut track = Self {
            first_seen: at,
            began: process.started,
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
            starved: Starved::default(),
            gil: GilTrack::default(),
            pools: Vec::new(),
            unread: Unread::default(),
            server_thread: ServerThread::default(),
            new_socket: None,
            full_since: None,
            sockets: (Moment(0), Vec::new()),
            has_accepted: false,
            modules: VecDeque::new(),
            beat: None,
            rests: false,
            last_main: Vec::new(),
            last_own: None,
            cpu: VecDeque::new(),
            fd_marks: VecDeque::new(),
            stacks_at: None,
            stacks_read_at: None,
            signs: Signs::of(process, ports),
        };
        track.observe(process, ports, at);
        track
    }

    pub(super) fn observe(&mut self, process: &Arc<Process>, ports: &BTreeSet<u16>, at: Moment) {
        if is_another_program(&self.process, process) {
            // Nothing of what was known is true any more.
            *self = Self::new(process, ports, at);
            self.began = at;
            return;
        }
        let has_intent_moved = intends::of(&self.process) != intends::of(process);
        if self.process.cmdline != process.cmdline || has_intent_moved {
            self.traits = Traits::of(process);
        }
        self.intends = intends::observe(self.intends, &self.process, process);
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
        if let Some(heartbeat) = process.heartbeat {
            self.beat = Some(heartbeat.age_ms.map_or(Beat::Never, |ms| {
                let age = ms.saturating_mul(1_000_000);
                Beat::At(Moment(process.sampled_at.0.saturating_sub(age)))
            }));
        }
        self.watch_stack(process);
        self.standing.observe(process);
        let signs = Signs::of(process, ports);
        if let Some(now) = &signs {
            self.unread.observe(self.signs.as_ref(), now, at);
        }
        if let (Some(now), Some(before)) = (&signs, &self.signs)
            && now.show_turning_since(before)
        {
            self.turned = at;
            self.took = at;
        }
        self.signs = signs.or(self.signs.take());
        self.starved.observe(process, self.held_since());
    }

    /// Since when its loop may have been held: it has turned no later, and has been where it is now since then.
    pub fn held_since(&self) -> Moment {
        self.turned.max(self.place.since)
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
            self.gil.observe(stacks);
            pools::observe(&mut self.pools, stacks, process.key.pid, at);
            self.server_thread.observe(stacks, process.key.pid, at);
        }
        let Some(main) = process.main_stack() else {
            return;
        };
        self.rests = main.activity == Activity::Selector;
        self.last_main.clone_from(&main.frames);
        if let Some((_, own)) = frames::application_frame(main) {
            self.last_own = Some(own.clone());
        }
        if self.place.move_to(main, at) || self.rests {
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

    /// Connections of clients that have sent something which nobody has read for at least so long.
    pub fn unread_for(&self, seconds: f64, now: Moment) -> usize {
        self.unread.waiting_for(seconds, now)
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

    /// The class of open files that has risen most over the last minutes without ever getting fewer; `None` if none has, or it
    /// was not looked at for long enough.
    pub fn fd_trend(&self) -> Option<FdTrend> {
        let (first_at, first) = self.fd_marks.front()?;
        let (last_at, last) = self.fd_marks.back()?;
        let seconds = last_at.seconds_since(*first_at);
        // What opens many at once, and then no more, does not leak.
        let steady = |at: usize| {
            let of = |marks: &(Moment, FdClasses)| marks.1.by_word().get(at).map_or(0, |c| c.1);
            let pairs = self.fd_marks.iter().zip(self.fd_marks.iter().skip(1));
            let steps: Vec<Option<u64>> = pairs
                .map(|(before, now)| of(now).checked_sub(of(before)))
                .collect();
            let rises = steps.iter().flatten().filter(|n| **n > 0);
            let largest = rises.clone().max().copied().unwrap_or(0);
            let all: u64 = rises.clone().sum();
            steps.iter().all(Option::is_some) && rises.count() >= FD_RISES && largest * 2 <= all
        };
        let classes = first.by_word().into_iter().zip(last.by_word()).enumerate();
        let rising = classes.filter(|(at, ((_, then), (_, now)))| now > then && steady(*at));
        let (_, ((class, then), (_, now))) =
            rising.max_by_key(|(_, (then, now))| now.1 - then.1)?;
        (seconds >= FD_TREND_S).then_some(FdTrend {
            class,
            then,
            now,
            seconds,
        })
    }

    /// Seconds since a gunicorn worker last beat; `None` for others and before its first beat.
    pub fn silent_s(&self, now: Moment) -> Option<f64> {
        match self.beat? {
            Beat::Never => None,
            Beat::At(at) => Some(now.seconds_since(at)),
        }
    }

    /// Seconds for which the main thread is known to have stood in the same functions; `None` if its stack is not seen.
    pub fn same_place_s(&self) -> Option<f64> {
        self.stacks_at.map(|_| self.known_s(self.place.since))
    }

    /// Seconds from a moment to the last at which the stacks were known to be true: what holds since, as far as is known. A
    /// machine that is too busy to be read is no proof that nothing moves.
    pub fn known_s(&self, since: Moment) -> f64 {
        self.stacks_at.map_or(0.0, |at| at.seconds_since(since))
    }
}

/// True if a process has run execve(2) since. Its command line is no proof: many write a title over it.
fn is_another_program(before: &Process, now: &Process) -> bool {
    let program = |p: &Process| {
        let path = p.exe.as_ref();
        path.map(|e| e.trim_end_matches(" (deleted)").to_owned())
    };
    let differ = |a: Option<_>, b: Option<_>| a.is_some() && b.is_some() && a != b;
    before
        .arg_start
        .zip(now.arg_start)
        .is_some_and(|(a, b)| a != b)
        || differ(program(before), program(now))
}
