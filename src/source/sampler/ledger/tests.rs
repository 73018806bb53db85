//! Series of events in, exits out. The pids are above the kernel's largest (2^22), so that /proc has none of them.

use std::process::Command;

use super::super::roster::tests::python_entry;
use super::death::key_of_birth;
use super::*;
use crate::snapshot::ProcessState;
use crate::testing::NOW;

const SERVER: u32 = 5_000_000;
const CHILD: u32 = 5_000_001;
const GRANDCHILD: u32 = 5_000_002;
const SHELL: u32 = 5_000_009;

/// A ledger that is told of events by the test only.
fn ledger() -> Ledger {
    Ledger {
        events: Err(EventsError::NoAnswer),
        watch: ExitWatch::default(),
        births: Births::default(),
        exits: Vec::new(),
        missed: VecDeque::new(),
        lost: None,
        ending: Vec::new(),
        pending: Vec::new(),
        meet_at: None,
        reader: ProcReader::new(),
    }
}

fn roster() -> Roster {
    Roster::of(vec![python_entry(SERVER)])
}

fn fork(parent: u32, child: u32, at: f64) -> ProcEvent {
    let at = NOW.plus_seconds(at);
    ProcEvent::Fork { parent, child, at }
}

fn exec(pid: u32, at: f64) -> ProcEvent {
    let at = NOW.plus_seconds(at);
    ProcEvent::Exec { pid, at }
}

fn exit(pid: u32, code: i32, at: f64) -> ProcEvent {
    ProcEvent::Exit {
        pid,
        parent: None,
        status: ExitStatus::from_wait(code << 8),
        at: NOW.plus_seconds(at),
    }
}

/// `(pid, parent, code)`.
type Death = (u32, u32, Option<i32>);

/// The deaths that events lead to.
fn told(events: Vec<ProcEvent>) -> Vec<Death> {
    let (mut ledger, mut roster) = (ledger(), roster());
    for event in events {
        ledger.note(event, &mut roster);
    }
    let exits = ledger.take_exits();
    exits.iter().map(|e| (e.key.pid, e.ppid, e.code)).collect()
}

