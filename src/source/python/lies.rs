//! Memory that lies: what the readers make of a real interpreter's memory in which pointers, sizes and chains are wrong.
//!
//! A live Python is read once and every page of it kept. Then the readers work over these pages, of which some words are replaced
//! whenever they are read: by nothing, by anything, by addresses of other objects, by their own. The lies are the same for the same seed.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::attach::{Attachment, Library, Tools};
use super::heap::{Heap, Hints};
use super::identity::Identity;
use super::layout::Layout;
use super::own;
use super::pages::{Memory, PAGE, Pages};
use super::tasks::TaskReader;
use super::version::Version;
use super::{StackError, StackRequest};
use crate::snapshot::{ProcessKey, Tasks};
use crate::source::memory::{self, Piece};

/// Pages that a reading may hold here.
const MOST_PAGES: usize = 4096;
/// Reads of one reading: far less than is allowed for one of fifty thousand tasks, far more than these few take.
const MOST_WORK: u64 = 1_000_000;
/// System calls of one reading.
const MOST_CALLS: u64 = 20_000;
/// Readings of each kind and version; a multiple of the rates that there are.
const ROUNDS: u64 = 36;

const TARGET: &str = "
import asyncio, sys, threading
async def leaf(on): await on
async def middle(on): await leaf(on)
async def ticks(on):
    await on
    yield 1
async def over(on): return [n async for n in ticks(on)]
async def locked(lock):
    async with lock: await asyncio.sleep(3600)
async def main():
    loop, lock, queue = asyncio.get_running_loop(), asyncio.Lock(), asyncio.Queue(3)
    made = [loop.create_future() for _ in range(8)]
    tasks = [loop.create_task(middle(f)) for f in made] + [loop.create_task(over(f)) for f in made]
    tasks += [loop.create_task(locked(lock)) for _ in range(4)] + [loop.create_task(queue.get()) for _ in range(4)]
    tasks.append(loop.create_task(asyncio.wait(tasks[:3])))
    tasks.append(asyncio.gather(*tasks[3:6]))
    tasks.append(loop.run_in_executor(None, threading.Event().wait))
    await asyncio.sleep(0.1)
    loop.call_soon(stand_still)
    await loop.create_future()
def stand_still():
    print('ready', flush=True)
    sys.stdin.readline()
    __import__('os')._exit(0)
asyncio.run(main())
";

type PageMap = HashMap<u64, Vec<u8>>;

/// A process that is read, and what was read of it.
#[derive(Debug)]
struct Recorder {
    pid: u32,
    pages: Arc<Mutex<PageMap>>,
}

impl Memory for Recorder {
    fn read(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize> {
        let mut pages = self.pages.lock().unwrap();
        read_by_page(pieces, into, |number| {
            if let Some(page) = pages.get(&number) {
                return Some(page.clone());
            }
            let mut page = vec![0; PAGE];
            memory::read_exact_at(self.pid, number * PAGE as u64, &mut page).ok()?;
            pages.insert(number, page.clone());
            Some(page)
        })
    }
}

/// Pages that were recorded, with lies.
#[derive(Debug)]
struct Liar {
    pages: Arc<PageMap>,
    numbers: Vec<u64>,
    random: Mutex<Random>,
    /// Of a million words so many are lies.
    rate: u64,
    calls: Arc<AtomicU64>,
}

impl Memory for Liar {
    fn read(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut random = self.random.lock().unwrap();
        read_by_page(pieces, into, |number| {
            // What is not known is not mapped, or holds what is elsewhere.
            let known = match self.pages.get(&number) {
                None if random.below(4) == 0 => self.pages.get(&random.of(&self.numbers)),
                known => known,
            };
            let mut page = known?.clone();
            let lies = 512 * self.rate;
            let one_more = u64::from(random.below(1_000_000) < lies % 1_000_000);
            for _ in 0..lies / 1_000_000 + one_more {
                let at = random.below(512);
                let own = number * PAGE as u64 + 8 * at;
                let word = &mut page.as_chunks_mut::<8>().0[at as usize];
                let truth = u64::from_ne_bytes(*word);
                *word = self.lie(&mut random, own, truth).to_ne_bytes();
            }
            Some(page)
        })
    }
}

impl Liar {
    fn lie(&self, random: &mut Random, own: u64, truth: u64) -> u64 {
        let elsewhere = random.of(&self.numbers) * PAGE as u64 + 8 * random.below(512);
        let number = random.next();
        let lies = [
            0,
            number,
            elsewhere,
            elsewhere,
            elsewhere + 1,
            own,
            own.wrapping_sub(8 * random.below(32)),
            truth.wrapping_add(8),
            truth ^ 1 << random.below(64),
            number >> random.below(64),
            u64::MAX - random.below(64),
        ];
        random.of(&lies)
    }
}

/// Reads pieces in which every page is as `page` tells, up to one that is not there.
fn read_by_page(
    pieces: &[Piece],
    into: &mut [u8],
    mut page: impl FnMut(u64) -> Option<Vec<u8>>,
) -> io::Result<usize> {
    let mut got = 0;
    for piece in pieces {
        let mut done = 0;
        while done < piece.len {
            let addr = piece.addr.wrapping_add(done as u64);
            let within = (addr % PAGE as u64) as usize;
            let count = (piece.len - done).min(PAGE - within);
            let Some(bytes) = page(addr / PAGE as u64) else {
                return Ok(got);
            };
            into[piece.at + done..piece.at + done + count]
                .copy_from_slice(&bytes[within..within + count]);
            done += count;
            got += count;
        }
    }
    Ok(got)
}

/// xorshift64*
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of(&mut self, all: &[u64]) -> u64 {
        let at = self.below(all.len() as u64);
        all[at as usize]
    }
}

