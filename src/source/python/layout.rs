//! Where the fields of CPython's structures lie, for each minor version: a table, and nothing that reads.
//!
//! Offsets in bytes of builds with a GIL for 64-bit Linux, from the debug information of 3.8.18, 3.9.18, 3.10.13, 3.11.7, 3.12.1, 3.13.0,
//! 3.14.10 and 3.15.2; within a minor version they do not change. Free-threaded and debug builds have other layouts. A new version is
//! one more column, and its number in [`MINORS`].

use std::sync::LazyLock;

mod suspension;

pub use suspension::{Awaits, Suspension};

use suspension::SUSPENSIONS;

/// The versions 3.x that have a column here, in its order.
const MINORS: [u32; 8] = [8, 9, 10, 11, 12, 13, 14, 15];

/// Where a field lies in its structure; not every version has every field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(Option<u16>);

impl Field {
    /// The address of this field of the structure at `base`; `None` if this version has no such field.
    pub fn of(self, base: u64) -> Option<u64> {
        base.checked_add(u64::from(self.0?))
    }

    fn pick(row: &[Self; MINORS.len()], at: usize) -> Self {
        row.get(at).copied().unwrap_or(Self(None))
    }

    /// True if this version has it.
    pub fn exists(self) -> bool {
        self.0.is_some()
    }
}

