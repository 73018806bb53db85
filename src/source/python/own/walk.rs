//! What the thread states and their frames say: addresses only, as they lie in the pages of one snapshot. Whether it may be
//! believed is for the gil and the readings to tell, what it means for the code objects.
//!
//! ```text
//!  _PyRuntime ─► interpreter ─► thread state ─► next …
//!                                  │ to 3.10 frame, 3.11 and 3.12 cframe ─► current_frame, then current_frame
//!                                  ▼
//!                                frame ─► back (previous) ─► … ─► 0
//! ```

use std::io;

use super::super::heap::{Heap, is_pointer, untagged};
use super::super::pages::Pages;

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawFrame {
    /// Where it is.
    pub addr: u64,
    /// Its code object.
    pub code: u64,
    /// Its instruction: an address (3.11+), or the index `f_lasti`.
    pub instruction: u64,
    /// A generator keeps it, which may not have begun.
    pub is_generators: bool,
}

/// The frames of one thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Innermost first.
    pub frames: Vec<RawFrame>,
    /// Frames of C code between them.
    pub of_c: Vec<u64>,
    /// The last one is the outermost; false where the chain led astray.
    pub is_whole: bool,
}

impl Chain {
    /// A number that tells it from other chains.
    pub fn fingerprint(&self) -> u64 {
        let words = self
            .frames
            .iter()
            .flat_map(|frame| [frame.addr, frame.code, frame.instruction]);
        // FNV-1a over words, with a rotation so that high bits come down.
        words.fold(0xcbf2_9ce4_8422_2325, |hash: u64, word| {
            (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29)
        })
    }
}

/// A thread state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Where it is.
    pub state: u64,
    /// Its interpreter.
    pub interpreter: u64,
    /// `pthread_t`
    pub pthread: u64,
    /// Thread id in its own pid namespace (3.11+).
    pub native: Option<u64>,
    /// Its frames.
    pub chain: Chain,
}

/// All interpreters and thread states.
#[derive(Debug, Default)]
pub struct Walk {
    /// The main one first; empty if there is none (yet, or any more).
    pub interpreters: Vec<u64>,
    /// Of each interpreter the oldest first.
    pub threads: Vec<Walked>,
    /// False where a list led astray.
    pub is_whole: bool,
}

const MOST_THREADS: usize = 512;
/// Frames of one thread, and of all, that are followed. Only a recursion gone wild has more.
const DEEPEST: usize = 100_000;
const MOST_FRAMES: usize = 200_000;
/// `owner` (`Include/internal/pycore_frame.h`): a frame is a thread's, a generator's, or a frame object's; or C code keeps it on its
/// stack between those of Python: FRAME_OWNED_BY_CSTACK of 3.12 and 3.13, FRAME_OWNED_BY_INTERPRETER from 3.14 on and, in 3.14 alone,
/// one more.
const OWNED_BY_GENERATOR: i8 = 1;
const OWNED_BY_OBJECT: i8 = 2;

fn most_owners(minor: u32) -> i8 {
    match minor {
        ..=11 => OWNED_BY_OBJECT,
        14 => OWNED_BY_OBJECT + 2,
        _ => OWNED_BY_OBJECT + 1,
    }
}

/// Walks everything.
pub fn walk(heap: &mut Heap, runtime: u64) -> Walk {
    let interpreters = heap.interpreters(runtime).unwrap_or_default();
    let mut walk = Walk {
        is_whole: !interpreters.is_empty(),
        ..Walk::default()
    };
    let mut room = MOST_FRAMES;
    for interpreter in &interpreters {
        let (states, is_whole) = heap.all_thread_states(*interpreter);
        walk.is_whole &= is_whole;
        for state in states {
            if walk.threads.len() < MOST_THREADS
                && let Some(thread) = thread(heap, *interpreter, state, room.min(DEEPEST))
            {
                room -= thread.chain.frames.len();
                walk.threads.push(thread);
            }
        }
    }
    walk.interpreters = interpreters;
    walk
}

