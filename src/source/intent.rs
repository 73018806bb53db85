//! Does the program on a stack still mean to serve? Its own source tells: a call that starts a server stands ahead of the
//! line that runs.
//!
//! A script such as `python app.py` that hangs before it listens has nothing else that sets it apart from a batch job: no
//! framework on its command line, no socket, no frame of a server. Source files are read, never run; what is not a plain
//! file, or is large, is left alone. A call in a branch that may not be taken is no evidence.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::SystemTime;

use crate::snapshot::{Frame, Intent, Moment, ProcessKey, ServerThread, Stack};

mod source;
mod thread;

use source::Source;

const LARGEST: u64 = 1 << 20;
const FILES: usize = 256;

/// Searches on a thread of its own: a source file may lie on a mount that does not answer, and a look must not wait for it.
#[derive(Debug, Default)]
pub struct IntentReader {
    searcher: Option<(SyncSender<Search>, Receiver<Answer>)>,
    threads: BTreeMap<ProcessKey, ServerThread>,
}

/// What to search for.
#[derive(Debug)]
pub struct Search {
    /// The process.
    pub key: ProcessKey,
    /// Its working directory, where it is known.
    pub cwd: Option<String>,
    /// The stack of its main thread.
    pub stack: Stack,
    /// When that was read.
    pub at: Moment,
}

/// What a search has found; `None` for nothing.
pub type Found = (ProcessKey, Option<Intent>);

/// The same, and the thread that was started to serve.
type Answer = (Found, Option<ServerThread>);

/// Searches that may wait; more are turned away and come again when the stack has moved.
const QUEUE: usize = 64;

impl IntentReader {
    /// Queues a search; false if there is no room. Never blocks.
    pub fn search(&mut self, search: Search) -> bool {
        if self.searcher.is_none() {
            self.searcher = start().ok();
        }
        self.searcher
            .as_ref()
            .is_some_and(|(sender, _)| sender.try_send(search).is_ok())
    }

    /// Results that have come in since.
    pub fn found(&mut self) -> Vec<Found> {
        let results: Vec<Answer> = self
            .searcher
            .as_ref()
            .map(|(_, found)| found.try_iter().collect())
            .unwrap_or_default();
        let note = |((key, intent), thread): Answer| {
            match thread {
                // It is known since it was found first.
                Some(thread) => drop(self.threads.entry(key).or_insert(thread)),
                None => drop(self.threads.remove(&key)),
            }
            (key, intent)
        };
        results.into_iter().map(note).collect()
    }

    /// Threads that those who are alive have started to serve.
    pub fn server_threads(&mut self, alive: impl Fn(ProcessKey) -> bool) -> Vec<ServerThread> {
        self.threads.retain(|key, _| alive(*key));
        self.threads.values().cloned().collect()
    }
}

fn start() -> std::io::Result<(SyncSender<Search>, Receiver<Answer>)> {
    let (sender, searches) = sync_channel::<Search>(QUEUE);
    let (results, found) = channel();
    std::thread::Builder::new()
        .name("steth-intent".to_owned())
        .spawn(move || {
            let mut sources = Sources::default();
            for search in searches {
                let intent = sources.intent(search.key.pid, search.cwd.as_deref(), &search.stack);
                let thread = sources.thread(&search);
                if results.send(((search.key, intent), thread)).is_err() {
                    return;
                }
            }
        })?;
    Ok((sender, found))
}

/// Source files that were read.
#[derive(Debug, Default)]
struct Sources {
    files: HashMap<(u32, String), Cached>,
}

#[derive(Debug)]
struct Cached {
    stamp: (Option<SystemTime>, u64),
    text: Arc<str>,
}

impl Sources {
    /// The call ahead of the innermost of the application's frames that has one; `None` where nothing is found or the source
    /// cannot be read. Relative file names are taken from the working directory of the process.
    fn intent(&mut self, pid: u32, cwd: Option<&str>, stack: &Stack) -> Option<Intent> {
        let own: Vec<&Frame> = stack.frames.iter().filter(|f| !f.is_library()).collect();
        let innermost = own.len().checked_sub(1)?;
        own.iter()
            .enumerate()
            .rev()
            .take(8)
            .find_map(|(at, frame)| {
                let text = self.read(pid, cwd, &frame.file)?;
                let (line, call) = Source::of(&text).call_ahead(frame, at == innermost)?;
                Some(Intent {
                    file: frame.file.clone(),
                    line,
                    call: call.to_owned(),
                })
            })
    }

    /// The thread that was started to serve, behind one of the application's frames.
    fn thread(&mut self, search: &Search) -> Option<ServerThread> {
        let own = search.stack.frames.iter().filter(|f| !f.is_library());
        own.rev().take(8).find_map(|frame| {
            let text = self.read(search.key.pid, search.cwd.as_deref(), &frame.file)?;
            let started = Source::of(&text).thread_behind(frame)?;
            Some(started.of(search, frame))
        })
    }

    fn read(&mut self, pid: u32, cwd: Option<&str>, file: &str) -> Option<Arc<str>> {
        let path = match file.strip_prefix('/') {
            Some(rest) => format!("/proc/{pid}/root/{rest}"),
            None => format!("/proc/{pid}/root/{}/{file}", cwd?.trim_start_matches('/')),
        };
        let key = (pid, path);
        // To open a device can do something (a watchdog starts); the target names these files, so ask what it is first.
        // O_NONBLOCK: neither must a FIFO hold us that has taken the file's place since.
        std::fs::metadata(&key.1).ok().filter(|m| m.is_file())?;
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&key.1)
            .ok()?;
        let about = opened
            .metadata()
            .ok()
            .filter(|m| m.is_file() && m.len() <= LARGEST)?;
        let stamp = (about.modified().ok(), about.len());
        if let Some(cached) = self.files.get(&key).filter(|c| c.stamp == stamp) {
            return Some(cached.text.clone());
        }
        let mut bytes = Vec::new();
        opened.take(LARGEST).read_to_end(&mut bytes).ok()?;
        let text: Arc<str> = String::from_utf8_lossy(&bytes).into();
        if self.files.len() >= FILES {
            self.files.clear();
        }
        self.files.insert(
            key,
            Cached {
                stamp,
                text: text.clone(),
            },
        );
        Some(text)
    }
}

/// Two thousand functions that call each other in circles, and twenty thousand calls of them.
#[cfg(test)]
fn calls_in_circles() -> (String, String) {
    let function = |n: u32| {
        let (next, far) = ((n + 1) % 2000, (n * 7) % 2000);
        format!("def f{n}():\n    f{next}()\n    f{far}()\n")
    };
    let functions = (0..2000).map(function).collect();
    let calls = (0..20_000).map(|n| format!("f{}()\n", n % 2000));
    (functions, calls.collect())
}
