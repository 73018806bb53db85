//! Local variables of frames: only of a process that somebody asked about, and only then.

use super::{Moment, ProcessKey};

/// What came of asking for the locals of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalsAnswer {
    /// Which process.
    pub key: ProcessKey,
    /// When the answer came.
    pub at: Moment,
    /// Those of each of its threads, or why there are none, in words.
    pub result: Result<Vec<ThreadLocals>, String>,
}

/// Local variables of the frames of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadLocals {
    /// Its id, as the process itself sees it; `None` where that is not known.
    pub tid: Option<u32>,
    /// Its frames, outermost first.
    pub frames: Vec<FrameLocals>,
}

/// Local variables of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameLocals {
    /// As in [`super::Frame`], but the function's plain name.
    pub function: String,
    /// As in [`super::Frame`].
    pub file: String,
    /// As in [`super::Frame`].
    pub line: u32,
    /// The variables, arguments first.
    pub locals: Vec<Local>,
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its name, control characters escaped.
    pub name: String,
    /// Its value as Python would write it, cut, secrets masked, control characters escaped.
    pub value: String,
}
