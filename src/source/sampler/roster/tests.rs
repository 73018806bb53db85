//! What is remembered of processes from look to look; nothing here reads /proc of a process that exists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::super::LARGE_TABLE;
use super::*;
use crate::snapshot::{
    Accepting, Activity, Connections, Intent, ObjectId, Process, ProcessState, Reach, ReadBy,
    Stack, Stacks, Task, TaskState, Tasks, Thread,
};
use crate::source::intent::IntentReader;
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
        waited_ns: 0,
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
        tasks: None,
    }
}

fn stacks() -> Stacks {
    Stacks {
        at: after(1.0),
        list: vec![Stack {
            tid: Some(9),
            name: None,
            daemon: None,
            activity: Activity::Running,
            holds_gil: true,
            frames: vec![],
        }],
        torn: 0,
        by: ReadBy::Own,
        locks: Vec::new(),
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
        entry.take(read, vec!["fd"], Depth::Full, after(1.0));
        let python = entry.python.as_ref().unwrap();
        assert_eq!(python.stacks.is_some(), kept, "{cmdline:?}");
        assert_eq!(python.stacks_true_at.is_some(), kept);
        assert_eq!(entry.stack_marks.is_empty(), !kept);
        assert_eq!(entry.executable.is_some(), kept);
        assert!(entry.record.is_none() && entry.was_read_at(after(1.0)));
        assert_eq!(entry.full_at, after(1.0));
        let gaps: Vec<String> = entry.gaps().into_iter().map(|g| g.source).collect();
        let unread: &[&str] = if kept {
            &[]
        } else {
            &["python-stack", "asyncio-tasks"]
        };
        assert_eq!(gaps, [&["fd"], unread].concat());
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
    let take = |roster: &mut Roster, switches, depth| {
        let entry = roster.entry(9).unwrap();
        entry.take(read(switches), vec![], depth, after(1.0));
    };
    take(&mut roster, 1, Depth::Files);
    assert!(!news(&roster));
    take(&mut roster, 2, Depth::Light);
    assert!(!news(&roster), "nobody listens anew");
    roster.listeners_moved(true, |_| false);
    assert!(news(&roster));
    take(&mut roster, 2, Depth::Light);
    assert!(news(&roster), "a light look does not list files");
    take(&mut roster, 2, Depth::Files);
    assert!(!news(&roster), "they are listed now");
    take(&mut roster, 3, Depth::Light);
    assert!(!news(&roster), "nobody has begun to listen since");
    take(&mut roster, 3, Depth::Files);
    roster.listeners_moved(true, |_| false);
    assert!(!news(&roster), "it has not run since");
    take(&mut roster, 4, Depth::Light);
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
            e.take(
                process(9, "python serve.py"),
                vec![],
                Depth::Light,
                after(1.0),
            )
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
        entry.take(read, vec![], Depth::Light, after(at));
        assert_eq!(entry.stacks_still_true(), still, "{threads:?}");
        let true_at = entry.python.as_ref().unwrap().stacks_true_at;
        assert_eq!(true_at == Some(after(at)), still, "{threads:?}");
        at += 1.0;
    }
}

#[test]
fn who_is_still_was_looked_at_and_has_not_stirred() {
    let mut entry = python_entry(9);
    let read = |switches| {
        let mut process = process(9, "python serve.py");
        process.threads = Some(vec![thread(9, switches)]);
        process
    };
    entry.take(read(2), vec![], Depth::Light, after(1.0));
    assert_eq!(entry.stirred_at, after(1.0));
    entry.take(read(2), vec![], Depth::Full, after(2.0));
    entry.listeners_moved = true;
    let before = entry.record(None);
    entry.still(after(3.0));
    assert!(entry.was_read_at(after(3.0)) && !entry.was_read_at(after(2.0)));
    let now = entry.record(None);
    assert_eq!(now.sampled_at, after(3.0));
    assert_eq!(before.threads, now.threads);
    assert_eq!(entry.stirred_at, after(1.0));
}

