//! The stack of a task that is executed now: no coroutine of it can be asked, but its thread's frames lead to it.

use super::Look;
use super::frame::{RawFrame, frame_address};
use crate::snapshot::Frame;
use crate::source::python::heap::Heap;
use crate::source::python::pages::ByAddress;

/// Frames of one thread that are followed.
const MOST_FRAMES: usize = 1000;
/// Of those of a task, so many are shown.
const MOST_SHOWN: usize = 200;
/// Bytes of a frame that are read.
const FRAME: usize = 96;

/// `FRAME_OWNED_BY_FRAME_OBJECT`; those above it stand between C and Python (3.12+).
const OF_OBJECT: i8 = 2;

impl Look<'_> {
    /// The frames of a thread, innermost first. It runs: they may be of several moments.
    pub fn thread_frames(&mut self, thread: u64) -> Vec<RawFrame> {
        let (mut frames, mut seen) = (Vec::new(), ByAddress::default());
        let mut next = self.innermost(thread);
        while let Some(addr) = next.filter(|_| frames.len() < MOST_FRAMES && !self.is_spent()) {
            if seen.insert(addr, ()).is_some() {
                break;
            }
            if !self.heap.pages.is_known(addr) {
                self.heap.prepare([addr], FRAME);
            }
            // The frames between C and Python are nobody's.
            if !is_of_c(self.heap, addr) {
                frames.extend(RawFrame::at(self.heap, addr));
            }
            next = self.heap.pointer_in(addr, self.heap.layout.frame.back);
        }
        frames
    }

    fn innermost(&mut self, thread: u64) -> Option<u64> {
        let fields = &self.heap.layout.thread;
        if fields.cframe.exists() {
            let cframe = self.heap.pointer_in(thread, fields.cframe)?;
            return self
                .heap
                .pointer_in(cframe, self.heap.layout.cframe.current);
        }
        let direct = [fields.current_frame, fields.frame];
        let field = direct.into_iter().find(|field| field.exists())?;
        self.heap.pointer_in(thread, field)
    }

    /// The part of a thread's stack that belongs to the task with this coroutine, outermost first. `None` if the coroutine is not
    /// on it. It ends where another task begins, of those that start others at once (3.12+).
    pub fn running_frames(
        &mut self,
        stack: &[RawFrame],
        coroutine: u64,
        others: &[u64],
    ) -> Option<Vec<Frame>> {
        let root = frame_address(self.heap, coroutine)?;
        let at = stack.iter().position(|frame| frame.addr == root)?;
        let inner = stack.get(..=at)?;
        let mut frames = Vec::new();
        for frame in inner.iter().rev().take(MOST_SHOWN) {
            if frame.addr != root && others.contains(&frame.addr) {
                break;
            }
            frames.extend(self.standing(frame));
        }
        Some(frames)
    }

    /// A frame that is executed, as a person sees it.
    pub fn standing(&mut self, frame: &RawFrame) -> Option<Frame> {
        let site = self.site(frame.code)?;
        let offset = frame.offset(self.heap, &site.code)?;
        let line = site.code.line(self.heap.layout.minor, offset);
        Some(Frame {
            function: (*site.code.function).to_owned(),
            file: (*site.code.file).to_owned(),
            line: line.unwrap_or(0),
        })
    }
}

fn is_of_c(heap: &mut Heap, frame: u64) -> bool {
    let owner = heap.layout.frame.owner;
    heap.i8_in(frame, owner)
        .is_some_and(|owner| owner > OF_OBJECT)
}