#[test]
fn deaths_of_python_and_its_forks_are_told() {
    type Case = (&'static str, Vec<ProcEvent>, Vec<Death>);
    let cases: Vec<Case> = vec![
        (
            "a server",
            vec![exit(SERVER, 3, 1.0)],
            vec![(SERVER, 1, Some(3))],
        ),
        ("somebody", vec![exit(SHELL, 3, 1.0)], vec![]),
        (
            "a worker that dies before it can be read",
            vec![fork(SERVER, CHILD, 0.0), exit(CHILD, 3, 1.0)],
            vec![(CHILD, SERVER, Some(3))],
        ),
        (
            "a worker's worker",
            vec![
                fork(SERVER, CHILD, 0.0),
                fork(CHILD, GRANDCHILD, 0.1),
                exit(GRANDCHILD, 4, 1.0),
            ],
            vec![(GRANDCHILD, CHILD, Some(4))],
        ),
        (
            "a subprocess that is not Python",
            vec![
                fork(SERVER, CHILD, 0.0),
                exec(CHILD, 0.1),
                exit(CHILD, 1, 1.0),
            ],
            vec![],
        ),
        (
            "a child of such a subprocess",
            vec![
                fork(SERVER, CHILD, 0.0),
                exec(CHILD, 0.1),
                fork(CHILD, GRANDCHILD, 0.2),
                exit(GRANDCHILD, 1, 1.0),
            ],
            vec![],
        ),
        (
            "a shell's child",
            vec![fork(SHELL, CHILD, 0.0), exit(CHILD, 1, 1.0)],
            vec![],
        ),
        (
            "one death is told once",
            vec![exit(SERVER, 3, 1.0), exit(SERVER, 4, 2.0)],
            vec![(SERVER, 1, Some(3))],
        ),
        (
            "a server that becomes something else is no Python any more",
            vec![exec(SERVER, 0.0), exit(SERVER, 3, 1.0)],
            vec![],
        ),
        (
            "the pid of a worker whose death was lost is reused by a shell's child",
            vec![
                fork(SERVER, CHILD, 0.0),
                ProcEvent::Lost,
                fork(SHELL, CHILD, 5.0),
                exit(CHILD, 1, 6.0),
            ],
            vec![],
        ),
    ];
    for (name, events, want) in cases {
        assert_eq!(told(events), want, "{name}");
    }
}

#[test]
fn the_unread_are_known_by_the_moment_of_their_birth() {
    let (mut ledger, mut roster) = (ledger(), roster());
    ledger.note(fork(SERVER, CHILD, 1.0), &mut roster);
    ledger.note(exit(CHILD, 3, 1.25), &mut roster);
    let exit = ledger.take_exits().remove(0);
    assert_eq!(exit.key.start_time, clock::ticks(NOW.plus_seconds(1.0)));
    assert_eq!(exit.lived_ns, Some(250_000_000));
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert!(exit.python && exit.cmdline.is_empty() && exit.last_stack.is_empty());
    assert!(ledger.births.by_pid.is_empty());
    assert_eq!(key_of_birth(CHILD, None).start_time, 0);
}

#[test]
fn the_known_take_their_last_stack_with_them() {
    let (mut ledger, mut roster) = (ledger(), roster());
    let key = roster.known(SERVER).unwrap().process.key;
    let killed = ProcEvent::Exit {
        pid: SERVER,
        parent: Some(77),
        status: ExitStatus::from_wait(9),
        at: NOW,
    };
    assert!(ledger.note(killed, &mut roster));
    let exit = ledger.take_exits().remove(0);
    assert_eq!((exit.key, exit.ppid), (key, 1));
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
    assert_eq!(exit.lived_ns, Some(60_000_000_000));
    assert_eq!(exit.cmdline, ["python", "serve.py"]);
    assert_eq!(exit.last_stack[0].function, "select");
    assert!(!roster.has(key) && ledger.take_exits().is_empty());
}

/// A look may find a process gone before the event of its death has arrived.
#[test]
fn the_code_of_a_death_that_was_missed_first_is_still_told() {
    let (mut ledger, mut roster) = (ledger(), roster());
    let key = roster.known(SERVER).unwrap().process.key;
    ledger.missed(&mut roster, SERVER, NOW.plus_seconds(1.0));
    let missed = ledger.take_exits().remove(0);
    assert_eq!((missed.key, missed.code, missed.signal), (key, None, None));
    assert!(ledger.note(exit(SERVER, 3, 0.9), &mut roster));
    let told = ledger.take_exits().remove(0);
    assert_eq!((told.key, told.code), (key, Some(3)));
    assert_eq!(told.cmdline, missed.cmdline);

    // Both before the next snapshot is made.
    let mut roster = self::roster();
    ledger.missed(&mut roster, SERVER, NOW.plus_seconds(1.0));
    ledger.note(exit(SERVER, 3, 0.9), &mut roster);
    let both = ledger.take_exits();
    assert_eq!(both.len(), 1, "{both:?}");
    assert_eq!(both[0].code, Some(3));

    // Whoever has the pid next is somebody else.
    let mut roster = self::roster();
    ledger.missed(&mut roster, SERVER, NOW.plus_seconds(1.0));
    ledger.take_exits();
    ledger.note(fork(SHELL, SERVER, 2.0), &mut roster);
    assert!(!ledger.note(exit(SERVER, 1, 3.0), &mut roster));
    assert!(ledger.take_exits().is_empty());
}

#[test]
fn a_zombie_stays_until_it_is_reaped_and_tells_its_code_once() {
    let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    let mut ledger = ledger();
    let pid = child.id();
    let deadline = Instant::now() + Duration::from_secs(20);
    let key = loop {
        let stat = ledger.reader.stat(pid).unwrap();
        if stat.state == ProcessState::Zombie {
            break stat.key();
        }
        assert!(Instant::now() < deadline, "sh does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut entry = python_entry(pid);
    entry.process.key = key;
    let mut roster = Roster::of(vec![entry]);
    for _ in 0..2 {
        ledger.missed(&mut roster, pid, NOW);
    }
    let exits = ledger.take_exits();
    assert_eq!(exits.len(), 1);
    assert_eq!((exits[0].key, exits[0].code), (key, Some(7)));
    assert!(roster.has(key) && roster.known(pid).unwrap().is_dead());
    child.wait().unwrap();
    ledger.missed(&mut roster, pid, NOW);
    assert!(!roster.has(key) && ledger.take_exits().is_empty());
}

#[test]
fn a_pid_that_is_reused_unseen_is_a_death_and_one_that_runs_another_program_is_none() {
    for (start_time, deaths) in [(10_000, 0), (10_001, 1)] {
        let (mut ledger, mut roster) = (ledger(), roster());
        let mut now = crate::testing::process(SERVER, "bash");
        now.key.start_time = start_time;
        ledger.replaced_unseen(&mut roster, SERVER, &now, NOW);
        let exits = ledger.take_exits();
        assert_eq!(exits.len(), deaths);
        assert!(
            exits
                .iter()
                .all(|e| e.key.start_time == 10_000 && e.code.is_none())
        );
        assert!(roster.known(SERVER).is_none());
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let (mut ledger, mut roster) = (ledger(), roster());
    for n in 0..BIRTHS as u32 + 500 {
        ledger.note(fork(SERVER, CHILD + n, 0.0), &mut roster);
    }
    assert_eq!(ledger.births.by_pid.len(), BIRTHS);
    for n in 0..BIRTHS as u32 + 500 {
        ledger.note(exit(CHILD + n, 1, 1.0), &mut roster);
    }
    assert_eq!(ledger.take_exits().len(), EXITS);
    assert!(ledger.births.by_pid.is_empty());
}

#[test]
fn without_events_the_gap_says_what_is_missed_and_what_unlocks() {
    let gap = ledger().gap(NOW, NOW).unwrap();
    assert_eq!((gap.source.as_str(), gap.pid), ("events", None));
    assert!(
        gap.cause.contains("short lives are missed"),
        "{}",
        gap.cause
    );
    assert!(gap.unlock.is_some());
    assert_eq!(ledger().source(), EventSource::Polling);
}

/// The eldest of those that have not been read have most likely been forgotten by everybody; a low pid says nothing.
#[test]
fn the_oldest_birth_makes_room_and_not_the_lowest_pid() {
    let (mut ledger, mut roster) = (ledger(), roster());
    let eldest = CHILD + 100_000;
    ledger.note(fork(SERVER, eldest, 0.0), &mut roster);
    for n in 0..BIRTHS as u32 {
        ledger.note(fork(SERVER, CHILD + n, 1.0), &mut roster);
    }
    for pid in [eldest, CHILD] {
        ledger.note(exit(pid, 1, 2.0), &mut roster);
    }
    let told: Vec<u32> = ledger.take_exits().iter().map(|e| e.key.pid).collect();
    assert_eq!(told, [CHILD]);
}

#[test]
fn births_and_deaths_without_end_leave_nothing_behind() {
    let (mut ledger, mut roster) = (ledger(), roster());
    for n in 0..50_000 {
        ledger.note(fork(SERVER, CHILD + n % 7, f64::from(n)), &mut roster);
        ledger.note(exit(CHILD + n % 7, 0, f64::from(n) + 0.5), &mut roster);
        ledger.take_exits();
    }
    assert!(ledger.births.by_pid.is_empty() && ledger.births.order.len() <= 2 * BIRTHS);
}

#[test]
fn a_loss_of_events_is_told_until_proc_has_been_searched_and_ten_seconds_are_over() {
    let mut ledger = ledger();
    assert_eq!(ledger.lost_s(NOW, NOW), None);
    ledger.lost = Some(NOW);
    let later = |s| NOW.plus_seconds(s);
    for (scanned_at, now, told) in [
        (Moment(0), later(0.1), true),
        (later(0.2), later(0.3), true),
        (later(5.0), later(9.9), true),
        (later(5.0), later(10.1), false),
        (Moment(0), later(60.0), true),
    ] {
        let lost = ledger.lost_s(scanned_at, now);
        assert_eq!(lost.is_some(), told, "{scanned_at:?} {now:?}");
    }
}

/// The main thread calls pthread_exit; the kernel tells of its end as of that of a process, and shows it as a zombie.
#[test]
fn a_process_whose_first_thread_has_ended_is_not_dead() {
    let code = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); ctypes.CDLL(None).pthread_exit(None)";
    let mut child = Command::new("python3").args(["-c", code]).spawn().unwrap();
    let pid = child.id();
    let mut ledger = ledger();
    let deadline = Instant::now() + Duration::from_secs(30);
    let stat = loop {
        let stat = ledger.reader.stat(pid).unwrap();
        if stat.state == ProcessState::Zombie {
            break stat;
        }
        assert!(Instant::now() < deadline, "its first thread does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(stat.threads, 2);
    let mut entry = python_entry(pid);
    entry.process.key = stat.key();
    let mut roster = Roster::of(vec![entry]);
    let now = clock::now();
    let ended = ProcEvent::Exit {
        pid,
        parent: None,
        status: ExitStatus::from_wait(0),
        at: now,
    };
    ledger.note(ended, &mut roster);
    ledger.settle_endings(&mut roster);
    ledger.missed(&mut roster, pid, now);
    assert!(ledger.take_exits().is_empty());
    assert!(!roster.known(pid).unwrap().is_dead());

    child.kill().unwrap();
    child.wait().unwrap();
    ledger.settle_endings(&mut roster);
    assert_eq!(ledger.take_exits().len(), 1);
    assert!(roster.known(pid).is_none());
}

/// Of a process that is killed with many threads the first may be gone before the others.
#[test]
fn an_end_that_is_not_over_yet_is_told_once_it_is() {
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let mut ledger = ledger();
    let pid = child.id();
    let key = ledger.reader.stat(pid).unwrap().key();
    let mut entry = python_entry(pid);
    entry.process.key = key;
    let mut roster = Roster::of(vec![entry]);
    let killed = ProcEvent::Exit {
        pid,
        parent: None,
        status: ExitStatus::from_wait(9),
        at: clock::now(),
    };
    assert!(
        ledger.note(killed, &mut roster),
        "somebody has to look soon"
    );
    assert!(ledger.take_exits().is_empty(), "it is still there");
    child.kill().unwrap();
    child.wait().unwrap();
    ledger.settle_endings(&mut roster);
    let told = ledger.take_exits().remove(0);
    assert_eq!((told.key, told.signal), (key, Some(9)));
    assert!(ledger.ending.is_empty());
}
