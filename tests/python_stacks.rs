//! Stacks of live interpreters of every version on this machine, against what the interpreters say of themselves.
//!
//! Needs the right to read other processes of the same user (no Yama, or root); 3.14 and 3.15 need root for their chroot, see
//! `tests/pythons/make_root.sh`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise"
)]

#[path = "support/python_stacks/mod.rs"]
mod support;

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use steth::snapshot::{Activity, ReadBy, Stack, Stacks};
use steth::source::python::{Denial, Detected, Interpreters, StackError, StackReader};

use support::{Interpreter, Target, look, request};

#[derive(Deserialize)]
struct Told {
    version: String,
    threads: HashMap<String, ToldThread>,
}

#[derive(Deserialize)]
struct ToldThread {
    tid: u32,
    frames: Vec<(String, String, u32)>,
}

fn calm(interpreter: &Interpreter) -> (Target, Told) {
    let mut target = interpreter.start("calm.py");
    let line = target.line();
    target.settle();
    let told =
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{interpreter:?}: {e}: {line:?}"));
    (target, told)
}

fn stack_of<'a>(stacks: &'a Stacks, told: &Told, role: &str) -> &'a Stack {
    let tid = told.threads[role].tid;
    let found = stacks.list.iter().find(|s| s.tid == Some(tid));
    found.unwrap_or_else(|| panic!("no stack of {role} ({tid}): {:#?}", stacks.list))
}

#[test]
fn every_interpreter_is_read_as_it_sees_itself() {
    for interpreter in Interpreter::all() {
        let (mut target, told) = calm(&interpreter);
        let mut reader = StackReader::new();
        let answer = look(&mut reader, target.pid());
        eprintln!(
            "{} at {} {:?}",
            told.version, interpreter.path, interpreter.root
        );
        let stacks = answer
            .result
            .unwrap_or_else(|e| panic!("{}: {e}", told.version));
        assert_eq!(
            answer.version.as_deref(),
            Some(told.version.trim_end_matches('+'))
        );
        assert_eq!((stacks.list.len(), stacks.torn), (4, 0), "{stacks:#?}");
        assert_eq!(stacks.by, reader_of(&told.version), "{}", told.version);
        assert_eq!(stacks.list[0].tid, Some(target.pid()), "main thread first");
        for role in ["main", "locker", "selector"] {
            let stack = stack_of(&stacks, &told, role);
            let frames: Vec<_> = stack
                .frames
                .iter()
                .map(|f| (f.function.clone(), f.file.clone(), f.line))
                .collect();
            assert_eq!(frames, told.threads[role].frames, "{} {role}", told.version);
        }
        check_names_and_activity(&stacks, &told);
        check_gil_owner(&mut reader, &mut target, &told);
    }
}

/// The program's own from 3.8 on.
fn reader_of(version: &str) -> ReadBy {
    let old = ["2.", "3.6.", "3.7."];
    if old.iter().any(|old| version.starts_with(old)) {
        ReadBy::PySpy
    } else {
        ReadBy::Own
    }
}

fn check_names_and_activity(stacks: &Stacks, told: &Told) {
    let of = |role| stack_of(stacks, told, role);
    let has_names = !told.version.starts_with("2.");
    let name = |role| of(role).name.as_deref();
    if has_names {
        assert_eq!(name("main"), Some("MainThread"), "{}", told.version);
        assert_eq!(name("locker"), Some("locker-1"), "{}", told.version);
        assert_eq!(
            name("selector"),
            Some("selector-é\\u{1b}[1m"),
            "{}",
            told.version
        );
    }
    // time.sleep is select(2) up to 3.10 (pselect6 in newer C libraries), clock_nanosleep(2) from 3.11 on.
    let naps = [
        libc::SYS_select,
        libc::SYS_pselect6,
        libc::SYS_clock_nanosleep,
    ];
    let naps = naps.map(Activity::Syscall);
    assert!(
        naps.contains(&of("main").activity),
        "{}: {:?}",
        told.version,
        of("main").activity
    );
    assert_eq!(of("locker").activity, Activity::Lock, "{}", told.version);
    assert_eq!(
        of("selector").activity,
        Activity::Selector,
        "{}",
        told.version
    );
    assert_eq!(
        of("reporter").activity,
        Activity::Syscall(libc::SYS_read),
        "{}",
        told.version
    );
    assert!(
        stacks.list.iter().all(|s| !s.holds_gil),
        "{}: all are asleep",
        told.version
    );
}

