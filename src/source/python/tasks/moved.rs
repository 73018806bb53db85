//! Whether a task was read in one moment: what its chain and name were told by is read once more, when all the rest has been read. What
//! is the same both times was there all the while between, and so was all that it leads to. While all threads sleep nothing is.

use super::chain::{Chain, Chains, End, Place};
use super::frame::RawFrame;
use super::task::{RawTask, TASK};
use super::{Look, ThreadStack};

/// Bytes of a name that are compared.
const NAME: usize = 64;
/// Bytes of a generator before its variables, of a frame that is executed.
const GENERATOR: usize = 160;
const FRAME: usize = 96;
/// Bytes of a suspended frame that are compared at most.
const LONGEST: u64 = 8192;

impl Look<'_> {
    /// For each of these tasks, whether it may have changed since it was read.
    pub fn moved_if_any_ran(
        &mut self,
        tasks: &[RawTask],
        chains: &Chains,
        stacks: &[ThreadStack],
    ) -> Vec<bool> {
        match self.asleep.still() {
            true => vec![false; tasks.len()],
            false => self.moved(tasks, chains, stacks),
        }
    }

    /// For each of these tasks, whether it has changed since it was read.
    fn moved(&mut self, tasks: &[RawTask], chains: &Chains, stacks: &[ThreadStack]) -> Vec<bool> {
        let (mut spots, mut ends) = (Vec::new(), Vec::with_capacity(tasks.len()));
        for (at, task) in tasks.iter().enumerate() {
            let chain = chains.chain(at);
            spots.push((task.addr, TASK));
            spots.extend(task.name.map(|name| (name, NAME)));
            chain.links.iter().for_each(|link| {
                spots.push((link.object, GENERATOR));
                if let Place::Python(frame, _) = &link.place {
                    spots.push((frame.addr, length(frame)));
                }
            });
            spots.extend(chains.passed(at).map(|object| (object, HEAD)));
            if chain.end == End::Executing {
                spots.extend(frames_above(&chain, stacks));
            }
            ends.push(spots.len());
        }
        let Ok(changes) = self.heap.pages.changes(&spots) else {
            return vec![true; tasks.len()];
        };
        let mut first = 0;
        let is_moved = |end: usize| {
            let of_task = spots
                .get(std::mem::replace(&mut first, end)..end)
                .unwrap_or_default();
            of_task.iter().any(|(addr, len)| changes.touch(*addr, *len))
        };
        ends.into_iter().map(is_moved).collect()
    }
}

/// Bytes of an object that stands for another, with the pointer to that one.
const HEAD: usize = 24;

/// Bytes of a frame, with what is on its stack if it is suspended.
fn length(frame: &RawFrame) -> usize {
    let length = frame
        .top
        .checked_sub(frame.addr)
        .filter(|length| *length <= LONGEST);
    length.map_or(FRAME, |length| (length as usize).max(FRAME))
}

/// The frames of the stack that the chain's coroutine is executed on.
fn frames_above<'a>(
    chain: &Chain<'_>,
    stacks: &'a [ThreadStack],
) -> impl Iterator<Item = (u64, usize)> + 'a {
    let root = chain.links.first().and_then(|link| match &link.place {
        Place::Python(frame, _) => Some(frame.addr),
        Place::Cython(_) => None,
    });
    let is_its = move |stack: &&ThreadStack| stack.frames.iter().any(|f| Some(f.addr) == root);
    let frames = stacks.iter().filter(is_its).flat_map(|stack| &stack.frames);
    frames.map(|frame| (frame.addr, FRAME))
}
