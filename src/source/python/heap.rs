//! The objects of an interpreter, read from outside: what a pointer points to, as far as it can be believed.
//!
//! ```text
//!  who walks (threads, tasks) ──► heap: type, str, int, dict, list, attribute, code
//!                                   │ layout of its version         │ code objects and types, kept across snapshots
//!                                   └──► pages: one snapshot of the memory
//! ```
//! The target runs while it is read: anything may be half written, freed or used again. `None` means that what was found
//! there is not what was looked for; it is never an error of the program. Every size is bounded, every pointer checked.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::io;
use std::time::Instant;

use super::layout::{Field, Layout};
pub use super::pages::PageHasher as AddressHasher;
use super::pages::{Between, Pages};

mod attribute;
mod code;
mod container;
mod lines;
mod lookup;
mod scalar;
mod states;
mod types;

pub use code::Code;
pub use lookup::{Hints, Imported, SharedHints};
pub use types::Type;

use code::Codes;
use lookup::Modules;
use types::Types;

/// The objects of one interpreter process.
#[derive(Debug)]
pub struct Heap {
    /// Its memory.
    pub pages: Pages,
    /// Where things lie in its version.
    pub layout: &'static Layout,
    types: Types,
    codes: Codes,
    imported: Modules,
    hints: Hints,
    /// Offset of a slot by type and name; `None` where the type has no such slot.
    slots: HashMap<(u64, &'static str), Option<u64>, BuildHasherDefault<AddressHasher>>,
    /// Counts the snapshots.
    generation: u64,
    renewed_at: Instant,
}

/// Items of one container that are read at most.
pub const MOST_ITEMS: usize = 1 << 17;

impl Heap {
    /// Of this memory, laid out as this version does it.
    pub fn new(pages: Pages, layout: &'static Layout, hints: Hints) -> Self {
        Self {
            pages,
            hints,
            imported: Modules::default(),
            layout,
            types: Types::default(),
            codes: Codes::default(),
            slots: HashMap::default(),
            generation: 0,
            renewed_at: Instant::now(),
        }
    }

    /// Begins a new snapshot. What was used in the last one is read again at once; types and code objects are remembered.
    ///
    /// # Errors
    /// What concerns the whole process: `EPERM`, `ESRCH`.
    pub fn renew(&mut self) -> io::Result<()> {
        self.begin();
        self.pages.renew()
    }

    /// The same between two looks at some spots.
    ///
    /// # Errors
    /// As [`Heap::renew`].
    pub fn renew_between<const N: usize>(
        &mut self,
        spots: &[u64],
    ) -> io::Result<Option<Between<N>>> {
        self.begin();
        self.pages.renew_between(spots)
    }

    fn begin(&mut self) {
        self.generation += 1;
        self.renewed_at = Instant::now();
    }

    /// The pointer at `addr`, if it could be one to an object.
    pub fn pointer(&mut self, addr: u64) -> Option<u64> {
        self.pages.u64(addr).filter(|pointer| is_pointer(*pointer))
    }

    /// The pointer in a field of the structure at `base`.
    pub fn pointer_in(&mut self, base: u64, field: Field) -> Option<u64> {
        self.pointer(field.of(base)?)
    }

    /// A field of eight bytes.
    pub fn u64_in(&mut self, base: u64, field: Field) -> Option<u64> {
        self.pages.u64(field.of(base)?)
    }

    /// A field of four bytes, signed.
    pub fn i32_in(&mut self, base: u64, field: Field) -> Option<i32> {
        self.pages.u32(field.of(base)?).map(u32::cast_signed)
    }

    /// A field of one byte, signed.
    pub fn i8_in(&mut self, base: u64, field: Field) -> Option<i8> {
        self.pages.u8(field.of(base)?).map(u8::cast_signed)
    }

    /// The objects that these point to are about to be read: their first `len` bytes are fetched with few calls. Where that fails,
    /// the reads will tell.
    pub fn prepare(&mut self, objects: impl IntoIterator<Item = u64>, len: usize) {
        for object in objects {
            self.want(object, len);
        }
        // A failure of the whole process shows in the next read, which has to fetch by itself.
        let _ = self.pages.fetch();
    }

    /// The same for one object, to be fetched with the next ones. What was read of it in the last snapshot is there already.
    pub fn want(&mut self, object: u64, len: usize) {
        if is_pointer(object) && !self.pages.is_renewed(object, len) {
            self.pages.want(object, len);
        }
    }
}

/// True for what could be the address of an object: aligned, in user space, not near zero.
pub fn is_pointer(value: u64) -> bool {
    value.is_multiple_of(8) && (0x1000..0x00ff_ffff_ffff_f000).contains(&value)
}

/// A reference of 3.14 and newer without its tag; `None` for a tagged integer (Include/internal/pycore_stackref.h).
pub fn untagged(reference: u64) -> Option<u64> {
    (reference & 3 != 3).then_some(reference & !3)
}