fn check_gil_owner(reader: &mut StackReader, target: &mut Target, told: &Told) {
    target.tell("spin");
    std::thread::sleep(Duration::from_millis(100));
    // On a busy machine many a reading finds the thread between two turns with the GIL: only what is shown must be right.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut seen = 0;
    while seen < 5 {
        assert!(
            Instant::now() < deadline,
            "{}: the owner of the GIL was seen {seen} times in 30 s",
            told.version
        );
        let Ok(stacks) = look(reader, target.pid()).result else {
            continue;
        };
        for holder in stacks.list.iter().filter(|s| s.holds_gil) {
            assert_eq!(
                holder.tid,
                Some(told.threads["reporter"].tid),
                "{}",
                told.version
            );
            // Torn away from its work between the two reads, it may stand in a caller of `spin`.
            seen += u32::from(holder.leaf().map(|f| f.function.as_str()) == Some("spin"));
        }
    }
}

#[test]
fn interpreters_are_told_from_other_programs() {
    let mut interpreters = Interpreters::new();
    for interpreter in Interpreter::all() {
        let (target, told) = calm(&interpreter);
        let detected = interpreters.is_python(target.pid());
        let Ok(Detected::Python { version }) = detected else {
            panic!("{interpreter:?}: {detected:?}");
        };
        let minor = told
            .version
            .rsplit_once('.')
            .map(|(minor, _)| minor.to_owned());
        assert_eq!(version, minor, "{interpreter:?}");
    }
    let sleep = Target::start(command("sleep", &["60"]), None);
    std::thread::sleep(Duration::from_millis(100));
    let detected = interpreters.is_python(sleep.pid());
    assert!(
        matches!(detected, Ok(Detected::NotPython | Detected::NotYet)),
        "{detected:?}"
    );
    let answer = look(&mut StackReader::new(), sleep.pid());
    assert_eq!(answer.result, Err(StackError::NotPython));
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// Three tight threads: next to no stack that never was may be delivered, and most must be.
#[test]
fn a_hostile_target_gets_no_impossible_stacks() {
    let versions = ["3.8", "3.11", "3.12", "3.13", "3.14", "3.15"];
    let is_wanted = |i: &Interpreter| versions.iter().any(|v| i.is_version(v));
    for interpreter in Interpreter::all().into_iter().filter(is_wanted) {
        let mut target = interpreter.start("hostile.py");
        assert_eq!(target.line(), "ready\n");
        let rates = Rates::of(&target, 700);
        eprintln!("hostile target, {}: {rates:?}", interpreter.path);
        assert!(
            rates.wrong * 1000 <= rates.delivered,
            "{}: {rates:?}",
            interpreter.path
        );
        assert!(
            rates.delivered * 10 >= rates.wanted * 9,
            "{}: {rates:?}",
            interpreter.path
        );
    }
}

/// Older versions are read by py-spy, which delivers less of it; but nothing with a root that cannot be.
#[test]
fn a_hostile_target_of_an_old_version_gets_no_impossible_roots() {
    let old = |i: &Interpreter| i.is_version("2.7") || i.is_version("3.7");
    for interpreter in Interpreter::all().into_iter().filter(old) {
        let mut target = interpreter.start("hostile.py");
        assert_eq!(target.line(), "ready\n");
        let rates = Rates::of(&target, 300);
        eprintln!("hostile target, {}: {rates:?}", interpreter.path);
        assert_eq!(rates.impossible_roots, 0, "{}", interpreter.path);
        assert!(rates.delivered * 2 >= rates.wanted, "{rates:?}");
    }
}

#[derive(Debug, Default)]
struct Rates {
    wanted: u32,
    delivered: u32,
    torn: u32,
    failed_looks: u32,
    impossible_roots: u32,
    /// With a root that cannot be, frames of another thread, or a caller that does not call that.
    wrong: u32,
}

impl Rates {
    fn of(target: &Target, looks: u32) -> Self {
        let mut reader = StackReader::new();
        let mut rates = Self::default();
        for _ in 0..looks {
            rates.wanted += 3;
            match look(&mut reader, target.pid()).result {
                Ok(stacks) => {
                    rates.torn += stacks.torn;
                    stacks.list.iter().for_each(|stack| rates.add(stack));
                }
                Err(StackError::Torn) => rates.failed_looks += 1,
                Err(error) => panic!("{error}"),
            }
        }
        rates
    }

    fn add(&mut self, stack: &Stack) {
        self.delivered += 1;
        let names: Vec<String> = stack.frames.iter().map(|f| f.function.clone()).collect();
        self.impossible_roots += u32::from(!support::has_possible_root(&names));
        self.wrong += u32::from(!support::is_possible(&names));
    }
}

#[test]
fn a_process_that_ends_is_gone_and_disturbs_nothing() {
    let interpreter = Interpreter::first_of(&["3.11"]).expect("a Python of this machine");
    let mut reader = StackReader::new();
    for pause in [0, 1, 2, 5] {
        let mut target = interpreter.start("hostile.py");
        target.line();
        let first = look(&mut reader, target.pid());
        assert!(
            matches!(first.result, Ok(_) | Err(StackError::Torn)),
            "{:?}",
            first.result
        );
        let wish = request(target.pid());
        reader.request(vec![wish.clone()]);
        std::thread::sleep(Duration::from_millis(pause));
        target.kill();
        let answers = reader.collect(Duration::from_secs(5));
        for answer in answers {
            let fine = matches!(
                answer.result,
                Ok(_) | Err(StackError::Gone | StackError::Torn)
            );
            assert!(fine, "{:?}", answer.result);
        }
        reader.request(vec![wish]);
        let answers = reader.collect(Duration::from_secs(5));
        assert_eq!(answers[0].result, Err(StackError::Gone));
    }
    reader.forget(&|_| false);
}

#[test]
fn a_process_that_calls_exec_is_found_again() {
    let interpreter = Interpreter::first_of(&["3.12"]).expect("a Python of this machine");
    let other = Interpreter::first_of(&["3.9"]).expect("a Python of this machine");
    let (sleep, exec) = (
        "import sys,time;print('ready');sys.stdout.flush();time.sleep(60)",
        "import os,sys;print('ready');sys.stdout.flush();sys.stdin.readline();",
    );
    for next in [&interpreter, &other] {
        let code = format!(
            "{exec}os.execv({:?}, ['python', '-c', {sleep:?}])",
            next.path
        );
        let mut target = Target::start(command(&interpreter.path, &["-c", &code]), None);
        let mut reader = StackReader::new();
        assert_eq!(target.line(), "ready\n");
        let before = look(&mut reader, target.pid());
        assert_eq!(before.result.expect("readable before exec").list.len(), 1);
        target.tell("go");
        assert_eq!(target.line(), "ready\n");
        std::thread::sleep(Duration::from_millis(50));
        let after = look(&mut reader, target.pid());
        let stacks = after.result.expect("readable after exec");
        assert_eq!(stacks.list.len(), 1, "{stacks:#?}");
        assert_eq!(stacks.list[0].frames[0].function, "<module>");
        let version = after.version.expect("a version");
        assert!(
            next.path.contains(&version),
            "{version} is not that of {}",
            next.path
        );
    }
}

/// An upgrade replaces files under a running server: the reader must find the file that is mapped, not its successor.
#[test]
fn a_deleted_interpreter_is_still_read() {
    let Some(interpreter) = Interpreter::first_of(&["3.11"]) else {
        panic!("a Python of this machine");
    };
    let library = libpython_of(&interpreter);
    let Some(library) = library else {
        eprintln!("skipped: {} has no shared libpython", interpreter.path);
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let copy = dir
        .path()
        .join(std::path::Path::new(&library).file_name().unwrap());
    std::fs::copy(&library, &copy).unwrap();
    let mut command = command(&interpreter.path, &["tests/support/python_stacks/calm.py"]);
    command.env("LD_LIBRARY_PATH", dir.path());
    let mut target = Target::start(command, None);
    let told: Told = serde_json::from_str(&target.line()).unwrap();
    std::fs::remove_file(&copy).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", target.pid())).unwrap();
    let is_deleted = maps
        .lines()
        .any(|l| l.contains("libpython") && l.ends_with("(deleted)"));
    assert!(is_deleted, "the copy is what runs");
    let answer = look(&mut StackReader::new(), target.pid());
    match answer.result {
        Ok(stacks) => assert_eq!(stacks.list.len(), told.threads.len()),
        Err(error) => panic!("{error} (map_files needs CAP_CHECKPOINT_RESTORE: run as root)"),
    }
}

fn libpython_of(interpreter: &Interpreter) -> Option<String> {
    let target = Target::start(
        command(&interpreter.path, &["-c", "print(1); input()"]),
        None,
    );
    std::thread::sleep(Duration::from_millis(300));
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", target.pid())).ok()?;
    let line = maps
        .lines()
        .find(|l| l.contains("/libpython3.") && l.contains(".so.1"))?;
    line.split_whitespace().nth(5).map(str::to_owned)
}

#[test]
fn threads_of_a_subinterpreter_hide_no_others() {
    let interpreter = Interpreter::first_of(&["3.13", "3.12"]).expect("a Python of this machine");
    let code = "\
import sys, time
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
made = interpreters.create()
print('ready'); sys.stdout.flush()
def main_sleeps():
    time.sleep(60)
main_sleeps()
";
    let mut target = Target::start(command(&interpreter.path, &["-c", code]), None);
    assert_eq!(target.line(), "ready\n");
    std::thread::sleep(Duration::from_millis(100));
    let stacks = look(&mut StackReader::new(), target.pid())
        .result
        .expect("readable");
    let leaf = stacks.list[0].leaf().map(|f| f.function.as_str());
    assert_eq!(leaf, Some("main_sleeps"), "{stacks:#?}");
}

/// A container: other pid and mount namespaces. Thread ids must be those that the kernel shows us, not those inside.
#[test]
fn threads_of_a_pid_namespace_have_our_ids() {
    if !is_root() {
        skip("to make a pid namespace needs root");
        return;
    }
    for version in ["3.9", "3.12"] {
        let interpreter = Interpreter::first_of(&[version]).expect("a Python of this machine");
        let args = [
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            &interpreter.path,
        ];
        let mut command = command("unshare", &args);
        command.arg("tests/support/python_stacks/calm.py");
        let mut target = Target::start(command, None);
        let told: Told = serde_json::from_str(&target.line()).unwrap();
        let pid = child_of(target.pid());
        let stacks = look(&mut StackReader::new(), pid).result.expect("readable");
        assert_eq!(stacks.list.len(), told.threads.len());
        assert_eq!(stacks.list[0].tid, Some(pid), "{stacks:#?}");
        let ours: Vec<u32> = support::threads(pid).iter().map(|t| t.tid).collect();
        assert!(
            stacks.list.iter().all(|s| ours.contains(&s.tid.unwrap())),
            "{stacks:#?}"
        );
        let locker = stacks
            .list
            .iter()
            .find(|s| s.name.as_deref() == Some("locker-1"));
        let locker = locker.and_then(|s| s.tid).expect("a thread id");
        assert_eq!(inner_tid(pid, locker), told.threads["locker"].tid);
    }
}

/// SIGSTOP is no obstacle: the stacks are where they were, and every thread is told to be stopped.
#[test]
fn a_stopped_process_is_read_and_told() {
    let interpreter = Interpreter::first_of(&["3.10"]).expect("a Python of this machine");
    let (target, told) = calm(&interpreter);
    let pid = libc::pid_t::try_from(target.pid()).unwrap();
    // SAFETY: a signal to a process that this test has started.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    std::thread::sleep(Duration::from_millis(50));
    let stacks = look(&mut StackReader::new(), target.pid())
        .result
        .expect("readable");
    assert_eq!(stacks.list.len(), told.threads.len());
    assert!(
        stacks.list.iter().all(|s| s.activity == Activity::Stopped),
        "{stacks:#?}"
    );
}

/// Without the right to read it, the answer says which right is missing.
#[test]
fn without_permission_the_missing_right_is_named() {
    if !is_root() {
        skip("to become another user needs root");
        return;
    }
    let interpreter = Interpreter::first_of(&["3.11"]).expect("a Python of this machine");
    let (target, _) = calm(&interpreter);
    let pid = target.pid();
    let wish = request(pid);
    let as_nobody = std::thread::spawn(move || {
        // SAFETY: plain numbers; the raw call changes the ids of this thread (and of those that it starts) only.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(changed, 0);
        let detected = Interpreters::new().is_python(pid);
        let mut reader = StackReader::new();
        reader.request(vec![wish]);
        (
            detected,
            reader.collect(Duration::from_secs(5)).remove(0).result,
        )
    });
    let (detected, result) = as_nobody.join().unwrap();
    let denied = StackError::NoPermission(Denial::OtherUser { owner: 0 });
    assert_eq!(detected, Err(denied.clone()));
    assert_eq!(result, Err(denied.clone()));
    assert!(
        denied
            .unlock()
            .is_some_and(|unlock| unlock.contains("sudo steth"))
    );
}

fn skip(why: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "nothing is skipped in CI: {why}"
    );
    eprintln!("skipped: {why}");
}

fn is_root() -> bool {
    // SAFETY: it has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

fn child_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

fn inner_tid(pid: u32, tid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("NSpid:")).unwrap();
    line.split_whitespace()
        .next_back()
        .unwrap()
        .parse()
        .unwrap()
}

/// What one reading of 3 threads and 46 frames costs: printed for people, not asserted.
#[test]
fn the_cost_of_one_reading() {
    let code = "\
import sys, threading, time
def deep(n):
    if n: deep(n - 1)
    else: time.sleep(120)
for n in (13, 13):
    threading.Thread(target=deep, args=(n,), daemon=True).start()
time.sleep(0.2); print('ready'); sys.stdout.flush()
deep(10)
";
    for version in ["3.8", "3.11", "3.13"] {
        let interpreter = Interpreter::first_of(&[version]).expect("a Python of this machine");
        let mut target = Target::start(command(&interpreter.path, &["-c", code]), None);
        assert_eq!(target.line(), "ready\n");
        std::thread::sleep(Duration::from_millis(100));
        let mut reader = StackReader::new();
        let stacks = look(&mut reader, target.pid()).result.expect("readable");
        let frames: usize = stacks.list.iter().map(|s| s.frames.len()).sum();
        let wish = request(target.pid());
        let (began, cpu) = (Instant::now(), own_cpu());
        for _ in 0..200 {
            reader.request(vec![wish.clone()]);
            assert!(reader.collect(Duration::from_secs(5))[0].result.is_ok());
        }
        let (wall, cpu) = (began.elapsed() / 200, (own_cpu() - cpu) / 200);
        eprintln!(
            "{version}: {} threads, {frames} frames: {wall:?} wall, {cpu:?} cpu",
            stacks.list.len()
        );
    }
}

/// What one look costs: printed for people, not asserted.
#[test]
fn fifty_processes_of_one_binary_share_their_symbols() {
    let interpreter = Interpreter::first_of(&["3.11"]).expect("a Python of this machine");
    let code = "import sys,time;print('ready');sys.stdout.flush();time.sleep(120)";
    let start = || Target::start(command(&interpreter.path, &["-c", code]), None);
    let mut targets: Vec<Target> = (0..50).map(|_| start()).collect();
    targets
        .iter_mut()
        .for_each(|t| assert_eq!(t.line(), "ready\n"));
    let mut reader = StackReader::new();
    let cost = |reader: &mut StackReader, targets: &[Target]| {
        let wishes = targets.iter().map(|t| request(t.pid())).collect();
        let (began, cpu) = (Instant::now(), own_cpu());
        reader.request(wishes);
        let answers = reader.collect(Duration::from_secs(20));
        assert_eq!(answers.len(), targets.len());
        assert!(answers.iter().all(|a| a.result.is_ok()), "{answers:#?}");
        (began.elapsed(), own_cpu() - cpu)
    };
    // The reader's own start (py-spy's seed) is no part of an attach.
    let other = Interpreter::first_of(&["3.8"]).expect("a Python of this machine");
    let mut other = vec![Target::start(command(&other.path, &["-c", code]), None)];
    assert_eq!(other[0].line(), "ready\n");
    let start_up = cost(&mut reader, &other);
    let first = cost(&mut reader, &targets[..1]);
    let others = cost(&mut reader, &targets[1..]);
    let again = cost(&mut reader, &targets);
    eprintln!(
        "start {start_up:?}; first attach {first:?}; 49 siblings {others:?}; all 50 again {again:?} (wall, cpu)"
    );
}

/// CPU time of this process so far.
fn own_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live timespec that the call writes and does not keep.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn one_request_is_one_answer() {
    let interpreter = Interpreter::first_of(&["3.11"]).expect("a Python of this machine");
    let (target, _) = calm(&interpreter);
    let mut reader = StackReader::new();
    assert!(
        reader.collect(Duration::from_secs(1)).is_empty(),
        "nothing asked, nothing waited for"
    );
    reader.request(vec![request(target.pid()), request(target.pid())]);
    reader.request(vec![request(target.pid())]);
    assert_eq!(reader.collect(Duration::from_secs(5)).len(), 1);
    assert_eq!(reader.in_flight(support::key(target.pid())), None);
}