/// Fields of one structure, a column for each of [`MINORS`]; `__` is a field that this version does not have.
macro_rules! layouts {
    ($(#[$about:meta])* $group:ident { $($(#[$doc:meta])* $field:ident: [$($at:tt),*],)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy)]
        pub struct $group { $($(#[$doc])* pub $field: Field,)* }

        impl $group {
            fn column(at: usize) -> Self {
                Self { $($field: Field::pick(&[$(layouts!(@ $at)),*], at),)* }
            }
        }
    };
    (@ __) => { Field(None) };
    (@ $at:literal) => { Field(Some($at)) };
}

layouts! {
    /// `_asyncio.Future` and `_asyncio.Task`, whose head is a future's (`Modules/_asynciomodule.c`).
    Future {
        /// The event loop.
        loop_: [16, 16, 16, 16, 16, 16, 16, 16],
        /// First done callback.
        callback0: [24, 24, 24, 24, 24, 24, 24, 24],
        /// List of (callback, context) with the others.
        callbacks: [40, 40, 40, 40, 40, 40, 40, 40],
        /// `int`: 0 pending, 1 cancelled, 2 finished.
        state: [72, 80, 88, 88, 88, 96, 104, 104],
        /// Task: the future that it waits for.
        waiter: [104, 144, 152, 128, 128, 112, 120, 120],
        /// Task: its coroutine.
        coro: [112, 152, 160, 136, 136, 120, 128, 128],
        /// Task: `str`, or `int` for a counter (3.12+).
        name: [120, 160, 168, 144, 144, 128, 136, 136],
        /// Task: its node in the list of its thread.
        node: [__, __, __, __, __, __, 152, 152],
    }
}

layouts! {
    /// Generators, coroutines and asynchronous generators, which share their head (`Include/internal/pycore_genobject.h`).
    Generator {
        /// Pointer to the frame.
        frame: [16, 16, 16, __, __, __, __, __],
        /// `char`.
        running: [24, 24, __, __, __, __, __, __],
        /// `str`.
        qualname: [56, 56, 48, 40, 32, 32, 32, 32],
        /// `int8_t`.
        frame_state: [__, __, __, 75, 67, 67, 67, 67],
        /// The frame itself.
        iframe: [__, __, __, 80, 72, 72, 72, 72],
    }
}

layouts! {
    /// `PyFrameObject` up to 3.10, `_PyInterpreterFrame` from 3.11 on.
    Frame {
        /// The caller's frame.
        back: [24, 24, 24, 48, 8, 8, 8, 8],
        /// Code object; a tagged reference from 3.14 on.
        code: [32, 32, 32, 32, 0, 0, 0, 0],
        /// `int`: last instruction, in bytes (3.10: in units of two).
        lasti: [104, 104, 96, __, __, __, __, __],
        /// Pointer to an instruction: the last one, from 3.13 on the next one.
        instr: [__, __, __, 56, 56, 56, 56, 56],
        /// Pointer to the bottom of the value stack.
        valuestack: [64, 64, 64, __, __, __, __, __],
        /// Pointer to above the top of the value stack; 3.11 to 3.13 `int`, an index into `localsplus`.
        stacktop: [72, 72, __, 64, 64, 64, __, __],
        /// `int`.
        stackdepth: [__, __, 80, __, __, __, __, __],
        /// Pointer to above the top of the value stack.
        stackpointer: [__, __, __, __, __, __, 64, 64],
        /// `int8_t`.
        state: [__, __, 108, __, __, __, __, __],
        /// `char`: 0 a thread, 1 a generator, 2 a frame object, 3 the C stack.
        owner: [__, __, __, 69, 70, 70, 74, 74],
        /// Locals, cells, free variables, then the value stack.
        localsplus: [360, 360, 352, 72, 72, 72, 80, 80],
    }
}

layouts! {
    /// `PyCodeObject`.
    Code {
        /// `int`.
        first_line: [40, 40, 40, 72, 68, 68, 68, 68],
        /// `bytes` with the instructions.
        code: [48, 48, 48, __, __, __, __, __],
        /// `str`.
        filename: [104, 104, 104, 112, 112, 112, 112, 112],
        /// `str`.
        name: [112, 112, 112, 120, 120, 120, 120, 120],
        /// `str`.
        qualname: [__, __, __, 128, 128, 128, 128, 128],
        /// `bytes`: `co_lnotab` (to 3.9), `co_linetable`.
        lines: [120, 120, 120, 136, 136, 136, 136, 136],
        /// `int`.
        stack_size: [32, 32, 32, 68, 64, 64, 64, 64],
        /// `int`: number of local variables.
        locals: [28, 28, 28, 80, 80, 80, 80, 80],
        /// `int`: number of locals, cells and free variables.
        locals_plus: [__, __, __, 76, 72, 72, 72, 72],
        /// `tuple`.
        varnames: [72, 72, 72, __, __, __, __, __],
        /// `tuple`.
        cellvars: [88, 88, 88, __, __, __, __, __],
        /// `tuple`.
        freevars: [80, 80, 80, __, __, __, __, __],
        /// `tuple`.
        locals_plus_names: [__, __, __, 96, 96, 96, 96, 96],
        /// `int`: the first instruction that a tracer sees, in units of two bytes.
        first_traceable: [__, __, __, 168, 176, 184, 192, 192],
        /// The instructions themselves; the size of the object counts them, in units of two bytes.
        adaptive: [__, __, __, 184, 192, 200, 208, 208],
    }
}

layouts! {
    /// `PyInterpreterState`.
    Interpreter {
        /// The next interpreter.
        next: [0, 0, 0, 0, 0, 7264, 7272, 7264],
        /// `int64_t`; 0 is the main one.
        id: [16, 24, 24, 48, 8, 7272, 7280, 7272],
        /// `sys.modules`.
        modules: [56, 856, 856, 888, 944, 7656, 7688, 7592],
        /// The dictionary of `sys`.
        sysdict: [72, 872, 872, 904, 352, 7640, 7672, 7576],
        /// Pointer to the state of its GIL (3.12+).
        gil: [__, __, __, __, 384, 16, 16, 16],
        /// Its newest thread state.
        threads: [8, 8, 8, 16, 72, 7344, 7344, 7336],
        /// Head of the list of tasks whose threads have ended.
        asyncio_tasks: [__, __, __, __, __, __, 10880, 10856],
    }
}

layouts! {
    /// `PyThreadState` and the `_PyThreadStateImpl` around it.
    Thread {
        /// The next older thread state.
        next: [8, 8, 8, 8, 8, 8, 8, 8],
        /// Its interpreter.
        interp: [16, 16, 16, 16, 16, 16, 16, 16],
        /// Dictionary for extensions.
        dict: [152, 152, 152, 128, 112, 128, 128, 152],
        /// `pthread_t`.
        thread_id: [176, 176, 176, 152, 136, 152, 152, 176],
        /// Thread id in its own pid namespace.
        native_thread_id: [__, __, __, 160, 144, 160, 160, 184],
        /// The innermost frame (to 3.10).
        frame: [24, 24, 24, __, __, __, __, __],
        /// `_PyCFrame`, which has the innermost frame (3.11, 3.12).
        cframe: [__, __, __, 56, 56, __, __, __],
        /// Of the `_PyCFrame`: the innermost frame.
        cframe_frame: [__, __, __, 8, 0, __, __, __],
        /// The innermost frame (3.13+).
        current_frame: [__, __, __, __, __, 72, 72, 72],
        /// The loop that runs in it.
        running_loop: [__, __, __, __, __, 304, 864, 1024],
        /// The task that runs in it.
        running_task: [__, __, __, __, __, __, 872, 1032],
        /// Head of the list of its tasks.
        asyncio_tasks: [__, __, __, __, __, __, 880, 1048],
    }
}

layouts! {
    /// `_PyRuntimeState`.
    Runtime {
        /// The newest interpreter.
        interpreters: [32, 32, 32, 40, 40, 632, 808, 936],
        /// The state of the one GIL (to 3.11).
        gil: [1152, 352, 352, 360, __, __, __, __],
    }
}

layouts! {
    /// `_gil_runtime_state` (`Include/internal/pycore_gil.h`).
    Gil {
        /// The thread state that holds it, or held it last. Next to it, each in eight bytes: `int`, 1 while it is held; `unsigned
        /// long`, how often it went to another thread than the one that had it last.
        last_holder: [8, 8, 8, 8, 8, 8, 8, 8],
    }
}

layouts! {
    /// `_PyCFrame`, between a thread state and its frames.
    CFrame {
        /// The innermost frame.
        current: [__, __, __, 8, 0, __, __, __],
    }
}

layouts! {
    /// `_queue.SimpleQueue` (`Modules/_queuemodule.c`): a list and where its first item is, from 3.13 on a ring.
    SimpleQueue {
        /// `list`.
        list: [32, 32, 32, 32, 32, __, __, __],
        /// `Py_ssize_t`: items of the list that are gone.
        gone: [40, 40, 40, 40, 40, __, __, __],
        /// `Py_ssize_t`: number of items.
        count: [__, __, __, __, __, 56, 56, 56],
    }
}

layouts! {
    /// Objects of the language whose layout differs between versions.
    Object {
        /// Heap type: the keys that its instances share.
        cached_keys: [872, 864, 872, 872, 880, 880, 880, 888],
        /// Tuple: the first item.
        tuple_items: [24, 24, 24, 24, 24, 24, 32, 32],
        /// Function: its code object.
        function_code: [16, 16, 48, 48, 48, 48, 48, 48],
        /// Function: `str`.
        function_qualname: [104, 104, 40, 40, 40, 40, 40, 40],
        /// Function: tuple of cells.
        function_closure: [48, 48, 72, 72, 72, 72, 72, 72],
        /// Characters of an ASCII `str`.
        ascii_data: [48, 48, 48, 48, 40, 40, 40, 40],
        /// Characters of another `str`.
        unicode_data: [72, 72, 72, 72, 56, 56, 56, 56],
    }
}

/// All of one version.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The x of 3.x.
    pub minor: u32,
    /// See [`Future`].
    pub future: Future,
    /// See [`Generator`].
    pub generator: Generator,
    /// See [`Frame`].
    pub frame: Frame,
    /// See [`Code`].
    pub code: Code,
    /// See [`Interpreter`].
    pub interpreter: Interpreter,
    /// See [`Thread`].
    pub thread: Thread,
    /// See [`Runtime`].
    pub runtime: Runtime,
    /// See [`Gil`].
    pub gil: Gil,
    /// See [`CFrame`].
    pub cframe: CFrame,
    /// See [`SimpleQueue`].
    pub simple_queue: SimpleQueue,
    /// See [`Object`].
    pub object: Object,
    /// See [`Suspension`].
    pub suspension: Suspension,
}

impl Layout {
    /// The layout of 3.`minor`; `None` for a version that is not in the table.
    pub fn of(minor: u32) -> Option<&'static Self> {
        static ALL: LazyLock<Vec<Layout>> =
            LazyLock::new(|| (0..MINORS.len()).filter_map(Layout::column).collect());
        ALL.iter().find(|layout| layout.minor == minor)
    }

    fn column(at: usize) -> Option<Self> {
        Some(Self {
            minor: *MINORS.get(at)?,
            future: Future::column(at),
            generator: Generator::column(at),
            frame: Frame::column(at),
            code: Code::column(at),
            interpreter: Interpreter::column(at),
            thread: Thread::column(at),
            runtime: Runtime::column(at),
            gil: Gil::column(at),
            cframe: CFrame::column(at),
            simple_queue: SimpleQueue::column(at),
            object: Object::column(at),
            suspension: *SUSPENSIONS.get(at)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_its_own_column() {
        for minor in MINORS {
            assert_eq!(Layout::of(minor).unwrap().minor, minor);
        }
        assert!(Layout::of(7).is_none() && Layout::of(16).is_none());
        let coro = |minor| Layout::of(minor).unwrap().future.coro.of(0);
        assert_eq!(
            (coro(8), coro(13), coro(15)),
            (Some(112), Some(120), Some(128))
        );
    }

    /// True of all versions (Modules/_asynciomodule.c): the future that a task waits for, its coroutine and its name are neighbours.
    #[test]
    fn a_task_ends_with_waiter_coroutine_and_name() {
        for layout in MINORS.map(|minor| Layout::of(minor).unwrap().future) {
            let coro = layout.coro.of(0).unwrap();
            assert_eq!(layout.waiter.of(8), Some(coro));
            assert_eq!(layout.name.of(0), Some(coro + 8));
        }
    }

    #[test]
    fn a_field_that_a_version_does_not_have_has_no_address() {
        let old = Layout::of(10).unwrap();
        assert!(!old.generator.iframe.exists() && old.generator.frame.exists());
        assert_eq!(old.generator.iframe.of(0x1000), None);
        assert_eq!(old.generator.frame.of(u64::MAX), None, "no wrapping");
    }

    #[test]
    fn states_that_mean_different_things_differ() {
        for minor in MINORS {
            let rules = Layout::of(minor).unwrap().suspension;
            let mut states = vec![rules.created, rules.executing];
            states.extend(rules.suspended);
            let count = states.len();
            states.sort_unstable();
            states.dedup();
            assert_eq!(states.len(), count, "3.{minor}");
            if let Awaits::State(awaiting) = rules.awaits {
                assert!(awaiting.iter().all(|state| rules.suspended.contains(state)));
            }
        }
    }
}
