//! The first bytes of an object, copied at once: many fields of one object are read together, and so are of one moment.

use crate::source::python::heap::{Heap, is_pointer};
use crate::source::python::layout::Field;

/// `N` bytes of the structure at an address.
#[derive(Debug, Clone, Copy)]
pub struct Image<const N: usize> {
    bytes: [u8; N],
}

impl<const N: usize> Image<N> {
    /// Copies them; `None` if they cannot all be read.
    #[inline]
    pub fn of(heap: &mut Heap, addr: u64) -> Option<Self> {
        let bytes = heap.pages.array(addr)?;
        Some(Self { bytes })
    }

    /// A field of eight bytes of the structure that begins at `base` in these bytes.
    pub fn u64(&self, base: u64, field: Field) -> Option<u64> {
        self.array(field.of(base)?).map(u64::from_ne_bytes)
    }

    /// The pointer in a field, if it could be one to an object.
    pub fn pointer(&self, base: u64, field: Field) -> Option<u64> {
        self.u64(base, field).filter(|word| is_pointer(*word))
    }

    /// A field of four bytes.
    pub fn i32(&self, base: u64, field: Field) -> Option<i32> {
        self.array(field.of(base)?).map(i32::from_ne_bytes)
    }

    /// A field of one byte.
    pub fn i8(&self, base: u64, field: Field) -> Option<i8> {
        self.array(field.of(base)?).map(i8::from_ne_bytes)
    }

    fn array<const M: usize>(&self, at: u64) -> Option<[u8; M]> {
        let at = usize::try_from(at).ok()?;
        self.bytes.get(at..)?.first_chunk().copied()
    }
}
