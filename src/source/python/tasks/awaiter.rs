//! Who waits for a task: by what will be called when it is done.
//!
//! ```text
//!  task ─ callback ─► wakes a task                                       it waits
//!                     method of a TaskGroup ─► _parent_task              it waits
//!                     function or partial with a future (gather,         whoever waits for that one
//!                     wait, wait_for, shield, a chained future)
//! ```

use std::rc::Rc;
use std::sync::Arc;

use super::Look;
use super::kind::Kind;
use super::task::Callbacks;

/// Futures between a task and who waits for it.
const DEEPEST: usize = 5;
/// Variables of one callback that are looked at.
const MOST_CELLS: usize = 32;
const LONGEST_NAME: usize = 128;

impl Look<'_> {
    /// The tasks that go on when this future is done. Empty if there are none, or they cannot be found.
    pub fn awaiters(&mut self, future: u64) -> Rc<[u64]> {
        let callbacks = self.callbacks(future);
        self.woken_by_all(callbacks, DEEPEST)
    }

    fn awaiters_within(&mut self, future: u64, depth: usize) -> Rc<[u64]> {
        if let Some(known) = self.memo.awaiters.get(&future) {
            return Rc::clone(known);
        }
        // Should it come by here again on its way.
        let nobody = Rc::clone(&self.memo.nobody);
        self.memo.awaiters.insert(future, nobody);
        let callbacks = self.callbacks(future);
        let found = self.woken_by_all(callbacks, depth);
        self.memo.awaiters.insert(future, Rc::clone(&found));
        found
    }

    fn woken_by_all(&mut self, callbacks: Callbacks, depth: usize) -> Rc<[u64]> {
        match callbacks.first {
            Some(only) if callbacks.more.is_empty() => return self.woken_by(only, depth),
            None if callbacks.more.is_empty() => return Rc::clone(&self.memo.nobody),
            _ => {}
        }
        let mut found = Vec::new();
        for callback in callbacks {
            found.extend_from_slice(&self.woken_by(callback, depth));
        }
        found.sort_unstable();
        found.dedup();
        found.into()
    }

    /// The tasks that a callback lets go on.
    fn woken_by(&mut self, callback: u64, depth: usize) -> Rc<[u64]> {
        let kind = self.kind(callback);
        let is_shared = matches!(kind, Kind::Function | Kind::Partial);
        if let Some(known) = self.memo.callbacks.get(&callback).filter(|_| is_shared) {
            return Rc::clone(known);
        }
        let found = match kind {
            Kind::Wakeup => self.task_in(callback, 16),
            Kind::Builtin => self.woken_by_builtin(callback),
            Kind::Method => self.woken_by_method(callback, depth),
            Kind::Function => self.woken_by_function(callback, depth),
            Kind::Partial => self.woken_by_partial(callback, depth),
            _ => None,
        };
        let found = found.unwrap_or_else(|| Rc::clone(&self.memo.nobody));
        if is_shared {
            self.memo.callbacks.insert(callback, Rc::clone(&found));
        }
        found
    }

    fn task_in(&mut self, object: u64, offset: u64) -> Option<Rc<[u64]>> {
        let task = self.heap.pointer(object.checked_add(offset)?)?;
        self.kind(task).is_task().then(|| Rc::from([task]))
    }

    /// 3.10+: `task_wakeup`, bound to its task.
    fn woken_by_builtin(&mut self, callback: u64) -> Option<Rc<[u64]>> {
        let name = self.builtin_name(callback)?;
        (&*name == "task_wakeup").then_some(())?;
        self.task_in(callback, 24)
    }

    /// The name in the definition (`PyMethodDef`) that a function of C points to.
    pub fn builtin_name(&mut self, function: u64) -> Option<Arc<str>> {
        let definition = self.heap.pages.u64(function.checked_add(16)?)?;
        if let Some(known) = self.memo.definitions.get(&definition) {
            return known.clone();
        }
        let at = self.heap.pages.u64(definition);
        let name = at.and_then(|at| self.heap.c_name(at));
        self.memo.definitions.insert(definition, name.clone());
        name
    }

    fn woken_by_method(&mut self, method: u64, depth: usize) -> Option<Rc<[u64]>> {
        let function = self.heap.pointer(method.checked_add(16)?)?;
        let object = self.heap.pointer(method.checked_add(24)?)?;
        let name = self.function_name(function)?;
        match name.rsplit('.').next()? {
            "__wakeup" if self.kind(object) == Kind::PyTask => Some(Rc::from([object])),
            "_on_task_done" => self.parent_of_group(object),
            // asyncio.as_completed (3.13+) puts what is done into a queue.
            "_handle_completion" => {
                let queue = self.heap.attribute(object, "_done")?;
                self.getters(queue, depth)
            }
            _ => None,
        }
    }

    /// The task that has opened a TaskGroup.
    fn parent_of_group(&mut self, group: u64) -> Option<Rc<[u64]>> {
        if let Some(known) = self.memo.callbacks.get(&group) {
            return Some(Rc::clone(known));
        }
        let parent = self
            .heap
            .attribute(group, "_parent_task")
            .or_else(|| self.host_task(group));
        let found: Rc<[u64]> = parent
            .into_iter()
            .filter(|task| self.kind(*task).is_task())
            .collect();
        self.memo.callbacks.insert(group, Rc::clone(&found));
        Some(found)
    }

    /// anyio: the task that has entered the scope of a group.
    fn host_task(&mut self, group: u64) -> Option<u64> {
        let scope = self.heap.attribute(group, "cancel_scope")?;
        self.heap.attribute(scope, "_host_task")
    }

    fn getters(&mut self, queue: u64, depth: usize) -> Option<Rc<[u64]>> {
        let getters = self.heap.attribute(queue, "_getters")?;
        let mut found = Vec::new();
        for getter in self.heap.deque(getters)? {
            found.extend_from_slice(&self.awaiters_within(getter, depth.checked_sub(1)?));
        }
        Some(found.into())
    }

    /// A function that has been defined for this call: what it knows of futures tells whom it serves.
    fn woken_by_function(&mut self, function: u64, depth: usize) -> Option<Rc<[u64]>> {
        let deeper = depth.checked_sub(1)?;
        let closure = self
            .heap
            .pointer_in(function, self.heap.layout.object.function_closure)?;
        let cells = self.heap.tuple(closure)?;
        let mut found = Vec::new();
        for cell in cells.into_iter().take(MOST_CELLS) {
            let Some(value) = self.heap.pointer(cell.checked_add(16)?) else {
                continue;
            };
            match self.kind(value) {
                // A task among them is one that is waited for (shield), or the very one that waits, which the other way finds too.
                Kind::Future | Kind::PyFuture => {
                    found.extend_from_slice(&self.awaiters_within(value, deeper));
                }
                Kind::Other => found.extend_from_slice(&self.woken_by_object(value, deeper)),
                _ => {}
            }
        }
        Some(found.into())
    }

    /// anyio's task group, or the queue of `as_completed` (to 3.12).
    fn woken_by_object(&mut self, object: u64, depth: usize) -> Rc<[u64]> {
        let name = self.heap.type_of(object).map(|kind| Arc::clone(&kind.name));
        let name: Arc<str> = name.unwrap_or_else(|| Arc::from(""));
        let found = match &*name {
            "TaskGroup" => self.parent_of_group(object),
            "Queue" => self.getters(object, depth),
            _ => None,
        };
        found.unwrap_or_else(|| Rc::clone(&self.memo.nobody))
    }

    /// `functools.partial`: `wait_for` up to 3.11 has the future that it waits for among the arguments.
    fn woken_by_partial(&mut self, partial: u64, depth: usize) -> Option<Rc<[u64]>> {
        let deeper = depth.checked_sub(1)?;
        let function = self.heap.pointer(partial.checked_add(16)?)?;
        let arguments = self.heap.pointer(partial.checked_add(24)?)?;
        let mut found = self.woken_by(function, deeper).to_vec();
        for argument in self.heap.tuple(arguments)?.into_iter().take(MOST_CELLS) {
            if matches!(self.kind(argument), Kind::Future | Kind::PyFuture) {
                found.extend_from_slice(&self.awaiters_within(argument, deeper));
            }
        }
        Some(found.into())
    }

    /// The qualified name of a function.
    pub fn function_name(&mut self, function: u64) -> Option<Arc<str>> {
        if let Some(known) = self.memo.functions.get(&function) {
            return known.clone();
        }
        let name = match self.kind(function) {
            Kind::Function => {
                let field = self.heap.layout.object.function_qualname;
                let name = self.heap.pointer_in(function, field);
                name.and_then(|name| self.heap.text(name, LONGEST_NAME))
                    .map(Arc::from)
            }
            // Functions of Cython's begin as builtin ones.
            _ => self.builtin_name(function),
        };
        self.memo.functions.insert(function, name.clone());
        name
    }
}
