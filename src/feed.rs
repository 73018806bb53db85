//! Where do scenes come from: the machine as it is, or looks that were kept? A view cannot tell but by [`Feed`], which it shows.
//!
//! What is kept are observations; what they mean is said anew each time, by the rules of today.

use std::sync::Arc;

pub mod changes;
pub mod checkpoints;
pub mod player;

pub use changes::{Change, Changes, What};
pub use player::{Player, Seen};

/// The source of a scene.
#[derive(Debug, Clone, Default)]
pub enum Feed {
    /// What is so now.
    #[default]
    Live,
    /// What was so.
    Past(Arc<Past>),
}

impl Feed {
    /// What is to be shown of the past; `None` if it is the present.
    pub fn past(&self) -> Option<&Past> {
        match self {
            Self::Live => None,
            Self::Past(past) => Some(past),
        }
    }
}

/// A place among looks that were kept.
#[derive(Debug, Clone)]
pub struct Past {
    /// Where they are kept.
    pub origin: Origin,
    /// The look that is shown, from 0, and how many there are.
    pub at: usize,
    /// How many looks there are.
    pub count: usize,
    /// When the first look was, in milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// When the last one was.
    pub last_ms: i64,
    /// True while it goes on by itself.
    pub playing: bool,
    /// Seconds of what was seen for each second that passes.
    pub speed: f64,
    /// Looks that have been gone through so far, from the first on: of what comes after, no changes are known yet.
    pub read: usize,
    /// Phases and findings that began or ended, in order.
    pub changes: Arc<Vec<Change>>,
    /// What could not be read, in words; empty if all could be.
    pub damage: String,
}

/// Where looks are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The last minutes, in the memory of this program.
    Memory,
    /// A recording: the name of its file.
    File(String),
}

/// Where to go among looks that were kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Move {
    /// To the look that was the newest at this time, in milliseconds since the Unix epoch.
    To(i64),
    /// So many looks on, or back.
    Looks(isize),
    /// So many seconds on, or back.
    Seconds(i64),
    /// To the next change of a phase or finding, or the one before.
    Change(isize),
    /// To the first look.
    First,
    /// To the last one.
    Last,
    /// On by itself, or not any more.
    Play,
    /// Faster or slower by so many steps.
    Speed(isize),
    /// Nowhere any more: the present is shown.
    Leave,
}
