//! What is remembered of processes from look to look; nothing here reads /proc of a process that exists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::snapshot::{
    Activity, Connections, Process, ProcessState, ReadBy, Stack, Stacks, Thread,
};
use crate::source::procfs::ProcError;
use crate::source::python::StackAnswer;
use crate::testing::{NOW, process, python};

impl Roster {
    /// A roster that has these on it.
    pub(in crate::source::sampler) fn of(entries: Vec<Entry>) -> Self {
        let by_pid = |e: Entry| (e.process.key.pid, e);
        Self {
            entries: entries.into_iter().map(by_pid).collect(),
            ..Self::default()
        }
    }
}

/// A Python process as it is on the roster.
pub(in crate::source::sampler) fn python_entry(pid: u32) -> Entry {
    let mut process = process(pid, "python serve.py");
    process.python = None;
    process.threads = Some(vec![thread(pid, 1)]);
    Entry::new(process, Some(python(pid)))
}

fn thread(tid: u32, switches: u64) -> Thread {
    Thread {
        tid,
        name: "python".into(),
        state: ProcessState::Sleeping,
        syscall: None,
        syscall_seen: true,
        run_ns: 1000,
        switches,
        waits_on: None,
    }
}

fn after(seconds: f64) -> Moment {
    NOW.plus_seconds(seconds)
}

fn answer(pid: u32, result: Result<Stacks, StackError>) -> StackAnswer {
    StackAnswer {
        key: process(pid, "").key,
        at: after(1.0),
        version: None,
        result,
    }
}

fn stacks() -> Stacks {
    Stacks {
        at: after(1.0),
        list: vec![Stack {
            tid: Some(9),
            name: None,
            activity: Activity::Running,
            holds_gil: true,
            frames: vec![],
        }],
        torn: 0,
        by: ReadBy::Own,
    }
}

#[test]
fn those_who_are_not_python_are_asked_often_while_young_and_then_seldom() {
    for (longest, want) in [
        (ASK_AGAIN_S, [0.5, 0.5, 0.5, 0.5, 3.0, 3.0]),
        (ASK_DENIED_AGAIN_S, [0.5, 0.5, 0.5, 0.5, 30.0, 30.0]),
    ] {
        let mut roster = Roster::default();
        let mut at = NOW;
        for pause in want {
            roster.put_off(7, at, longest);
            let next = roster.others[&7].next_check;
            assert!((next.seconds_since(at) - pause).abs() < 1e-6, "{pause}");
            at = next;
        }
        // Whoever runs another program, or has this pid now, is young again.
        roster.forget(7);
        roster.put_off(7, at, longest);
        assert_eq!(roster.others[&7].next_check, at.plus_seconds(0.5));
        roster.trust_nothing();
        assert!(roster.others.is_empty());
        assert_eq!(roster.scanned_at, Moment(0));
    }
}

#[test]
fn another_process_or_program_is_told_from_the_same_one() {
    let entry = python_entry(9);
    let with = |change: &dyn Fn(&mut Process)| {
        let mut read = process(9, "python serve.py");
        change(&mut read);
        entry.is_another(&read)
    };
    assert!(!with(&|_| {}));
    assert!(with(&|p| p.key.start_time += 1), "the pid is reused");
    assert!(with(&|p| p.exe = Some("/bin/bash".into())), "exec");
    // A package upgrade replaces the file beneath a process.
    assert!(!with(
        &|p| p.exe = Some("/usr/bin/python3.11 (deleted)".into())
    ));
    // What may not be read says nothing.
    assert!(!with(&|p| p.exe = None));
    assert!(!with(&|p| p.cmdline = vec!["other".into()]));
}

