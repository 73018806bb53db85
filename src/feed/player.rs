//! Looks that were kept, gone through again: to any of them, with what it means by the rules of today.
//!
//! Two heads run over the same frames. The front goes through all of them once, in order, and leaves checkpoints and changes behind; the
//! other one goes where it is asked to, from the nearest checkpoint on.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::diagnosis::{Analyst, Diagnosis};
use crate::recording::{Decoder, FrameKind, FrameMeta, Frames};
use crate::snapshot::Snapshot;

use super::Changes;
use super::checkpoints::Checkpoints;

/// A look, and what it means.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its index.
    pub look: usize,
    /// What was seen.
    pub snapshot: Arc<Snapshot>,
    /// What it means.
    pub diagnosis: Diagnosis,
}

/// Goes through looks that were kept.
pub struct Player {
    frames: Arc<dyn Frames + Send + Sync>,
    here: Head,
    front: Head,
    checkpoints: Checkpoints,
    changes: Changes,
    /// Looks that could not be read.
    unread: usize,
    /// When each look was; see [`times`].
    times: Vec<i64>,
    /// True if all looks are of one run of the program, without a pause.
    is_one_run: bool,
    /// What the head that goes about has passed since its checkpoint: a step back is no way from there.
    recent: VecDeque<Seen>,
}

/// Looks that are kept for steps back.
const RECENT: usize = 1024;

impl Player {
    /// Over frames that nobody has gone through yet.
    pub fn new(frames: Arc<dyn Frames + Send + Sync>) -> Self {
        Self {
            times: times(frames.as_ref()),
            is_one_run: false,
            recent: VecDeque::new(),
            frames,
            here: Head::at_the_start(),
            front: Head::at_the_start(),
            checkpoints: Checkpoints::default(),
            changes: Changes::default(),
            unread: 0,
        }
    }

    /// Over frames whose meaning was said when they were made.
    pub fn after_all(
        frames: Arc<dyn Frames + Send + Sync>,
        checkpoints: Checkpoints,
        changes: Changes,
    ) -> Self {
        let mut player = Self::new(frames);
        player.front.next = player.frames.count();
        player.checkpoints = checkpoints;
        player.changes = changes;
        player.is_one_run = true;
        player
    }

    /// The frames.
    pub fn frames(&self) -> &dyn Frames {
        self.frames.as_ref()
    }

    /// How many looks there are.
    pub fn count(&self) -> usize {
        self.frames.count()
    }

    /// Looks that have been gone through, from the first on.
    pub fn read(&self) -> usize {
        self.front.next.min(self.count())
    }

    /// Looks among them that could not be read.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Changes among those that have been gone through.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Goes through the next of those that nobody has gone through yet; `None` once there are none.
    pub fn read_on(&mut self) -> Option<Seen> {
        loop {
            let at = self.front.next;
            let meta = self.frames.meta(at)?;
            self.front.begin(self.frames.as_ref(), self.is_one_run);
            if meta.kind == FrameKind::Key {
                self.checkpoints.keep(at, &self.front.analyst);
            }
            match self.front.step(self.frames.as_ref()) {
                Step::Seen(seen) => {
                    self.changes.note(&seen.snapshot, &seen.diagnosis);
                    return Some(*seen);
                }
                Step::Unreadable => self.unread += 1,
                Step::End => return None,
            }
        }
    }

    /// Goes to this look, or to the next one that can be read, or else to the last; `None` if none can be read.
    pub fn seek(&mut self, look: usize) -> Option<Seen> {
        let look = look.min(self.count().checked_sub(1)?);
        while self.front.next <= look {
            if self.read_on().is_none() {
                break;
            }
        }
        let first = self.recent.front().map_or(usize::MAX, |seen| seen.look);
        if (first..self.here.next).contains(&look) {
            // One that could not be read is not among them: then it is the next.
            let passed = self.recent.iter().find(|seen| seen.look >= look);
            if let Some(seen) = passed {
                return Some(seen.clone());
            }
        }
        let from = self.checkpoints.before(look);
        let from_look = from.map_or(0, |(at, _)| at);
        if self.here.next > look || self.here.next < from_look {
            let analyst = from.map(|(_, analyst)| analyst.clone());
            self.here = Head::at(from_look, analyst.unwrap_or_default());
            self.recent.clear();
        }
        self.go_to(look)
    }

