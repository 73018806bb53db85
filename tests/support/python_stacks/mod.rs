//! Python processes whose stacks are read by the tests, and a look at them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use steth::snapshot::{ProcessKey, ProcessState, Syscall, Thread};
use steth::source::python::{StackAnswer, StackReader, StackRequest};

/// An interpreter that tests may start.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// Path inside of its root.
    pub path: String,
    /// The root that it runs in, if not ours.
    pub root: Option<PathBuf>,
}

static SAID: std::sync::Once = std::sync::Once::new();

impl Interpreter {
    /// All that this machine has: `$STETH_PYTHON_PATHS` (paths, separated by colons) or those of pyenv and the one in the PATH; and
    /// 3.14 and 3.15 in `$STETH_PYTHON_ROOT`.
    pub fn all() -> Vec<Self> {
        let here = |path: String| Self { path, root: None };
        let mut found: Vec<Self> = match std::env::var("STETH_PYTHON_PATHS") {
            Ok(list) => list.split(':').map(|p| here(p.to_owned())).collect(),
            Err(_) => installed().into_iter().map(here).collect(),
        };
        found.retain(|i| Path::new(&i.path).exists());
        match std::env::var_os("STETH_PYTHON_ROOT").map(PathBuf::from) {
            None => SAID.call_once(|| eprintln!(
                "no 3.14 and 3.15: STETH_PYTHON_ROOT names no root (tests/pythons/make_root.sh makes one)"
            )),
            Some(root) => {
                for path in ["/usr/bin/python3.14", "/usr/bin/python3.15"] {
                    if root.join(path.trim_start_matches('/')).exists() {
                        found.push(Self {
                            path: path.to_owned(),
                            root: Some(root.clone()),
                        });
                    } else {
                        eprintln!("no {path} in {}", root.display());
                    }
                }
            }
        }
        assert!(!found.is_empty(), "this machine has no Python at all");
        found
    }

    /// True if it is 3.`x`, told by its path: `…/3.11.7/bin/python`, `python3.14`.
    pub fn is_version(&self, version: &str) -> bool {
        self.path.contains(&format!("/{version}."))
            || self.path.ends_with(&format!("/python{version}"))
    }

    /// Some version among those installed here, outside of roots: the first of `wanted` that there is.
    pub fn first_of(wanted: &[&str]) -> Option<Self> {
        let all = Self::all();
        let has = |version: &&&str| {
            all.iter()
                .find(|i| i.root.is_none() && i.path.contains(&format!("/{version}.")))
        };
        let found = wanted.iter().find_map(|v| has(&v)).cloned();
        found.or_else(|| all.into_iter().find(|i| i.root.is_none()))
    }

    /// A command that runs it, as the very process that is started.
    pub fn command(&self) -> Command {
        let Some(root) = &self.root else {
            return Command::new(&self.path);
        };
        let mut command = Command::new("chroot");
        command.arg(root).arg(&self.path);
        command
    }

    /// Starts a script of this directory.
    pub fn start(&self, script: &str) -> Target {
        let text = fs::read_to_string(format!("tests/support/python_stacks/{script}")).unwrap();
        let dir = tempfile::tempdir_in(
            self.root
                .as_ref()
                .map_or(std::env::temp_dir(), |r| r.join("tmp")),
        )
        .unwrap();
        let file = dir.path().join(script);
        fs::write(&file, text).unwrap();
        let inside = match &self.root {
            Some(root) => Path::new("/").join(file.strip_prefix(root).unwrap()),
            None => file,
        };
        let mut command = self.command();
        command.arg(&inside);
        Target::start(command, Some(dir))
    }
}

fn installed() -> Vec<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let mut found: Vec<String> = fs::read_dir(format!("{home}/.pyenv/versions"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| format!("{}/bin/python", entry.path().display()))
        .collect();
    found.sort();
    let path = std::env::var("PATH").unwrap_or_default();
    let real = |dir: &str| fs::canonicalize(format!("{dir}/python3")).ok();
    let is_elf = |p: &PathBuf| fs::read(p).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
    if let Some(system) = path.split(':').filter_map(real).find(is_elf) {
        found.push(system.display().to_string());
    }
    found
}

/// A process that ends with the test.
pub struct Target {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _script: Option<tempfile::TempDir>,
}