/// The memory of an interpreter, as far as the readers look at it.
struct Dump {
    version: Version,
    layout: &'static Layout,
    runtime: u64,
    threads: Vec<(u64, Option<u32>)>,
    pages: Arc<PageMap>,
}

impl Dump {
    fn of(python: &PathBuf) -> Self {
        let mut child = start(python);
        let pid = child.id();
        let found = Attachment::new(pid, &mut Tools::default(), &Library::default());
        let Ok(Attachment::Own(found)) = found else {
            panic!("{} is not known", python.display());
        };
        let version = found.version.clone();
        let (runtime, mut heap) = found.into_memory();
        let pages = Arc::new(Mutex::new(PageMap::new()));
        let memory = Recorder {
            pid,
            pages: Arc::clone(&pages),
        };
        heap.pages = Pages::new(Box::new(memory), MOST_PAGES);
        let interpreters = heap.interpreters(runtime).unwrap();
        let states = heap.thread_states(interpreters[0]);
        let threads: Vec<_> = states.into_iter().map(|state| (state, Some(pid))).collect();
        let truth = TaskReader::new(pid)
            .read(&mut heap, runtime, &threads, &[])
            .unwrap();
        assert!(truth.list.len() >= 20, "{truth:#?}");
        let layout = heap.layout;
        drop(heap);
        child.kill().unwrap();
        child.wait().unwrap();
        let pages = Arc::try_unwrap(pages).unwrap().into_inner().unwrap();
        Self {
            version,
            layout,
            runtime,
            threads,
            pages: Arc::new(pages),
        }
    }

    fn lying(&self, seed: u64, rate: u64) -> (Pages, Arc<AtomicU64>) {
        let calls = Arc::new(AtomicU64::new(0));
        let mut numbers: Vec<u64> = self.pages.keys().copied().collect();
        numbers.sort_unstable();
        let liar = Liar {
            pages: Arc::clone(&self.pages),
            numbers,
            random: Mutex::new(Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)),
            rate,
            calls: Arc::clone(&calls),
        };
        (Pages::new(Box::new(liar), MOST_PAGES), calls)
    }
}

fn start(python: &PathBuf) -> Child {
    let mut command = Command::new(python);
    let command = command
        .args(["-c", TARGET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n", "{}", python.display());
    child
}

/// Of each version that pyenv has the first; else the system's own.
fn pythons() -> Vec<PathBuf> {
    let pyenv = format!(
        "{}/.pyenv/versions",
        std::env::var("HOME").unwrap_or_default()
    );
    let mut found = Vec::new();
    for minor in 8..=13 {
        let here = std::fs::read_dir(&pyenv).into_iter().flatten().flatten();
        let mut here = here.filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("3.{minor}."))
        });
        found.extend(here.next().map(|entry| entry.path().join("bin/python")));
    }
    if found.is_empty() {
        found.extend(Some(PathBuf::from("/usr/bin/python3")).filter(|path| path.exists()));
    }
    found
}

