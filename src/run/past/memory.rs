//! The last ten minutes, kept by the collector as it looks: frames as a recording has them, what was understood by then, and what changed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::diagnosis::{Analyst, Diagnosis};
use crate::feed::checkpoints::Checkpoints;
use crate::feed::{Changes, Player};
use crate::recording::{Encoder, FrameKind, Frames, Tape, TapeLimits};
use crate::snapshot::{Moment, Snapshot};

/// What is kept, at most.
const AGE_S: f64 = 600.0;
const BYTES: usize = 32 << 20;

/// The last minutes.
pub(crate) struct Memory {
    /// `None` if there is no memory for one: nothing is kept then.
    encoder: Option<Encoder>,
    tape: Tape,
    /// Analysts before key frames, by the moment of these.
    analysts: VecDeque<(Moment, Analyst)>,
    changes: Changes,
    interval_s: f64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            encoder: Encoder::new().ok(),
            tape: Tape::new(TapeLimits {
                age_s: AGE_S,
                bytes: BYTES,
            }),
            analysts: VecDeque::new(),
            changes: Changes::default(),
            interval_s: 1.0,
        }
    }
}

impl Memory {
    /// Keeps a look that the analyst is about to observe.
    pub(crate) fn keep(&mut self, snapshot: &Arc<Snapshot>, analyst: &Analyst, interval_s: f64) {
        self.interval_s = interval_s;
        // A look too large to be kept is not; the next one begins anew.
        let encoded = self.encoder.as_mut().map(|e| e.encode(snapshot));
        let Some(Ok(frame)) = encoded else {
            return;
        };
        if frame.meta.kind == FrameKind::Key {
            self.analysts.push_back((frame.meta.at, analyst.clone()));
        }
        self.tape.push(frame);
        let Some(first) = self.tape.meta(0) else {
            return;
        };
        while self.analysts.front().is_some_and(|(at, _)| *at < first.at) {
            self.analysts.pop_front();
        }
        self.changes.forget_before(first.wall_ms);
    }

    /// Takes in what that look meant.
    pub(crate) fn note(&mut self, snapshot: &Snapshot, diagnosis: &Diagnosis) {
        self.changes.note(snapshot, diagnosis);
    }

    /// A player over what is kept now.
    pub(crate) fn player(&self) -> Player {
        let tape = self.tape.clone();
        let keys = (0..tape.count()).filter(|at| {
            tape.meta(*at)
                .is_some_and(|meta| meta.kind == FrameKind::Key)
        });
        let mut checkpoints = Checkpoints::default();
        for (at, (_, analyst)) in keys.zip(&self.analysts) {
            checkpoints.keep(at, analyst);
        }
        Player::after_all(Arc::new(tape), checkpoints, self.changes.clone())
    }

    pub(crate) fn tape(&self) -> Tape {
        self.tape.clone()
    }

    pub(crate) fn interval_s(&self) -> f64 {
        self.interval_s
    }
}