impl Target {
    /// Starts it with pipes.
    pub fn start(mut command: Command, script: Option<tempfile::TempDir>) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            _script: script,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Waits until all its threads are asleep.
    pub fn settle(&self) {
        let began = std::time::Instant::now();
        let sleeps = |t: &Thread| t.state == ProcessState::Sleeping && t.syscall.is_some();
        while !threads(self.pid()).iter().all(sleeps) {
            assert!(began.elapsed().as_secs() < 10, "never at rest");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the sampler asks for one process.
pub fn request(pid: u32) -> StackRequest {
    let exe = fs::metadata(format!("/proc/{pid}/exe")).map_or((0, 0), |m| (m.dev(), m.ino()));
    StackRequest {
        key: key(pid),
        threads: threads(pid),
        exe,
        tasks: false,
    }
}

pub fn key(pid: u32) -> ProcessKey {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or("");
    let start_time = rest
        .split_whitespace()
        .nth(19)
        .and_then(|f| f.parse().ok())
        .unwrap_or(0);
    ProcessKey { pid, start_time }
}

/// One reading.
pub fn look(reader: &mut StackReader, pid: u32) -> StackAnswer {
    reader.request(vec![request(pid)]);
    let mut answers = reader.collect(Duration::from_secs(10));
    assert_eq!(answers.len(), 1, "one answer for one request");
    assert_eq!(tracer(pid).unwrap_or(0), 0, "nobody may trace the target");
    answers.remove(0)
}

/// The highest `TracerPid` of all threads.
pub fn tracer(pid: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let status = tasks.filter_map(|t| fs::read_to_string(t.path().join("status")).ok());
    let line = |s: String| {
        s.lines()
            .find_map(|l| l.strip_prefix("TracerPid:")?.trim().parse().ok())
    };
    status.filter_map(line).max()
}

pub fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let tid = |task: fs::DirEntry| task.file_name().to_str()?.parse().ok();
    let mut tids: Vec<u32> = tasks.filter_map(tid).collect();
    tids.sort_unstable();
    tids.into_iter()
        .filter_map(|tid| thread(pid, tid))
        .collect()
}

fn thread(pid: u32, tid: u32) -> Option<Thread> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/task/{tid}/{name}")).ok();
    let turns = read("schedstat")?;
    let mut turns = turns.split_whitespace().map(|f| f.parse().unwrap());
    let (run_ns, waited_ns, switches) = (turns.next()?, turns.next()?, turns.next()?);
    let stat = read("stat")?;
    let call = read("syscall");
    Some(Thread {
        tid,
        name: read("comm")?.trim().to_owned(),
        state: ProcessState::from_letter(stat.rsplit(") ").next()?.chars().next()?),
        syscall: call.as_deref().and_then(syscall),
        syscall_seen: call.is_some(),
        run_ns,
        waited_ns,
        switches,
        waits_on: None,
    })
}

fn syscall(text: &str) -> Option<Syscall> {
    let mut fields = text.split_whitespace();
    let number = fields.next()?.parse().ok()?;
    let hex = |f: &str| u64::from_str_radix(f.trim_start_matches("0x"), 16).ok();
    let args: Vec<u64> = fields.filter_map(hex).take(6).collect();
    Some(Syscall {
        number,
        args: args.try_into().unwrap_or_default(),
    })
}

/// True if this can be a stack of hostile.py, outermost first.
pub fn is_possible(names: &[String]) -> bool {
    has_possible_root(names) && has_possible_inside(names)
}

/// A script begins as a module, a thread in `threading`.
pub fn has_possible_root(names: &[String]) -> bool {
    let root = names.first().map_or("", String::as_str);
    root == "<module>" || root.ends_with("_bootstrap")
}

/// `X_loop`, `X_1`, `X_2`, `X_3` of one X, in that order, each at most once.
fn has_possible_inside(names: &[String]) -> bool {
    let is_own = |n: &&str| n.len() > 2 && &n[1..2] == "_" && "abc".contains(&n[..1]);
    let own: Vec<&str> = names.iter().map(String::as_str).filter(is_own).collect();
    let rank = |n: &str| {
        ["loop", "1", "2", "3"]
            .iter()
            .position(|r| n[2..].split('.').next() == Some(r))
    };
    let one_thread = own.windows(2).all(|w| w[0][..1] == w[1][..1]);
    let in_order = own
        .windows(2)
        .all(|w| rank(w[0]) < rank(w[1]) || w[1].contains("<listcomp>"));
    one_thread && in_order && own.first().is_none_or(|n| n.ends_with("_loop"))
}
