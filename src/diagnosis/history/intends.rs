//! Which kind of server a process is about to start, as its source had it.

use crate::diagnosis::{Kind, kind};
use crate::snapshot::{Intent, Process, Reach};

/// What is known now that a process was looked at again. It is searched for while looks go on, and comes with a later one than
/// the stack that it belongs to. What once was ahead stays known; what only the script's words said, before the interpreter had
/// come to it, goes when nothing is found from where it stands.
pub(super) fn observe(known: Option<Kind>, before: &Process, now: &Process) -> Option<Kind> {
    let by_script = |intent: &Intent| intent.reach == Reach::Script;
    match of(now) {
        Some(intent) => kind::intended(intent).or(known),
        None => known.filter(|_| !of(before).is_some_and(by_script)),
    }
}

/// What the last search has found.
pub(super) fn of(process: &Process) -> Option<&Intent> {
    process.python.as_ref()?.intent.as_ref()
}
