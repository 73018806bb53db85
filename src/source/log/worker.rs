//! The thread that reads: which process writes where, what has been added there, what is known of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::Told;
use super::journal::{Followed, Journal};
use super::kept::{Log, Source};
use super::outlet::{self, Outlets};
use super::stream::{self, Readers};
use super::tail::{self, FileId, FileTail, TailError};
use super::wrapped::Wrapping;
use crate::snapshot::{Gap, Moment, Process, ProcessKey, Sink};
use crate::source::procfs::ProcReader;
use crate::source::{clock, holder, text};

/// Logs that are read.
const LOGS: usize = 128;
/// A log that nobody writes to any more is kept open for so long, for whoever is started next, and shown for so long.
const OPEN_S: f64 = 10.0;
const SHOWN_S: f64 = 60.0;
/// Where a process writes is asked again: while it is young, later, and with many descriptors.
const YOUNG_S: f64 = 10.0;
const ASK_YOUNG_S: f64 = 1.0;
const ASK_S: f64 = 5.0;
const ASK_LARGE_S: f64 = 30.0;
const LARGE: u64 = 512;
const PATH: usize = 512;

const UNLOCK: &str = "sudo steth (or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)";

/// What the thread remembers.
#[derive(Default)]
pub(super) struct Worker {
    writers: HashMap<ProcessKey, Writer>,
    logs: BTreeMap<LogId, Log>,
    /// Files that are open as logs and are none.
    rejected: HashSet<FileId>,
    readers: Readers,
    journal: Journal,
    processes: ProcReader,
    /// Pids of those who are read for in this round.
    pythons: HashSet<u32>,
}

/// One log, by what it is and not by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum LogId {
    File(FileId),
    Container(PathBuf),
    Journal(String),
}

/// A process, and where it writes.
#[derive(Debug)]
struct Writer {
    asked_at: Moment,
    /// What its threads had done when it was asked, where nothing but they could change the answer.
    settled_at: Option<Done>,
    logs: Vec<LogId>,
    /// Why nothing of it can be read.
    gap: Option<(String, Option<&'static str>)>,
    streams: Vec<(u32, String)>,
}

/// How many threads there are, for how long they have run in all, and how often they have left the processor: where none of it has
/// changed, none of them has opened anything.
type Done = (usize, u64, u64);

fn done(process: &Process) -> Option<Done> {
    let threads = process.threads.as_ref().filter(|t| !t.is_empty())?;
    let run_ns = threads
        .iter()
        .fold(0u64, |sum, t| sum.wrapping_add(t.run_ns));
    let switches = threads
        .iter()
        .fold(0u64, |sum, t| sum.wrapping_add(t.switches));
    Some((threads.len(), run_ns, switches))
}

impl Worker {
    /// Reads what these processes have written since the last round. `mark` is told whose log is being touched.
    pub(super) fn round(&mut self, wanted: &[Arc<Process>], mark: &dyn Fn(ProcessKey)) -> Told {
        let now = clock::now();
        self.readers.begin_round();
        self.pythons = wanted.iter().map(|p| p.key.pid).collect();
        let keys: HashSet<ProcessKey> = wanted.iter().map(|p| p.key).collect();
        self.writers.retain(|key, _| keys.contains(key));
        for process in wanted {
            mark(process.key);
            if self.is_due(process, now) {
                self.ask(process, now);
            }
            self.note_writer(process.key, now);
        }
        self.take_answers(now);
        for log in self.logs.values_mut() {
            if let Some(writer) = log.writers.last() {
                mark(*writer);
            }
            log.read(now);
        }
        self.forget(now);
        self.told(wanted, now)
    }

    fn is_due(&self, process: &Process, now: Moment) -> bool {
        let Some(writer) = self.writers.get(&process.key) else {
            return true;
        };
        if writer.settled_at.is_some() && writer.settled_at == done(process) {
            return false;
        }
        let open = process.fds.as_ref().map_or(0, |f| f.open);
        let pause = match now.seconds_since(process.started) < YOUNG_S {
            true => ASK_YOUNG_S,
            false if open > LARGE => ASK_LARGE_S,
            false => ASK_S,
        };
        now.seconds_since(writer.asked_at) >= pause
    }

