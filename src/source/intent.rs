//! Does the program on a stack still mean to serve? Its own source tells: a call that starts a server stands ahead of the
//! line that runs.
//!
//! A script such as `python app.py` that hangs before it listens has nothing else that sets it apart from a batch job: no
//! framework on its command line, no socket, no frame of a server. Neither has one whose main thread is past its last line, and
//! only waits for other threads. Source files are read, never run; what is not a plain file, or is large, is left alone. A call
//! in a branch that may not be taken is no evidence.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::time::{Instant, SystemTime};

use crate::snapshot::{Frame, Intent, Moment, ProcessKey, Reach, ServerThread, Stack};

mod call;
mod code;
mod launch;
mod source;
mod thread;

use call::BLOCKING;
use source::{Call, Source};

const LARGEST: u64 = 1 << 20;
const FILES: usize = 256;

/// Searches on a thread of its own: a source file may lie on a mount that does not answer, and a look must not wait for it.
#[derive(Debug, Default)]
pub struct IntentReader {
    searcher: Option<(SyncSender<Search>, Receiver<Answer>)>,
    /// Searches that are not handed over yet.
    waiting: VecDeque<Search>,
    /// How many have come since results were last taken.
    fresh: usize,
    threads: BTreeMap<ProcessKey, ServerThread>,
}

/// What to search for.
#[derive(Debug)]
pub struct Search {
    /// The process.
    pub key: ProcessKey,
    /// Its command line.
    pub cmdline: Vec<String>,
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

/// Searches that are handed over at once.
const QUEUE: usize = 64;
/// Searches that may wait: on a machine full of Python the first look has one for each. More are turned away, and come again
/// when the stack has moved.
const WAITING: usize = 4096;
impl IntentReader {
    /// Queues a search; false if there is no room. Never blocks.
    pub fn search(&mut self, search: Search) -> bool {
        if self.searcher.is_none() {
            self.searcher = start().ok();
        }
        let room = self.searcher.is_some() && self.waiting.len() < WAITING;
        if room {
            self.waiting.push_back(search);
            self.fresh += 1;
            self.hand_over();
        }
        room
    }

    /// Hands over what waits; false if who should take it has died.
    fn hand_over(&mut self) -> bool {
        let Some((sender, _)) = &self.searcher else {
            return true;
        };
        while let Some(search) = self.waiting.pop_front() {
            match sender.try_send(search) {
                Ok(()) => {}
                Err(TrySendError::Full(search)) => {
                    self.waiting.push_front(search);
                    return true;
                }
                Err(TrySendError::Disconnected(search)) => {
                    self.waiting.push_front(search);
                    return false;
                }
            }
        }
        true
    }

