//! The memory of a process as it was a moment ago: what is read is kept for the snapshot, and much is read with one system call.
//!
//! ```text
//!  want(address, length) ─┐
//!  want(…)                ├─► fetch: one process_vm_readv for up to 1,024 pieces ─► read, u64, …: no system call
//!  what last time was read ┘
//!
//!  page    ┌──────────────────────────────────────────┐
//!  blocks  │..####.....................##.............│  64 of 64 bytes: a cache line each
//!  pieces     └──┘                     └┘                of a renewal: what was read last time, and no more
//! ```
//! Who follows pointers asks level by level: first `want` for all objects of a level, then `fetch`, then read. What was not
//! wanted beforehand is fetched with the rest of its page when it is read. What an address means is for the callers; so is whether
//! to believe it. A cache line costs more to fetch from another CPU than to copy, a piece as much as some sixteen of them: hence
//! blocks, and hence small gaps between them are read too.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::io;
use std::sync::Arc;

use crate::source::memory::Piece;

mod blocks;
mod changed;
mod fetch;
mod hash;
mod live;
mod locate;
mod read;

pub use hash::PageHasher;
pub use live::{Live, Memory};

use blocks::{BLOCK, LONGEST, blocks_of, continues, runs};

/// Bytes of a page here; the kernel's may be a multiple of it.
pub const PAGE: usize = 4096;

/// A map by addresses.
pub type ByAddress<T> = HashMap<u64, T, BuildHasherDefault<PageHasher>>;

/// Pages of one process at one moment, as far as they were asked for.
#[derive(Debug)]
pub struct Pages {
    memory: Arc<dyn Memory>,
    /// Page number → index in `slots`.
    known: ByAddress<u32>,
    slots: Vec<Slot>,
    /// The bytes: those of the slot n from n * [`PAGE`] on. Where no block is valid they are anything.
    store: Vec<u8>,
    /// Pages and blocks.
    wanted: Vec<(u64, u64)>,
    /// Pages that were read lately, and their slots, each in the place that the lowest bits of its number say.
    recent: [(u64, u32); RECENT],
    /// At most so many are held.
    most: usize,
    failure: Option<io::Error>,
    /// True while what is read will be read again by the next renewal.
    pub keeps: bool,
    /// System calls so far.
    pub calls: u64,
    /// Reads so far, and one more for each 256 bytes: who follows the pointers of a target that lies stops by this.
    pub work: u64,
}

/// What lay at some spots before a renewal and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Between<const N: usize> {
    /// Before.
    pub before: Vec<[u8; N]>,
    /// After.
    pub after: Vec<[u8; N]>,
}

/// One page; bit n of a mask stands for block n.
#[derive(Debug, Clone, Copy)]
struct Slot {
    page: u64,
    /// Blocks that have been fetched.
    valid: u64,
    /// Those that were wanted by a renewal.
    renewed: u64,
    /// Blocks that were read since the last renewal.
    used: u64,
    /// It cannot be read.
    is_bad: bool,
}

impl Pages {
    /// Of the memory given, at most `most` pages at a time.
    pub fn new(memory: Box<dyn Memory>, most: usize) -> Self {
        Self::over(Arc::from(memory), most)
    }

    /// Of the same memory, but nothing of it yet: what is read here does not change what is held there.
    pub fn sibling(&self) -> Self {
        Self::over(Arc::clone(&self.memory), self.most)
    }

    fn over(memory: Arc<dyn Memory>, most: usize) -> Self {
        Self {
            memory,
            known: HashMap::default(),
            slots: Vec::new(),
            store: Vec::new(),
            wanted: Vec::new(),
            recent: [NONE; RECENT],
            most: most.min(u32::MAX as usize),
            failure: None,
            keeps: true,
            calls: 0,
            work: 0,
        }
    }

    /// Of a live process; at most 64 MiB.
    pub fn of_process(pid: u32) -> Self {
        Self::new(Box::new(Live { pid }), 16_384)
    }

