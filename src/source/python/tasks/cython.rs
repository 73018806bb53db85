//! Coroutines of modules that Cython compiled, such as uvloop and asyncpg. Their structure depends on the version of Cython that
//! made them, which nothing in memory tells. So it is recognised by what must be in it:
//!
//! ```text
//!  head, body, closure, …, yieldfrom, (0 or 1 words), name, qualname, modulename, code, …
//!                          └ what it awaits           └ three strings in a row
//! ```
//! (`__pyx_CoroutineObject`, Cython/Utility/Coroutine.c). The line is that of the definition: none is kept while one is suspended.

use super::Look;
use super::kind::Kind;
use crate::snapshot::Frame;
use crate::source::python::heap::is_pointer;

/// Where such a coroutine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CythonFrame {
    /// Function, file (or module) and the line of its definition.
    pub frame: Frame,
    /// What it awaits.
    pub awaits: Option<u64>,
    /// The object with its variables.
    pub closure: Option<u64>,
}

const LONGEST: usize = 256;
const CLOSURE: u64 = 24;

impl Look<'_> {
    /// Reads a coroutine of Cython's; `None` if it does not look like one.
    pub fn cython_frame(&mut self, object: u64) -> Option<CythonFrame> {
        let size = self.heap.type_of(object)?.basic_size.min(512);
        let words = self.heap.words(object, size / 8)?;
        self.heap.prepare(words.iter().copied(), 64);
        // Head, body and closure come first.
        let at = (4..words.len().saturating_sub(2)).find(|at| {
            let names = words.get(*at..at + 3).unwrap_or_default();
            names.iter().all(|word| self.is_text(*word))
        })?;
        let word = |at: usize| words.get(at).copied();
        let before = [at.checked_sub(1), at.checked_sub(2)];
        let awaits = before.into_iter().flatten().filter_map(word);
        let awaits = awaits.into_iter().find(|word| self.is_awaitable(*word));
        let function = self.heap.text(word(at + 1)?, LONGEST)?;
        let code = word(at + 3).filter(|word| is_pointer(*word));
        let (file, line) = match code.and_then(|code| self.heap.code(code)) {
            Some(code) => ((*code.file).to_owned(), code.first_line),
            None => (self.heap.text(word(at + 2)?, LONGEST)?, 0),
        };
        Some(CythonFrame {
            frame: Frame {
                function,
                file,
                line,
            },
            awaits,
            closure: self.heap.pointer(object.checked_add(CLOSURE)?),
        })
    }

    /// What a closure of Cython's holds: the variables of its function, without names. At most 64.
    pub fn closure_values(&mut self, closure: u64) -> Vec<u64> {
        let size = match self.heap.type_of(closure) {
            Some(kind) => kind.basic_size.min(16 + 8 * 64),
            None => return Vec::new(),
        };
        let words = closure
            .checked_add(16)
            .and_then(|at| self.heap.words(at, size.saturating_sub(16) / 8));
        let mut words = words.unwrap_or_default();
        words.retain(|word| is_pointer(*word));
        self.heap.prepare(words.iter().copied(), 64);
        words
    }

    /// True if this is a `str`.
    pub fn is_text(&mut self, object: u64) -> bool {
        is_pointer(object)
            && self
                .heap
                .type_of(object)
                .is_some_and(|kind| &*kind.name == "str")
    }

    fn is_awaitable(&mut self, object: u64) -> bool {
        let kind = self.kind(object);
        kind.has_frame()
            || kind.is_future()
            || matches!(
                kind,
                Kind::Wrapper | Kind::FutureIter | Kind::GeneratorWrapper | Kind::Cython
            )
    }
}
