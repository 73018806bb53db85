//! Which chains are true. One whose thread cannot have run meanwhile is; of the others a second reading must say the same. A
//! thread that runs on and on is waited for, while others wait for the GIL: it will have to hand it over. Of one that nobody
//! disturbs, the outer frames that two readings share are believed.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::super::heap::Heap;
use super::super::pages::Pages;
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

/// A process that is read.
pub struct Target<'a> {
    /// Its snapshot.
    pub heap: &'a mut Heap,
    /// Where `_PyRuntime` lies.
    pub runtime: &'a Range<u64>,
    /// Where its GILs were the last time.
    pub gils: &'a mut Gils,
    /// A thread waits for a GIL.
    pub is_contended: bool,
}

/// Reads all stacks.
///
/// # Errors
/// What concerns the whole process: `EPERM`, `ESRCH`.
pub fn settle(target: &mut Target) -> io::Result<Settled> {
    let mut settled = survey(target)?;
    let mut rest = Rest {
        running: settled.walk.threads.clone(),
        shared: HashMap::new(),
        pages: target.heap.pages.sibling(),
    };
    for pause in PAUSES_MS {
        if rest.is_settled(&settled) {
            break;
        }
        rest.read_again(target.heap, &mut settled)?;
        if rest.is_settled(&settled) || !target.is_contended {
            break;
        }
        std::thread::sleep(Duration::from_millis(pause));
        rest.read_between_looks(target, &mut settled)?;
    }
    rest.running
        .retain(|thread| !settled.places.contains_key(&thread.state));
    for thread in rest.running {
        let outer = rest.shared.remove(&thread.state);
        settled
            .places
            .extend(outer.map(|places| (thread.state, places)));
    }
    Ok(settled)
}

/// Walks everything between two looks at the GILs.
fn survey(target: &mut Target) -> io::Result<Settled> {
    let Target {
        heap,
        runtime,
        gils,
        ..
    } = target;
    let mut settled = Settled::default();
    for _ in 0..WALKS {
        let before = gils.look(heap)?;
        heap.renew()?;
        let walk = walk(heap, runtime.start);
        let found = places_of(heap, &walk.threads);
        let now = Gils::find(heap, runtime, &walk.interpreters);
        // Where they were not known there was no look before.
        let is_first = std::mem::replace(*gils, now).is_empty() && !gils.is_empty();
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
}

/// Threads that may have run while they were read.
struct Rest {
    running: Vec<Walked>,
    /// The most that two readings in a row had in common, by thread state.
    shared: HashMap<u64, Vec<Place>>,
    /// For what is read again.
    pages: Pages,
}

impl Rest {
    fn is_settled(&mut self, settled: &Settled) -> bool {
        self.running
            .retain(|thread| !settled.places.contains_key(&thread.state));
        self.running.is_empty()
    }

    /// Reads each until two readings in a row agree.
    fn read_again(&mut self, heap: &mut Heap, settled: &mut Settled) -> io::Result<()> {
        for thread in &mut self.running {
            for _ in 0..READINGS {
                let again = chain_again(heap, &mut self.pages, thread.state, &thread.chain)?;
                let before = std::mem::replace(&mut thread.chain, again);
                let common = common(&before, &thread.chain);
                let Some(places) = places(heap, &common) else {
                    continue;
                };
                if before == thread.chain && before.is_whole {
                    settled.places.insert(thread.state, places);
                    break;
                }
                let known = self.shared.get(&thread.state).map_or(0, Vec::len);
                if places.len() > known {
                    self.shared.insert(thread.state, places);
                }
            }
        }
        Ok(())
    }

    /// Reads each once more, in the hope that it has handed the GIL over.
    fn read_between_looks(&mut self, target: &mut Target, settled: &mut Settled) -> io::Result<()> {
        let before = target.gils.look(target.heap)?;
        for thread in &mut self.running {
            let pages = &mut self.pages;
            thread.chain = chain_again(target.heap, pages, thread.state, &thread.chain)?;
        }
        let found = places_of(target.heap, &self.running);
        let found = self.running.iter().zip(found);
        settled.take(target.heap, target.gils, &before, found)
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
