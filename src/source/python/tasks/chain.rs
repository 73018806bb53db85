//! From a task's coroutine down to what it waits for, for all tasks at once.
//!
//! ```text
//!  level 0   coroutine A   coroutine B   coroutine C      one fetch for all objects of a level,
//!               │ awaits      │             │             one more up to 3.10 for their frames
//!  level 1   generator     FutureIter    coroutine D
//!               │             ▼             │
//!  level 2   FutureIter    Future: end    …
//! ```
//! A chain ends at a future, at a bare `yield`, at an object that cannot be looked into, or where what was read makes no sense.

use std::sync::Arc;

use super::Look;
use super::cython::CythonFrame;
use super::frame::{RawFrame, Stage, frame_of};
use super::kind::Kind;
use crate::snapshot::Frame;
use crate::source::python::heap::is_pointer;

/// The chains of many tasks: their links in one place, each with its outer neighbour.
#[derive(Debug, Default)]
pub struct Chains {
    links: Vec<(Link, Option<usize>)>,
    /// The objects between links and at the ends, such as `FutureIter`, each with the one before it.
    passed: Vec<(u64, Option<usize>)>,
    tails: Vec<Tail>,
}

/// Where one of them ends.
#[derive(Debug, Clone, Copy)]
struct Tail {
    link: Option<usize>,
    passed: Option<usize>,
    /// How many links it has.
    count: usize,
    end: End,
}

/// The coroutines of a task, outermost first.
#[derive(Debug)]
pub struct Chain<'a> {
    /// One for each coroutine or generator.
    pub links: Vec<&'a Link>,
    /// Why there are no more.
    pub end: End,
}

/// A coroutine, generator or asynchronous generator.
#[derive(Debug)]
pub struct Link {
    /// The object.
    pub object: u64,
    /// Where it stands.
    pub place: Place,
}

/// Where a coroutine stands.
#[derive(Debug)]
pub enum Place {
    /// A frame of the interpreter, and where it is (see [`Look::at`]).
    Python(RawFrame, usize),
    /// Of compiled code.
    Cython(Box<CythonFrame>),
}

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At this future (or task).
    Future(u64),
    /// At a `yield` that gives control to the loop.
    Yield,
    /// At a coroutine that has not begun.
    Created,
    /// At one that is executed now.
    Executing,
    /// At one that has ended.
    Over,
    /// At an object of a kind that cannot be looked into.
    Opaque,
    /// What was read cannot be true: it changed meanwhile.
    Broken,
}

/// A chain longer than this is no chain.
const MOST_LINKS: usize = 200;
/// Bytes of a generator with its frame inside (3.11+); most are smaller.
const GENERATOR: usize = 320;
/// Bytes of a generator without, and of a frame (to 3.10).
const HEAD: usize = 104;
const FRAME: usize = 520;

/// A chain while it is walked.
#[derive(Clone, Copy)]
struct Walk {
    /// Which one of them.
    at: usize,
    next: u64,
}

/// What an object of a chain leads to.
enum Step {
    /// Another object; this one is no link.
    Pass(u64),
    /// A link, and the object that it awaits.
    Link(Place, u64),
    /// A link, and nothing behind it.
    Last(Place, End),
    /// Nothing.
    End(End),
}

impl Chains {
    /// One of them.
    pub fn chain(&self, at: usize) -> Chain<'_> {
        let tail = self.tails.get(at).copied().unwrap_or(Tail::BROKEN);
        let mut links = Vec::with_capacity(tail.count);
        links.extend(self.inward_out(tail.link));
        links.reverse();
        let end = tail.end;
        Chain { links, end }
    }

    /// How each ends, in the order of their starts.
    pub fn ends(&self) -> impl Iterator<Item = End> {
        self.tails.iter().map(|tail| tail.end)
    }

    /// The objects that one of them goes through beside its links.
    pub fn passed(&self, at: usize) -> impl Iterator<Item = u64> {
        let mut next = self.tails.get(at).and_then(|tail| tail.passed);
        std::iter::from_fn(move || {
            let (object, before) = self.passed.get(next?)?;
            next = *before;
            Some(*object)
        })
    }

    /// Their innermost links.
    pub fn leaves(&self) -> impl Iterator<Item = &Link> {
        let tails = self.tails.iter().filter_map(|tail| tail.link);
        tails
            .filter_map(|at| self.links.get(at))
            .map(|link| &link.0)
    }

    fn inward_out(&self, tail: Option<usize>) -> impl Iterator<Item = &Link> {
        let mut next = tail;
        std::iter::from_fn(move || {
            let (link, outer) = self.links.get(next?)?;
            next = *outer;
            Some(link)
        })
    }

    fn add(&mut self, at: usize, link: Link) {
        let number = self.links.len();
        if let Some(tail) = self.tails.get_mut(at) {
            tail.count += 1;
            self.links.push((link, tail.link.replace(number)));
        }
    }

    fn pass(&mut self, at: usize, object: u64) {
        let number = self.passed.len();
        if let Some(tail) = self.tails.get_mut(at) {
            self.passed.push((object, tail.passed.replace(number)));
        }
    }

    fn end(&mut self, at: usize, end: End) {
        if let Some(tail) = self.tails.get_mut(at) {
            tail.end = end;
        }
    }

    fn has(&self, at: usize, object: u64) -> bool {
        let tail = self.tails.get(at).and_then(|tail| tail.link);
        self.inward_out(tail).any(|link| link.object == object)
    }
}

impl Tail {
    /// Of a chain of which nothing is known.
    const BROKEN: Self = Self {
        link: None,
        passed: None,
        count: 0,
        end: End::Broken,
    };
}

