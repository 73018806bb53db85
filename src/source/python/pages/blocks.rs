//! Blocks of pages as bits of a word, and the pieces that they make: arithmetic only.

use super::PAGE;
use crate::source::memory::Piece;

/// Bytes of a block: as many to a page as a word has bits.
pub const BLOCK: usize = 64;
/// Bytes of one piece at most: a bad page costs its piece a second attempt.
pub const LONGEST: usize = 64 * PAGE;
/// Blocks that are read along when they lie between two wanted ones.
const GAP: u32 = 8;

/// The pages that a range touches, and which of their blocks.
pub fn blocks_of(addr: u64, len: usize) -> impl Iterator<Item = (u64, u64)> {
    let end = addr.saturating_add(len.max(1) as u64);
    let pages = addr / PAGE as u64..=(end - 1) / PAGE as u64;
    pages.map(move |page| {
        let from = addr.max(page * PAGE as u64);
        let to = end.min((page + 1).saturating_mul(PAGE as u64));
        let within = (from % PAGE as u64) as usize;
        (page, mask(within, (to - from) as usize))
    })
}

/// The blocks that `count` bytes from `within` on touch; they lie in one page.
#[inline]
pub fn mask(within: usize, count: usize) -> u64 {
    let (first, last) = (within / BLOCK, (within + count.max(1) - 1) / BLOCK);
    (u64::MAX << (first % 64)) & (u64::MAX >> (63 - last.min(63)))
}

/// All that is not valid between the valid blocks on either side of these.
pub fn around(blocks: u64, valid: u64) -> u64 {
    let missing = blocks & !valid;
    let below = (1_u64 << missing.trailing_zeros().min(63)) - 1;
    let above = u64::MAX
        .checked_shl(64 - missing.leading_zeros())
        .unwrap_or(0);
    let from = 64 - (valid & below).leading_zeros();
    let to = (valid & above).trailing_zeros();
    let span = u64::MAX.checked_shl(from).unwrap_or(0) & u64::MAX.checked_shr(64 - to).unwrap_or(0);
    span & !valid
}

/// Runs of blocks (first, count), those with small gaps between them as one, unless something valid lies in the gap.
pub fn runs(blocks: u64, valid: u64) -> impl Iterator<Item = (u32, u32)> {
    let mut rest = blocks;
    std::iter::from_fn(move || {
        let first = (rest != 0).then(|| rest.trailing_zeros())?;
        let mut end = first;
        loop {
            end += (!rest.checked_shr(end).unwrap_or(0)).trailing_zeros();
            rest &= u64::MAX.checked_shl(end).unwrap_or(0);
            let gap = rest.trailing_zeros() - end.min(rest.trailing_zeros());
            let is_free = |gap: u32| (valid >> end) & ((1 << gap) - 1) == 0;
            if rest == 0 || gap > GAP || !is_free(gap) {
                return Some((first, end - first));
            }
            end += gap;
        }
    })
}

/// True if a piece begins where the last one ends, there and here, and both together are not too long.
pub fn continues(last: &Piece, next: &Piece) -> bool {
    last.addr.checked_add(last.len as u64) == Some(next.addr)
        && last.at + last.len == next.at
        && last.len + next.len <= LONGEST
}

/// The parts of a piece that lie in one page each.
pub fn by_page(piece: Piece) -> Vec<Piece> {
    let mut parts = Vec::new();
    let mut done = 0;
    while done < piece.len {
        let at = piece.at + done;
        let len = (PAGE - at % PAGE).min(piece.len - done);
        let addr = piece.addr.wrapping_add(done as u64);
        parts.push(Piece { addr, at, len });
        done += len;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = PAGE as u64;

    #[test]
    fn blocks_come_in_runs() {
        let all = |blocks, valid| runs(blocks, valid).collect::<Vec<_>>();
        assert_eq!(all(0, 0), []);
        assert_eq!(all(u64::MAX, 0), [(0, 64)]);
        assert_eq!(all(0b1011, 0), [(0, 4)], "a small gap is read along");
        assert_eq!(
            all(0b1011, 0b100),
            [(0, 2), (3, 1)],
            "not over what is there"
        );
        assert_eq!(all(1 | 1 << 20 | 1 << 63, 0), [(0, 1), (20, 1), (63, 1)]);
        assert_eq!(mask(0, PAGE), u64::MAX);
        assert_eq!(mask(63, 2), 0b11);
        assert_eq!(mask(4095, 1), 1 << 63);
        assert_eq!(around(0b100, 0), u64::MAX);
        assert_eq!(around(0b100, 1 | 1 << 4), 0b1110);
        assert_eq!(around(1 << 63, 1 << 62), 1 << 63);
        assert_eq!(around(0b101, 0b10), !0b10);
        let touched: Vec<_> = blocks_of(2 * AT - 64, 65).collect();
        assert_eq!(touched, [(1, 1 << 63), (2, 1)]);
    }
}
