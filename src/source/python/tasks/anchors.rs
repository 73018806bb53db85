//! Where an interpreter keeps its tasks: found once by the names in its modules, then remembered.
//!
//! It is looked for again when modules came or went, or when what was found is no longer what it was.

use crate::source::python::heap::{Heap, Imported};

/// What asyncio keeps where in one interpreter.
#[derive(Debug, Default)]
pub struct Anchors {
    /// Types by which objects are recognised.
    pub types: Types,
    /// The sets inside of the `WeakSet`s that tasks are registered in.
    pub weak_sets: Vec<u64>,
    /// Sets of tasks: those that begin before they were scheduled (3.12+).
    pub sets: Vec<u64>,
    /// Dictionaries from loops to their current tasks.
    pub current: Vec<u64>,
    /// The dictionary inside of anyio's `_run_vars`, from loops to their variables.
    pub run_vars: Option<u64>,
    /// True if `concurrent.futures.thread` has been imported.
    pub has_executors: bool,
    /// The modules that they were found in.
    modules: Imported,
}

/// Types by their addresses, as far as their modules have been imported.
#[derive(Debug, Clone, Copy, Default)]
pub struct Types {
    /// `_asyncio.Task`
    pub task: Option<u64>,
    /// `_asyncio.Future`
    pub future: Option<u64>,
    /// `asyncio.tasks._PyTask`
    pub py_task: Option<u64>,
    /// `asyncio.futures._PyFuture`
    pub py_future: Option<u64>,
    /// `types.CoroutineType`
    pub coroutine: Option<u64>,
    /// `types.GeneratorType`
    pub generator: Option<u64>,
}

impl Anchors {
    /// Finds what has come, and what has changed.
    pub fn refresh(&mut self, heap: &mut Heap, interpreter: u64) {
        let Some(modules) = heap.modules(interpreter) else {
            return;
        };
        if self.modules == modules && self.is_valid(heap) {
            return;
        }
        if let Some(found) = Self::find(heap, &modules) {
            *self = Self { modules, ..found };
        }
    }

    /// True if there may be tasks.
    pub fn has_asyncio(&self) -> bool {
        self.types.task.is_some() || self.types.py_task.is_some()
    }

    fn is_valid(&self, heap: &mut Heap) -> bool {
        let mut is = |object: &u64, name: &str| {
            heap.type_of(*object)
                .is_some_and(|kind| &*kind.name == name)
        };
        let sets = self.weak_sets.iter().chain(&self.sets);
        sets.into_iter().all(|set| is(set, "set"))
            && self
                .current
                .iter()
                .chain(&self.run_vars)
                .all(|dict| is(dict, "dict"))
    }

    fn find(heap: &mut Heap, modules: &Imported) -> Option<Self> {
        let executors = heap.module(modules, "concurrent.futures.thread");
        let mut found = Self {
            has_executors: executors.is_some(),
            ..Self::default()
        };
        if let Some(dict) = heap.module(modules, "_collections_abc") {
            let [coroutine, generator] = heap.dict_get_all(dict, ["coroutine", "generator"])?;
            found.types.coroutine = coroutine;
            found.types.generator = generator;
        }
        if let Some(dict) = heap.module(modules, "_asyncio") {
            let [task, future] = heap.dict_get_all(dict, ["Task", "Future"])?;
            found.types.task = task;
            found.types.future = future;
        }
        for module in ["_asyncio", "asyncio.tasks"] {
            if let Some(dict) = heap.module(modules, module) {
                found.find_tasks(heap, dict)?;
            }
        }
        if let Some(dict) = heap.module(modules, "anyio.lowlevel") {
            let vars = heap.dict_get(dict, "_run_vars");
            found.run_vars = vars.and_then(|vars| heap.attribute(vars, "data"));
        }
        Some(found)
    }

    /// From the dictionary of `_asyncio` or of `asyncio.tasks`, which has some of them by import.
    fn find_tasks(&mut self, heap: &mut Heap, dict: u64) -> Option<()> {
        let names = [
            "_all_tasks",
            "_scheduled_tasks",
            "_eager_tasks",
            "_current_tasks",
            "_PyTask",
        ];
        let [all, scheduled, eager, current, py_task] = heap.dict_get_all(dict, names)?;
        for weak in [all, scheduled].into_iter().flatten() {
            let data = heap.attribute(weak, "data");
            self.weak_sets
                .extend(data.filter(|data| !self.weak_sets.contains(data)));
        }
        self.sets
            .extend(eager.filter(|eager| !self.sets.contains(eager)));
        self.current
            .extend(current.filter(|dict| !self.current.contains(dict)));
        if let Some(task) = py_task {
            self.types.py_task = Some(task);
            self.types.py_future = heap.type_at(task).map(|kind| kind.base);
        }
        Some(())
    }
}
