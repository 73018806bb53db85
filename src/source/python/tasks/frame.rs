//! The frame of a generator that is suspended: where it lies, what it executes, what is on its stack.

use crate::source::python::heap::{Code, Heap, is_pointer, untagged};
use crate::source::python::layout::Awaits;

/// A frame as it lies in memory; `PyFrameObject` up to 3.10, then `_PyInterpreterFrame`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame {
    /// Where it is.
    pub addr: u64,
    /// Its code object.
    pub code: u64,
    /// Its last instruction: an address, up to 3.10 an offset from the first in bytes.
    pub instruction: u64,
    /// Its first local variable.
    pub locals: u64,
    /// Behind the uppermost word of its value stack; meaningless while it is executed.
    pub top: u64,
}

/// How far a generator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has not begun.
    Created,
    /// It is suspended; holds its state.
    Suspended(i8),
    /// It is executed now.
    Executing,
    /// It has ended, and has no frame any more.
    Over,
}

/// `FRAME_OWNED_BY_GENERATOR`.
const OF_GENERATOR: i8 = 1;
/// Words of one frame that are looked at most.
const MOST_WORDS: u64 = 1000;

impl RawFrame {
    /// The frame at this address; `None` if nothing there could be one.
    pub fn at(heap: &mut Heap, addr: u64) -> Option<Self> {
        let fields = &heap.layout.frame;
        let is_tagged = heap.layout.suspension.is_tagged;
        let code = heap.u64_in(addr, fields.code)?;
        let code = if is_tagged { untagged(code)? } else { code };
        is_pointer(code).then_some(())?;
        let instruction = match heap.layout.frame.instr.exists() {
            true => heap.u64_in(addr, fields.instr)?,
            false => {
                let last = heap.i32_in(addr, fields.lasti)?;
                // -1 before the first one.
                u64::try_from(last).unwrap_or(0) * heap.layout.suspension.unit
            }
        };
        Some(Self {
            addr,
            code,
            instruction,
            locals: fields.localsplus.of(addr)?,
            top: 0,
        })
    }

    /// The offset of its last instruction from the first, in bytes.
    pub fn offset(&self, heap: &Heap, code: &Code) -> Option<u64> {
        if heap.layout.frame.instr.exists() {
            self.instruction.checked_sub(code.instructions)
        } else {
            Some(self.instruction)
        }
    }

    /// Where its value stack begins, if what it says of its size can be true.
    pub fn stack(&self, code: &Code) -> Option<u64> {
        let bottom = self.locals.checked_add(8 * u64::from(code.locals))?;
        let words = self.top.checked_sub(bottom)? / 8;
        let most = u64::from(code.stack_size) + 2;
        (words <= most.min(MOST_WORDS) && self.top.is_multiple_of(8)).then_some(bottom)
    }

    /// A local variable by its place; `None` where it is not set.
    pub fn local(&self, heap: &mut Heap, at: u64) -> Option<u64> {
        (at < MOST_WORDS).then_some(())?;
        slot(heap, self.locals.checked_add(8 * at)?)
    }

    /// The object that it awaits.
    pub fn awaited(&self, heap: &mut Heap) -> Option<u64> {
        let depth = heap.layout.suspension.depth;
        slot(heap, self.top.checked_sub(8 * depth)?)
    }
}

/// The object in a word of a frame.
pub fn slot(heap: &mut Heap, addr: u64) -> Option<u64> {
    let word = heap.pages.u64(addr)?;
    let object = if heap.layout.suspension.is_tagged {
        untagged(word)?
    } else {
        word
    };
    is_pointer(object).then_some(object)
}

/// Where the frame of a generator, coroutine or asynchronous generator lies; 0 if it has ended (up to 3.10).
pub fn frame_address(heap: &mut Heap, generator: u64) -> Option<u64> {
    let fields = &heap.layout.generator;
    match fields.iframe.of(generator) {
        Some(inside) => Some(inside),
        None => heap.u64_in(generator, fields.frame),
    }
}

/// How far a generator is, and its frame; `None` if it makes no sense.
pub fn frame_of(heap: &mut Heap, generator: u64) -> Option<(Stage, Option<RawFrame>)> {
    let addr = frame_address(heap, generator)?;
    if addr == 0 {
        return Some((Stage::Over, None));
    }
    is_pointer(addr).then_some(())?;
    let stage = stage(heap, generator, addr)?;
    if stage == Stage::Over {
        return Some((stage, None));
    }
    let mut frame = RawFrame::at(heap, addr)?;
    let owner = heap.layout.frame.owner;
    if owner.exists() && heap.i8_in(addr, owner) != Some(OF_GENERATOR) {
        return None;
    }
    if matches!(stage, Stage::Suspended(_)) {
        frame.top = top(heap, &frame)?;
    }
    Some((stage, Some(frame)))
}

fn stage(heap: &mut Heap, generator: u64, frame: u64) -> Option<Stage> {
    let (of_generator, fields) = (&heap.layout.generator, &heap.layout.frame);
    let state = if of_generator.frame_state.exists() {
        heap.i8_in(generator, of_generator.frame_state)?
    } else if fields.state.exists() {
        heap.i8_in(frame, fields.state)?
    } else {
        return stage_without_state(heap, generator, frame);
    };
    let rules = &heap.layout.suspension;
    Some(match state {
        state if state == rules.created => Stage::Created,
        state if state == rules.executing => Stage::Executing,
        state if rules.suspended.contains(&state) => Stage::Suspended(state),
        _ => Stage::Over,
    })
}

/// Up to 3.9: a generator that is not executed and has begun has a top of the stack.
fn stage_without_state(heap: &mut Heap, generator: u64, frame: u64) -> Option<Stage> {
    let (of_generator, fields) = (&heap.layout.generator, &heap.layout.frame);
    if heap.i8_in(generator, of_generator.running)? != 0 {
        return Some(Stage::Executing);
    }
    if heap.i32_in(frame, fields.lasti)? < 0 {
        return Some(Stage::Created);
    }
    let suspended = heap.u64_in(frame, fields.stacktop)? != 0;
    let state = *heap.layout.suspension.suspended.first()?;
    suspended.then_some(Stage::Suspended(state))
}

/// Behind the uppermost word of the value stack of a suspended frame.
fn top(heap: &mut Heap, frame: &RawFrame) -> Option<u64> {
    let fields = &heap.layout.frame;
    if fields.stackpointer.exists() {
        return heap.u64_in(frame.addr, fields.stackpointer);
    }
    if fields.stackdepth.exists() {
        let depth = u64::try_from(heap.i32_in(frame.addr, fields.stackdepth)?).ok()?;
        return heap
            .u64_in(frame.addr, fields.valuestack)?
            .checked_add(8 * depth);
    }
    if fields.valuestack.exists() {
        return heap.u64_in(frame.addr, fields.stacktop);
    }
    let index = u64::try_from(heap.i32_in(frame.addr, fields.stacktop)?).ok()?;
    frame.locals.checked_add(8 * index)
}

/// True if a generator that stands here awaits something, and not only yields.
pub fn awaits(heap: &mut Heap, code: &Code, offset: u64, state: i8) -> Option<bool> {
    let next = code.instructions.checked_add(offset)?.checked_add(2)?;
    Some(match heap.layout.suspension.awaits {
        Awaits::Next(instruction) => heap.pages.u8(next)? == instruction,
        Awaits::Argument(least) => heap.pages.u8(next.checked_add(1)?)? & 3 >= least,
        Awaits::State(states) => states.contains(&state),
    })
}
