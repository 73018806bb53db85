//! What is known of one process, and what a look at it changes.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::snapshot::{
    Connections, Frame, Gap, Intent, Moment, Process, Python, Reach, ReadBy, ThreadWait,
};
use crate::source::intent::{IntentReader, Search};
use crate::source::procfs::{Depth, ProcError};
use crate::source::python::{StackAnswer, StackError};
use crate::source::sampler::NOT_READ_YET;
use crate::source::sampler::children::Children;

/// A process that is looked at: Python, or above a Python one.
pub struct Entry {
    pub process: Process,
    pub python: Option<Python>,
    /// When all of it was read last.
    pub full_at: Moment,
    /// When its descriptors were listed last, and what the threads had run then.
    pub files_at: Moment,
    pub(super) files_marks: Vec<(u32, u64, u64)>,
    /// What its threads wait for, while it is looked at closely.
    pub waits: Option<Arc<Vec<ThreadWait>>>,
    /// Its children, while a coroutine of it may wait for one.
    pub children: Children,
    /// Somebody has opened a socket that listens since the descriptors were listed.
    pub(super) sockets_moved: bool,
    /// Other sockets listen than when it was read: who accepts has to be asked again.
    pub listeners_moved: bool,
    /// When it was last seen to have done something.
    pub stirred_at: Moment,
    /// The record as it went into the last snapshot, while nothing in it has changed.
    pub record: Option<Arc<Process>>,
    /// `(tid, run_ns, switches)` of all threads when the stacks were asked for.
    pub stack_marks: Vec<(u32, u64, u64)>,
    pub(super) asked_marks: Vec<(u32, u64, u64)>,
    pub(super) read_at: Moment,
    pub(super) executable: Option<(u64, u64)>,
    pub(super) denied: Vec<&'static str>,
    pub(super) stack_error: Option<StackError>,
    pub(super) stack_tried_at: Moment,
    /// When its tasks were asked for last, and whether they were when the stacks were.
    pub(super) tasks_tried_at: Moment,
    pub(super) tasks_asked: bool,
    /// The application's frames that were searched for intent last.
    pub(super) searched: Option<Vec<Frame>>,
}

impl Entry {
    pub(super) fn new(process: Process, python: Option<Python>) -> Self {
        Self {
            process,
            python,
            full_at: Moment(0),
            files_at: Moment(0),
            files_marks: Vec::new(),
            waits: None,
            children: Children::default(),
            sockets_moved: false,
            listeners_moved: false,
            stirred_at: Moment(0),
            record: None,
            stack_marks: Vec::new(),
            asked_marks: Vec::new(),
            read_at: Moment(0),
            executable: None,
            denied: Vec::new(),
            stack_error: None,
            stack_tried_at: Moment(0),
            tasks_tried_at: Moment(0),
            tasks_asked: false,
            searched: None,
        }
    }

    /// It has ended, and its parent has not looked yet.
    pub fn bury(&mut self) {
        self.process.state = crate::snapshot::ProcessState::Zombie;
        self.process.thread_count = 1;
        self.record = None;
    }

    pub fn is_dead(&self) -> bool {
        self.process.has_ended()
    }

    /// True if what was read is another process, or the same one with another program: whether that is Python has to be
    /// found out again.
    pub fn is_another(&self, read: &Process) -> bool {
        let program = |p: &Process| {
            p.exe
                .as_ref()
                .map(|e| e.trim_end_matches(" (deleted)").to_owned())
        };
        let (before, now) = (program(&self.process), program(read));
        read.key != self.process.key || before.is_some() && now.is_some() && before != now
    }

    /// Takes in what was read; another command line means another program, or another title.
    pub fn take(
        &mut self,
        mut process: Process,
        denied: Vec<&'static str>,
        depth: Depth,
        at: Moment,
    ) {
        if process.state.has_ended() && !process.has_ended() {
            // The kernel shows nothing of it under this pid any more: its first thread has ended, others live on.
            process.cmdline.clone_from(&self.process.cmdline);
        }
        if process.cmdline != self.process.cmdline && !process.cmdline.is_empty() {
            self.stack_marks.clear();
            self.executable = None;
            if let Some(python) = &mut self.python {
                python.stacks = None;
                python.stacks_true_at = None;
                python.tasks = None;
            }
        }
        if self.has_run(&process) {
            self.stirred_at = at;
        }
        self.process = process;
        self.denied = denied;
        self.read_at = at;
        self.listeners_moved = false;
        if depth != Depth::Light {
            self.files_at = at;
            self.files_marks = self.marks();
            self.sockets_moved = false;
        }
        if depth == Depth::Full {
            self.full_at = at;
        }
        self.record = None;
    }