    /// The same from where the head is.
    fn go_to(&mut self, look: usize) -> Option<Seen> {
        let mut last = None;
        loop {
            self.here.begin(self.frames.as_ref(), self.is_one_run);
            match self.here.step(self.frames.as_ref()) {
                Step::Seen(seen) => {
                    if self.recent.len() >= RECENT {
                        self.recent.pop_front();
                    }
                    self.recent.push_back(Seen::clone(&seen));
                    if seen.look >= look {
                        return Some(*seen);
                    }
                    last = Some(*seen);
                }
                Step::Unreadable => {}
                Step::End => return last,
            }
        }
    }

    /// The look that was the newest at this time (milliseconds since the Unix epoch); the first where all are later.
    pub fn look_at(&self, wall_ms: i64) -> usize {
        let by_then = self.times.partition_point(|at| *at <= wall_ms);
        by_then.saturating_sub(1)
    }

    /// When this look was, in milliseconds since the Unix epoch; 0 if there is no such look.
    pub fn time_of(&self, look: usize) -> i64 {
        self.times.get(look).copied().unwrap_or(0)
    }
}

/// Where nothing was seen for longer than this, what was understood before says nothing of what comes after.
const APART_MS: i64 = 300_000;

/// True for looks of two boots, and of two recordings in one file with a long time between them.
fn is_apart(last: FrameMeta, now: FrameMeta) -> bool {
    now.at < last.at
        || now.at.seconds_since(last.at) * 1e3 > APART_MS as f64
        || now.wall_ms.saturating_sub(last.wall_ms) > APART_MS
}

/// When each look was, in milliseconds since the Unix epoch, as the clock of the first one would have it: a clock that is set back
/// meanwhile does not turn the order around.
fn times(frames: &dyn Frames) -> Vec<i64> {
    let mut times: Vec<i64> = Vec::new();
    let mut before: Option<FrameMeta> = None;
    for meta in (0..frames.count()).map_while(|at| frames.meta(at)) {
        let next = match (before, times.last()) {
            (Some(before), Some(last)) => {
                let by_wall = meta.wall_ms.saturating_sub(before.wall_ms);
                let by_boot = (meta.at.seconds_since(before.at) * 1e3) as i64;
                last.saturating_add(if by_wall >= 0 { by_wall } else { by_boot })
            }
            _ => meta.wall_ms,
        };
        times.push(next);
        before = Some(meta);
    }
    times
}

/// A place among the frames, with what had been understood until there.
struct Head {
    /// `None` if there was no memory for one: nothing can be read then.
    decoder: Option<Decoder>,
    analyst: Analyst,
    next: usize,
}

enum Step {
    Seen(Box<Seen>),
    Unreadable,
    End,
}

impl Head {
    fn at_the_start() -> Self {
        Self::at(0, Analyst::default())
    }

    fn at(next: usize, analyst: Analyst) -> Self {
        Self {
            decoder: Decoder::new().ok(),
            analyst,
            next,
        }
    }

    /// Forgets what was understood where the next frame is of another time.
    fn begin(&mut self, frames: &dyn Frames, is_one_run: bool) {
        let before = self.next.checked_sub(1).and_then(|at| frames.meta(at));
        let apart = before.zip(frames.meta(self.next));
        if !is_one_run && apart.is_some_and(|(last, now)| is_apart(last, now)) {
            self.analyst = Analyst::default();
        }
    }

    /// Takes in the next frame. After one that cannot be read, those up to the next key frame cannot be read either.
    fn step(&mut self, frames: &dyn Frames) -> Step {
        let look = self.next;
        if look >= frames.count() {
            return Step::End;
        }
        self.next += 1;
        let frame = frames.frame(look).ok();
        let decoded = frame.zip(self.decoder.as_mut());
        let decoded = decoded.and_then(|(frame, decoder)| decoder.decode(&frame).ok());
        let Some(snapshot) = decoded else {
            return Step::Unreadable;
        };
        let diagnosis = self.analyst.observe(&snapshot);
        Step::Seen(Box::new(Seen {
            look,
            snapshot,
            diagnosis,
        }))
    }
}

#[cfg(test)]
mod tests;
