//! The frame of a generator that is suspended: where it lies, what it executes, what is on its stack.

use super::image::Image;
use crate::source::python::heap::{Code, Heap, is_pointer, untagged};
use crate::source::python::layout::{Awaits, Layout};

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

/// Bytes of a frame that are read, up to 3.10 and since: no more than the smallest has, for behind it nothing need be mapped; and those
/// of a generator with one inside (3.11+), or without.
const FRAME: usize = 120;
const INNER_FRAME: usize = 80;
const GENERATOR_WITH_FRAME: usize = 160;
const GENERATOR: usize = 32;

type FrameImage = Image<FRAME>;

impl RawFrame {
    /// The frame at this address; `None` if nothing there could be one.
    pub fn at(heap: &mut Heap, addr: u64) -> Option<Self> {
        let layout = heap.layout;
        if layout.minor < 11 {
            let image = FrameImage::of(heap, addr)?;
            return Self::from_image(layout, &image, 0, addr);
        }
        let image = Image::<INNER_FRAME>::of(heap, addr)?;
        Self::from_image(layout, &image, 0, addr)
    }

    /// From the bytes of something that begins with a frame, or has one inside at `base`.
    fn from_image<const N: usize>(
        layout: &Layout,
        image: &Image<N>,
        base: u64,
        addr: u64,
    ) -> Option<Self> {
        let fields = &layout.frame;
        let code = image.u64(base, fields.code)?;
        let code = match layout.suspension.is_tagged {
            true => untagged(code)?,
            false => code,
        };
        is_pointer(code).then_some(())?;
        let instruction = match image.u64(base, fields.instr) {
            Some(pointer) => pointer,
            // -1 before the first one.
            None => {
                let last = image.i32(base, fields.lasti)?;
                u64::try_from(last).unwrap_or(0) * layout.suspension.unit
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
    match heap.layout.generator.iframe.of(0) {
        Some(base) => inner_frame_of(heap, generator, base),
        None => outer_frame_of(heap, generator),
    }
}

/// 3.11+: the frame is a part of the generator.
fn inner_frame_of(heap: &mut Heap, generator: u64, base: u64) -> Option<(Stage, Option<RawFrame>)> {
    let image = Image::<GENERATOR_WITH_FRAME>::of(heap, generator)?;
    let layout = heap.layout;
    let stage = stage(layout, image.i8(0, layout.generator.frame_state)?);
    if stage == Stage::Over {
        return Some((stage, None));
    }
    let mut frame = RawFrame::from_image(layout, &image, base, generator.checked_add(base)?)?;
    (image.i8(base, layout.frame.owner)? == OF_GENERATOR).then_some(())?;
    if matches!(stage, Stage::Suspended(_)) {
        frame.top = match image.u64(base, layout.frame.stackpointer) {
            Some(pointer) => pointer,
            None => {
                let index = image.i32(base, layout.frame.stacktop)?;
                let index = u64::try_from(index).ok()?;
                frame.locals.checked_add(8 * index)?
            }
        };
    }
    Some((stage, Some(frame)))
}

/// Up to 3.10: the generator points to its frame, to none when it has ended.
fn outer_frame_of(heap: &mut Heap, generator: u64) -> Option<(Stage, Option<RawFrame>)> {
    let layout = heap.layout;
    let (of_generator, fields) = (&layout.generator, &layout.frame);
    let head = Image::<GENERATOR>::of(heap, generator)?;
    let addr = head.u64(0, of_generator.frame)?;
    if addr == 0 {
        return Some((Stage::Over, None));
    }
    is_pointer(addr).then_some(())?;
    let image = FrameImage::of(heap, addr)?;
    let mut frame = RawFrame::from_image(layout, &image, 0, addr)?;
    let stage = match image.i8(0, fields.state) {
        Some(state) => stage(layout, state),
        None => stage_without_state(layout, &head, &image)?,
    };
    // While it is executed its stack has no end that memory tells.
    if matches!(stage, Stage::Suspended(_)) {
        frame.top = match image.i32(0, fields.stackdepth) {
            Some(depth) => {
                let depth = u64::try_from(depth).ok()?;
                image.u64(0, fields.valuestack)?.checked_add(8 * depth)?
            }
            None => image.u64(0, fields.stacktop)?,
        };
    }
    Some((stage, (stage != Stage::Over).then_some(frame)))
}

fn stage(layout: &Layout, state: i8) -> Stage {
    let rules = &layout.suspension;
    match state {
        state if state == rules.created => Stage::Created,
        state if state == rules.executing => Stage::Executing,
        state if rules.suspended.contains(&state) => Stage::Suspended(state),
        _ => Stage::Over,
    }
}

/// Up to 3.9: a generator that is not executed and has begun has a top of the stack.
fn stage_without_state(
    layout: &Layout,
    generator: &Image<GENERATOR>,
    frame: &FrameImage,
) -> Option<Stage> {
    if generator.i8(0, layout.generator.running)? != 0 {
        return Some(Stage::Executing);
    }
    if frame.i32(0, layout.frame.lasti)? < 0 {
        return Some(Stage::Created);
    }
    let suspended = frame.u64(0, layout.frame.stacktop)? != 0;
    let state = *layout.suspension.suspended.first()?;
    suspended.then_some(Stage::Suspended(state))
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
