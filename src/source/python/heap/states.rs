//! Interpreters and thread states: the two lists that everything else hangs on.

use super::{Heap, is_pointer};

/// Interpreters of one process that are followed.
pub(super) const MOST_INTERPRETERS: usize = 64;
const MOST_THREADS: usize = 4096;

impl Heap {
    /// The interpreters of the runtime at this address (`_PyRuntime`), the main one (id 0) first.
    pub fn interpreters(&mut self, runtime: u64) -> Option<Vec<u64>> {
        let fields = &self.layout.interpreter;
        let mut found = Vec::new();
        let mut next = self.pointer_in(runtime, self.layout.runtime.interpreters);
        while let Some(interpreter) = next.filter(|at| !found.contains(at)) {
            (found.len() < MOST_INTERPRETERS).then_some(())?;
            found.push(interpreter);
            next = self.pointer_in(interpreter, fields.next);
        }
        found.sort_by_key(|interpreter| self.u64_in(*interpreter, fields.id).unwrap_or(u64::MAX));
        (!found.is_empty()).then_some(found)
    }

    /// The thread states of an interpreter, oldest first. A list that changed while it was read ends where it stopped making sense.
    pub fn thread_states(&mut self, interpreter: u64) -> Vec<u64> {
        self.all_thread_states(interpreter).0
    }

    /// The same, and whether that is the whole list.
    pub fn all_thread_states(&mut self, interpreter: u64) -> (Vec<u64>, bool) {
        let fields = &self.layout.thread;
        let mut found = Vec::new();
        let mut next = self.u64_in(interpreter, self.layout.interpreter.threads);
        while let Some(thread) = next.filter(|at| is_pointer(*at)) {
            if found.len() >= MOST_THREADS
                || found.contains(&thread)
                || self.u64_in(thread, fields.interp) != Some(interpreter)
            {
                next = None;
                break;
            }
            found.push(thread);
            next = self.u64_in(thread, fields.next);
        }
        found.reverse();
        (found, next == Some(0))
    }
}
