//! Which object does a thread sleep in front of? The kernel knows a word of memory; the frame that sleeps still has the object
//! on its value stack or among its variables. What lies there may be old, so the word has to belong to it.
//!
//! ```text
//!  innermost frame: variables, value stack ─► Lock, RLock, SimpleQueue, or a method of one (m_self)
//!                                                │ its semaphore (to 3.13), or the word that it is parked at (3.13+)
//!  futex(2) of the thread: address ──────────────┘ must be the same
//! ```

use super::super::heap::{Heap, is_pointer, untagged};
use super::walk::RawFrame;
use crate::snapshot::LockObject;

/// Words of one frame that are looked at, the innermost ones.
const MOST_WORDS: u64 = 64;
/// `m_self` of a `PyCFunctionObject` (`Include/cpython/methodobject.h`).
const SELF: u64 = 24;
/// What all three begin with after their head: a pointer to the semaphore, or the `PyMutex` itself (`Modules/_threadmodule.c`,
/// `Modules/_queuemodule.c`).
const WORD: u64 = 16;
/// `rlock_owner`, from 3.14 on `lock.thread`: what `pthread_self()` is to who has it, 0 for nobody.
const OWNER: u64 = 24;
/// `addr` of a `struct wait_entry` lies before its semaphore (`Python/parking_lot.c`).
const PARKED_AT: u64 = 8;
/// An object of these is no larger.
const SIZE: u64 = 64;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: LockObject,
    /// Its address.
    pub object: u64,
    /// `pthread_self()` of who has it, where it says so.
    pub owner: Option<u64>,
}

/// The object whose word a thread sleeps at; `None` if this frame has none.
pub fn lock_of(heap: &mut Heap, leaf: &RawFrame, futex: u64) -> Option<Found> {
    let words = words(heap, leaf)?;
    heap.prepare(words.iter().copied(), 40);
    words.into_iter().rev().find_map(|word| {
        let (kind, object) = known(heap, word)?;
        belongs(heap, object, futex).then_some(())?;
        let owner = match kind {
            LockObject::Reentrant => heap.pages.u64(object + OWNER).filter(|o| *o != 0),
            LockObject::Lock | LockObject::Queue => None,
        };
        Some(Found {
            kind,
            object,
            owner,
        })
    })
}

/// The variables and the value stack of a frame, what could be objects of it.
fn words(heap: &mut Heap, leaf: &RawFrame) -> Option<Vec<u64>> {
    let code = heap.code(leaf.code)?;
    let all = u64::from(code.locals).checked_add(u64::from(code.stack_size))?;
    let first = heap.layout.frame.localsplus.of(leaf.addr)?;
    let is_tagged = heap.layout.suspension.is_tagged;
    let words = (all.saturating_sub(MOST_WORDS)..all).filter_map(|at| {
        let word = heap.pages.u64(first.checked_add(8 * at)?)?;
        let object = if is_tagged { untagged(word)? } else { word };
        is_pointer(object).then_some(object)
    });
    Some(words.collect())
}

/// One of the three, or what a method is bound to.
fn known(heap: &mut Heap, object: u64) -> Option<(LockObject, u64)> {
    let kind = heap.type_of(object)?;
    if &*kind.name == "builtin_function_or_method" {
        let bound = heap.pointer(object + SELF)?;
        return kind_of(heap, bound).map(|kind| (kind, bound));
    }
    kind_of(heap, object).map(|kind| (kind, object))
}

fn kind_of(heap: &mut Heap, object: u64) -> Option<LockObject> {
    match &*heap.type_of(object)?.name {
        "_thread.lock" => Some(LockObject::Lock),
        "_thread.RLock" => Some(LockObject::Reentrant),
        "_queue.SimpleQueue" => Some(LockObject::Queue),
        _ => None,
    }
}

/// The word is that of its semaphore, or that of a thread that is parked at a word inside of it.
fn belongs(heap: &mut Heap, object: u64, futex: u64) -> bool {
    if heap.pages.u64(object + WORD) == Some(futex) {
        return true;
    }
    let parked_at = futex.checked_sub(PARKED_AT);
    let parked_at = parked_at.and_then(|at| heap.pages.u64(at));
    parked_at.is_some_and(|at| (object..object + SIZE).contains(&at))
}
