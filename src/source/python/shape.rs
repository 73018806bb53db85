//! The shape of an answer: main thread first, deep stacks without their middle, and what each thread does.

use std::ops::Range;

use super::activity::activity_in;
use crate::snapshot::{Activity, Frame, ReadBy, Stack, Stacks, Thread};

/// Threads of one process that are read.
pub const MOST_THREADS: usize = 512;
/// Frames of one stack, and of all stacks of a process.
const MOST_FRAMES: usize = 1000;
const MOST_FRAMES_IN_ALL: usize = 32_768;
/// Of a stack that is too deep, how many of the outermost are kept.
const OUTERMOST: usize = 100;

/// What is told of a stack besides its frames.
#[derive(Debug, Default)]
pub struct About {
    /// The kernel's id of the thread.
    pub tid: Option<u32>,
    /// Its name, harmless.
    pub name: Option<String>,
    /// Whether it is a daemon, where that was read.
    pub daemon: Option<bool>,
    /// It held the GIL.
    pub holds_gil: bool,
}

/// How many frames each of so many stacks may have.
pub fn most_frames(stacks: usize) -> usize {
    (MOST_FRAMES_IN_ALL / stacks.max(1)).clamp(64, MOST_FRAMES)
}

/// Which frames of a stack are kept, counted from the outermost.
pub fn kept(frames: usize, most: usize) -> impl Iterator<Item = usize> {
    let outermost = OUTERMOST.min(most / 2);
    let left_out = frames.saturating_sub(most);
    (0..frames).filter(move |at| *at < outermost || *at >= outermost + left_out)
}

/// A stack; `frames` are outermost first, `runtime` is where `_PyRuntime` lies.
pub fn stack(
    about: About,
    frames: Vec<Frame>,
    threads: &[Thread],
    runtime: Option<&Range<u64>>,
) -> Stack {
    let thread = about
        .tid
        .and_then(|tid| threads.iter().find(|t| t.tid == tid));
    Stack {
        tid: about.tid,
        name: about.name,
        daemon: about.daemon,
        activity: thread.map_or(Activity::Unknown, |thread| {
            activity_in(thread, runtime.cloned(), &frames)
        }),
        holds_gil: about.holds_gil,
        frames,
    }
}

/// All of them; `list` is oldest first, the answer has the main thread before that.
pub fn stacks(pid: u32, mut list: Vec<Stack>, torn: u32, by: ReadBy) -> Stacks {
    list.sort_by_key(|stack| stack.tid != Some(pid));
    Stacks {
        at: crate::source::clock::now(),
        list,
        torn,
        by,
        locks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_stacks_keep_both_ends_and_order() {
        let all: Vec<usize> = kept(2000, MOST_FRAMES).collect();
        assert_eq!(all.len(), 1000);
        assert_eq!((all[0], all[99], all[100], all[999]), (0, 99, 1100, 1999));
        assert_eq!(kept(3, 1000).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(kept(0, 1000).count(), 0);
    }

    #[test]
    fn many_threads_have_fewer_frames_each() {
        assert_eq!(most_frames(0), 1000);
        assert_eq!(most_frames(100), 327);
        assert_eq!(most_frames(MOST_THREADS), 64);
    }
}
