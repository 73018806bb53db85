//! What a task waits for, in terms of the program: by the function that its chain ends in, else by the future at its end.

use std::rc::Rc;

use super::Look;
use super::call::{Call, compiled_call_of};
use super::chain::{Chain, Link, Place};
use super::frame::RawFrame;
use super::kind::Kind;
use super::site::Site;
use super::task::{Progress, RawTask, TASK};
use crate::snapshot::{JobState, ObjectId, Wait, WaitOn};

/// Ids of children that are listed in one snapshot: a future may have a million of them.
pub const MOST_CHILDREN: usize = 200_000;
/// Callers of the innermost function that may tell more than it does.
const MOST_CALLERS: usize = 3;
const LONGEST_CLASS: usize = 100;

/// The frame of a function that is known to wait.
pub struct Caller {
    /// Its frame, and its function.
    pub frame: RawFrame,
    pub site: std::sync::Arc<Site>,
}

impl Look<'_> {
    /// What a task waits for whose chain ends in this future.
    pub fn wait(&mut self, task: &RawTask, chain: &Chain<'_>) -> Option<Wait> {
        let future = task.waiter?;
        let by_call = self.wait_by_call(chain, future);
        Some(by_call.unwrap_or_else(|| self.wait_for_future(future, chain)))
    }

    fn wait_by_call(&mut self, chain: &Chain<'_>, future: u64) -> Option<Wait> {
        let mut links = chain.links.iter().rev();
        let leaf = links.next()?;
        let mut best = (self.call_at(leaf)?, leaf);
        for outer in links.take(MOST_CALLERS) {
            match self.call_at(outer) {
                Some(call) if call.explains(best.0) => best = (call, outer),
                _ => {}
            }
        }
        let (call, link) = best;
        match &link.place {
            Place::Python(frame, spot) => {
                let site = std::sync::Arc::clone(&self.at(*spot)?.site);
                let caller = Caller {
                    frame: *frame,
                    site,
                };
                self.wait_in(call, &caller, future)
            }
            Place::Cython(frame) => self.wait_in_compiled(call, frame, future),
        }
    }

    fn call_at(&self, link: &Link) -> Option<Call> {
        match &link.place {
            Place::Python(_, spot) => self.at(*spot)?.site.call,
            Place::Cython(frame) => compiled_call_of(&frame.frame.file, &frame.frame.function),
        }
    }

    fn wait_in(&mut self, call: Call, caller: &Caller, future: u64) -> Option<Wait> {
        match call {
            Call::Sleep => return Some(self.sleep(caller)),
            Call::WaitFor => {
                let awaited = self.in_caller(caller, "fut")?;
                return Some(self.wait_for_object(awaited, "wait_for"));
            }
            Call::Wait => {
                let futures = self.in_caller(caller, "fs")?;
                let on = self.children_in("wait", futures)?;
                return Some(wait(Some(future), on));
            }
            Call::Connect => {
                let address = self.in_caller(caller, "address");
                let address = address.and_then(|address| self.address(address));
                return Some(wait(Some(future), WaitOn::Connect { address }));
            }
            Call::Read => return Some(wait(Some(future), WaitOn::Read)),
            Call::Drain => return Some(wait(Some(future), WaitOn::Drain)),
            Call::Process => return Some(wait(Some(future), WaitOn::Process)),
            _ => {}
        }
        let object = self.in_caller(caller, "self")?;
        let on = self.wait_on_object(call, object)?;
        Some(wait(Some(object), on))
    }

    /// A variable of the caller.
    pub fn in_caller(&mut self, caller: &Caller, name: &str) -> Option<u64> {
        self.variable(&caller.frame, &caller.site, name)
    }

    /// `asyncio.sleep`; `h` is the handle of the timer, on CLOCK_MONOTONIC. That of uvloop does not tell its time.
    fn sleep(&mut self, caller: &Caller) -> Wait {
        let delay = self.in_caller(caller, "delay");
        let delay_s = delay.and_then(|delay| self.heap.number(delay));
        let timer = self.in_caller(caller, "h");
        let left_s = timer.and_then(|timer| self.seconds_left(timer, "_when"));
        wait(None, WaitOn::Sleep { delay_s, left_s })
    }

    /// Seconds until the time that an attribute names.
    pub fn seconds_left(&mut self, object: u64, attribute: &'static str) -> Option<f64> {
        let when = self.heap.attribute(object, attribute)?;
        let when = self.heap.number(when).filter(|when| when.is_finite())?;
        Some(when - self.now)
    }

    /// By the future alone.
    fn wait_for_future(&mut self, future: u64, chain: &Chain<'_>) -> Wait {
        let mut found = self.wait_for_object(future, "");
        if let WaitOn::Future { call, .. } = &mut found.on {
            *call = chain.links.last().and_then(|leaf| match &leaf.place {
                Place::Python(_, spot) => {
                    self.at(*spot).map(|s| (*s.site.code.function).to_owned())
                }
                Place::Cython(frame) => Some(frame.frame.function.clone()),
            });
        }
        found
    }

    /// By an object that is awaited: a task, what `gather` and `shield` make, a job of an executor, any future.
    fn wait_for_object(&mut self, object: u64, call: &str) -> Wait {
        if self.kind(object).is_task() {
            let id = ObjectId(object);
            return wait(Some(object), WaitOn::Task { id });
        }
        let class = self.class_of(object).unwrap_or_default();
        if class == "_GatheringFuture"
            && let Some(children) = self.heap.attribute(object, "_children")
            && let Some(on) = self.children_in("gather", children)
        {
            return wait(Some(object), on);
        }
        if let Some(known) = self.wait_by_callbacks(object) {
            return known;
        }
        let call = (!call.is_empty()).then(|| call.to_owned());
        wait(Some(object), WaitOn::Future { class, call })
    }

    /// By what is to be called when this future is done: `shield` and the bridge to executors keep what they wait for.
    fn wait_by_callbacks(&mut self, future: u64) -> Option<Wait> {
        for callback in self.callbacks(future).into_iter().take(8) {
            if self.kind(callback) != Kind::Function {
                continue;
            }
            let name = self.function_name(callback)?;
            if name.contains("_chain_future") && name.ends_with("_call_check_cancel") {
                let source = self.captured(callback, "source")?;
                let state = self.job_state(source);
                return Some(wait(Some(source), WaitOn::Job { state }));
            }
            if name.starts_with("shield") && name.ends_with("_outer_done_callback") {
                let inner = self.captured(callback, "inner")?;
                return Some(self.wait_for_inner(inner));
            }
        }
        None
    }

    fn wait_for_inner(&mut self, inner: u64) -> Wait {
        if self.kind(inner).is_task() {
            let id = ObjectId(inner);
            return wait(Some(inner), WaitOn::Task { id });
        }
        let class = self.class_of(inner).unwrap_or_default();
        let call = Some("shield".to_owned());
        wait(Some(inner), WaitOn::Future { class, call })
    }

    /// A variable that a function has from where it was defined.
    fn captured(&mut self, function: u64, name: &str) -> Option<u64> {
        let object = &self.heap.layout.object;
        let code = self.heap.pointer_in(function, object.function_code)?;
        let closure = self.heap.pointer_in(function, object.function_closure)?;
        let cells = self.heap.tuple(closure)?;
        let code = self.heap.code(code)?;
        let names = self.heap.local_names(&code)?;
        // Free variables are the last ones.
        let first = names.len().checked_sub(cells.len())?;
        let at = names.iter().skip(first).position(|n| n == name)?;
        self.heap.pointer(cells.get(at)?.checked_add(16)?)
    }

    /// Of a `concurrent.futures.Future`.
    fn job_state(&mut self, job: u64) -> JobState {
        let state = self.heap.attribute(job, "_state");
        let state = state.and_then(|state| self.heap.text(state, 32));
        match state.as_deref() {
            Some("PENDING") => JobState::Queued,
            Some("RUNNING") => JobState::Running,
            _ => JobState::Unknown,
        }
    }

    /// The futures in a container.
    pub fn children_in(&mut self, call: &str, container: u64) -> Option<WaitOn> {
        let kind = self.heap.type_of(container)?;
        let mut items = match &*kind.name {
            "set" | "frozenset" => self.heap.set(container)?,
            "list" => self.heap.list(container)?,
            "tuple" => self.heap.tuple(container)?,
            _ => return None,
        };
        if kind.name.ends_with("set") {
            // A set has no order: this one at least is the same in every snapshot.
            items.sort_unstable();
        }
        self.heap.prepare(items.iter().copied(), TASK);
        let of = u32::try_from(items.len()).ok();
        let mut pending = Vec::new();
        for item in items {
            if self.memo.children >= MOST_CHILDREN || self.is_spent() {
                break;
            }
            if self.kind(item).is_task() && self.progress(item) == Some(Progress::Pending) {
                self.memo.children += 1;
                pending.push(ObjectId(item));
            }
        }
        Some(WaitOn::Children {
            call: call.to_owned(),
            pending,
            of,
        })
    }

    /// The name of an object's class, without its module.
    pub fn class_of(&mut self, object: u64) -> Option<String> {
        let kind = self.heap.type_of(object)?;
        let name = kind.name.rsplit('.').next().unwrap_or_default();
        Some(match name.len() {
            ..=LONGEST_CLASS => name.to_owned(),
            _ => name.chars().take(LONGEST_CLASS).collect(),
        })
    }

    /// What is waited for at an object of the standard library, once for each object and snapshot.
    fn wait_on_object(&mut self, call: Call, object: u64) -> Option<WaitOn> {
        match self.memo.waits.get(&object) {
            Some((of, known)) if *of == call => return known.as_deref().cloned(),
            _ => {}
        }
        let on = self.describe(call, object).map(Rc::new);
        self.memo.waits.insert(object, (call, on.clone()));
        on.as_deref().cloned()
    }
}

/// A wait at this object.
pub fn wait(object: Option<u64>, on: WaitOn) -> Wait {
    Wait {
        object: object.map(ObjectId),
        on,
    }
}
