//! What is null, what is empty, and what is left out.

use std::sync::Arc;

use super::*;
use crate::diagnosis::{Code, Culprit, Role, Severity};
use crate::snapshot::TaskState;
use crate::testing::{
    death, diagnosis, finding, gap, listener, member, no_tasks, outsider, own, process, scene,
    server, task, unix, unseen,
};

/// The only server of a document.
fn only(server: Server) -> Value {
    document(&scene(diagnosis(vec![server], vec![]), vec![]))["servers"][0].take()
}

#[test]
fn the_document_says_when_where_and_for_how_long() {
    let value = document(&scene(Diagnosis::default(), vec![]));
    let want = json!({
        "schema": "steth.check/1",
        "host": "web-3",
        "taken_at": "2025-11-20T14:02:11.120Z",
        "observed_for_s": 3.0,
        "servers": [],
        "gaps": [],
    });
    assert_eq!(value, want);
}

#[test]
fn what_was_not_seen_is_null_and_what_is_not_there_is_empty() {
    let mut hidden = server(10, 8000);
    unseen(&mut hidden);
    let value = only(hidden);
    for path in [
        "/phase",
        "/listeners",
        "/processes/0/phase",
        "/processes/0/fds",
        "/processes/0/stacks",
        "/processes/0/tasks",
        "/processes/0/python",
        "/processes/0/cpu_percent",
    ] {
        assert_eq!(value.pointer(path), Some(&Value::Null), "{path}: {value:#}");
    }

    let mut idle = server(10, 8000);
    idle.listeners.clear();
    let stackless = Arc::make_mut(&mut idle.members[0].process);
    let python = stackless.python.as_mut().unwrap();
    Arc::make_mut(python.stacks.as_mut().unwrap()).list.clear();
    stackless.fds.as_mut().unwrap().limit = None;
    let value = only(idle);
    assert_eq!(value["listeners"], json!([]));
    assert_eq!(value["processes"][0]["stacks"], json!([]));
    assert_eq!(value["processes"][0]["tasks"], json!([]));
    assert_eq!(
        value["processes"][0]["fds"],
        json!({ "open": 11, "limit": null })
    );
    assert_eq!(value["phase"], "serving");
    assert_eq!(value["processes"][0]["cpu_percent"], 1.3);
}

/// A hidden member leaves it open whether there are more listeners; the one that is seen stays.
#[test]
fn listeners_of_a_half_seen_server() {
    let mut server = server(10, 8000);
    let mut worker = process(11, "uvicorn");
    worker.fds = None;
    server
        .members
        .push(member(worker, Role::Worker, Phase::Unseen));
    let value = only(server.clone());
    assert_eq!(value["listeners"].as_array().map(Vec::len), Some(1));
    server.listeners.clear();
    assert!(only(server)["listeners"].is_null());
}

#[test]
fn listeners_bound_and_listening() {
    let mut bound = listener(8000);
    bound.state = ListenerState::Bound;
    bound.accept_queue = None;
    bound.backlog = None;
    bound.syn_queue = None;
    bound.drops = Some(3);
    let mut unseen = own(unix("/run/a.sock"), &[10]);
    unseen.accepting = None;
    let mut server = server(10, 8000);
    server.listeners = vec![own(bound, &[10]), own(listener(8000), &[10]), unseen];
    let value = only(server);
    let want = [
        json!({
            "family": "tcp4", "address": "127.0.0.1", "port": 8000, "path": null, "state": "bound",
            "accept_queue": null, "backlog": null, "drops": null, "syn_queue": null, "v6only": null,
            "side": false, "holders": [10], "accepting": [10], "netns": 1,
        }),
        json!({
            "family": "tcp4", "address": "127.0.0.1", "port": 8000, "path": null, "state": "listening",
            "accept_queue": 0, "backlog": 128, "drops": 0, "syn_queue": 0, "v6only": null,
            "side": false, "holders": [10], "accepting": [10], "netns": 1,
        }),
        json!({
            "family": "unix", "address": null, "port": null, "path": "/run/a.sock", "state": "listening",
            "accept_queue": 0, "backlog": 128, "drops": null, "syn_queue": null, "v6only": null,
            "side": false, "holders": [10], "accepting": null, "netns": 1,
        }),
    ];
    for (at, want) in want.iter().enumerate() {
        assert_eq!(&value["listeners"][at], want);
    }
}

#[test]
fn exits_have_a_code_or_a_signal_or_neither() {
    let mut server = server(10, 8000);
    let mut unborn = death(14, 10, None, None);
    unborn.exit.lived_ns = None;
    server.exits = [
        death(11, 10, Some(3), None),
        death(12, 10, None, Some(9)),
        death(13, 10, Some(0), None),
        unborn,
    ]
    .into();
    let want = json!([
        { "pid": 11, "role": "worker", "lived_s": 0.8, "code": 3, "signal": null },
        { "pid": 12, "role": "worker", "lived_s": 0.8, "code": null, "signal": 9 },
        { "pid": 13, "role": "worker", "lived_s": 0.8, "code": 0, "signal": null },
        { "pid": 14, "role": "worker", "lived_s": null, "code": null, "signal": null },
    ]);
    assert_eq!(only(server)["exits"], want);
}

