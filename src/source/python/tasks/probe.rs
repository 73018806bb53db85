//! The tasks of one process, for who wants nothing else of it.

use std::os::unix::fs::MetadataExt;

use super::super::attach::{Attachment, Library};
use super::super::donor::Donor;
use super::super::tid::read_pthread_tids;
use super::{TaskReader, ThreadOf};
use crate::snapshot::Tasks;
use crate::source::python::StackError;
use crate::source::python::heap::Heap;
use crate::source::python::layout::Layout;
use crate::source::python::pages::Pages;

/// A process whose tasks can be read again and again.
#[derive(Debug)]
pub struct TaskProbe {
    pid: u32,
    runtime: u64,
    heap: Heap,
    reader: TaskReader,
}

impl TaskProbe {
    /// Finds the interpreter of a process.
    ///
    /// # Errors
    /// `Unsupported` for versions other than 3.8 to 3.15; else as for stacks.
    pub fn attach(pid: u32) -> Result<Self, StackError> {
        let failed = |error: anyhow::Error| StackError::Failed(error.to_string());
        let exe = std::fs::metadata(format!("/proc/{pid}/exe"))
            .map(|meta| (meta.dev(), meta.ino()))
            .map_err(|e| StackError::from_io(pid, &e))?;
        let mut donor = Donor::new(pid).map_err(failed)?;
        let found = Attachment::new(pid, exe, &mut donor, &Library::default())?;
        let unsupported = || StackError::Unsupported(format!("python {}", found.version));
        let minor = u32::try_from(found.version.minor).map_err(|_| unsupported())?;
        let layout = Layout::of(minor)
            .filter(|_| found.version.major == 3)
            .ok_or_else(unsupported)?;
        let runtime = found.runtime.as_ref().ok_or_else(unsupported)?.start;
        Ok(Self {
            pid,
            runtime,
            heap: Heap::new(Pages::of_process(pid), layout),
            reader: TaskReader::new(pid),
        })
    }

    /// Reads all tasks as they are now.
    ///
    /// # Errors
    /// As [`TaskReader::read`].
    pub fn read(&mut self) -> Result<Tasks, StackError> {
        self.heap
            .renew()
            .map_err(|e| StackError::from_io(self.pid, &e))?;
        let threads = self.threads();
        self.reader.read(&mut self.heap, self.runtime, &threads)
    }

    /// System calls that reading its memory has taken so far.
    pub fn calls(&self) -> u64 {
        self.heap.pages.calls
    }

    /// Thread states and their threads, of those in this program's own pid namespace.
    fn threads(&mut self) -> Vec<ThreadOf> {
        let mut found = Vec::new();
        let fields = &self.heap.layout.thread;
        let interpreters = self.heap.interpreters(self.runtime).unwrap_or_default();
        for interpreter in interpreters {
            for state in self.heap.thread_states(interpreter) {
                let tid = if fields.native_thread_id.exists() {
                    let tid = self.heap.u64_in(state, fields.native_thread_id);
                    tid.and_then(|tid| u32::try_from(tid).ok())
                } else {
                    let pthread = self.heap.u64_in(state, fields.thread_id);
                    pthread.and_then(|p| read_pthread_tids(self.pid, &[p]).first().copied())
                };
                let exists = |tid: &u32| {
                    std::fs::exists(format!("/proc/{}/task/{tid}", self.pid)).unwrap_or(false)
                };
                found.push((state, tid.filter(exists)));
            }
        }
        found
    }
}
