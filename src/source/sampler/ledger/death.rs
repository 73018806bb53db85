//! What is told of a death, and who is dead.

use super::super::roster::Entry;
use super::births::Birth;
use crate::snapshot::{Exit, ExitStatus, Frame, Moment, ProcessKey};
use crate::source::clock;
use crate::source::procfs::{ProcReader, StatLine};

/// What an exit event has told of a process's first thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) pid: u32,
    /// Who it is, if it is looked at.
    pub(super) key: Option<ProcessKey>,
    pub(super) parent: Option<u32>,
    pub(super) status: ExitStatus,
    pub(super) at: Moment,
}

pub(super) fn exit_of(entry: &Entry, status: ExitStatus, at: Moment) -> Exit {
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

/// The death that an event has told of, with what is known of who died: it may not have been read once.
pub(super) fn exit_told(ending: &Ending, entry: Option<&Entry>, birth: Option<&Birth>) -> Exit {
    let process = entry.map(|e| &e.process);
    let born = process.map(|p| p.started).or(birth.map(|b| b.at));
    let parent = process.map(|p| p.ppid).or(ending.parent);
    Exit {
        key: process.map_or_else(|| key_of_birth(ending.pid, birth), |p| p.key),
        ppid: parent.or(birth.map(|b| b.parent)).unwrap_or(0),
        at: ending.at,
        lived_ns: born.map(|b| ending.at.0.saturating_sub(b.0)),
        code: ending.status.code,
        signal: ending.status.signal,
        cmdline: process.map(|p| p.cmdline.clone()).unwrap_or_default(),
        python: true,
        last_stack: entry.and_then(main_stack).unwrap_or_default(),
    }
}

fn main_stack(entry: &Entry) -> Option<Vec<Frame>> {
    let stacks = entry.python.as_ref()?.stacks.as_ref()?;
    let pid = entry.process.key.pid;
    let main = stacks
        .list
        .iter()
        .find(|s| s.tid == Some(pid))
        .or(stacks.list.first())?;
    Some(main.frames.clone())
}

/// True if no thread of the process is left.
pub(super) fn has_ended(line: &StatLine) -> bool {
    line.state.has_ended() && line.threads <= 1
}

/// True if this very process is there, be it as a zombie.
pub(super) fn still_there(reader: &ProcReader, key: ProcessKey) -> bool {
    reader.stat(key.pid).is_ok_and(|s| s.key() == key)
}

pub(super) fn key_of_birth(pid: u32, birth: Option<&Birth>) -> ProcessKey {
    ProcessKey {
        pid,
        start_time: birth.map_or(0, |b| clock::ticks(b.at)),
    }
}
