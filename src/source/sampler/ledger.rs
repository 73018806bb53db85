//! Births and deaths: from the kernel's process events where they are allowed, else from what one look misses of the last.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

mod births;
mod death;

use births::{BIRTHS, Birth, Births};
use death::{Ending, exit_of, exit_told, has_ended, still_there};

use super::roster::{Entry, Roster};
use crate::snapshot::{EventSource, Exit, ExitStatus, Gap, Moment, Process};
use crate::source::clock;
use crate::source::events::{self, EventsError, ExitWatch, Listening, ProcEvent};
use crate::source::procfs::ProcReader;

const QUEUE: usize = 8192;
const EXITS: usize = 1024;
const MISSED: usize = 64;
const ENDING: usize = 256;
/// Other threads of a process that was killed end within milliseconds. Those that live for longer live on.
const ENDING_S: f64 = 2.0;
/// A loss is told for so long: a death among what was lost would still be shown.
const LOST_TOLD_S: f64 = 10.0;
/// Somebody new is looked at this soon.
const MEET_WITHIN: Duration = Duration::from_millis(60);

/// Who was born, who died.
pub(super) struct Ledger {
    events: Result<(Receiver<ProcEvent>, Listening), EventsError>,
    watch: ExitWatch,
    births: Births,
    exits: Vec<Exit>,
    /// Told without a code, because a look was faster than the event of their death: the newest 64.
    missed: VecDeque<Exit>,
    /// When events were lost last.
    lost: Option<Moment>,
    /// First threads that have ended while others of their process lived on, or had not ended yet. Bounded.
    ending: Vec<Ending>,
    /// Pids that were born or run another program since the last look. They are looked at with the next one: most of what a
    /// busy machine starts has ended by then.
    pending: Vec<(u32, Moment)>,
    /// When those are looked at, if no look comes before.
    meet_at: Option<Instant>,
    reader: ProcReader,
}

impl Ledger {
    /// Subscribes to process events; without the right to, only looks will tell.
    pub(super) fn subscribe() -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let events = events::listen(sender).map(|listening| (receiver, listening));
        Self {
            events,
            watch: ExitWatch::default(),
            births: Births::default(),
            exits: Vec::new(),
            missed: VecDeque::new(),
            lost: None,
            ending: Vec::new(),
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

    /// What this way of learning cannot see, or has not seen a while ago. `scanned_at`: when /proc was last searched for
    /// everybody, which makes up for lost births, but not for deaths.
    pub(super) fn gap(&self, scanned_at: Moment, now: Moment) -> Option<Gap> {
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
            Ok(_) => self
                .lost_s(scanned_at, now)
                .map(|ago| gap(format!("{lost} {ago:.0} s ago"), None)),
        }
    }

    /// Seconds since events were lost, while that still matters.
    fn lost_s(&self, scanned_at: Moment, now: Moment) -> Option<f64> {
        let ago = |at: Moment| now.seconds_since(at);
        let matters = |at: &Moment| *at >= scanned_at || ago(*at) < LOST_TOLD_S;
        self.lost.filter(matters).map(ago)
    }

    pub(super) fn take_exits(&mut self) -> Vec<Exit> {
        std::mem::take(&mut self.exits)
    }

    /// Takes in all events that have arrived.
    pub(super) fn drain(&mut self, roster: &mut Roster) {
        while let Some(event) = self.next() {
            self.note(event, roster);
        }
        self.settle(roster);
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
            if self.meet_at.is_some_and(|at| at <= now) && self.settle(roster) {
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
                    // A wait of less than a millisecond is none (epoll_wait(2)).
                    let left = left.max(Duration::from_millis(1));
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
            } => {
                let key = roster.known(pid).map(|e| e.process.key);
                let ending = Ending {
                    pid,
                    key,
                    parent,
                    status,
                    at,
                };
                self.ended(ending, roster)
            }
            ProcEvent::Lost => {
                self.lost = Some(clock::now());
                roster.trust_nothing();
                true
            }
        }
    }

    fn born(&mut self, parent: u32, child: u32, at: Moment, roster: &mut Roster) -> bool {
        // Whoever had this pid before is not the one whose death the next event tells.
        self.births.remove(child);
        self.missed.retain(|e| e.key.pid != child);
        let of_python = roster.known(parent).is_some_and(|e| e.python.is_some())
            || self.births.get(parent).is_some_and(|b| b.python);
        if of_python {
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
            self.meet_soon();
        }
    }

    fn meet_soon(&mut self) {
        self.meet_at
            .get_or_insert_with(|| Instant::now() + MEET_WITHIN);
    }

    /// Looks at those who were born, run another program now or seem to have ended; true if that matters.
    fn settle(&mut self, roster: &mut Roster) -> bool {
        self.meet_at = None;
        let mut any = self.settle_endings(roster);
        for (pid, at) in std::mem::take(&mut self.pending) {
            any |= self.meet(pid, at, roster);
        }
        any
    }

    fn meet(&mut self, pid: u32, at: Moment, roster: &mut Roster) -> bool {
        roster.announced(&mut self.reader, pid, at);
        let python = roster.known(pid).is_some_and(|e| e.python.is_some());
        if let Some(birth) = self.births.get_mut(pid) {
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
        if let Some(birth) = self.births.get_mut(pid) {
            birth.python = false;
        }
        self.put_off(pid, at);
        before
    }

    /// The first thread of a process has ended. The others may live on (it called pthread_exit), be about to end, or one of
    /// them runs another program under this pid now: then it is looked at again soon.
    fn ended(&mut self, ending: Ending, roster: &mut Roster) -> bool {
        let lives_on = ending.key.is_some_and(|key| {
            let found = self.reader.stat(key.pid).ok();
            found.is_some_and(|s| s.key() == key && !has_ended(&s))
        });
        if !lives_on {
            return self.died(ending, roster);
        }
        if clock::now().seconds_since(ending.at) < ENDING_S && self.ending.len() < ENDING {
            self.ending.push(ending);
            self.meet_soon();
        }
        true
    }

    fn settle_endings(&mut self, roster: &mut Roster) -> bool {
        let mut any = false;
        for ending in std::mem::take(&mut self.ending) {
            any |= self.ended(ending, roster);
        }
        any
    }

    fn died(&mut self, ending: Ending, roster: &mut Roster) -> bool {
        let pid = ending.pid;
        let now = roster.known(pid).map(|e| e.process.key);
        if ending.key.is_some() && now.is_some() && now != ending.key {
            // Somebody else has the pid by now.
            return self.tell_missed(pid, ending.status);
        }
        let birth = self.births.remove(pid);
        self.pending.retain(|(born, _)| *born != pid);
        let entry = roster.known(pid).filter(|e| e.python.is_some());
        let python = entry.is_some() || birth.as_ref().is_some_and(|b| b.python);
        if entry.is_none() && self.tell_missed(pid, ending.status) {
            return true;
        }
        if !python {
            roster.forget(pid);
            return false;
        }
        // What nobody has seen alive is counted, and no reason to look at once.
        let seen = entry.is_some();
        let exit = exit_told(&ending, entry, birth.as_ref());
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
        let ended = |e: &Entry| e.process.key != now.key && e.python.is_some() && !e.is_dead();
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
        if found.as_ref().is_some_and(|s| !has_ended(s)) {
            // It was somebody else who had this pid before, or only its first thread has ended.
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

#[cfg(test)]
mod tests;