    /// It was looked at, and is as it was.
    pub fn still(&mut self, at: Moment) {
        self.process.sampled_at = at;
        self.read_at = at;
        self.record = None;
    }

    pub(super) fn marks(&self) -> Vec<(u32, u64, u64)> {
        marks(&self.process).collect()
    }

    /// True if a thread has run between the last look and the one that gave this record.
    fn has_run(&self, read: &Process) -> bool {
        !marks(read).eq(marks(&self.process))
    }

    /// True if a new listener may be this process's: it has run since its descriptors were listed.
    pub fn has_news(&self) -> bool {
        self.sockets_moved && !self.files_marks.iter().copied().eq(marks(&self.process))
    }

    pub fn was_read_at(&self, at: Moment) -> bool {
        self.read_at == at
    }

    /// The record for a snapshot, shared with the last one where nothing has changed.
    pub fn record(&mut self, connections: Option<&Arc<Connections>>) -> Arc<Process> {
        if let Some(record) = &self.record
            && record.connections.as_ref().map(Arc::as_ptr) == connections.map(Arc::as_ptr)
        {
            return record.clone();
        }
        let mut process = self.process.clone();
        process.python.clone_from(&self.python);
        process.connections = connections.cloned();
        process.waits.clone_from(&self.waits);
        process.children.clone_from(&self.children.list);
        let record = Arc::new(process);
        self.record = Some(record.clone());
        record
    }

    pub fn fail(&mut self, error: &ProcError) {
        if let ProcError::Denied { what } = error
            && !self.denied.contains(what)
        {
            self.denied.push(what);
        }
    }

    /// `(device, inode)` of the executable.
    pub fn executable(&mut self) -> (u64, u64) {
        let pid = self.process.key.pid;
        let read = || {
            std::fs::metadata(format!("/proc/{pid}/exe"))
                .map(|m| (m.dev(), m.ino()))
                .unwrap_or_default()
        };
        *self.executable.get_or_insert_with(read)
    }

    /// Asks again soon after a failure that may pass, seldom after one that will not. Notes what the threads had run by now.
    pub fn may_read_stacks(&mut self, at: Moment) -> bool {
        let pause = match &self.stack_error {
            None | Some(StackError::Torn | StackError::NotReady | StackError::Gone) => 0.0,
            Some(StackError::Hanging) => 5.0,
            Some(_) => 30.0,
        };
        if at.seconds_since(self.stack_tried_at) < pause {
            return false;
        }
        self.stack_tried_at = at;
        self.asked_marks = self.marks();
        true
    }

    /// True if its tasks may be read again: many cost much.
    pub fn may_read_tasks(&self, at: Moment) -> bool {
        let tasks = self.python.as_ref().and_then(|p| p.tasks.as_ref());
        let pause = match tasks.map_or(0, |t| t.list.len()) {
            0..200 => 0.0,
            200..2_000 => 1.0,
            2_000..10_000 => 3.0,
            _ => 10.0,
        };
        at.seconds_since(self.tasks_tried_at) >= pause
    }

    /// True if the tasks are older than the stacks.
    pub fn owes_tasks(&self) -> bool {
        !self.tasks_asked && self.stack_error.is_none()
    }

    /// Notes that the stacks are asked for now, and whether the tasks are too.
    pub fn ask_tasks(&mut self, asked: bool, at: Moment) {
        self.tasks_asked = asked;
        if asked {
            self.tasks_tried_at = at;
        }
    }

    pub fn answer(&mut self, answer: StackAnswer) {
        self.record = None;
        let Some(python) = &mut self.python else {
            return;
        };
        if answer.version.is_some() {
            python.version = answer.version;
        }
        match answer.result {
            Ok(stacks) => {
                python.stacks = Some(Arc::new(stacks));
                python.stacks_true_at = Some(answer.at);
                if self.tasks_asked {
                    python.tasks = answer.tasks.map(Arc::new);
                }
                self.stack_marks = std::mem::take(&mut self.asked_marks);
                self.stack_error = None;
            }
            Err(error) => {
                self.stack_marks.clear();
                self.stack_error = Some(error);
            }
        }
    }

