//! What has changed since it was fetched: read a second time, after everything else, what is the same in both was of one moment.

use std::io;

use super::blocks::{BLOCK, blocks_of, runs};
use super::{ByAddress, PAGE, Pages};
use crate::source::memory::{MOST_PIECES, Piece};

/// Blocks that are not what they were.
#[derive(Debug, Default)]
pub struct Changes {
    /// By page.
    blocks: ByAddress<u64>,
}

impl Changes {
    /// True if some of these bytes may have changed: they share a block with one that has.
    pub fn touch(&self, addr: u64, len: usize) -> bool {
        let changed = |page| self.blocks.get(&page).copied().unwrap_or(0);
        !self.blocks.is_empty()
            && blocks_of(addr, len).any(|(page, blocks)| changed(page) & blocks != 0)
    }

    fn note(&mut self, piece: &Piece) {
        for (page, blocks) in blocks_of(piece.addr, piece.len) {
            *self.blocks.entry(page).or_default() |= blocks;
        }
    }
}

impl Pages {
    /// Reads these ranges again, as far as they are held, and tells what has changed of them. What is held stays as it is.
    ///
    /// # Errors
    /// As [`Pages::fetch`].
    pub fn changes(&mut self, spots: &[(u64, usize)]) -> io::Result<Changes> {
        let pieces = self.held_pieces(spots);
        let mut changes = Changes::default();
        let mut store = Vec::new();
        let mut done = 0;
        while let Some(rest) = pieces.get(done..).filter(|rest| !rest.is_empty()) {
            let (mut batch, mut length) = (
                rest.get(..rest.len().min(MOST_PIECES))
                    .unwrap_or(rest)
                    .to_vec(),
                0,
            );
            for piece in &mut batch {
                piece.at = length;
                length += piece.len;
            }
            store.resize(length, 0);
            self.calls += 1;
            let mut got = self.memory.read(&batch, &mut store)?;
            for (now, held) in batch.iter().zip(rest) {
                done += 1;
                let is_same = now.len <= got
                    && store.get(now.at..now.at + now.len)
                        == self.store.get(held.at..held.at + held.len);
                if !is_same {
                    changes.note(held);
                }
                if now.len > got {
                    break;
                }
                got -= now.len;
            }
        }
        Ok(changes)
    }

    /// The blocks of these ranges that are held; `at` is where in the store.
    fn held_pieces(&self, spots: &[(u64, usize)]) -> Vec<Piece> {
        let mut blocks: Vec<(u64, u64)> = Vec::with_capacity(spots.len());
        for (addr, len) in spots {
            blocks.extend(blocks_of(*addr, *len));
        }
        blocks.sort_unstable_by_key(|(page, _)| *page);
        blocks.dedup_by(|(page, more), (kept, blocks)| {
            let same = page == kept;
            *blocks |= if same { *more } else { 0 };
            same
        });
        let mut pieces = Vec::with_capacity(blocks.len());
        for (page, blocks) in blocks {
            let Some(at) = self.known.get(&page).map(|at| *at as usize) else {
                continue;
            };
            let held = self.slots.get(at).map_or(0, |slot| slot.valid) & blocks;
            // Nothing that is not asked for lies between.
            for (first, count) in runs(held, !held) {
                pieces.push(Piece {
                    addr: page * PAGE as u64 + u64::from(first) * BLOCK as u64,
                    at: at * PAGE + first as usize * BLOCK,
                    len: count as usize * BLOCK,
                });
            }
        }
        pieces
    }
}