    /// Results that have come in since. Those of the searches that were queued a moment ago are waited for until then: the
    /// last look may be the only one at a stack. What takes longer comes with a later look. A searcher that has died is
    /// missed: the next search has another one.
    pub fn found(&mut self, until: Instant) -> Vec<Found> {
        let fresh = std::mem::take(&mut self.fresh);
        let mut results: Vec<Answer> = Vec::new();
        loop {
            let lives = self.hand_over();
            let Some((_, found)) = &self.searcher else {
                break;
            };
            results.extend(found.try_iter());
            if !lives {
                self.searcher = None;
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if results.len() >= fresh || left.is_zero() {
                break;
            }
            match found.recv_timeout(left) {
                Ok(answer) => results.push(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.searcher = None,
            }
        }
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
                let intent = sources.intent(&search);
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
    /// What the program is about to start, or has run; `None` where nothing is found or the source cannot be read. Relative
    /// file names are taken from the working directory of the process.
    fn intent(&mut self, search: &Search) -> Option<Intent> {
        if launch::watches(&search.stack) {
            return self.launched(search);
        }
        if is_past_its_end(&search.stack) {
            return self.of_script(search, Reach::Behind);
        }
        match is_newborn(search) {
            true => self.of_script(search, Reach::Script),
            false => self.ahead(search),
        }
    }

    /// The call ahead of the innermost of the application's frames that has one.
    fn ahead(&mut self, search: &Search) -> Option<Intent> {
        let frames = &search.stack.frames;
        let innermost = frames.iter().rposition(|f| !f.is_library())?;
        let own = frames
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, f)| !f.is_library());
        own.take(8).find_map(|(at, frame)| {
            let text = self.read(search, &frame.file)?;
            let callee = frames.get(at + 1).map(|f| f.function.as_str());
            let source = Source::of(&text);
            let (call, reach) = source.call_ahead(frame, callee, at == innermost)?;
            Some(intent(&frame.file, call, reach))
        })
    }

    /// The server that the script starts which the command line names. What has come to its end has served only if its main
    /// thread has stood in it.
    fn of_script(&mut self, search: &Search, reach: Reach) -> Option<Intent> {
        let script = script(&search.cmdline)?;
        let text = self.read(search, script)?;
        let mut source = Source::of(&text);
        let call = source.call_of_script()?;
        if reach == Reach::Behind {
            source.only = Some(BLOCKING);
            source.on_main = true;
            source.call_of_script()?;
        }
        Some(intent(script, call, reach))
    }

    /// The thread that was started to serve, behind one of the application's frames.
    fn thread(&mut self, search: &Search) -> Option<ServerThread> {
        let own = search.stack.frames.iter().filter(|f| !f.is_library());
        own.rev().take(8).find_map(|frame| {
            let text = self.read(search, &frame.file)?;
            let started = Source::of(&text).thread_behind(frame)?;
            Some(started.of(search, frame))
        })
    }

    fn read(&mut self, search: &Search, file: &str) -> Option<Arc<str>> {
        let pid = search.key.pid;
        let path = match file.strip_prefix('/') {
            Some(rest) => format!("/proc/{pid}/root/{rest}"),
            None => {
                let folder = search.cwd.as_deref()?.trim_start_matches('/');
                format!("/proc/{pid}/root/{folder}/{file}")
            }
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
        let text: Arc<str> = code::without_texts(&String::from_utf8_lossy(&bytes)).into();
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

fn intent(file: &str, (line, call): Call, reach: Reach) -> Intent {
    Intent {
        file: file.to_owned(),
        line,
        call: call.to_owned(),
        reach,
    }
}

/// The script that a command line runs: `python -u app.py` → `app.py`.
fn script(cmdline: &[String]) -> Option<&str> {
    let mut words = cmdline.iter().map(String::as_str);
    let of_interpreter = |word: &&str| word.starts_with('-') && !matches!(*word, "-m" | "-c");
    let first = words.by_ref().skip(1).find(|word| !of_interpreter(word))?;
    first.ends_with(".py").then_some(first)
}

/// True if the interpreter itself is still at work, and has not come to the script: it imports `site`, and what that needs.
fn is_newborn(search: &Search) -> bool {
    let frames = &search.stack.frames;
    let of_script = |script: &str| {
        let name = script.rsplit('/').next().unwrap_or(script);
        frames.iter().any(|f| f.file.ends_with(name))
    };
    let imports = |f: &Frame| f.file.contains("importlib._bootstrap");
    frames.first().is_some_and(imports) && !script(&search.cmdline).is_some_and(of_script)
}

/// True if the main thread stands below what the interpreter calls at its exit, and in nothing that the program has called:
/// `threading._shutdown`, and what `atexit` has kept for libraries that wait for their threads and children.
fn is_past_its_end(main: &Stack) -> bool {
    const EXITS: [(&str, &str); 4] = [
        ("/threading.py", "_shutdown"),
        ("/concurrent/futures/thread.py", "_python_exit"),
        ("/concurrent/futures/process.py", "_python_exit"),
        ("/multiprocessing/util.py", "_exit_function"),
    ];
    let outermost = main.frames.first();
    outermost.is_some_and(|frame| {
        let name = frame.function.rsplit('.').next();
        let is =
            |(file, function): &(&str, &str)| frame.file.ends_with(file) && name == Some(*function);
        EXITS.iter().any(is)
    })
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

#[cfg(test)]
mod tests;