fn thread(heap: &mut Heap, interpreter: u64, state: u64, room: usize) -> Option<Walked> {
    let fields = &heap.layout.thread;
    Some(Walked {
        state,
        interpreter,
        pthread: heap.u64_in(state, fields.thread_id)?,
        native: heap.u64_in(state, fields.native_thread_id),
        chain: chain(heap, state, room),
    })
}

/// Follows the frames of a thread state.
fn chain(heap: &mut Heap, state: u64, room: usize) -> Chain {
    let mut chain = Chain::default();
    let mut next = innermost(heap, state);
    // Brent's: a frame that comes again is met when the number of steps has passed the next power of two.
    let (mut met, mut steps) = (0, 0_usize);
    while let Some(addr) = next.filter(|at| is_pointer(*at)) {
        if addr == met || chain.frames.len() >= room || steps > 2 * DEEPEST {
            return chain;
        }
        steps += 1;
        if steps.is_power_of_two() {
            met = addr;
        }
        next = match frame(heap, addr, &mut chain) {
            Some(back) => Some(back),
            None => return chain,
        };
    }
    chain.is_whole = next == Some(0);
    chain
}

/// Reads the chain of a thread anew, by pages of its own: nothing of it is older than this call. Its frames were `last` lately.
///
/// # Errors
/// What concerns the whole process: `EPERM`, `ESRCH`.
pub fn chain_again(
    heap: &mut Heap,
    pages: &mut Pages,
    state: u64,
    last: &Chain,
) -> io::Result<Chain> {
    let fields = &heap.layout.thread;
    let cframe = heap.u64_in(state, fields.cframe);
    let starts = [fields.frame, fields.cframe, fields.current_frame].map(|f| f.of(state));
    let starts = starts
        .into_iter()
        .chain([cframe.and_then(|at| fields.cframe_frame.of(at))]);
    pages.clear();
    for at in starts.flatten() {
        pages.want(at, 8);
    }
    // To the end of the last field that is read of it.
    let length = if heap.layout.minor < 11 { 108 } else { 75 };
    for addr in last
        .frames
        .iter()
        .map(|frame| frame.addr)
        .chain(last.of_c.iter().copied())
    {
        pages.want(addr, length);
    }
    pages.fetch()?;
    std::mem::swap(&mut heap.pages, pages);
    let chain = chain(heap, state, DEEPEST);
    std::mem::swap(&mut heap.pages, pages);
    Ok(chain)
}

/// The innermost frame, 0 for none.
fn innermost(heap: &mut Heap, state: u64) -> Option<u64> {
    let fields = &heap.layout.thread;
    if fields.current_frame.exists() {
        return heap.u64_in(state, fields.current_frame);
    }
    if fields.cframe.exists() {
        let cframe = heap.pointer_in(state, fields.cframe)?;
        return heap.u64_in(cframe, fields.cframe_frame);
    }
    heap.u64_in(state, fields.frame)
}

/// Enters the frame at `addr`, if it is one of Python, and tells its caller.
fn frame(heap: &mut Heap, addr: u64, into: &mut Chain) -> Option<u64> {
    let fields = &heap.layout.frame;
    let back = heap.u64_in(addr, fields.back)?;
    let owner = match fields.owner.exists() {
        true => heap.i8_in(addr, fields.owner)?,
        false => 0,
    };
    (0..=most_owners(heap.layout.minor))
        .contains(&owner)
        .then_some(())?;
    if owner > OWNED_BY_OBJECT {
        into.of_c.push(addr);
        return Some(back);
    }
    let code = heap.u64_in(addr, fields.code)?;
    let instruction = match fields.instr.exists() {
        true => heap.u64_in(addr, fields.instr)?,
        false => i64::from(heap.i32_in(addr, fields.lasti)?).cast_unsigned(),
    };
    into.frames.push(RawFrame {
        addr,
        code: if heap.layout.minor < 14 {
            code
        } else {
            untagged(code)?
        },
        instruction,
        is_generators: owner == OWNED_BY_GENERATOR,
    });
    Some(back)
}