#[test]
fn stacks_of_another_command_line_are_forgotten() {
    let cases = [
        ("python serve.py", true),
        ("gunicorn: worker [shop]", false),
        ("", true),
    ];
    for (cmdline, kept) in cases {
        let mut entry = python_entry(9);
        entry.stack_marks = entry.marks();
        entry.executable = Some((1, 2));
        entry.record(None);
        let mut read = process(9, "");
        read.cmdline = cmdline.split_whitespace().map(str::to_owned).collect();
        entry.take(read, vec!["fd"], true, after(1.0));
        let python = entry.python.as_ref().unwrap();
        assert_eq!(python.stacks.is_some(), kept, "{cmdline:?}");
        assert_eq!(python.stacks_true_at.is_some(), kept);
        assert_eq!(entry.stack_marks.is_empty(), !kept);
        assert_eq!(entry.executable.is_some(), kept);
        assert!(entry.record.is_none() && entry.was_read_at(after(1.0)));
        assert_eq!(entry.full_at, after(1.0));
        let denied: Vec<String> = entry.gaps().into_iter().map(|g| g.source).collect();
        assert_eq!(denied, ["fd"]);
    }
}

#[test]
fn a_new_listener_is_news_for_who_has_run_since_its_files_were_listed() {
    let read = |switches| {
        let mut process = process(9, "python serve.py");
        process.threads = Some(vec![thread(9, switches)]);
        process
    };
    let mut roster = Roster::of(vec![python_entry(9)]);
    let news = |roster: &Roster| roster.known(9).unwrap().has_news();
    let take = |roster: &mut Roster, switches, full| {
        let entry = roster.entry(9).unwrap();
        entry.take(read(switches), vec![], full, after(1.0));
    };
    take(&mut roster, 1, true);
    assert!(!news(&roster));
    take(&mut roster, 2, false);
    assert!(!news(&roster), "nobody listens anew");
    roster.sockets_moved();
    assert!(news(&roster));
    take(&mut roster, 2, false);
    assert!(news(&roster), "a light look does not list files");
    take(&mut roster, 2, true);
    assert!(!news(&roster), "they are listed now");
    take(&mut roster, 3, false);
    assert!(!news(&roster), "nobody has begun to listen since");
    take(&mut roster, 3, true);
    roster.sockets_moved();
    assert!(!news(&roster), "it has not run since");
    take(&mut roster, 4, false);
    assert!(news(&roster));
}

#[test]
fn records_are_shared_until_something_changes() {
    let mut entry = python_entry(9);
    let connections = Arc::new(Connections::default());
    let first = entry.record(Some(&connections));
    assert!(first.is_python() && first.connections.is_some());
    assert!(Arc::ptr_eq(&first, &entry.record(Some(&connections))));
    let same_again = Arc::new(Connections::default());
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Entry));
    let changes: [Change; 4] = [
        ("other connections", &|_| {}),
        ("read again", &|e| {
            e.take(process(9, "python serve.py"), vec![], false, after(1.0))
        }),
        ("stacks", &|e| e.answer(answer(9, Ok(stacks())))),
        ("death", &|e| e.bury()),
    ];
    let mut before = first;
    for (name, change) in changes {
        change(&mut entry);
        let now = entry.record(Some(&same_again));
        assert!(!Arc::ptr_eq(&before, &now), "{name}");
        assert!(
            Arc::ptr_eq(&now, &entry.record(Some(&same_again))),
            "{name}"
        );
        before = now;
    }
    assert!(!Arc::ptr_eq(&before, &entry.record(None)));
}

