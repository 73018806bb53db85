//! Which chains are true. One whose thread cannot have run meanwhile is; of the others a second reading must say the same. A
//! thread that runs on and on is waited for, while others wait for the GIL: it will have to hand it over. Of one that nobody
//! disturbs, the outer frames that two readings share are believed.

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::super::heap::Heap;
use super::super::pages::Pages;
use super::gil::{Gils, Look};
use super::place::{Place, places};
use super::walk::{Chain, Walk, chain_again, walk};

/// A process that is read.
pub struct Target<'a> {
    /// Its snapshot.
    pub heap: &'a mut Heap,
    /// For what is read again.
    pub pages: &'a mut Pages,
    /// Where `_PyRuntime` lies.
    pub runtime: &'a Range<u64>,
    /// Where its GILs were the last time.
    pub gils: &'a mut Gils,
    /// What was settled the last time, by thread state: fingerprints of chains.
    pub last: &'a [(u64, u64)],
    /// A thread waits for a GIL.
    pub is_contended: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Settled {
    /// All thread states, of each interpreter the oldest first.
    pub walk: Walk,
    /// Places of each thread of the walk, innermost first; `None` where they could not be settled.
    pub places: Vec<Option<Vec<Place>>>,
    /// The GILs at the end.
    pub gils: Look,
    /// Fingerprints of the chains that are wholly true, by thread state.
    pub last: Vec<(u64, u64)>,
}

/// Walks, until the lists of threads are whole.
const WALKS: usize = 3;
/// Readings of a thread that may run, one right after the other.
const READINGS: usize = 3;
/// A thread gives the GIL to one that waits after 5 ms (`sys.getswitchinterval`), later on a machine without a CPU to spare.
const PAUSES_MS: [u64; 6] = [1, 2, 3, 4, 6, 8];

/// Reads all stacks.
///
/// # Errors
/// What concerns the whole process: `EPERM`, `ESRCH`.
pub fn settle(target: &mut Target) -> io::Result<Settled> {
    let mut settled = survey(target)?;
    let mut shared = vec![None; settled.places.len()];
    for pause in PAUSES_MS {
        if settled.is_done() {
            break;
        }
        settled.read_again(target, &mut shared)?;
        if settled.is_done() || !target.is_contended {
            break;
        }
        std::thread::sleep(Duration::from_millis(pause));
        settled.read_between_looks(target)?;
    }
    settled.last = settled.fingerprints();
    for (places, shared) in settled.places.iter_mut().zip(shared) {
        if places.is_none() {
            *places = shared;
        }
    }
    Ok(settled)
}

/// Walks everything between two looks at the GILs.
fn survey(target: &mut Target) -> io::Result<Settled> {
    let mut settled = Settled::default();
    for _ in 0..WALKS {
        let between = target.heap.renew_between(&target.gils.spots())?;
        let calls = target.heap.pages.calls;
        settled.walk = walk(target.heap, target.runtime.start);
        let chains = settled.walk.threads.iter().map(|thread| &thread.chain);
        let frames = chains.clone().flat_map(|chain| &chain.frames);
        target.heap.prepare_codes(frames.map(|frame| frame.code));
        let found: Vec<_> = chains.map(|chain| whole(target.heap, chain)).collect();
        let gils = Gils::find(target.heap, target.runtime, &settled.walk.interpreters);
        let is_known = gils == *target.gils;
        let (before, after) = match &between {
            Some(between) if is_known => (gils.seen(&between.before), gils.seen(&between.after)),
            _ => <(Look, Look)>::default(),
        };
        *target.gils = gils;
        // What was not foreseen has been read since.
        settled.gils = match target.heap.pages.calls == calls && is_known {
            true => after,
            false => target.gils.look(target.heap)?,
        };
        settled.places = vec![None; found.len()];
        settled.take(target, &before, found);
        if let Some(error) = target.heap.pages.failure() {
            return Err(error);
        }
        if settled.walk.is_whole && between.is_some() && is_known {
            break;
        }
    }
    Ok(settled)
}

/// The places of a chain that leads to its end.
fn whole(heap: &mut Heap, chain: &Chain) -> Option<Vec<Place>> {
    places(heap, Some(chain).filter(|chain| chain.is_whole)?)
}

impl Settled {
    fn fingerprints(&self) -> Vec<(u64, u64)> {
        let threads = self.walk.threads.iter().zip(&self.places);
        threads
            .filter(|(_, places)| places.is_some())
            .map(|(thread, _)| (thread.state, thread.chain.fingerprint()))
            .collect()
    }

    fn is_done(&self) -> bool {
        self.places.iter().all(Option::is_some)
    }

    /// Takes those in that cannot have run since `before`, or are where they were known to be the last time.
    fn take(&mut self, target: &Target, before: &Look, found: Vec<Option<Vec<Place>>>) {
        let threads = self.walk.threads.iter().zip(found);
        for (settled, (thread, found)) in self.places.iter_mut().zip(threads) {
            let of = (thread.interpreter, thread.state);
            let is_calm = || !target.gils.may_have_run(before, &self.gils, of);
            let is_same = || {
                let now = (thread.state, thread.chain.fingerprint());
                !thread.chain.frames.is_empty() && target.last.contains(&now)
            };
            if settled.is_none() && (is_calm() || is_same()) {
                *settled = found;
            }
        }
    }

    /// Reads each of the others until two readings in a row agree; notes in `shared` the most that two had in common.
    fn read_again(
        &mut self,
        target: &mut Target,
        shared: &mut [Option<Vec<Place>>],
    ) -> io::Result<()> {
        let threads = self.walk.threads.iter_mut().zip(&mut self.places);
        for ((thread, settled), shared) in threads.zip(shared) {
            for _ in 0..READINGS {
                if settled.is_some() {
                    break;
                }
                let again = chain_again(target.heap, target.pages, thread.state, &thread.chain)?;
                let before = std::mem::replace(&mut thread.chain, again);
                let common = common(&before, &thread.chain);
                let found = places(target.heap, &common);
                if before == thread.chain && before.is_whole {
                    *settled = found;
                } else if found.as_ref().map_or(0, Vec::len) > shared.as_ref().map_or(0, Vec::len) {
                    *shared = found;
                }
            }
        }
        Ok(())
    }

    /// Reads each of the others once more, in the hope that it has handed the GIL over.
    fn read_between_looks(&mut self, target: &mut Target) -> io::Result<()> {
        let before = target.gils.look(target.heap)?;
        let mut all = Vec::with_capacity(self.places.len());
        for (thread, settled) in self.walk.threads.iter_mut().zip(&self.places) {
            if settled.is_some() {
                all.push(None);
                continue;
            }
            thread.chain = chain_again(target.heap, target.pages, thread.state, &thread.chain)?;
            all.push(whole(target.heap, &thread.chain));
        }
        self.gils = target.gils.look(target.heap)?;
        self.take(target, &before, all);
        Ok(())
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
    Chain {
        frames,
        is_whole,
        ..Chain::default()
    }
}