    /// Begins a new snapshot: everything that was read in the last one is fetched afresh with as few calls as may be, so that it
    /// is of one moment.
    ///
    /// # Errors
    /// As [`Pages::fetch`].
    pub fn renew(&mut self) -> io::Result<()> {
        self.want_again();
        self.fetch()
    }

    /// The same, and reads some spots before and after all else: they tell whether that is of one moment. `None` if a piece
    /// could not be read, and therefore not all was read in this order.
    ///
    /// # Errors
    /// As [`Pages::fetch`].
    pub fn renew_between<const N: usize>(
        &mut self,
        spots: &[u64],
    ) -> io::Result<Option<Between<N>>> {
        self.want_again();
        let pieces = self.wanted_pieces();
        let tail = self.slots.len() * PAGE;
        let spot = |(nth, addr): (usize, &u64)| Piece {
            addr: *addr,
            at: tail + N * nth,
            len: N,
        };
        let before = spots.iter().enumerate().map(spot);
        let after = before.clone().map(|piece| Piece {
            at: piece.at + N * spots.len(),
            ..piece
        });
        self.make_room(tail + 2 * N * spots.len());
        let is_in_order = self.read_all(before.chain(pieces).chain(after).collect())?;
        let found = self
            .store
            .get(tail..)
            .unwrap_or_default()
            .as_chunks::<N>()
            .0;
        let halves = found.split_at_checked(spots.len());
        let between = halves.map(|(before, rest)| Between {
            before: before.to_vec(),
            after: rest.iter().copied().take(spots.len()).collect(),
        });
        Ok(between.filter(|_| is_in_order))
    }

    /// Forgets everything, also what would be read again.
    pub fn clear(&mut self) {
        self.wanted.clear();
        self.failure = None;
        self.drop_all();
    }

    /// Gives its bytes away until [`Pages::renew`]: only what is to be read again is remembered.
    pub fn rest(&mut self) -> Vec<u8> {
        self.slots.retain(|slot| slot.used != 0);
        self.known.clear();
        self.wanted.clear();
        self.recent = [NONE; RECENT];
        // Some room stays, for about as much as was used.
        let room = 2 * self.slots.len() + 64;
        self.slots.shrink_to(room);
        self.known.shrink_to(room);
        self.wanted.shrink_to(room);
        std::mem::take(&mut self.store)
    }

    /// Works in these bytes from now on, whatever they hold; for after [`Pages::rest`], before a renewal.
    pub fn work_in(&mut self, store: Vec<u8>) {
        self.store = store;
    }

    /// Begins with no page at all, and gives back those that there were.
    pub fn put_by(&mut self) -> Self {
        let fresh = Self {
            calls: self.calls,
            work: self.work,
            ..self.sibling()
        };
        std::mem::replace(self, fresh)
    }

    /// Takes pages that were put by, and drops those that there are.
    pub fn take_back(&mut self, pages: Self) {
        *self = Self {
            calls: self.calls,
            work: self.work,
            failure: self.failure.take(),
            ..pages
        };
    }

    /// True if more than half of the pages that may be held are.
    pub fn is_half_full(&self) -> bool {
        self.slots.len() > self.most / 2
    }

    /// Notes that these bytes will be read.
    pub fn want(&mut self, addr: u64, len: usize) {
        for (page, blocks) in blocks_of(addr, len.min(LONGEST)) {
            match self.wanted.last_mut() {
                Some((last, more)) if *last == page => *more |= blocks,
                _ => self.wanted.push((page, blocks)),
            }
        }
    }

    /// Fetches what was wanted and is not there yet.
    ///
    /// # Errors
    /// What concerns the whole process: `EPERM`, `ESRCH`. Memory that cannot be read is none: reading from it yields `None`.
    pub fn fetch(&mut self) -> io::Result<()> {
        let pieces = self.wanted_pieces();
        self.read_all(pieces).map(|_| ())
    }

