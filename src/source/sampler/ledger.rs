//! Births and deaths: from the kernel's process events where they are allowed, else from what one look misses of the last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::roster::Roster;
use crate::snapshot::{
    EventSource, Exit, ExitStatus, Gap, Moment, Process, ProcessKey, ProcessState,
};
use crate::source::clock;
use crate::source::events::{self, EventsError, ExitWatch, Listening, ProcEvent};
use crate::source::procfs::{ProcReader, StatLine};

const QUEUE: usize = 8192;
const BIRTHS: usize = 4096;
const EXITS: usize = 1024;
const MISSED: usize = 64;
/// Somebody new is looked at this soon.
const MEET_WITHIN: Duration = Duration::from_millis(60);

/// Who was born, who died.
pub(super) struct Ledger {
    events: Result<(Receiver<ProcEvent>, Listening), EventsError>,
    watch: ExitWatch,
    births: BTreeMap<u32, Birth>,
    exits: Vec<Exit>,
    /// Told without a code, because a look was faster than the event of their death: the newest 64.
    missed: VecDeque<Exit>,
    lost: u64,
    /// Pids that were born or run another program since the last look. They are looked at with the next one: most of what a
    /// busy machine starts has ended by then.
    pending: Vec<(u32, Moment)>,
    /// When those are looked at, if no look comes before.
    meet_at: Option<Instant>,
    reader: ProcReader,
}

/// A child that a Python process has forked and that has not been read from /proc yet.
struct Birth {
    parent: u32,
    at: Moment,
    python: bool,
}

