//! The worker threads of one process over time: which pools there are, who is taken, and when any of them last moved.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::place::fingerprints;
use crate::diagnosis::framework::{self, Pool};
use crate::diagnosis::{frames, kind};
use crate::snapshot::{Frame, Moment, Stack, Stacks};

/// Names of threads are the application's: it may have as many as it likes.
const POOLS: usize = 32;

/// What is remembered of one pool.
#[derive(Debug, Clone)]
pub struct PoolTrack {
    /// What it is called: `AnyIO`, `waitress`, `ThreadPoolExecutor-0`, `asyncio`.
    pub name: String,
    /// What is known of all pools of this sort.
    pub sort: &'static Pool,
    /// Its threads at the last look.
    pub threads: usize,
    /// Where those stand that are in the application's code: the innermost frame of it.
    pub taken: Vec<Frame>,
    /// True if one of them stands below frames of a server: it takes requests.
    pub serves: bool,
    /// When one of its threads was last seen at another place than before, or was new, or had gone.
    pub moved: Moment,
    places: u64,
}

/// Takes in the next stacks.
pub(super) fn observe(pools: &mut Vec<PoolTrack>, stacks: &Stacks, main: u32, at: Moment) {
    // Threads that could not be read this time have not gone.
    if stacks.torn > 0 {
        return;
    }
    let before = std::mem::take(pools);
    for stack in stacks.list.iter().filter(|s| s.tid != Some(main)) {
        let Some((sort, _)) = framework::pool_of(stack) else {
            continue;
        };
        let name = sort.name.map_or_else(|| group(stack), str::to_owned);
        let at = pools.iter().position(|p| p.name == name);
        let at = at.or_else(|| {
            let room = pools.len() < POOLS;
            room.then(|| pools.push(PoolTrack::new(name, sort)))?;
            pools.len().checked_sub(1)
        });
        if let Some(pool) = at.and_then(|at| pools.get_mut(at)) {
            pool.add(stack);
        }
    }
    for pool in pools {
        let same = |p: &&PoolTrack| p.name == pool.name && p.places == pool.places;
        pool.moved = before.iter().find(same).map_or(at, |p| p.moved);
    }
}

/// The name of an executor out of that of its thread: `ThreadPoolExecutor-0_3`.
fn group(stack: &Stack) -> String {
    let name = stack.name.as_deref().unwrap_or("unnamed");
    match name.rsplit_once('_') {
        Some((group, number)) if number.bytes().all(|b| b.is_ascii_digit()) => group.to_owned(),
        _ => name.to_owned(),
    }
}

impl PoolTrack {
    fn new(name: String, sort: &'static Pool) -> Self {
        Self {
            name,
            sort,
            threads: 0,
            taken: Vec::new(),
            serves: false,
            moved: Moment(0),
            places: 0,
        }
    }

    fn add(&mut self, stack: &Stack) {
        let mut place = DefaultHasher::new();
        stack.tid.hash(&mut place);
        fingerprints(stack).0.hash(&mut place);
        // In whatever order they are listed.
        self.places ^= place.finish();
        self.threads += 1;
        self.taken
            .extend(frames::application_frame(stack).map(|(_, f)| f.clone()));
        self.serves |= kind::by_stack(stack).is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_executor_is_that_of_its_threads_without_the_number() {
        for (thread, want) in [
            (Some("ThreadPoolExecutor-0_13"), "ThreadPoolExecutor-0"),
            (Some("asyncio_0"), "asyncio"),
            (Some("db_reader_2"), "db_reader"),
            (Some("db_reader"), "db_reader"),
            (None, "unnamed"),
        ] {
            let stack = Stack {
                tid: None,
                name: thread.map(str::to_owned),
                daemon: None,
                activity: crate::snapshot::Activity::Unknown,
                holds_gil: false,
                frames: Vec::new(),
            };
            assert_eq!(group(&stack), want);
        }
    }
}
