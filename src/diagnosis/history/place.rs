//! Where the main thread stands.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::diagnosis::frames;
use crate::snapshot::{Moment, Stack};

/// Where the main thread stands, and since when.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Since when it has been in the same functions down to the application's innermost one.
    pub since: Moment,
    /// Looks at it in that time.
    pub looks: u32,
    /// Since when every frame and line has been the same.
    pub still_since: Moment,
    /// True once it was seen to be in other frames, or on another line, than before.
    pub moves: bool,
    pub(super) chain: u64,
    pub(super) exact: u64,
}

impl Place {
    /// Takes in a stack; true if the thread has moved to other functions or lines above the application's own.
    pub(super) fn move_to(&mut self, stack: &Stack, at: Moment) -> bool {
        let (chain, exact) = fingerprints(stack);
        self.looks = self.looks.saturating_add(1);
        if exact != self.exact {
            self.moves |= self.exact != 0;
            self.exact = exact;
            self.still_since = at;
        }
        if chain == self.chain {
            return false;
        }
        let first = self.chain == 0;
        self.chain = chain;
        self.since = at;
        self.looks = 1;
        !first
    }
}

/// Of a stack: the functions down to the application's innermost one with the lines above it, and all frames with all lines.
pub(super) fn fingerprints(stack: &Stack) -> (u64, u64) {
    let depth = frames::application_frame(stack).map_or(stack.frames.len(), |(at, _)| at + 1);
    let mut chain = DefaultHasher::new();
    let mut exact = DefaultHasher::new();
    for (at, frame) in stack.frames.iter().enumerate() {
        frame.hash(&mut exact);
        if at < depth {
            frame.function.hash(&mut chain);
            frame.file.hash(&mut chain);
        }
        if at + 1 < depth {
            frame.line.hash(&mut chain);
        }
    }
    (chain.finish() | 1, exact.finish() | 1)
}
