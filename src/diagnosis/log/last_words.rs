//! The last traceback that a process wrote before it ended.

use std::sync::Arc;

use super::{is_since, tails};
use crate::diagnosis::{MemberExit, Server};
use crate::snapshot::{Exit, LogTail, Moment, Process, Snapshot, Traceback};

/// What is written at the end may be read a little later than the end is told.
const READ_LATE_S: f64 = 2.5;
/// Start times come in ticks, and stamps in seconds.
const EARLY_S: f64 = 1.0;

/// The traceback that tells most about these deaths, newest first; `None` where none of them wrote one, or where whoever died
/// was killed.
pub fn of<'a>(
    server: &Server,
    snapshot: &'a Snapshot,
    deaths: &[&MemberExit],
) -> Option<&'a Traceback> {
    let tails = tails(server, snapshot);
    deaths
        .iter()
        .filter(|death| speaks(&death.exit))
        .find_map(|death| {
            let written = tails.iter().flat_map(|tail| tail.tracebacks.iter());
            written
                .filter(|t| may_be_of(t, &death.exit))
                .max_by_key(|t| (t.pid == Some(death.exit.key.pid), t.at, t.last))
        })
        .map(AsRef::as_ref)
}

/// The newest traceback since a process has started, in what it and those that it started write: of a child whose end nobody
/// has seen.
pub fn since<'a>(
    server: &Server,
    snapshot: &'a Snapshot,
    process: &Process,
) -> Option<&'a Traceback> {
    let of_tail = |tail: &&'a Arc<LogTail>| -> Option<&'a Traceback> {
        let last = tail.tracebacks.iter().rfind(|t| t.thread.is_none())?;
        let mut lines = tail.lines.iter();
        let line = lines.find(|line| line.number == last.last);
        let since = line.map_or(tail.is_fresh, |line| is_since(line, tail, process));
        since.then_some(last.as_ref())
    };
    let tails = tails(server, snapshot);
    tails
        .iter()
        .copied()
        .filter_map(|t| of_tail(&t))
        .max_by_key(|t| t.at)
}

/// A process that is killed says nothing of it; one that crashes may (faulthandler).
fn speaks(exit: &Exit) -> bool {
    const CRASHES: [i32; 5] = [
        libc::SIGABRT,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
    ];
    exit.signal.is_none_or(|signal| CRASHES.contains(&signal))
}

fn may_be_of(traceback: &Traceback, exit: &Exit) -> bool {
    if traceback.pid.is_some_and(|pid| pid != exit.key.pid) {
        return false;
    }
    let lived_s = exit.lived_ns.map_or(EARLY_S, |ns| ns as f64 / 1e9);
    let born = Moment((exit.at.0).saturating_sub(((lived_s + EARLY_S) * 1e9) as u64));
    traceback.at >= born && traceback.at <= exit.at.plus_seconds(READ_LATE_S)
}