#[test]
fn findings_and_their_culprits() {
    let mut server = server(10, 8000);
    let mut blamed = finding(Code::StartupAwait, Severity::Critical);
    blamed.culprit = Some(Culprit {
        file: "app/db.py".into(),
        line: 16,
        function: "connect_db".into(),
    });
    server.findings = vec![blamed, finding(Code::FdExhausted, Severity::Warning)];
    let value = only(server);
    let want = json!({
        "code": "startup-await", "severity": "critical", "summary": "startup-await in one sentence",
        "culprit": { "file": "app/db.py", "line": 16, "function": "connect_db" },
        "evidence": ["startup-await was seen (proc)"], "remedy": "mend startup-await",
        "confirm": "look at startup-await",
    });
    assert_eq!(value["findings"][0], want);
    assert!(value["findings"][1]["culprit"].is_null());
}

#[test]
fn activities_have_the_contracts_words() {
    let words = [
        (Activity::Running, "running"),
        (Activity::Selector, "selector"),
        (Activity::Gil, "gil"),
        (Activity::Lock, "lock"),
        (Activity::Syscall(libc::SYS_connect), "syscall"),
        (Activity::Stopped, "stopped"),
        (Activity::Unknown, "unknown"),
    ];
    for (of, word) in words {
        let value = stack(&Stack {
            tid: None,
            name: None,
            daemon: None,
            activity: of,
            holds_gil: true,
            frames: vec![],
        });
        assert_eq!(value["activity"], word);
        let call = matches!(of, Activity::Syscall(_)).then_some("connect");
        assert_eq!(value.get("syscall").and_then(Value::as_str), call);
        assert!(value["tid"].is_null() && value["name"].is_null());
    }
}

#[test]
fn gaps_of_whoever_is_spoken_of_and_of_the_machine() {
    let gaps = vec![
        gap("/proc", None, "hidepid=2", None),
        gap("fd", Some(10), "denied", Some("sudo steth")),
        gap("fd", Some(30), "denied", Some("sudo steth")),
        gap("fd", Some(77), "denied", Some("sudo steth")),
    ];
    let known = diagnosis(
        vec![server(10, 8000)],
        vec![outsider(30, "python batch.py")],
    );
    let value = document(&scene(known, gaps));
    let want = json!([
        { "source": "/proc", "pid": null, "cause": "hidepid=2", "unlock": null },
        { "source": "fd", "pid": 10, "cause": "denied", "unlock": "sudo steth" },
        { "source": "fd", "pid": 30, "cause": "denied", "unlock": "sudo steth" },
    ]);
    assert_eq!(value["gaps"], want);
}

fn only_outsider(outsider: crate::diagnosis::Outsider) -> Value {
    document(&scene(diagnosis(vec![], vec![outsider]), vec![]))["servers"][0].take()
}

#[test]
fn outsiders_have_the_shape_of_servers() {
    let servers = vec![server(10, 8000)];
    let mut hidden = outsider(31, "python other.py");
    Arc::make_mut(&mut hidden.process).fds = None;
    let known = diagnosis(servers, vec![outsider(30, "python batch.py"), hidden]);
    let value = document(&scene(known, vec![]));
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&value["servers"][0]), keys(&value["servers"][1]));
    assert_eq!(value["servers"][1]["phase"], "not-a-server");
    assert_eq!(value["servers"][1]["listeners"], json!([]));
    assert!(value["servers"][2]["listeners"].is_null());
    let mut unseen = outsider(31, "python other.py");
    unseen.phase = Phase::Unseen;
    let value = only_outsider(unseen);
    assert!(value["phase"].is_null() && value["processes"][0]["phase"].is_null());
    assert!(value["why"].as_str().unwrap().contains("not known"));
}

#[test]
fn tasks_have_the_contracts_words() {
    let mut known = server(10, 8000);
    let process = Arc::make_mut(&mut known.members[0].process);
    let mut read = no_tasks();
    read.list = [
        (TaskState::Waiting, "suspended", json!("Event.wait")),
        (TaskState::Running, "running", Value::Null),
        (TaskState::Runnable, "runnable", Value::Null),
        (TaskState::NotStarted, "not-started", Value::Null),
    ]
    .into_iter()
    .map(|(state, ..)| task(state))
    .collect();
    process.python.as_mut().unwrap().tasks = Some(Arc::new(read));
    let frames = json!([{ "function": "connect_db", "file": "/srv/app/db.py", "line": 16 }]);
    let of = |state: &str, awaits: Value| json!({ "name": "Task-2", "state": state, "awaits": awaits, "frames": frames });
    let want = json!([
        of("suspended", json!("Event.wait")),
        of("running", Value::Null),
        of("runnable", Value::Null),
        of("not-started", Value::Null),
    ]);
    assert_eq!(only(known)["processes"][0]["tasks"], want);
}

/// Each null has its gap: of the source that could not read it, or one that says why there was nothing to read.
#[test]
fn tasks_that_were_not_seen_have_a_gap_each() {
    let servers: Vec<Server> = (10..14)
        .map(|pid| {
            let mut server = server(pid, 8000);
            let process = Arc::make_mut(&mut server.members[0].process);
            process.python.as_mut().unwrap().tasks = (pid == 13).then(|| Arc::new(no_tasks()));
            server
        })
        .collect();
    let gaps = vec![
        gap("python-tasks", Some(10), "layout not known", None),
        gap("python-stack", Some(11), "denied", Some("sudo steth")),
    ];
    let value = document(&scene(diagnosis(servers, vec![]), gaps));
    let want = json!([
        { "source": "python-tasks", "pid": 10, "cause": "layout not known", "unlock": null },
        { "source": "python-stack", "pid": 11, "cause": "denied", "unlock": "sudo steth" },
        { "source": "asyncio-tasks", "pid": 11, "cause": "denied", "unlock": "sudo steth" },
        { "source": "asyncio-tasks", "pid": 12, "cause": "not read yet", "unlock": null },
    ]);
    assert_eq!(value["gaps"], want);
}