    /// Finds out where a process writes.
    fn ask(&mut self, process: &Process, now: Moment) {
        let key = process.key;
        let outlets = outlet::of(key.pid, &process.cmdline);
        let is_same = self.processes.stat(key.pid).is_ok_and(|s| s.key() == key);
        if !is_same {
            return;
        }
        self.readers.find(&outlets, process);
        let mut writer = Writer {
            asked_at: now,
            settled_at: done(process).filter(|_| self.readers.knows(&outlets)),
            logs: Vec::new(),
            gap: None,
            streams: outlets.streams.clone(),
        };
        self.open_files(key.pid, &outlets, &mut writer);
        self.open_keepers(&outlets, &mut writer);
        if outlets.is_denied {
            let cause = format!("/proc/{}/fd: permission denied", key.pid);
            writer.gap = Some((cause, Some(UNLOCK)));
        } else if writer.logs.is_empty() && writer.gap.is_none() {
            writer.gap = Some((self.readers.words(&outlets), None));
        }
        let is_kept = outlets.container.is_some() || outlets.journal.is_some();
        if is_kept && writer.logs.is_empty() {
            // The keeper's file may come later.
            writer.settled_at = None;
        }
        self.writers.insert(key, writer);
    }

    fn open_files(&mut self, pid: u32, outlets: &Outlets, writer: &mut Writer) {
        for (fd, link) in &outlets.files {
            let path = format!("/proc/{pid}/fd/{fd}");
            let shown = || Sink::File {
                path: text::clean(link, PATH),
            };
            self.open_file(&path, &shown, writer);
            self.note_fresh((pid, *fd), writer);
        }
        if let Some((reader, fd)) = self.readers.copied_to(outlets) {
            let path = format!("/proc/{reader}/fd/{fd}");
            let link = std::fs::read_link(&path).unwrap_or_default();
            let shown = || Sink::File {
                path: text::clean(&link.to_string_lossy(), PATH),
            };
            self.open_file(&path, &shown, writer);
        }
    }

    /// Notes whether a log that has just been met began with who writes to it.
    fn note_fresh(&mut self, (pid, fd): (u32, u32), writer: &Writer) {
        let Some(id @ LogId::File(file)) = writer.logs.last() else {
            return;
        };
        let Some(log) = self.logs.get_mut(id).filter(|log| log.writers.is_empty()) else {
            return;
        };
        let appends = holder::flags_of(pid, fd).is_none_or(|f| f & libc::O_APPEND != 0);
        let has = |pid: &u32| {
            [1, 2]
                .iter()
                .any(|fd| tail::id_of(&format!("/proc/{pid}/fd/{fd}")) == Some(*file))
        };
        let opener = stream::ancestors(pid).into_iter().take_while(has).last();
        let wanted = |pid: u32| self.pythons.contains(&pid);
        log.is_fresh = !appends && opener.is_none_or(wanted);
    }

    fn open_file(&mut self, path: &str, sink: &dyn Fn() -> Sink, writer: &mut Writer) {
        let Some(id) = tail::id_of(path).filter(|id| !self.rejected.contains(id)) else {
            return;
        };
        let known = self.logs.get(&LogId::File(id));
        if known.is_some_and(|log| !matches!(log.source, Source::Closed)) {
            return writer.logs.push(LogId::File(id));
        }
        match FileTail::open(path) {
            Ok((id, tail)) => {
                self.open(LogId::File(id), sink(), Source::File(tail, Wrapping::Plain));
                writer.logs.push(LogId::File(id));
            }
            Err(TailError::NotAFile) => {}
            Err(error) => {
                let Sink::File { path } = sink() else { return };
                let unlock = matches!(error, TailError::Denied).then_some(UNLOCK);
                writer.gap = Some((format!("{path}: {error}"), unlock));
            }
        }
    }

    fn open_keepers(&mut self, outlets: &Outlets, writer: &mut Writer) {
        if let Some(path) = &outlets.container {
            let id = LogId::Container(path.clone());
            if !self.is_current(&id, path)
                && let Some(name) = path.to_str()
                && let Ok((_, tail)) = FileTail::open(name)
            {
                let sink = Sink::Container {
                    path: text::clean(name, PATH),
                };
                self.open(id.clone(), sink, Source::File(tail, Wrapping::Container));
            }
            if self.logs.contains_key(&id) {
                writer.logs.push(id);
            }
        }
        if let Some(cgroup) = &outlets.journal {
            let id = LogId::Journal(cgroup.clone());
            let sink = Sink::Journal {
                cgroup: cgroup.clone(),
            };
            if !self.logs.contains_key(&id) {
                self.open(id.clone(), sink, Source::Journal(Followed::default()));
            }
            writer.logs.push(id);
        }
    }

    /// False if the runtime has begun another file under the same name.
    fn is_current(&self, id: &LogId, path: &std::path::Path) -> bool {
        let now = path.to_str().and_then(tail::id_of);
        self.logs.get(id).is_some_and(|log| match &log.source {
            Source::File(tail, _) => Some(tail.id()) == now,
            Source::Journal(_) | Source::Closed => false,
        })
    }

