//! Pools of worker threads: how many there are, how many are taken, and where they stand.

use super::history::Track;
use super::{Thresholds, frames};
use crate::snapshot::{Frame, Moment, Process, Stack, TcpState};

/// A pool of which every thread is taken.
#[derive(Debug, Clone)]
pub struct Exhausted {
    /// What the pool is called: `AnyIO worker thread`, `waitress`.
    pub pool: &'static str,
    /// Threads in it.
    pub threads: usize,
    /// Where most of them stand: the application's frame.
    pub standing: Frame,
    /// How many stand there.
    pub there: usize,
    /// Connections that clients have made.
    pub connections: u64,
}

/// Kinds of pools: the name that their threads have, the file of their worker loop, and the size where it is fixed.
/// AnyIO's default limiter has 40 tokens (anyio `_backends/_asyncio.py`); waitress starts all its threads at once.
const POOLS: &[(&str, &str, &str, Option<usize>)] = &[
    (
        "AnyIO worker thread",
        "AnyIO worker",
        "/anyio/_backends/_asyncio.py",
        Some(40),
    ),
    ("waitress", "waitress-", "/waitress/task.py", None),
    (
        GTHREAD,
        "ThreadPoolExecutor-",
        "/concurrent/futures/thread.py",
        None,
    ),
];

const GTHREAD: &str = "gthread";

/// The pool of this process that is exhausted: every thread is in the application's code and has not moved for a while,
/// and clients have more connections than there are threads.
pub fn exhausted(
    process: &Process,
    track: &Track,
    at: Moment,
    thresholds: &Thresholds,
) -> Option<Exhausted> {
    if at.seconds_since(track.threads_moved) < thresholds.pool_taken_s {
        return None;
    }
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    let connections = track.clients()?;
    POOLS.iter().find_map(|(pool, prefix, file, size)| {
        let of_pool = |s: &&Stack| {
            s.name.as_deref().is_some_and(|n| n.starts_with(prefix))
                && s.frames.iter().any(|f| f.file.ends_with(file))
        };
        let members: Vec<&Stack> = stacks.list.iter().filter(of_pool).collect();
        let taken: Vec<&Frame> = members
            .iter()
            .filter_map(|s| frames::application_frame(s).map(|(_, f)| f))
            .collect();
        let full = !members.is_empty()
            && taken.len() == members.len()
            && size.is_none_or(|size| members.len() >= size);
        let waits = if *pool == GTHREAD {
            is_gthread(process) && has_unread(process)
        } else {
            connections > members.len() as u64
        };
        if !full || !waits {
            return None;
        }
        let (standing, there) = most_common(&taken)?;
        Some(Exhausted {
            pool,
            threads: members.len(),
            standing: standing.clone(),
            there,
            connections,
        })
    })
}

fn is_gthread(process: &Process) -> bool {
    let main = process.main_stack();
    main.is_some_and(|s| {
        let runs = |f: &Frame| f.file.ends_with("/gunicorn/workers/gthread.py");
        s.frames.iter().any(runs)
    })
}

/// A connection has been taken and its request has not been read: gthread starts threads only as they are needed, so that
/// all of those that there are being busy is not enough.
fn has_unread(process: &Process) -> bool {
    let connections = process.connections.iter().flat_map(|c| &c.list);
    connections
        .filter(|c| c.state == TcpState::Established)
        .any(|c| c.recv_q > 0)
}

fn most_common<'a>(places: &[&'a Frame]) -> Option<(&'a Frame, usize)> {
    places
        .iter()
        .map(|place| {
            (
                *place,
                places
                    .iter()
                    .filter(|p| p.function == place.function && p.file == place.file)
                    .count(),
            )
        })
        .max_by_key(|(_, count)| *count)
}
