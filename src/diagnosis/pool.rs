//! Pools of worker threads: is every thread of one taken, and does work wait?

use super::framework::Room;
use super::history::{PoolTrack, Track};
use super::{Thresholds, frames};
use crate::snapshot::{Frame, Moment, Process};

/// A pool of which every thread is taken, while work waits.
#[derive(Debug, Clone)]
pub struct Exhausted {
    /// What the pool is called: `AnyIO`, `waitress`, `ThreadPoolExecutor-0`.
    pub pool: String,
    /// Threads in it.
    pub threads: usize,
    /// Where most of them stand: the application's frame.
    pub standing: Frame,
    /// How many stand there.
    pub there: usize,
    /// Since when none of them has moved.
    pub since: Moment,
    /// What shows that work waits.
    pub waiting: Waiting,
}

/// What shows that work waits for a thread. A reader of the pool's own queue will know exactly, and has its place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The pool cannot grow, and clients have so many connections, more than there are threads.
    Connections(u64),
    /// So many requests have come in that nobody reads.
    Unread(usize),
}

/// The pool of this process that is exhausted: every thread is in the application's code and has not moved for a while,
/// and work waits.
pub fn exhausted(
    process: &Process,
    track: &Track,
    at: Moment,
    thresholds: &Thresholds,
) -> Option<Exhausted> {
    let stands = |p: &&PoolTrack| {
        let all_taken = p.threads > 0 && p.taken.len() == p.threads;
        all_taken && track.known_s(p.moved) >= thresholds.pool_taken_s
    };
    track.pools.iter().filter(stands).find_map(|pool| {
        let waiting = waiting(pool, process, track, at, thresholds)?;
        let (standing, there) = most_common(&pool.taken)?;
        Some(Exhausted {
            pool: pool.name.clone(),
            threads: pool.threads,
            standing: standing.clone(),
            there,
            since: pool.moved,
            waiting,
        })
    })
}

/// A pool that may still grow gives work a new thread: that all of those that there are being taken is not enough.
fn waiting(
    pool: &PoolTrack,
    process: &Process,
    track: &Track,
    at: Moment,
    thresholds: &Thresholds,
) -> Option<Waiting> {
    let cannot_grow = match pool.sort.room {
        Room::AllThere => true,
        Room::Default(size) => pool.threads == size,
        Room::Unknown => false,
    };
    let connections = track.clients().filter(|n| *n > pool.threads as u64);
    if let Some(connections) = connections.filter(|_| cannot_grow) {
        return Some(Waiting::Connections(connections));
    }
    // A loop reads what has come and keeps it. Who hands connections to the pool leaves it to the pool to read.
    let loops = process.main_stack().is_none_or(frames::has_loop);
    let unread = track.unread_for(thresholds.pool_taken_s, at);
    (pool.serves && !loops && unread > 0).then_some(Waiting::Unread(unread))
}

fn most_common(places: &[Frame]) -> Option<(&Frame, usize)> {
    let same = |a: &Frame, b: &Frame| a.function == b.function && a.file == b.file;
    places
        .iter()
        .map(|place| (place, places.iter().filter(|p| same(p, place)).count()))
        .max_by_key(|(_, count)| *count)
}
