//! Dictionaries, lists, tuples, sets and deques, as the pointers that they hold.

use super::{Heap, MOST_ITEMS, is_pointer};

/// The keys of a dictionary as they lie in memory.
struct Keys {
    entries: u64,
    count: u64,
    /// Bytes of an entry.
    stride: u64,
    /// Where key and value are in an entry.
    key: u64,
    value: u64,
}

impl Heap {
    /// Keys and values of a `dict`, in its own order; at most [`MOST_ITEMS`].
    pub fn dict(&mut self, object: u64) -> Option<Vec<(u64, u64)>> {
        let keys = self.pointer(object.checked_add(32)?)?;
        let values = self.pages.u64(object.checked_add(40)?)?;
        // From 3.13 on a header of eight bytes comes before the values of a split dictionary.
        let values = match values {
            0 => None,
            values if self.layout.minor >= 13 => Some(values.checked_add(8)?),
            values => Some(values),
        };
        self.pairs(keys, values)
    }

    /// Keys of this keys object and their values, which lie beside them or, in a split dictionary, at `values`.
    pub(super) fn pairs(&mut self, keys: u64, values: Option<u64>) -> Option<Vec<(u64, u64)>> {
        let keys = self.keys(keys)?;
        let length = usize::try_from(keys.count * keys.stride).ok()?;
        let entries = self.pages.bytes(keys.entries, length)?;
        let values = match values {
            Some(at) => Some(
                self.pages
                    .bytes(at, 8 * usize::try_from(keys.count).ok()?)?,
            ),
            None => None,
        };
        let mut pairs = Vec::new();
        for at in 0..keys.count {
            let base = at * keys.stride;
            let key = word(&entries, base + keys.key)?;
            let value = match &values {
                Some(values) => word(values, 8 * at)?,
                None => word(&entries, base + keys.value)?,
            };
            if is_pointer(key) && is_pointer(value) {
                pairs.push((key, value));
            }
        }
        Some(pairs)
    }

    /// `PyDictKeysObject`, Include/internal/pycore_dict.h (up to 3.10: Objects/dict-common.h).
    fn keys(&mut self, keys: u64) -> Option<Keys> {
        let found = if self.layout.minor < 11 {
            let size = self.pages.u64(keys.checked_add(8)?)?;
            let width = match size {
                0..=0xff => 1,
                0x100..=0xffff => 2,
                0x1_0000..=0xffff_ffff => 4,
                _ => 8,
            };
            let entries = keys
                .checked_add(40)?
                .checked_add(size.checked_mul(width)?)?;
            let count = self.pages.u64(keys.checked_add(32)?)?;
            Keys {
                entries,
                count,
                stride: 24,
                key: 8,
                value: 16,
            }
        } else {
            let index_bytes = self.pages.u8(keys.checked_add(9)?)?;
            let kind = self.pages.u8(keys.checked_add(10)?)?;
            let count = self.pages.u64(keys.checked_add(24)?)?;
            let entries = keys
                .checked_add(32)?
                .checked_add(1_u64.checked_shl(u32::from(index_bytes))?)?;
            // 0 is a general table, whose entries have the hash too; 1 and 2 have strings only.
            let hash = if kind == 0 { 8 } else { 0 };
            (kind <= 2 && index_bytes < 32).then_some(())?;
            Keys {
                entries,
                count,
                stride: 16 + hash,
                key: hash,
                value: 8 + hash,
            }
        };
        (found.count <= MOST_ITEMS as u64).then_some(found)
    }

    /// Items of a `list`.
    pub fn list(&mut self, object: u64) -> Option<Vec<u64>> {
        let count = self.pages.u64(object.checked_add(16)?)?;
        if count == 0 {
            return Some(Vec::new());
        }
        let items = self.pointer(object.checked_add(24)?)?;
        self.words(items, count)
    }

    /// Items of a `tuple`.
    pub fn tuple(&mut self, object: u64) -> Option<Vec<u64>> {
        let count = self.pages.u64(object.checked_add(16)?)?;
        let items = self.layout.object.tuple_items.of(object)?;
        self.words(items, count)
    }

    /// Items of a `set` or `frozenset`.
    pub fn set(&mut self, object: u64) -> Option<Vec<u64>> {
        let used = self.pages.u64(object.checked_add(24)?)?;
        if used == 0 {
            return Some(Vec::new());
        }
        let slots = self.pages.u64(object.checked_add(32)?)?.checked_add(1)?;
        let table = self.pointer(object.checked_add(40)?)?;
        (slots <= 4 * MOST_ITEMS as u64).then_some(())?;
        let words = self.words(table, slots.checked_mul(2)?)?;
        let entries = words.as_chunks::<2>().0.iter();
        // An entry that was removed has the hash -1 (Objects/setobject.c).
        let live = entries.filter(|[key, hash]| is_pointer(*key) && hash.cast_signed() != -1);
        Some(live.map(|[key, _]| *key).collect())
    }

    /// The number of items of a `set`, `dict` (which has it eight bytes earlier), `list` or `deque`.
    pub fn length(&mut self, object: u64) -> Option<u64> {
        let kind = self.type_of(object)?;
        let is_set = matches!(&*kind.name, "set" | "frozenset");
        self.pages
            .u64(object.checked_add(if is_set { 24 } else { 16 })?)
    }

    /// Items of a `collections.deque`, from the left: blocks of 64 between two links (Modules/_collectionsmodule.c).
    pub fn deque(&mut self, object: u64) -> Option<Vec<u64>> {
        let count = usize::try_from(self.pages.u64(object.checked_add(16)?)?).ok()?;
        if count == 0 {
            return Some(Vec::new());
        }
        (count <= MOST_ITEMS).then_some(())?;
        let mut block = self.pointer(object.checked_add(24)?)?;
        let mut index = self.pages.u64(object.checked_add(40)?)?;
        let mut items = Vec::with_capacity(count.min(1024));
        while items.len() < count {
            (index < 64).then_some(())?;
            let here = (64 - index).min((count - items.len()) as u64);
            items.extend(self.words(block.checked_add(8 + 8 * index)?, here)?);
            index = 0;
            if items.len() < count {
                block = self.pointer(block.checked_add(520)?)?;
            }
        }
        Some(items)
    }

    /// So many words from here on.
    pub fn words(&mut self, addr: u64, count: u64) -> Option<Vec<u64>> {
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= 8 * MOST_ITEMS)?;
        let mut words = Vec::with_capacity(count.min(4096));
        // Lengths are the target's: no more is asked for at once than one may hold for nothing.
        for first in (0..count).step_by(65_536) {
            let bytes = self.pages.bytes(
                addr.checked_add(8 * first as u64)?,
                8 * (count - first).min(65_536),
            )?;
            words.extend(
                bytes
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|word| u64::from_ne_bytes(*word)),
            );
        }
        Some(words)
    }
}

fn word(bytes: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(word.try_into().ok()?))
}