    /// Begins to read a log, or goes on with one that had been closed: what was read of it stays.
    fn open(&mut self, id: LogId, sink: Sink, source: Source) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.source = source;
            return;
        }
        if self.logs.len() < LOGS {
            self.logs.insert(id, Log::new(sink, source));
        }
    }

    fn note_writer(&mut self, key: ProcessKey, now: Moment) {
        let logs = self.writers.get(&key).map(|w| w.logs.as_slice());
        for id in logs.unwrap_or_default() {
            if let Some(log) = self.logs.get_mut(id) {
                // Somebody who comes when all others have gone has not written what is there.
                let lives = |key: &ProcessKey| self.writers.contains_key(key);
                log.is_fresh &= log.writers.is_empty() || log.writers.iter().any(lives);
                log.note_writer(key, now);
            }
        }
    }

    fn take_answers(&mut self, now: Moment) {
        let at = Instant::now();
        while let Some(answer) = self.journal.answer() {
            let id = LogId::Journal(answer.cgroup.clone());
            let Some(log) = self.logs.get_mut(&id) else {
                continue;
            };
            let Source::Journal(followed) = &mut log.source else {
                continue;
            };
            log.is_first = followed.note(&answer, at);
            for entry in answer.entries.unwrap_or_default() {
                log.add(entry, now, now);
            }
        }
        for (id, log) in &mut self.logs {
            if let (LogId::Journal(cgroup), Source::Journal(followed)) = (id, &mut log.source) {
                self.journal.ask(cgroup, followed, at);
            }
        }
    }

    fn forget(&mut self, now: Moment) {
        let rejected: Vec<LogId> = self
            .logs
            .iter()
            .filter(|(_, log)| log.book.is_binary())
            .map(|(id, _)| id.clone())
            .collect();
        for id in rejected {
            self.logs.remove(&id);
            if let LogId::File(file) = id
                && self.rejected.len() < LOGS
            {
                self.rejected.insert(file);
            }
        }
        for log in self.logs.values_mut() {
            if now.seconds_since(log.written_at) > OPEN_S {
                log.source = Source::Closed;
            }
        }
        self.logs
            .retain(|_, log| now.seconds_since(log.written_at) <= SHOWN_S);
    }

    fn told(&mut self, wanted: &[Arc<Process>], now: Moment) -> Told {
        let tails: Vec<_> = self.logs.values_mut().map(|log| log.tail(now)).collect();
        let by_pid: HashMap<u32, &Writer> = self.writers.iter().map(|(k, w)| (k.pid, w)).collect();
        let gaps = wanted.iter().filter_map(|p| self.gap(p, &by_pid));
        let mut told = Told {
            tails,
            gaps: gaps.collect(),
        };
        told.tails.sort_by(|a, b| a.sink.cmp(&b.sink));
        told
    }

    /// Why a process's log is not read. Where it writes to the same as its parent, it is the parent's gap.
    fn gap(&self, process: &Process, by_pid: &HashMap<u32, &Writer>) -> Option<Gap> {
        let writer = self.writers.get(&process.key)?;
        let failed = writer
            .logs
            .iter()
            .find_map(|id| match &self.logs.get(id)?.source {
                Source::Journal(followed) => followed.failed.clone(),
                _ => None,
            });
        let (cause, unlock) = match failed {
            Some(cause) if writer.logs.len() == 1 => (cause, None),
            _ => writer.gap.clone().filter(|_| writer.logs.is_empty())?,
        };
        let parent = by_pid.get(&process.ppid);
        let is_parents = parent.is_some_and(|p| p.streams == writer.streams && p.gap.is_some());
        (!is_parents).then(|| Gap {
            source: "log".to_owned(),
            pid: Some(process.key.pid),
            cause,
            unlock: unlock.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ProcessState, Thread};

    #[test]
    fn whoever_has_done_nothing_since_is_not_asked_again() {
        let own = ProcReader::new().stat(std::process::id()).unwrap().key();
        let record = |run_ns: u64| {
            let mut process = crate::testing::process(own.pid, "python");
            process.key = own;
            process.threads = Some(vec![Thread {
                tid: own.pid,
                name: "python".into(),
                state: ProcessState::Sleeping,
                syscall: None,
                syscall_seen: true,
                run_ns,
                waited_ns: 0,
                switches: 3,
                waits_on: None,
            }]);
            process
        };
        let mut worker = Worker::default();
        let (idle, busy) = (record(5), record(6));
        let now = clock::now();
        worker.readers.begin_round();
        worker.ask(&idle, now);
        // A pipe that nobody is known to read is searched for later.
        let writer = worker.writers.get_mut(&own).unwrap();
        writer.settled_at = done(&idle);
        let later = now.plus_seconds(ASK_LARGE_S + 1.0);
        assert!(!worker.is_due(&idle, later));
        assert!(worker.is_due(&busy, later));
        assert!(!worker.is_due(&busy, now));
        let unseen = crate::testing::process(own.pid, "python");
        assert!(worker.is_due(&Process { key: own, ..unseen }, later));
    }
}
