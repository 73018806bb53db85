//! From addresses to functions and lines: where in which code object a frame is.

use std::sync::Arc;

use super::super::heap::{Code, Heap};
use super::walk::{Chain, RawFrame};
use crate::snapshot::Frame;

/// Where a frame is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The function.
    code: Arc<Code>,
    /// Bytes from its first instruction; negative before it has begun.
    offset: i64,
}

/// The places of a chain, innermost first; `None` if one of its frames is none, or the outermost has not begun.
pub fn places(heap: &mut Heap, chain: &Chain) -> Option<Vec<Place>> {
    let mut places = Vec::with_capacity(chain.frames.len());
    for frame in &chain.frames {
        let place = place(heap, frame)?;
        // Until then it is not for tracers to see: _PyFrame_IsIncomplete of Include/internal/pycore_frame.h.
        let has_begun = place.offset >= place.code.prologue.cast_signed();
        if has_begun || frame.is_generators || heap.layout.minor < 11 {
            places.push(place);
        }
    }
    (places.is_empty() == chain.frames.is_empty()).then_some(places)
}

fn place(heap: &mut Heap, frame: &RawFrame) -> Option<Place> {
    let code = heap.code(frame.code)?;
    let index = frame.instruction.cast_signed();
    let offset = match heap.layout.minor {
        ..=9 => index,
        10 => index.checked_mul(2)?,
        _ => frame
            .instruction
            .wrapping_sub(code.instructions)
            .cast_signed(),
    };
    // Before the first instruction it is one unit short of it, which is two bytes (to 3.9: -1).
    let is_inside = (-2..=code.length.cast_signed()).contains(&offset);
    is_inside.then_some(Place { code, offset })
}

impl Place {
    /// As it is delivered.
    pub fn frame(&self, minor: u32) -> Frame {
        let line = match u64::try_from(self.offset) {
            Ok(offset) => self.code.line(minor, offset).unwrap_or(0),
            Err(_) => self.code.first_line,
        };
        Frame {
            function: self.code.function.to_string(),
            file: self.code.file.to_string(),
            line,
        }
    }
}
