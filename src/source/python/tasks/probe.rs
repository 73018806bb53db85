//! The tasks of one process, for who wants nothing else of it.

use super::{TaskReader, ThreadOf};
use crate::snapshot::{ProcessState, Tasks, Thread};
use crate::source::python::StackError;
use crate::source::python::attach::{Attachment, Library, Tools};
use crate::source::python::heap::Heap;
use crate::source::python::tid::pthread_tid;

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
        Self::attach_by(pid, &Library::default())
    }

    /// The same with what is known of the files that interpreters are in.
    ///
    /// # Errors
    /// As [`TaskProbe::attach`].
    pub fn attach_by(pid: u32, library: &Library) -> Result<Self, StackError> {
        let found = Attachment::new(pid, &mut Tools::default(), library)?;
        let Attachment::Own(own) = found else {
            let version = found.version();
            return Err(StackError::Unsupported(format!("python {version}")));
        };
        let (runtime, heap) = own.into_memory();
        Ok(Self {
            pid,
            runtime,
            heap,
            reader: TaskReader::new(pid),
        })
    }

    /// Reads all tasks as they are now.
    ///
    /// # Errors
    /// As [`TaskReader::read`].
    pub fn read(&mut self) -> Result<Tasks, StackError> {
        let seen = seen(self.pid);
        self.heap
            .renew()
            .map_err(|e| StackError::from_io(self.pid, &e))?;
        let threads = self.threads();
        self.reader
            .read(&mut self.heap, self.runtime, &threads, &seen)
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
                    pthread.and_then(|p| self.heap.pages.u32(pthread_tid(p)))
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

/// The threads as they are now; none if not all could be seen.
fn seen(pid: u32) -> Vec<Thread> {
    let tasks = i32::try_from(pid)
        .ok()
        .and_then(|pid| ::procfs::process::Process::new(pid).ok()?.tasks().ok());
    let seen = tasks.into_iter().flatten().map(|task| {
        let task = task.ok()?;
        // Marked first: who has woken before its state is read has another mark by then.
        let marks = task.schedstat().ok()?;
        let state = match task.stat().ok()?.state {
            'R' => ProcessState::Running,
            _ => ProcessState::Sleeping,
        };
        Some(Thread {
            tid: u32::try_from(task.tid).ok()?,
            name: String::new(),
            state,
            syscall: None,
            syscall_seen: false,
            run_ns: marks.sum_exec_runtime,
            waited_ns: marks.run_delay,
            switches: marks.pcount,
            waits_on: None,
        })
    });
    seen.collect::<Option<_>>().unwrap_or_default()
}
