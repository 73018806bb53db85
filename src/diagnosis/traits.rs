//! What a process's command line and stacks say about it, worked out once for each stack that is read.

use super::framework::{self, Says};
use super::kind::{self, Helper, Intent};
use super::{Kind, draining, frames};
use crate::snapshot::{Frame, Process, Stack};

/// Facts that roles and phases are told from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// What the command line says.
    pub intent: Intent,
    /// The kind that frames on any thread prove.
    pub kind: Option<Kind>,
    /// The kind that frames on the main thread prove.
    pub main_kind: Option<Kind>,
    /// The kind that it is if its sockets alone prove that it serves.
    pub by_loop: Kind,
    /// Its main thread is on its way out.
    pub ends: bool,
    /// A child of a pool, a manager or a tracker of multiprocessing.
    pub pool_child: bool,
    /// Its main thread watches over other processes, and serves nobody itself.
    pub supervises: bool,
    /// It would, but runs code of the application: a hook of the master's.
    pub in_hook: bool,
    /// Its main thread runs a server.
    pub runs_server: bool,
    /// It starts a child again when files change.
    pub reloads: bool,
    /// By its looks a worker, whoever its parent is now: a fork that stands in a worker's own loop, or a child of
    /// multiprocessing. Without a server above it, its master has died.
    pub orphan: bool,
    /// Its main thread has nothing to do but to wait for others.
    pub waits_for_others: bool,
}

impl Traits {
    /// Works them out.
    pub fn of(process: &Process) -> Self {
        let main = process.main_stack();
        let stacks = process.python.as_ref().and_then(|p| p.stacks.as_ref());
        let on_main = |what| main.is_some_and(|s| framework::says(s, what));
        let runs_server = on_main(Says::Serves);
        let intent = kind::intent(&process.cmdline);
        Self {
            intent,
            kind: stacks.and_then(|s| kind::by_frames(s)),
            main_kind: main.and_then(kind::by_stack),
            by_loop: kind::by_loop(process),
            ends: draining::ends(process),
            pool_child: on_main(Says::Helps) || on_main(Says::Forks) && !on_main(Says::Forked),
            supervises: !runs_server && on_main(Says::Supervises),
            in_hook: main.is_some_and(in_hook),
            runs_server,
            reloads: kind::is_reloader(process),
            orphan: intent == Intent::Helper(Helper::Spawned) || on_main(Says::Worker),
            waits_for_others: main.is_none_or(waits_for_others),
        }
    }
}

/// The innermost of the application's frames stands inside of what watches over other processes.
fn in_hook(main: &Stack) -> bool {
    let watches = |f: &Frame| framework::frame_says(f, Says::Supervises);
    let innermost = main.frames.iter().rposition(watches);
    let own = frames::application_frame(main);
    innermost
        .zip(own)
        .is_some_and(|(watching, (own, _))| own > watching)
}

/// Waits for the server to end, and for nothing else: a loop of its own, or a queue that it takes work from, is its real work.
fn waits_for_others(main: &Stack) -> bool {
    let takes_work = main
        .frames
        .iter()
        .any(|f| f.is_library() && f.file.ends_with("/queue.py"));
    if frames::has_loop(main) || takes_work {
        return false;
    }
    const WAITS: &[&str] = &[
        "wait",
        "join",
        "_wait_for_tstate_lock",
        "_wait",
        "_try_wait",
        "sigwait",
        "pause",
        "_shutdown",
        "run_forever",
        "select",
    ];
    let Some(leaf) = main.leaf() else { return true };
    if leaf.file.contains("/multiprocessing/popen_") {
        return true;
    }
    let waits = leaf
        .function
        .rsplit('.')
        .next()
        .is_some_and(|name| WAITS.contains(&name));
    frames::is_library(leaf) && waits || matches!(leaf.function.as_str(), "<module>" | "main")
}
