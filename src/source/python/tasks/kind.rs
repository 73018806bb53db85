//! What an object is, as far as a walk along awaited objects and callbacks asks: by its type, decided once for each type.

use super::anchors::Types;
use super::{Look, RECENT_KINDS};
use crate::source::python::heap::{Heap, is_pointer};

/// Kinds of objects that the reader knows its way through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `coroutine`
    Coroutine,
    /// `generator`
    Generator,
    /// `async_generator`
    AsyncGenerator,
    /// One that stands for another object and has a pointer to it behind its head: `coroutine_wrapper`,
    /// `async_generator_asend`, `async_generator_athrow`, `anext_awaitable`.
    Wrapper,
    /// `_asyncio.FutureIter`: the same, for a future.
    FutureIter,
    /// What `types.coroutine` makes of what is no generator of CPython's own.
    GeneratorWrapper,
    /// A coroutine or generator of a module compiled by Cython.
    Cython,
    /// `_asyncio.Future` and its subclasses.
    Future,
    /// `_asyncio.Task` and its subclasses.
    Task,
    /// The future of asyncio that is written in Python.
    PyFuture,
    /// The task of asyncio that is written in Python.
    PyTask,
    /// A bound method.
    Method,
    /// A function of C, mostly bound.
    Builtin,
    /// A function.
    Function,
    /// A method of a type that is written in C, not bound.
    Descriptor,
    /// `functools.partial`
    Partial,
    /// What wakes a task (3.8, 3.9).
    Wakeup,
    /// A variable that functions share.
    Cell,
    /// `None`
    Nothing,
    /// Anything else.
    Other,
}

impl Kind {
    /// True for all futures and tasks of asyncio.
    pub fn is_future(self) -> bool {
        self.is_task() || matches!(self, Self::Future | Self::PyFuture)
    }

    /// True for all tasks of asyncio.
    pub fn is_task(self) -> bool {
        matches!(self, Self::Task | Self::PyTask)
    }

    /// True for what has a frame that can be read.
    pub fn has_frame(self) -> bool {
        matches!(
            self,
            Self::Coroutine | Self::Generator | Self::AsyncGenerator
        )
    }

    fn by_name(name: &str) -> Self {
        match name {
            "coroutine" => Self::Coroutine,
            "generator" => Self::Generator,
            "async_generator" => Self::AsyncGenerator,
            "coroutine_wrapper"
            | "async_generator_asend"
            | "async_generator_athrow"
            | "anext_awaitable" => Self::Wrapper,
            "_asyncio.FutureIter" | "FutureIter" => Self::FutureIter,
            "_GeneratorWrapper" => Self::GeneratorWrapper,
            "method" => Self::Method,
            "builtin_function_or_method" => Self::Builtin,
            "function" => Self::Function,
            "method_descriptor" | "wrapper_descriptor" => Self::Descriptor,
            "functools.partial" => Self::Partial,
            "TaskWakeupMethWrapper" | "_asyncio.TaskWakeupMethWrapper" => Self::Wakeup,
            "cell" => Self::Cell,
            "NoneType" => Self::Nothing,
            // `_cython_3_0_11.coroutine_wrapper`, and `_cython_3_0_11.coroutine`, `generator`, `iterable_coroutine`.
            _ if name.starts_with("_cython_") && name.ends_with("_wrapper") => Self::Wrapper,
            // The same before Cython 3.0; CPython has none of that name.
            "iterable_coroutine" => Self::Cython,
            _ if name.starts_with("_cython_") && !name.contains("function") => Self::Cython,
            _ => Self::Other,
        }
    }
}

impl Look<'_> {
    /// What this object is.
    pub fn kind(&mut self, object: u64) -> Kind {
        if !is_pointer(object) {
            return Kind::Other;
        }
        let Some(addr) = self.heap.pointer(object + 8) else {
            return Kind::Other;
        };
        // There are few types, and types are large.
        let place = (addr / 64) as usize % RECENT_KINDS;
        match self.recent_kinds.get(place) {
            Some((known, kind)) if *known == addr => return *kind,
            _ => {}
        }
        let known = self.kinds.get(&addr).copied();
        let kind = known.unwrap_or_else(|| {
            let kind = classify(self.heap, addr, &self.asyncio.types).unwrap_or(Kind::Other);
            self.kinds.insert(addr, kind);
            kind
        });
        if let Some(recent) = self.recent_kinds.get_mut(place) {
            *recent = (addr, kind);
        }
        kind
    }
}

fn classify(heap: &mut Heap, addr: u64, types: &Types) -> Option<Kind> {
    let kind = heap.type_at(addr)?;
    let ancestors = [
        (types.task, Kind::Task),
        (types.py_task, Kind::PyTask),
        (types.future, Kind::Future),
        (types.py_future, Kind::PyFuture),
    ];
    for (ancestor, found) in ancestors {
        if ancestor.is_some_and(|ancestor| heap.derives(&kind, ancestor)) {
            return Some(found);
        }
    }
    let found = Kind::by_name(&kind.name);
    // Cython before 3.0 gives its types the names of CPython's.
    let own = match found {
        Kind::Coroutine => types.coroutine,
        Kind::Generator => types.generator,
        _ => None,
    };
    let is_foreign = own.is_some_and(|own| own != addr);
    Some(if is_foreign { Kind::Cython } else { found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_tell_kinds() {
        let cases = [
            ("coroutine", Kind::Coroutine),
            ("async_generator_asend", Kind::Wrapper),
            ("_cython_3_0_11.coroutine_wrapper", Kind::Wrapper),
            ("_cython_3_2_9.coroutine", Kind::Cython),
            ("iterable_coroutine", Kind::Cython),
            ("_cython_3_2_9.cython_function_or_method", Kind::Other),
            ("str", Kind::Other),
        ];
        for (name, kind) in cases {
            assert_eq!(Kind::by_name(name), kind, "{name}");
        }
        assert!(Kind::PyTask.is_task() && Kind::PyTask.is_future());
        assert!(Kind::Future.is_future() && !Kind::Future.is_task());
    }
}