    /// Has the source searched for a server that is about to be started, where nothing listens yet and the stack has moved.
    pub fn search_intent(&mut self, reader: &mut IntentReader) {
        let accepts = self
            .process
            .accepting
            .as_ref()
            .is_some_and(|a| !a.is_empty());
        if accepts {
            self.forget_end();
            return;
        }
        let key = self.process.key;
        let stacks = self.python.as_ref().and_then(|p| p.stacks.as_ref());
        let Some(stacks) = stacks else { return };
        let of_main = stacks.list.iter().find(|s| s.tid == Some(key.pid));
        let Some(main) = of_main.or(stacks.list.first()) else {
            return;
        };
        let own: Vec<Frame> = main
            .frames
            .iter()
            .filter(|f| !f.is_library())
            .cloned()
            .collect();
        if self.searched.as_ref() == Some(&own) {
            return;
        }
        if reader.search(Search {
            key,
            cmdline: self.process.cmdline.clone(),
            cwd: self.process.cwd.clone(),
            stack: main.clone(),
            at: stacks.at,
        }) {
            self.searched = Some(own);
        }
    }

    /// Who accepts has not served for the last time, whatever its main thread has passed.
    fn forget_end(&mut self) {
        let intent = self.python.as_ref().and_then(|p| p.intent.as_ref());
        if intent.is_some_and(|i| i.reach == Reach::Behind) {
            self.intend(None);
            self.searched = None;
        }
    }

    pub fn intend(&mut self, intent: Option<Intent>) {
        if let Some(python) = &mut self.python {
            python.intent = intent;
            self.record = None;
        }
    }

    /// Why there are no stacks, and what would unlock them. One bad reading is no gap while an older one is at hand.
    fn unread_stacks(&self) -> Option<(String, Option<String>)> {
        let has_some = self.python.as_ref().is_some_and(|p| p.stacks.is_some());
        match &self.stack_error {
            None => (!has_some).then(|| (NOT_READ_YET.to_owned(), None)),
            Some(StackError::Gone) => None,
            Some(StackError::Torn | StackError::NotReady) if has_some => None,
            Some(error) => Some((error.to_string(), error.unlock())),
        }
    }

    /// Why there are no tasks.
    fn unread_tasks(&self) -> Option<(String, Option<String>)> {
        let python = self.python.as_ref().filter(|p| p.tasks.is_none())?;
        match &python.stacks {
            None => self.unread_stacks(),
            Some(stacks) if stacks.by == ReadBy::PySpy => {
                let cause = "tasks are read of CPython 3.8 to 3.15 only";
                Some((cause.to_owned(), None))
            }
            Some(_) if self.tasks_asked => {
                let cause = "the tasks changed faster than they could be read";
                Some((cause.to_owned(), None))
            }
            Some(_) => Some((NOT_READ_YET.to_owned(), None)),
        }
    }

    /// What of this process cannot be seen.
    pub fn gaps(&self) -> Vec<Gap> {
        if self.python.is_none() || self.is_dead() {
            return Vec::new();
        }
        let pid = Some(self.process.key.pid);
        let mut gaps: Vec<Gap> = self
            .denied
            .iter()
            .map(|what| Gap {
                source: (*what).to_owned(),
                pid,
                cause: format!("/proc/{}/{what}: permission denied", self.process.key.pid),
                unlock: Some("sudo steth (or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)".to_owned()),
            })
            .collect();
        let unread = [
            ("python-stack", self.unread_stacks()),
            ("asyncio-tasks", self.unread_tasks()),
        ];
        let unread = unread
            .into_iter()
            .filter_map(|(source, why)| Some((source, why?)));
        gaps.extend(unread.map(|(source, (cause, unlock))| Gap {
            source: source.to_owned(),
            pid,
            cause,
            unlock,
        }));
        gaps
    }
}

/// `(tid, run_ns, switches)` of each thread.
fn marks(process: &Process) -> impl Iterator<Item = (u32, u64, u64)> + '_ {
    let threads = process.threads.iter().flatten();
    threads.map(|t| (t.tid, t.run_ns, t.switches))
}
