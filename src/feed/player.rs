//! Looks that were kept, gone through again: to any of them, with what it means by the rules of today.
//!
//! Two heads run over the same frames. The front goes through all of them once, in order, and leaves checkpoints and changes behind; the
//! other one goes where it is asked to, from the nearest checkpoint on.

use std::sync::Arc;

use crate::diagnosis::{Analyst, Diagnosis};
use crate::recording::{Decoder, FrameKind, Frames};
use crate::snapshot::{Moment, Snapshot};

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
}

impl Player {
    /// Over frames that nobody has gone through yet.
    pub fn new(frames: Arc<dyn Frames + Send + Sync>) -> Self {
        Self {
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
        let (from, analyst) = match self.checkpoints.before(look) {
            Some((from, analyst)) => (from, analyst.clone()),
            None => (0, Analyst::default()),
        };
        if self.here.next > look || self.here.next < from {
            self.here = Head::at(from, analyst);
        }
        let mut last = None;
        loop {
            match self.here.step(self.frames.as_ref()) {
                Step::Seen(seen) if seen.look >= look => return Some(*seen),
                Step::Seen(seen) => last = Some(*seen),
                Step::Unreadable => {}
                Step::End => return last,
            }
        }
    }

    /// The look that was the newest at this time (milliseconds since the Unix epoch); the first where all are later.
    pub fn look_at(&self, wall_ms: i64) -> usize {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.frames.meta(middle) {
                Some(meta) if meta.wall_ms <= wall_ms => low = middle + 1,
                _ => high = middle,
            }
        }
        low.saturating_sub(1)
    }

    /// When this look was, in milliseconds since the Unix epoch; 0 if there is no such look.
    pub fn time_of(&self, look: usize) -> i64 {
        self.frames.meta(look).map_or(0, |meta| meta.wall_ms)
    }
}

/// Where nothing was seen for longer than this, what was understood before says nothing of what comes after.
const APART_MS: i64 = 300_000;

/// True for looks of two boots, and of two recordings in one file with a long time between them.
fn is_apart((last, last_ms): (Moment, i64), (now, now_ms): (Moment, i64)) -> bool {
    now < last || now_ms.saturating_sub(last_ms) > APART_MS
}

/// A place among the frames, with what had been understood until there.
struct Head {
    /// `None` if there was no memory for one: nothing can be read then.
    decoder: Option<Decoder>,
    analyst: Analyst,
    next: usize,
    /// When the last look was.
    last: Option<(Moment, i64)>,
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
            last: None,
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
        let now = (snapshot.at, snapshot.wall_ms);
        if self.last.is_some_and(|last| is_apart(last, now)) {
            self.analyst = Analyst::default();
        }
        self.last = Some(now);
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
