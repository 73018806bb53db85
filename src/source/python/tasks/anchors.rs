//! Where an interpreter keeps its tasks: found once by the names in its modules, then remembered.
//!
//! `sys.modules` is read entry by entry, since the hashes of its keys depend on a secret. It is read again when modules came or went,
//! or when what was found is no longer what it was.

use crate::source::python::heap::Heap;

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
    /// `sys.modules`, and how many entries it had.
    modules: (u64, u64),
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

const MODULES: [&str; 5] = [
    "_asyncio",
    "asyncio.tasks",
    "_collections_abc",
    "anyio.lowlevel",
    "concurrent.futures.thread",
];

impl Anchors {
    /// Finds what has come, and what has changed.
    pub fn refresh(&mut self, heap: &mut Heap, interpreter: u64) {
        let modules = heap.pointer_in(interpreter, heap.layout.interpreter.modules);
        let Some(modules) = modules else {
            return;
        };
        let used = modules
            .checked_add(16)
            .and_then(|at| heap.pages.u64(at))
            .unwrap_or(0);
        if self.modules == (modules, used) && self.is_valid(heap) {
            return;
        }
        if let Some(found) = Self::find(heap, modules) {
            *self = Self {
                modules: (modules, used),
                ..found
            };
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

    fn find(heap: &mut Heap, modules: u64) -> Option<Self> {
        let mut found = Self::default();
        let [c, tasks, abc, anyio, executors] = lookup(heap, modules, MODULES)?;
        found.has_executors = executors.is_some();
        if let Some(dict) = abc.and_then(|module| dict_of(heap, module)) {
            let [coroutine, generator] = lookup(heap, dict, ["coroutine", "generator"])?;
            found.types.coroutine = coroutine;
            found.types.generator = generator;
        }
        if let Some(dict) = c.and_then(|module| dict_of(heap, module)) {
            let [task, future] = lookup(heap, dict, ["Task", "Future"])?;
            found.types.task = task;
            found.types.future = future;
        }
        for module in [c, tasks].into_iter().flatten() {
            if let Some(dict) = dict_of(heap, module) {
                found.find_tasks(heap, dict)?;
            }
        }
        if let Some(dict) = anyio.and_then(|module| dict_of(heap, module)) {
            let [vars] = lookup(heap, dict, ["_run_vars"])?;
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
        let [all, scheduled, eager, current, py_task] = lookup(heap, dict, names)?;
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

/// The dictionary of a module (`PyModuleObject.md_dict`).
fn dict_of(heap: &mut Heap, module: u64) -> Option<u64> {
    let dict = heap.pointer(module.checked_add(16)?)?;
    let kind = heap.type_of(dict)?;
    (&*kind.name == "dict").then_some(dict)
}

/// The values of several keys of a dictionary, in their order.
fn lookup<const N: usize>(
    heap: &mut Heap,
    dict: u64,
    names: [&str; N],
) -> Option<[Option<u64>; N]> {
    let pairs = heap.dict(dict)?;
    heap.prepare(pairs.iter().map(|pair| pair.0), 80);
    let mut found = [None; N];
    for (key, value) in pairs {
        for (name, slot) in names.iter().zip(&mut found) {
            if slot.is_none() && heap.text_is(key, name) {
                *slot = Some(value);
            }
        }
    }
    Some(found)
}
