//! Which chains are true. One whose thread cannot have run meanwhile is; of the others a second reading must say the same. A
//! thread that runs on and on is waited for, while others wait for the GIL: it will have to hand it over. Of one that nobody
//! disturbs, the outer frames that two readings share are believed.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::super::heap::Heap;
use super::gil::{Gils, Look};
use super::place::{Place, places};
use super::walk::{Chain, Walk, Walked, chain_again, walk};

/// What was found.
#[derive(Debug, Default)]
pub struct Settled {
    /// All thread states, of each interpreter the oldest first.
    pub walk: Walk,
    /// Places by thread state, innermost first; without those that could not be settled.
    pub places: HashMap<u64, Vec<Place>>,
    /// The GILs at the end.
    pub gils: Look,
}

/// Walks, until the lists of threads are whole.
const WALKS: usize = 3;
/// Readings of a thread that may run, one right after the other.
const READINGS: usize = 3;
/// A thread gives the GIL to one that waits after 5 ms (`sys.getswitchinterval`), later on a machine without a CPU to spare.
const PAUSES_MS: [u64; 6] = [1, 2, 3, 4, 6, 8];

/// Reads all stacks. `gils` are those of the last time; `is_contended` says that a thread waits for the GIL.
///
/// # Errors
/// What concerns the whole process: `EPERM`, `ESRCH`.
pub fn settle(
    heap: &mut Heap,
    runtime: &Range<u64>,
    gils: &mut Gils,
    is_contended: bool,
) -> io::Result<Settled> {
    let mut settled = survey(heap, runtime, gils)?;
    let mut running = settled.doubtful();
    let mut shared = HashMap::new();
    for pause in PAUSES_MS {
        for thread in &mut running {
            settled.read_again(heap, thread, &mut shared)?;
        }
        settled.keep_doubtful(&mut running);
        if running.is_empty() || !is_contended {
            break;
        }
        std::thread::sleep(Duration::from_millis(pause));
        settled.read_between_looks(heap, gils, &mut running)?;
        settled.keep_doubtful(&mut running);
    }
    for thread in running {
        let outer = shared.remove(&thread.state);
        settled
            .places
            .extend(outer.map(|places| (thread.state, places)));
    }
    Ok(settled)
}

/// Walks everything between two looks at the GILs.
fn survey(heap: &mut Heap, runtime: &Range<u64>, gils: &mut Gils) -> io::Result<Settled> {
    let mut settled = Settled::default();
    for _ in 0..WALKS {
        let before = gils.look(heap)?;
        heap.renew()?;
        let walk = walk(heap, runtime.start);
        let found = places_of(heap, &walk.threads);
        let now = Gils::find(heap, runtime, &walk.interpreters);
        // Where they were not known there was no look before.
        let is_first = std::mem::replace(gils, now).is_empty() && !gils.is_empty();
        settled = Settled::default();
        settled.take(heap, gils, &before, walk.threads.iter().zip(found))?;
        let is_whole = walk.is_whole;
        settled.walk = walk;
        if let Some(error) = heap.pages.failure() {
            return Err(error);
        }
        if is_whole && !is_first {
            break;
        }
    }
    Ok(settled)
}

fn places_of(heap: &mut Heap, threads: &[Walked]) -> Vec<Option<Vec<Place>>> {
    let whole = |thread: &Walked| {
        let chain = Some(&thread.chain).filter(|chain| chain.is_whole)?;
        places(heap, chain)
    };
    threads.iter().map(whole).collect()
}

impl Settled {
    /// Takes those in that cannot have run since `before`.
    fn take<'a>(
        &mut self,
        heap: &mut Heap,
        gils: &Gils,
        before: &Look,
        found: impl Iterator<Item = (&'a Walked, Option<Vec<Place>>)>,
    ) -> io::Result<()> {
        self.gils = gils.look(heap)?;
        for (thread, places) in found {
            let of = (thread.interpreter, thread.state);
            if let Some(places) = places
                && !gils.may_have_run(before, &self.gils, of)
            {
                self.places.insert(thread.state, places);
            }
        }
        Ok(())
    }

    fn doubtful(&self) -> Vec<Walked> {
        let mut doubtful = self.walk.threads.clone();
        self.keep_doubtful(&mut doubtful);
        doubtful
    }

    fn keep_doubtful(&self, threads: &mut Vec<Walked>) {
        threads.retain(|thread| !self.places.contains_key(&thread.state));
    }

    /// Reads a thread until two readings in a row agree; notes in `shared` the most that two had in common.
    fn read_again(
        &mut self,
        heap: &mut Heap,
        thread: &mut Walked,
        shared: &mut HashMap<u64, Vec<Place>>,
    ) -> io::Result<()> {
        for _ in 0..READINGS {
            let before = std::mem::take(&mut thread.chain);
            chain_again(heap, thread, &before)?;
            let common = common(&before, &thread.chain);
            let Some(places) = places(heap, &common) else {
                continue;
            };
            if before == thread.chain && before.is_whole {
                self.places.insert(thread.state, places);
                return Ok(());
            }
            let known = shared.get(&thread.state).map_or(0, Vec::len);
            if places.len() > known {
                shared.insert(thread.state, places);
            }
        }
        Ok(())
    }

    /// Reads threads once more, in the hope that they have handed the GIL over.
    fn read_between_looks(
        &mut self,
        heap: &mut Heap,
        gils: &Gils,
        running: &mut [Walked],
    ) -> io::Result<()> {
        let before = gils.look(heap)?;
        for thread in running.iter_mut() {
            let last = std::mem::take(&mut thread.chain);
            chain_again(heap, thread, &last)?;
        }
        let found = places_of(heap, running);
        self.take(heap, gils, &before, running.iter().zip(found))
    }
}

/// The outer frames that two readings share; in the innermost of them the thread may have gone on.
fn common(one: &Chain, other: &Chain) -> Chain {
    let is_whole = one.is_whole && other.is_whole;
    let mut frames = Vec::new();
    for (one, other) in one.frames.iter().rev().zip(other.frames.iter().rev()) {
        if !is_whole || (one.addr, one.code) != (other.addr, other.code) {
            break;
        }
        frames.push(*other);
        if one != other {
            break;
        }
    }
    frames.reverse();
    Chain { frames, is_whole }
}