impl Ledger {
    /// Subscribes to process events; without the right to, only looks will tell.
    pub(super) fn subscribe() -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let events = events::listen(sender).map(|listening| (receiver, listening));
        Self {
            events,
            watch: ExitWatch::default(),
            births: BTreeMap::new(),
            exits: Vec::new(),
            missed: VecDeque::new(),
            lost: 0,
            pending: Vec::new(),
            meet_at: None,
            reader: ProcReader::new(),
        }
    }

    pub(super) fn source(&self) -> EventSource {
        match &self.events {
            Ok((_, listening)) if listening.is_alive() => EventSource::Connector,
            _ => EventSource::Polling,
        }
    }

    /// What this way of learning cannot see.
    pub(super) fn gap(&self) -> Option<Gap> {
        let gap = |cause: String, unlock: Option<&str>| Gap {
            source: "events".to_owned(),
            pid: None,
            cause,
            unlock: unlock.map(str::to_owned),
        };
        let lost = "process events were lost in a storm of them";
        match &self.events {
            Err(error) => Some(gap(
                format!("{error}: short lives are missed, exit codes are not told"),
                error.unlock(),
            )),
            Ok((_, listening)) if !listening.is_alive() => {
                Some(gap("process events have ended".to_owned(), None))
            }
            Ok(_) => (self.lost > 0).then(|| gap(lost.to_owned(), None)),
        }
    }

    pub(super) fn take_exits(&mut self) -> Vec<Exit> {
        std::mem::take(&mut self.exits)
    }

    /// Takes in all events that have arrived.
    pub(super) fn drain(&mut self, roster: &mut Roster) {
        while let Some(event) = self.next() {
            self.note(event, roster);
        }
        self.meet_pending(roster);
        self.note_ended(Duration::ZERO, roster);
        if self.source() == EventSource::Polling {
            let pids: Vec<u32> = roster
                .pythons()
                .filter(|e| !e.is_dead())
                .map(|e| e.process.key.pid)
                .collect();
            for pid in pids {
                self.watch.watch(pid);
            }
        }
    }

    fn next(&mut self) -> Option<ProcEvent> {
        let (receiver, _) = self.events.as_ref().ok()?;
        receiver.try_recv().ok()
    }

    /// True if somebody who is watched by a pidfd has ended. Waits for that, at most so long.
    fn note_ended(&mut self, longest: Duration, roster: &mut Roster) -> bool {
        let ended = self.watch.ended(longest);
        for pid in &ended {
            self.missed(roster, *pid, clock::now());
        }
        !ended.is_empty()
    }

    /// Sleeps, and wakes for what matters: true then.
    pub(super) fn wait(&mut self, longest: Duration, roster: &mut Roster) -> bool {
        let until = Instant::now() + longest;
        loop {
            let now = Instant::now();
            if self.meet_at.is_some_and(|at| at <= now) && self.meet_pending(roster) {
                return true;
            }
            let next = self.meet_at.map_or(until, |at| until.min(at));
            let left = next.saturating_duration_since(now);
            if left.is_zero() {
                return false;
            }
            let received = match &self.events {
                Ok((receiver, listening)) if listening.is_alive() => receiver.recv_timeout(left),
                _ => {
                    if self.note_ended(left, roster) {
                        return true;
                    }
                    continue;
                }
            };
            match received {
                Ok(event) => {
                    if self.note(event, roster) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Takes in one event; true if it concerns somebody who is looked at.
    fn note(&mut self, event: ProcEvent, roster: &mut Roster) -> bool {
        match event {
            ProcEvent::Fork { parent, child, at } => self.born(parent, child, at, roster),
            ProcEvent::Exec { pid, at } => self.replaced(pid, at, roster),
            ProcEvent::Exit {
                pid,
                parent,
                status,
                at,
            } => self.died(pid, parent, status, at, roster),
            ProcEvent::Lost => {
                self.lost += 1;
                roster.trust_nothing();
                true
            }
        }
    }

    fn born(&mut self, parent: u32, child: u32, at: Moment, roster: &mut Roster) -> bool {
        // Whoever had this pid before is not the one whose death the next event tells.
        self.births.remove(&child);
        self.missed.retain(|e| e.key.pid != child);
        let of_python = roster.known(parent).is_some_and(|e| e.python.is_some())
            || self.births.get(&parent).is_some_and(|b| b.python);
        if of_python {
            if self.births.len() >= BIRTHS {
                self.births.pop_first();
            }
            self.births.insert(
                child,
                Birth {
                    parent,
                    at,
                    python: true,
                },
            );
            self.put_off(child, at);
        }
        false
    }

    fn put_off(&mut self, pid: u32, at: Moment) {
        if self.pending.len() < BIRTHS {
            self.pending.push((pid, at));
            self.meet_at
                .get_or_insert_with(|| Instant::now() + MEET_WITHIN);
        }
    }

    /// Looks at those who were born or run another program now; true if one of them is Python.
    fn meet_pending(&mut self, roster: &mut Roster) -> bool {
        self.meet_at = None;
        let mut any = false;
        for (pid, at) in std::mem::take(&mut self.pending) {
            any |= self.meet(pid, at, roster);
        }
        any
    }

    fn meet(&mut self, pid: u32, at: Moment, roster: &mut Roster) -> bool {
        roster.announced(&mut self.reader, pid, at);
        let python = roster.known(pid).is_some_and(|e| e.python.is_some());
        if let Some(birth) = self.births.get_mut(&pid) {
            birth.python = python;
        }
        python
    }

    fn replaced(&mut self, pid: u32, at: Moment, roster: &mut Roster) -> bool {
        let before = roster.known(pid).is_some_and(|e| e.python.is_some());
        if before {
            roster.forget(pid);
        }
        // Until it has been looked at it is not known to be Python any more.
        if let Some(birth) = self.births.get_mut(&pid) {
            birth.python = false;
        }
        self.put_off(pid, at);
        before
    }

    fn died(
        &mut self,
        pid: u32,
        parent: Option<u32>,
        ExitStatus { code, signal }: ExitStatus,
        at: Moment,
        roster: &mut Roster,
    ) -> bool {
        let birth = self.births.remove(&pid);
        self.pending.retain(|(born, _)| *born != pid);
        let entry = roster.known(pid).filter(|e| e.python.is_some());
        let python = entry.is_some() || birth.as_ref().is_some_and(|b| b.python);
        if entry.is_none() && self.tell_missed(pid, ExitStatus { code, signal }) {
            return true;
        }
        if !python {
            roster.forget(pid);
            return false;
        }
        // What nobody has seen alive is counted, and no reason to look at once.
        let seen = entry.is_some();
        let born = entry
            .map(|e| e.process.started)
            .or(birth.as_ref().map(|b| b.at));
        let exit = Exit {
            key: entry.map_or_else(|| key_of_birth(pid, birth.as_ref()), |e| e.process.key),
            ppid: entry
                .map(|e| e.process.ppid)
                .or(parent)
                .or(birth.as_ref().map(|b| b.parent))
                .unwrap_or(0),
            at,
            lived_ns: born.map(|b| at.0.saturating_sub(b.0)),
            code,
            signal,
            cmdline: entry.map(|e| e.process.cmdline.clone()).unwrap_or_default(),
            python: true,
            last_stack: entry.and_then(main_stack).unwrap_or_default(),
        };
        self.push(exit);
        // A zombie stays on the roster until its parent reaps it.
        match roster.entry(pid) {
            Some(entry) if still_there(&self.reader, entry.process.key) => entry.bury(),
            _ => {
                roster.forget(pid);
            }
        }
        seen
    }

    /// Tells how somebody ended whom a look has missed before; false if there is none with this pid.
    fn tell_missed(&mut self, pid: u32, status: ExitStatus) -> bool {
        let at = self.missed.iter().position(|e| e.key.pid == pid);
        let Some(mut exit) = at.and_then(|at| self.missed.remove(at)) else {
            return false;
        };
        exit.code = status.code;
        exit.signal = status.signal;
        self.push(exit);
        true
    }

    fn push(&mut self, exit: Exit) {
        if let Some(told) = self.exits.iter_mut().find(|e| e.key == exit.key) {
            told.code = told.code.or(exit.code);
            told.signal = told.signal.or(exit.signal);
        } else if self.exits.len() < EXITS {
            self.exits.push(exit);
        }
    }

    /// Another process has this pid now, or this one runs another program: forgets it, and notes its end if it has ended.
    pub(super) fn replaced_unseen(
        &mut self,
        roster: &mut Roster,
        pid: u32,
        now: &Process,
        at: Moment,
    ) {
        let ended = |e: &super::roster::Entry| {
            e.process.key != now.key && e.python.is_some() && !e.is_dead()
        };
        let exit = roster
            .forget(pid)
            .filter(ended)
            .map(|e| exit_of(&e, ExitStatus::default(), at));
        if let Some(exit) = exit {
            self.push(exit);
        }
    }

    /// Somebody who was there is not there any more, and no event has told of it.
    pub(super) fn missed(&mut self, roster: &mut Roster, pid: u32, at: Moment) {
        let Some(entry) = roster.known(pid) else {
            return;
        };
        if entry.is_dead() || entry.python.is_none() {
            if !still_there(&self.reader, entry.process.key) {
                roster.forget(pid);
            }
            return;
        }
        let found = self.reader.stat(pid).ok();
        let found = found.filter(|s| s.key() == entry.process.key);
        let lives = |s: &StatLine| !matches!(s.state, ProcessState::Zombie | ProcessState::Dead);
        if found.as_ref().is_some_and(lives) {
            // It was somebody else who had this pid before.
            return;
        }
        let status = found.and_then(|s| s.exit_status);
        let status = status.map(ExitStatus::from_wait).unwrap_or_default();
        let exit = exit_of(entry, status, at);
        if (exit.code, exit.signal) == (None, None) {
            self.missed.truncate(MISSED - 1);
            self.missed.push_front(exit.clone());
        }
        self.push(exit);
        match roster.entry(pid) {
            Some(entry) if still_there(&self.reader, entry.process.key) => entry.bury(),
            _ => {
                roster.forget(pid);
            }
        }
    }
}

fn exit_of(entry: &super::roster::Entry, status: ExitStatus, at: Moment) -> Exit {
    Exit {
        key: entry.process.key,
        ppid: entry.process.ppid,
        at,
        lived_ns: Some(at.0.saturating_sub(entry.process.started.0)),
        code: status.code,
        signal: status.signal,
        cmdline: entry.process.cmdline.clone(),
        python: true,
        last_stack: main_stack(entry).unwrap_or_default(),
    }
}

fn main_stack(entry: &super::roster::Entry) -> Option<Vec<crate::snapshot::Frame>> {
    let stacks = entry.python.as_ref()?.stacks.as_ref()?;
    let pid = entry.process.key.pid;
    let main = stacks
        .list
        .iter()
        .find(|s| s.tid == Some(pid))
        .or(stacks.list.first())?;
    Some(main.frames.clone())
}

/// True if this very process is there, be it as a zombie.
fn still_there(reader: &ProcReader, key: ProcessKey) -> bool {
    reader.stat(key.pid).is_ok_and(|s| s.key() == key)
}

fn key_of_birth(pid: u32, birth: Option<&Birth>) -> ProcessKey {
    ProcessKey {
        pid,
        start_time: birth.map_or(0, |b| clock::ticks(b.at)),
    }
}

#[cfg(test)]
mod tests;
