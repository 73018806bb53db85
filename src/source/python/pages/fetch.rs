//! Reading pieces: one that cannot be read costs itself, and no other.

use std::io;

use super::blocks::{blocks_of, by_page};
use super::{Pages, Slot};
use crate::source::memory::{MOST_PIECES, Piece};

impl Pages {
    /// Reads pieces, and goes on behind one that cannot be read; a long one that stopped is tried again page by page at the end.
    /// True if there was none of those.
    pub(super) fn read_all(&mut self, pieces: Vec<Piece>) -> io::Result<bool> {
        let mut rest = pieces;
        let mut done = 0;
        let mut is_in_order = true;
        while let Some(batch) = rest.get(done..).filter(|rest| !rest.is_empty()) {
            let batch = batch.get(..batch.len().min(MOST_PIECES)).unwrap_or(batch);
            self.calls += 1;
            let mut got = self.memory.read(batch, &mut self.store)?;
            let whole = batch.iter().take_while(|piece| {
                let has_come = piece.len <= got;
                got = got.saturating_sub(piece.len);
                has_come
            });
            let whole = whole.count();
            let stopped_at = batch.get(whole).copied();
            for piece in batch.iter().take(whole) {
                note(&mut self.slots, piece, true);
            }
            done += whole;
            if let Some(piece) = stopped_at {
                is_in_order = false;
                done += 1;
                let parts = by_page(piece);
                if parts.len() > 1 {
                    rest.extend(parts);
                } else {
                    note(&mut self.slots, &piece, false);
                }
            }
        }
        Ok(is_in_order)
    }
}

/// Enters that the blocks of a piece have come, or that its only page cannot be read.
fn note(slots: &mut [Slot], piece: &Piece, has_come: bool) {
    for (slot, blocks) in blocks_of(piece.at as u64, piece.len) {
        let Some(slot) = usize::try_from(slot).ok().and_then(|at| slots.get_mut(at)) else {
            return;
        };
        if has_come {
            slot.valid |= blocks;
        } else {
            slot.is_bad = true;
        }
    }
}
