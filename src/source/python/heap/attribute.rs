//! Attributes of instances: in a dictionary, in values beside the object, or in slots.

use std::sync::Arc;

use super::{Heap, Type, is_pointer};

/// Flags of a type: its instances keep a pointer to their dictionary before the object (3.11+), or their values behind it (3.13+).
const MANAGED_DICT: u64 = 1 << 4;
const INLINE_VALUES: u64 = 1 << 2;

/// Where the attributes of an instance are.
enum Place {
    Dict(u64),
    /// Values for the keys that all instances of the type share.
    Values(u64),
}

impl Heap {
    /// The value of an instance's own attribute, wherever it is kept.
    pub fn attribute(&mut self, object: u64, name: &'static str) -> Option<u64> {
        let kind = self.type_of(object)?;
        let in_dict = match self.attributes_at(object, &kind) {
            Some(Place::Dict(dict)) => self.dict_get(dict, name),
            Some(Place::Values(values)) => self.value_of(&kind, values, name),
            None => None,
        };
        in_dict.or_else(|| self.slot(object, &kind, name))
    }

    fn attributes_at(&mut self, object: u64, kind: &Type) -> Option<Place> {
        let before = |distance| object.checked_sub(distance);
        let is_managed = kind.flags & MANAGED_DICT != 0;
        match self.layout.minor {
            11 if is_managed => match self.pages.u64(before(24)?)? {
                0 => self.pointer(before(32)?).map(Place::Values),
                dict => Some(Place::Dict(dict)),
            },
            // The low bit tells values from a dictionary.
            12 if is_managed => match self.pages.u64(before(24)?)? {
                0 => None,
                word if word & 1 == 1 => Some(Place::Values(word.checked_add(1)?)),
                dict => Some(Place::Dict(dict)),
            },
            13.. if is_managed => match self.pages.u64(before(24)?)? {
                0 if kind.flags & INLINE_VALUES != 0 => {
                    let values = object.checked_add(kind.basic_size)?;
                    let is_valid = self.pages.u8(values.checked_add(3)?)? == 1;
                    is_valid.then_some(Place::Values(values.checked_add(8)?))
                }
                0 => None,
                dict => Some(Place::Dict(dict)),
            },
            _ => {
                let offset = u64::try_from(kind.dict_offset)
                    .ok()
                    .filter(|offset| *offset > 0)?;
                self.pointer(object.checked_add(offset)?).map(Place::Dict)
            }
        }
    }

    fn value_of(&mut self, kind: &Type, values: u64, name: &'static str) -> Option<u64> {
        let keys = self.pointer_in(kind.addr, self.layout.object.cached_keys)?;
        let pairs = self.pairs(keys, Some(values))?;
        let [found] = self.find(&pairs, [name]);
        found
    }

    fn slot(&mut self, object: u64, kind: &Arc<Type>, name: &'static str) -> Option<u64> {
        let known = self.slots.get(&(kind.addr, name)).copied();
        let offset = match known {
            Some(offset) => offset,
            None => {
                let offset = self.slot_offset(kind, name);
                if self.slots.len() < 4096 {
                    self.slots.insert((kind.addr, name), offset);
                }
                offset
            }
        };
        self.pointer(object.checked_add(offset?)?)
    }

    /// From the `member_descriptor`s of the type and its bases: `d_member` points to a `PyMemberDef` {name, type, offset}.
    fn slot_offset(&mut self, kind: &Arc<Type>, name: &'static str) -> Option<u64> {
        let mut kind = Arc::clone(kind);
        for _ in 0..32 {
            let found = if is_pointer(kind.dict) {
                self.dict_get(kind.dict, name)
            } else {
                None
            };
            if let Some(descriptor) = found {
                let is_member = self
                    .type_of(descriptor)
                    .is_some_and(|d| &*d.name == "member_descriptor");
                is_member.then_some(())?;
                let member = self.pointer(descriptor.checked_add(40)?)?;
                let sort = self.pages.u32(member.checked_add(8)?)?;
                let offset = self.pages.u64(member.checked_add(16)?)?;
                // T_OBJECT and T_OBJECT_EX (Include/structmember.h).
                return (matches!(sort, 6 | 16) && offset < kind.basic_size.max(4096))
                    .then_some(offset);
            }
            kind = self.type_at(kind.base)?;
        }
        None
    }
}