impl Look<'_> {
    /// Walks from each of these objects (coroutines) to its end.
    pub fn walk(&mut self, starts: &[u64]) -> Chains {
        let mut chains = Chains {
            links: Vec::with_capacity(4 * starts.len()),
            passed: Vec::new(),
            tails: vec![Tail::BROKEN; starts.len()],
        };
        let begin = |(at, &next): (usize, &u64)| Walk { at, next };
        let mut active: Vec<Walk> = starts.iter().enumerate().map(begin).collect();
        for _ in 0..MOST_LINKS {
            if active.is_empty() || self.is_spent() {
                break;
            }
            self.fetch_level(active.iter().map(|walk| walk.next));
            active.retain_mut(|walk| self.advance(walk, &mut chains).is_some());
        }
        chains
    }

    fn fetch_level(&mut self, objects: impl Iterator<Item = u64> + Clone) {
        let outside = self.heap.layout.generator.frame;
        if !outside.exists() {
            self.heap.prepare(objects, GENERATOR);
            return;
        }
        self.heap.prepare(objects.clone(), HEAD);
        let mut frames = Vec::new();
        for object in objects {
            if self.kind(object).has_frame() {
                frames.extend(self.heap.pointer_in(object, outside));
            }
        }
        self.heap.prepare(frames, FRAME);
    }

    /// One step; `None` when the chain has ended.
    fn advance(&mut self, walk: &mut Walk, chains: &mut Chains) -> Option<()> {
        let (at, object) = (walk.at, walk.next);
        let step = match chains.has(at, object) {
            true => None,
            false => self.step(object),
        };
        let (place, next) = match step.unwrap_or(Step::End(End::Broken)) {
            Step::Pass(next) => (None, Ok(next)),
            Step::Link(place, next) => (Some(place), Ok(next)),
            Step::Last(place, end) => (Some(place), Err(end)),
            Step::End(end) => (None, Err(end)),
        };
        match place {
            Some(place) => chains.add(at, Link { object, place }),
            None => chains.pass(at, object),
        }
        match next {
            Ok(next) => {
                walk.next = next;
                Some(())
            }
            Err(end) => {
                chains.end(at, end);
                None
            }
        }
    }

    fn step(&mut self, object: u64) -> Option<Step> {
        let kind = self.kind(object);
        Some(match kind {
            Kind::Coroutine | Kind::Generator | Kind::AsyncGenerator => {
                return self.step_frame(object, kind);
            }
            Kind::Cython => return self.step_cython(object),
            Kind::Wrapper => Step::Pass(self.heap.pointer(object.checked_add(16)?)?),
            Kind::FutureIter => {
                let future = self.heap.pointer(object.checked_add(16)?)?;
                Step::End(End::Future(future))
            }
            Kind::GeneratorWrapper => {
                let wrapped = "_GeneratorWrapper__wrapped";
                Step::Pass(self.heap.attribute(object, wrapped)?)
            }
            kind if kind.is_future() => Step::End(End::Future(object)),
            _ => Step::End(End::Opaque),
        })
    }

    fn step_frame(&mut self, object: u64, kind: Kind) -> Option<Step> {
        let (stage, frame) = frame_of(self.heap, object)?;
        let state = match stage {
            Stage::Suspended(state) => state,
            Stage::Created => self.heap.layout.suspension.created,
            Stage::Executing => self.heap.layout.suspension.executing,
            Stage::Over => return Some(Step::End(End::Over)),
        };
        let frame = frame?;
        let at = self.spot(&frame, state)?;
        let spot = self.at(at)?;
        let (bottom, awaits) = (frame.stack(&spot.site.code), spot.awaits);
        let place = Place::Python(frame, at);
        match stage {
            Stage::Created => return Some(Step::Last(place, End::Created)),
            Stage::Executing => return Some(Step::Last(place, End::Executing)),
            _ => {}
        }
        let bottom = bottom?;
        // A coroutine of the language cannot yield.
        if kind != Kind::Coroutine && !awaits {
            return Some(Step::Last(place, End::Yield));
        }
        let depth = 8 * self.heap.layout.suspension.depth;
        (bottom.checked_add(depth)? <= frame.top).then_some(())?;
        Some(Step::Link(place, frame.awaited(self.heap)?))
    }

    fn step_cython(&mut self, object: u64) -> Option<Step> {
        let frame = self.cython_frame(object)?;
        let next = frame.awaits;
        let place = Place::Cython(Box::new(frame));
        Some(match next {
            Some(next) if is_pointer(next) => Step::Link(place, next),
            _ => Step::Last(place, End::Opaque),
        })
    }

    /// The frames of a chain as a person sees them: shared by all that stand in the same places.
    pub fn frames(&mut self, chain: &Chain<'_>) -> Arc<[Frame]> {
        let mut places = std::mem::take(&mut self.memo.places);
        places.clear();
        places.extend(chain.links.iter().filter_map(|link| match &link.place {
            Place::Python(_, spot) => Some(*spot),
            Place::Cython(_) => None,
        }));
        // Frames of compiled code are made one by one.
        let is_plain = places.len() == chain.links.len();
        let known = self.memo.frames.get(&places).filter(|_| is_plain).cloned();
        let frames = known.unwrap_or_else(|| {
            let frames = self.frames_of(chain);
            if is_plain {
                self.memo.frames.insert(places.clone(), Arc::clone(&frames));
            }
            frames
        });
        self.memo.places = places;
        frames
    }

    fn frames_of(&self, chain: &Chain<'_>) -> Arc<[Frame]> {
        let frame = |link: &&Link| match &link.place {
            Place::Python(_, spot) => self.at(*spot).map(|spot| spot.frame()),
            Place::Cython(frame) => Some(frame.frame.clone()),
        };
        chain.links.iter().filter_map(frame).collect()
    }
}
