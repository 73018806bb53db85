//! Types: the name says what an object is, the flags and sizes where its attributes are.

use std::sync::Arc;

use super::{Heap, is_pointer};
use crate::source::python::pages::ByAddress;

/// What is needed of a `PyTypeObject`; these fields lie at the same place in all versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// Where it is.
    pub addr: u64,
    /// `tp_name`: `dict`, `_asyncio.Task`; of a class written in Python its name alone.
    pub name: Arc<str>,
    /// `tp_flags`.
    pub flags: u64,
    /// `tp_basicsize`, bytes.
    pub basic_size: u64,
    /// `tp_base`, or 0.
    pub base: u64,
    /// `tp_dict`, or 0.
    pub dict: u64,
    /// `tp_dictoffset`.
    pub dict_offset: i64,
    /// Where `tp_name` points.
    name_at: u64,
}

const NAME: u64 = 24;
const BASIC_SIZE: u64 = 32;
const FLAGS: u64 = 168;
const BASE: u64 = 256;
const DICT: u64 = 264;
const DICT_OFFSET: u64 = 288;
const HEAP_TYPE: u64 = 1 << 9;
const LONGEST_NAME: usize = 100;
const MOST_TYPES: usize = 4096;

/// Types met so far. A type that a program has made may go away and its memory be used again: it is compared once in each snapshot.
#[derive(Debug, Default)]
pub struct Types {
    known: ByAddress<(Arc<Type>, u64)>,
}

impl Heap {
    /// The type of an object.
    pub fn type_of(&mut self, object: u64) -> Option<Arc<Type>> {
        if !is_pointer(object) {
            return None;
        }
        let addr = self.pointer(object + 8)?;
        self.type_at(addr)
    }

    /// The type at this address.
    pub fn type_at(&mut self, addr: u64) -> Option<Arc<Type>> {
        let generation = self.generation;
        let known = self.types.known.get(&addr).cloned();
        if let Some((kind, seen)) = known {
            if seen == generation || kind.flags & HEAP_TYPE == 0 {
                return Some(kind);
            }
            if self.pages.u64(addr + NAME) == Some(kind.name_at)
                && self.pages.u64(addr + BASE) == Some(kind.base)
            {
                self.types
                    .known
                    .insert(addr, (Arc::clone(&kind), generation));
                return Some(kind);
            }
        }
        let kind = Arc::new(self.read_type(addr)?);
        if self.types.known.len() >= MOST_TYPES {
            self.types.known.clear();
        }
        self.types
            .known
            .insert(addr, (Arc::clone(&kind), generation));
        Some(kind)
    }

    /// True if the type is that one, or derives from it by `tp_base`.
    pub fn derives(&mut self, kind: &Arc<Type>, from: u64) -> bool {
        let mut kind = Arc::clone(kind);
        for _ in 0..64 {
            if kind.addr == from {
                return true;
            }
            match self.type_at(kind.base) {
                Some(base) => kind = base,
                None => return false,
            }
        }
        false
    }

    fn read_type(&mut self, addr: u64) -> Option<Type> {
        if !is_pointer(addr) {
            return None;
        }
        self.pages.want(addr, 416);
        let name_at = self.pages.u64(addr + NAME)?;
        let basic_size = self.pages.u64(addr + BASIC_SIZE)?;
        let base = self.pages.u64(addr + BASE)?;
        let is_plausible = basic_size < 1 << 20 && (base == 0 || is_pointer(base));
        is_plausible.then_some(())?;
        Some(Type {
            addr,
            name: self.c_name(name_at)?,
            flags: self.pages.u64(addr + FLAGS)?,
            basic_size,
            base,
            dict: self.pages.u64(addr + DICT)?,
            dict_offset: self.pages.u64(addr + DICT_OFFSET)?.cast_signed(),
            name_at,
        })
    }

    /// A C string made of what names of types and functions are made of.
    pub fn c_name(&mut self, addr: u64) -> Option<Arc<str>> {
        let mut name = String::new();
        for at in 0..LONGEST_NAME as u64 {
            match char::from(self.pages.u8(addr.checked_add(at)?)?) {
                '\0' => return (!name.is_empty()).then(|| name.into()),
                c if c.is_ascii_alphanumeric()
                    || matches!(c, '_' | '.' | '<' | '>' | '-' | ' ') =>
                {
                    name.push(c)
                }
                // The name of a class may be any identifier.
                c if !c.is_ascii() => name.push('?'),
                _ => return None,
            }
        }
        None
    }
}
