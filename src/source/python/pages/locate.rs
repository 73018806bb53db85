//! Which slot has an address, and whether what is wanted has come; what is missing is fetched.

use super::blocks::{around, mask};
use super::{NONE, PAGE, Pages, RECENT, Slot};

/// Bytes of an object that tell whether it was read in the last snapshot.
const HEAD: usize = 48;

impl Pages {
    /// True if the page of this address has been asked for before.
    pub fn is_known(&self, addr: u64) -> bool {
        self.slot_of(addr / PAGE as u64).is_some()
    }

    /// True if the last renewal has read the first of these bytes, and so whatever else was read near them in the last snapshot.
    #[inline]
    pub fn is_renewed(&self, addr: u64, len: usize) -> bool {
        let within = (addr % PAGE as u64) as usize;
        let first = mask(within, len.clamp(1, HEAD).min(PAGE - within));
        let slot = self.slot_of(addr / PAGE as u64);
        let slot = slot.and_then(|at| self.slots.get(at as usize));
        slot.is_some_and(|slot| slot.renewed & slot.valid & first == first)
    }

    /// The slot of a page, if it is known.
    #[inline]
    fn slot_of(&self, page: u64) -> Option<u32> {
        match self.recent.get(page as usize % RECENT) {
            Some((known, at)) if *known == page => Some(*at),
            _ => self.known.get(&page).copied(),
        }
    }

    /// The slot that has these blocks of this page; they are fetched if need be.
    #[inline]
    pub(super) fn locate(&mut self, page: u64, blocks: u64) -> Option<usize> {
        if let Some((known, at)) = self.recent.get(page as usize % RECENT)
            && *known == page
            && let Some(slot) = self.slots.get_mut(*at as usize)
            && slot.valid & blocks == blocks
        {
            slot.used |= if self.keeps { blocks } else { 0 };
            return Some(*at as usize);
        }
        self.search(page, blocks)
    }

    /// The same for a page that was not read lately, or not all of these blocks.
    fn search(&mut self, page: u64, blocks: u64) -> Option<usize> {
        let at = self.known.get(&page).copied().unwrap_or(NONE.1);
        let is_here = |slot: &Slot| slot.valid & blocks == blocks;
        let at = match self.slots.get(at as usize) {
            Some(slot) if is_here(slot) => at,
            Some(slot) if slot.is_bad => return None,
            // Of a page that is not known all is fetched: what lies near is mostly read next.
            slot => {
                let missing = slot.map_or(u64::MAX, |slot| around(blocks, slot.valid));
                self.wanted.push((page, missing));
                if let Err(error) = self.fetch() {
                    self.failure = Some(error);
                    return None;
                }
                self.known.get(&page).copied()?
            }
        };
        let slot = self
            .slots
            .get_mut(at as usize)
            .filter(|slot| is_here(slot))?;
        if self.keeps {
            slot.used |= blocks;
        }
        if let Some(recent) = self.recent.get_mut(page as usize % RECENT) {
            *recent = (page, at);
        }
        Some(at as usize)
    }
}