/// `STETH_LIES` asks for more of them.
fn rounds() -> u64 {
    let more = std::env::var("STETH_LIES").ok();
    more.and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS)
}

/// What came of it, for who wants to know how deep the readers got.
#[derive(Debug, Default)]
struct Outcome {
    tasks: usize,
    torn: u32,
    stacks: usize,
    failed: u32,
    most_work: u64,
    most_calls: u64,
}

impl Outcome {
    fn read_tasks(&mut self, dump: &Dump, seed: u64, rate: u64) {
        let (pages, calls) = dump.lying(seed, rate);
        let mut heap = Heap::new(pages, dump.layout, Hints::default());
        let mut reader = TaskReader::new(std::process::id());
        // Again and again: what was learned from one lie meets the next one.
        for _ in 0..3 {
            let before = (heap.pages.work, calls.load(Ordering::Relaxed));
            heap.renew().unwrap();
            match reader.read(&mut heap, dump.runtime, &dump.threads, &[]) {
                Ok(tasks) => self.add(&tasks),
                Err(StackError::Torn | StackError::NotReady) => self.failed += 1,
                Err(error) => panic!("{error}"),
            }
            self.most_work = self.most_work.max(heap.pages.work - before.0);
            self.most_calls = self
                .most_calls
                .max(calls.load(Ordering::Relaxed) - before.1);
        }
    }

    fn add(&mut self, tasks: &Tasks) {
        self.tasks += tasks.list.len();
        self.torn += tasks.torn;
        let size = serde_json::to_string(tasks).unwrap().len();
        assert!(size < 16 << 20, "{size} bytes");
        assert!(tasks.list.iter().all(|task| task.frames.len() <= 200));
        let text = tasks.list.iter().flat_map(|task| task.frames.iter());
        assert!(
            text.clone()
                .all(|frame| frame.file.chars().all(|c| !c.is_control()))
        );
    }

    fn read_stacks(&mut self, dump: &Dump, seed: u64, rate: u64) {
        let pid = std::process::id();
        let identity = Identity {
            version: dump.version.clone(),
            layout: dump.layout,
            hints: Arc::default(),
        };
        let mut attached = own::Attached::new(pid, identity, dump.runtime..dump.runtime + 4096);
        let (pages, calls) = dump.lying(seed, rate);
        let [stacks, again, tasks] = attached.snapshots();
        (*again, *tasks) = (pages.sibling(), pages.sibling());
        *stacks = pages;
        let request = StackRequest {
            key: ProcessKey { pid, start_time: 0 },
            threads: Vec::new(),
            exe: (0, 0),
            tasks: false,
        };
        for _ in 0..3 {
            let before = calls.load(Ordering::Relaxed);
            match attached.read(&request) {
                Ok((stacks, _)) => self.stacks += stacks.list.len(),
                Err(StackError::Torn | StackError::NotReady) => self.failed += 1,
                Err(error) => panic!("{error}"),
            }
            self.most_calls = self.most_calls.max(calls.load(Ordering::Relaxed) - before);
        }
    }
}

#[test]
fn lies_cost_a_bounded_amount_and_no_panic() {
    let pythons = pythons();
    assert!(
        !pythons.is_empty() || std::env::var("CI").as_deref() != Ok("true"),
        "no Python"
    );
    for python in pythons {
        let dump = Dump::of(&python);
        let mut outcome = Outcome::default();
        for seed in 0..rounds() {
            // From no word, or one here and there, to one in twenty.
            let rate = [0, 20, 200, 1000, 5000, 50_000][seed as usize % 6];
            outcome.read_tasks(&dump, seed, rate);
            outcome.read_stacks(&dump, seed, rate);
        }
        let _ = writeln!(io::stderr(), "lies of {}: {outcome:?}", python.display());
        assert!(
            outcome.most_work < MOST_WORK && outcome.most_calls < MOST_CALLS,
            "{outcome:?}"
        );
        assert!(outcome.tasks > 0 && outcome.stacks > 0, "{outcome:?}");
    }
}