#[test]
fn the_more_it_does_and_the_more_is_asked_the_more_of_it_is_read() {
    let mut entry = python_entry(9);
    entry.process.started = NOW;
    let read = |entry: &mut Entry, open| {
        let mut read = process(9, "python serve.py");
        read.started = NOW;
        if let Some(fds) = &mut read.fds {
            fds.open = open;
        }
        entry.take(read, vec![], Depth::Full, after(20.0));
    };
    let wishes = |hot| Wishes {
        interval_s: 1.0,
        hot: if hot {
            [process(9, "").key].into()
        } else {
            BTreeSet::new()
        },
        focus: None,
        patience: Duration::ZERO,
        holders: BTreeSet::new(),
    };
    let (small, large) = (10, LARGE_TABLE + 1);
    for (open, hot, s, want) in [
        (small, false, 1.0, Depth::Light),
        (small, false, 5.0, Depth::Full),
        (small, true, 0.1, Depth::Files),
        (small, true, 1.0, Depth::Full),
        (large, true, 0.1, Depth::Light),
    ] {
        read(&mut entry, open);
        let got = entry.depth(&wishes(hot), after(20.0 + s));
        assert_eq!(got, want, "{open} {hot} {s}");
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
        focus: None,
        patience: Duration::ZERO,
        holders: BTreeSet::new(),
    };
    let mut above = python_entry(8);
    above.python = None;
    let mut roster = Roster::of(vec![above, python_entry(9)]);
    for pid in [8, 9] {
        let read = process(pid, "python serve.py");
        roster
            .entry(pid)
            .unwrap()
            .take(read, vec![], Depth::Full, NOW);
    }
    let due = |roster: &Roster, wishes: &Wishes, s, all| roster.due(wishes, after(s), all);
    assert!(due(&roster, &wishes, 0.0, true).is_empty(), "never twice");
    assert!(due(&roster, &wishes, 0.1, false).is_empty());
    assert_eq!(due(&roster, &wishes, 1.0, true), [9]);
    assert_eq!(due(&roster, &wishes, 5.0, true), [8, 9]);
    wishes.hot = [8, 9].map(|pid| process(pid, "").key).into();
    assert_eq!(due(&roster, &wishes, 0.1, false), [9]);
    wishes.hot.clear();
    wishes.focus = Some(process(9, "").key);
    assert_eq!(due(&roster, &wishes, 0.1, false), [9]);
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

#[test]
fn many_tasks_are_read_seldom_and_never_forgotten() {
    let mut entry = python_entry(9);
    let task = Task {
        id: ObjectId(0x1000),
        name: "Task-1".to_owned(),
        event_loop: ObjectId(0x2000),
        state: TaskState::Waiting,
        frames: Arc::from([]),
        wait: None,
        awaited_by: Vec::new(),
        entered: Vec::new(),
    };
    for (count, pause) in [(3, 0.0), (500, 1.0), (20_000, 10.0)] {
        entry.ask_tasks(true, NOW);
        let mut answer = answer(9, Ok(stacks()));
        answer.tasks = Some(Tasks {
            list: vec![task.clone(); count],
            ..Tasks::default()
        });
        entry.answer(answer);
        assert!(!entry.owes_tasks());
        assert!(entry.may_read_tasks(after(pause)), "{count}");
        assert_eq!(entry.may_read_tasks(after(pause - 0.1)), pause == 0.0);
    }
    entry.ask_tasks(false, after(1.0));
    entry.answer(answer(9, Ok(stacks())));
    let python = entry.python.as_ref().unwrap();
    assert_eq!(python.tasks.as_ref().unwrap().list.len(), 20_000, "kept");
    assert!(entry.owes_tasks(), "older than the stacks");
}

#[test]
fn tasks_that_cannot_be_read_are_a_gap() {
    for (by, cause) in [
        (
            ReadBy::Own,
            "the tasks changed faster than they could be read",
        ),
        (ReadBy::PySpy, "tasks are read of CPython 3.8 to 3.15 only"),
    ] {
        let mut entry = python_entry(9);
        entry.ask_tasks(true, NOW);
        entry.answer(answer(9, Ok(Stacks { by, ..stacks() })));
        let gaps = entry.gaps();
        let told: Vec<_> = gaps
            .iter()
            .map(|g| (g.source.as_str(), g.cause.as_str()))
            .collect();
        assert_eq!(told, [("asyncio-tasks", cause)]);
    }
}

#[test]
fn who_accepts_has_not_come_to_its_end() {
    for (reach, stays) in [(Reach::Behind, false), (Reach::Ahead, true)] {
        let mut entry = python_entry(9);
        entry.intend(Some(Intent {
            file: "/srv/app.py".into(),
            line: 3,
            call: "app.run".into(),
            reach,
        }));
        entry.process.accepting = Some(vec![Accepting {
            inode: 5,
            tid: Some(10),
        }]);
        entry.search_intent(&mut IntentReader::default());
        let python = entry.python.unwrap();
        assert_eq!(python.intent.is_some(), stays, "{reach:?}");
    }
}