#[test]
fn stacks_are_asked_for_again_sooner_where_the_failure_may_pass() {
    for (error, pause, told) in [
        (StackError::Torn, 0.0, false),
        (StackError::NotReady, 0.0, false),
        (StackError::Gone, 0.0, false),
        (StackError::Hanging, 5.0, true),
        (StackError::Unsupported("Python 2.3".into()), 30.0, true),
        (StackError::Failed("bad address".into()), 30.0, true),
    ] {
        let mut entry = python_entry(9);
        assert!(entry.may_read_stacks(NOW));
        entry.answer(answer(9, Err(error.clone())));
        assert!(!entry.stacks_still_true(), "{error:?}");
        assert_eq!(entry.gaps().len(), usize::from(told), "{error:?}");
        if pause > 0.0 {
            assert!(!entry.may_read_stacks(after(pause - 0.1)), "{error:?}");
        }
        assert!(entry.may_read_stacks(after(pause)), "{error:?}");
        entry.answer(answer(9, Ok(stacks())));
        assert!(entry.gaps().is_empty() && entry.may_read_stacks(after(pause)));
    }
}

#[test]
fn stacks_stay_true_until_a_thread_runs() {
    let mut entry = python_entry(9);
    assert!(!entry.stacks_still_true(), "never read");
    assert!(entry.may_read_stacks(NOW));
    entry.answer(answer(9, Ok(stacks())));
    let mut at = 2.0;
    for (threads, still) in [
        (Some(vec![thread(9, 1)]), true),
        (Some(vec![thread(9, 1), thread(10, 1)]), false),
        (Some(vec![thread(10, 1)]), false),
        (None, false),
        (Some(vec![thread(9, 1)]), true),
        (Some(vec![thread(9, 2)]), false),
    ] {
        let mut read = process(9, "python serve.py");
        read.threads = threads.clone();
        read.sampled_at = after(at);
        entry.take(read, vec![], false, after(at));
        assert_eq!(entry.stacks_still_true(), still, "{threads:?}");
        let true_at = entry.python.as_ref().unwrap().stacks_true_at;
        assert_eq!(true_at == Some(after(at)), still, "{threads:?}");
        at += 1.0;
    }
}

#[test]
fn a_refusal_in_passing_is_noted_once() {
    let mut entry = python_entry(9);
    for _ in 0..3 {
        entry.fail(&ProcError::Denied { what: "syscall" });
    }
    entry.fail(&ProcError::Gone);
    assert_eq!(entry.gaps().len(), 1);
    entry.bury();
    assert!(
        entry.is_dead() && entry.gaps().is_empty(),
        "the dead hide nothing"
    );
}

#[test]
fn the_hot_are_due_at_every_look_and_the_quiet_once_per_interval() {
    let mut wishes = Wishes {
        interval_s: 1.0,
        hot: BTreeSet::new(),
        patience: Duration::ZERO,
        holders: BTreeSet::new(),
    };
    let mut above = python_entry(8);
    above.python = None;
    let mut roster = Roster::of(vec![above, python_entry(9)]);
    for pid in [8, 9] {
        let read = process(pid, "python serve.py");
        roster.entry(pid).unwrap().take(read, vec![], true, NOW);
    }
    assert!(roster.due(&wishes, NOW).is_empty(), "never twice in a look");
    assert!(roster.due(&wishes, after(0.1)).is_empty());
    assert_eq!(roster.due(&wishes, after(1.0)), [9]);
    assert_eq!(roster.due(&wishes, after(5.0)), [8, 9]);
    wishes.hot = [8, 9].map(|pid| process(pid, "").key).into();
    assert_eq!(roster.due(&wishes, after(0.1)), [9]);
    assert!(roster.has(process(9, "").key));
    let mut reused = process(9, "").key;
    reused.start_time += 1;
    assert!(!roster.has(reused));
}

#[test]
fn only_those_above_a_python_process_stay() {
    let mut shell = python_entry(8);
    shell.python = None;
    shell.process.ppid = 7;
    let mut session = python_entry(7);
    session.python = None;
    let mut former = python_entry(6);
    former.python = None;
    let mut server = python_entry(9);
    server.process.ppid = 8;
    let mut roster = Roster::of(vec![former, session, shell, server]);
    roster.sweep(after(0.0));
    let left: Vec<u32> = roster.all_mut().map(|e| e.process.key.pid).collect();
    assert_eq!(left, [7, 8, 9]);
}