    /// Why reads fail that should not, if the process as a whole could not be read. Taken once.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// The bytes at `addr` as they are now; nothing that is held changes.
    ///
    /// # Errors
    /// As [`Pages::fetch`]; `EFAULT` if they cannot be read.
    pub fn now<const N: usize>(&mut self, addr: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let piece = Piece {
            addr,
            at: 0,
            len: N,
        };
        self.calls += 1;
        if self.memory.read(&[piece], &mut bytes)? < N {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        Ok(bytes)
    }

    /// Drops all, and notes what was read of it.
    fn want_again(&mut self) {
        self.failure = None;
        self.wanted.clear();
        let again = self.slots.iter();
        let again = again.filter(|slot| slot.used != 0 && !slot.is_bad);
        self.wanted.extend(again.map(|slot| (slot.page, slot.used)));
        self.wanted.sort_unstable_by_key(|(page, _)| *page);
        self.drop_all();
        for at in 0..self.wanted.len() {
            if let Some(&(page, blocks)) = self.wanted.get(at)
                && let Some(slot) = self.slot(page).and_then(|at| self.slots.get_mut(at))
            {
                slot.renewed = blocks;
            }
        }
    }

    fn drop_all(&mut self) {
        self.known.clear();
        self.slots.clear();
        self.recent = [NONE; RECENT];
        // A large snapshot that was once taken does not stay.
        if self.store.len() > 8 * PAGE * self.wanted.len().max(64) {
            self.store = Vec::new();
        }
    }

    /// A large range, fetched at once.
    fn want_all(&mut self, addr: u64, len: usize) {
        for at in (0..len).step_by(LONGEST) {
            self.want(addr.saturating_add(at as u64), (len - at).min(LONGEST));
        }
        if let Err(error) = self.fetch() {
            self.failure = Some(error);
        }
    }

    /// What has to be read for all that is wanted.
    fn wanted_pieces(&mut self) -> Vec<Piece> {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable_by_key(|(page, _)| *page);
        wanted.dedup_by(|(page, more), (kept, blocks)| {
            let same = page == kept;
            *blocks |= if same { *more } else { 0 };
            same
        });
        let pieces = self.pieces(&wanted);
        wanted.clear();
        self.wanted = wanted;
        pieces
    }

    /// What has to be read for these pages, which are in order and each there once; they get their slots.
    fn pieces(&mut self, wanted: &[(u64, u64)]) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::with_capacity(wanted.len());
        for &(page, blocks) in wanted {
            let Some(at) = self.slot(page) else { break };
            let valid = self.slots.get(at).map_or(0, |slot| slot.valid);
            let is_bad = self.slots.get(at).is_none_or(|slot| slot.is_bad);
            let missing = if is_bad { 0 } else { blocks & !valid };
            for (first, count) in runs(missing, valid) {
                let piece = Piece {
                    addr: page * PAGE as u64 + u64::from(first) * BLOCK as u64,
                    at: at * PAGE + first as usize * BLOCK,
                    len: count as usize * BLOCK,
                };
                match pieces.last_mut() {
                    Some(last) if continues(last, &piece) => last.len += piece.len,
                    _ => pieces.push(piece),
                }
            }
        }
        self.make_room(self.slots.len() * PAGE);
        pieces
    }

    fn make_room(&mut self, length: usize) {
        if self.store.len() < length {
            self.store.resize(length, 0);
        }
    }

    /// The index of the slot of this page, a new one if need be; `None` if too many are held.
    fn slot(&mut self, page: u64) -> Option<usize> {
        if let Some(at) = self.known.get(&page) {
            return Some(*at as usize);
        }
        let at = self.slots.len();
        (at < self.most).then_some(())?;
        self.known.insert(page, at as u32);
        self.slots.push(Slot {
            page,
            valid: 0,
            renewed: 0,
            used: 0,
            is_bad: false,
        });
        Some(at)
    }
}

/// Pages whose slots are found without a look into the map.
const RECENT: usize = 64;
/// No page and no slot.
const NONE: (u64, u32) = (u64::MAX, u32::MAX);

#[cfg(test)]
mod tests;
