//! The `with` and `async with` blocks that a task is in: their exit methods wait on the value stacks of its frames.
//!
//! ```text
//!  up to 3.13   … │ bound __aexit__ │ … │ awaited object        the method knows its object
//!  3.14+        … │ __aexit__ │ object │ … │ awaited object
//! ```
//! A block whose exit method runs has taken it from the stack; then the method's own frame tells.

use super::Look;
use super::call::Call;
use super::chain::{Chain, End, Link, Place};
use super::frame::{RawFrame, slot};
use super::kind::Kind;
use super::site::Role;
use super::wait::Caller;
use crate::snapshot::{Entered, ObjectId};

/// Blocks of one task that are listed.
const MOST_BLOCKS: usize = 64;
const LONGEST_NAME: usize = 100;

impl Look<'_> {
    /// The blocks, outermost first.
    pub fn entered(&mut self, chain: &Chain<'_>) -> Vec<Entered> {
        let mut found: Vec<Entered> = Vec::new();
        for (at, link) in chain.links.iter().enumerate() {
            let Place::Python(frame, spot) = &link.place else {
                continue;
            };
            let is_last = at + 1 == chain.links.len();
            if is_last && !matches!(chain.end, End::Future(_) | End::Yield | End::Opaque) {
                continue;
            }
            let inner = chain.links.get(at + 1);
            for object in self.managers(frame, *spot) {
                let holds = !self.is_entering(object, inner);
                let block = self.block(object, holds);
                found.extend(block.filter(|_| found.len() < MOST_BLOCKS));
            }
            let leaving = self.leaving(frame, *spot).or_else(|| {
                // What a time-out of `wait_for` (to 3.11) or `wait` says is in its handle.
                self.timed(frame, *spot)
            });
            let is_known = |block: &Entered| found.iter().any(|b| b.object == block.object);
            let leaving = leaving.filter(|block| !is_known(block) && found.len() < MOST_BLOCKS);
            found.extend(leaving);
        }
        found
    }

    /// The context managers on the value stack of a suspended frame.
    fn managers(&mut self, frame: &RawFrame, spot: usize) -> Vec<u64> {
        let bottom = self.at(spot).and_then(|s| frame.stack(&s.site.code));
        let Some(bottom) = bottom else {
            return Vec::new();
        };
        // Above them lies what is awaited.
        let top = frame
            .top
            .saturating_sub(8 * self.heap.layout.suspension.depth);
        if top <= bottom {
            return Vec::new();
        }
        let words = bottom..top;
        words
            .step_by(8)
            .filter_map(|word| self.manager_at(word))
            .collect()
    }

    fn manager_at(&mut self, word: u64) -> Option<u64> {
        let object = slot(self.heap, word)?;
        let is_bound = match self.kind(object) {
            Kind::Method => {
                let function = self.heap.pointer(object.checked_add(16)?)?;
                self.is_exit(function).then_some(true)
            }
            Kind::Builtin => self.is_exit(object).then_some(true),
            Kind::Function | Kind::Descriptor => self.is_exit(object).then_some(false),
            _ => None,
        }?;
        if is_bound {
            return self.heap.pointer(object.checked_add(24)?);
        }
        slot(self.heap, word.checked_add(8)?)
    }

    fn is_exit(&mut self, function: u64) -> bool {
        if let Some(known) = self.memo.exits.get(&function) {
            return *known;
        }
        let name = match self.kind(function) {
            // `PyDescrObject.d_name`
            Kind::Descriptor => function
                .checked_add(24)
                .and_then(|at| self.heap.pointer(at))
                .and_then(|name| self.heap.text(name, LONGEST_NAME)),
            _ => self.function_name(function).map(|name| name.to_string()),
        };
        let is_exit = name.is_some_and(|name| {
            let last = name.rsplit('.').next();
            matches!(last, Some("__aexit__" | "__exit__"))
        });
        self.memo.exits.insert(function, is_exit);
        is_exit
    }

    /// True if the next frame is the one that enters this very object.
    fn is_entering(&mut self, object: u64, inner: Option<&&Link>) -> bool {
        let Some(Place::Python(frame, spot)) = inner.map(|link| &link.place) else {
            return false;
        };
        let is_enter = self
            .at(*spot)
            .is_some_and(|spot| spot.site.role == Role::Enters);
        is_enter && self.first_argument(frame) == Some(object)
    }

    fn leaving(&mut self, frame: &RawFrame, spot: usize) -> Option<Entered> {
        let is_exit = self.at(spot)?.site.role == Role::Leaves;
        let object = is_exit.then(|| self.first_argument(frame))??;
        self.block(object, true)
    }

    fn first_argument(&mut self, frame: &RawFrame) -> Option<u64> {
        let value = frame.local(self.heap, 0)?;
        match self.kind(value) {
            Kind::Cell => self.heap.pointer(value.checked_add(16)?),
            _ => Some(value),
        }
    }

    /// A call that ends by itself after a while is as good as a block.
    fn timed(&mut self, frame: &RawFrame, spot: usize) -> Option<Entered> {
        let class = match self.at(spot)?.site.call? {
            Call::WaitFor => "wait_for",
            Call::Wait => "wait",
            _ => return None,
        };
        let site = std::sync::Arc::clone(&self.at(spot)?.site);
        let caller = Caller {
            frame: *frame,
            site,
        };
        let handle = self.in_caller(&caller, "timeout_handle")?;
        if self.kind(handle) == Kind::Nothing {
            return None;
        }
        Some(Entered {
            object: ObjectId(handle),
            class: class.to_owned(),
            holds: true,
            left_s: self.seconds_left(handle, "_when"),
        })
    }

    fn block(&mut self, object: u64, holds: bool) -> Option<Entered> {
        let class = self.class_of(object)?;
        let left_s = if class.contains("imeout") || class.contains("CancelScope") {
            self.seconds_left(object, "_when")
                .or_else(|| self.seconds_left(object, "_deadline"))
        } else {
            None
        };
        let class = self.made_by(object, &class).unwrap_or(class);
        Some(Entered {
            object: ObjectId(object),
            class,
            holds,
            left_s,
        })
    }

    /// Of an object that `contextlib.contextmanager` has made, the function that it was made from.
    fn made_by(&mut self, object: u64, class: &str) -> Option<String> {
        let is_made = matches!(
            class,
            "_GeneratorContextManager" | "_AsyncGeneratorContextManager"
        );
        is_made.then_some(())?;
        let generator = self.heap.attribute(object, "gen")?;
        let field = self.heap.layout.generator.qualname;
        let name = self.heap.pointer_in(generator, field)?;
        self.heap.text(name, LONGEST_NAME)
    }
}
