//! Whole texts, as people read them.

use std::sync::Arc;

use super::*;
use crate::diagnosis::{Code, Culprit, Standing};
use crate::snapshot::{Moment, TaskState};
use crate::testing::{
    diagnosis, finding, gap, listener, no_tasks, outsider, own, scene, server, task, unix, unseen,
};

fn told(servers: Vec<Server>, others: usize, gaps: Vec<Gap>) -> String {
    let others = (0..others)
        .map(|n| outsider(50 + n as u32, &format!("batch{n}")))
        .collect();
    text(&scene(diagnosis(servers, others), gaps))
}

#[test]
fn a_healthy_server() {
    let want = "\
● serving        uvicorn shop:app10 (pid 10)  for 60 s
  listens on: 127.0.0.1:8000 (accept queue 0/128)
  it accepts

";
    assert_eq!(told(vec![server(10, 8000)], 0, vec![]), want);
}

#[test]
fn a_failing_server_comes_first_with_all_its_findings() {
    let mut failing = server(20, 8001);
    failing.phase = Phase::Stalled;
    failing.since_is_bound = true;
    failing.findings = vec![
        finding(Code::AcceptQueueFull, Severity::Critical),
        finding(Code::LoopBlocked, Severity::Warning),
    ];
    let mut warned = server(30, 8002);
    warned.findings = vec![finding(Code::ImportSlow, Severity::Warning)];
    let out = told(vec![server(10, 8000), warned, failing], 0, vec![]);
    let want = "\
✖ stalled        uvicorn shop:app20 (pid 20)  for at least 60 s
  listens on: 127.0.0.1:8001 (accept queue 0/128)
  critical accept-queue-full: accept-queue-full in one sentence
    · accept-queue-full was seen (proc)
    → mend accept-queue-full
    check it: look at accept-queue-full
  warning loop-blocked: loop-blocked in one sentence
    · loop-blocked was seen (proc)
    → mend loop-blocked
    check it: look at loop-blocked

";
    assert!(out.starts_with(want), "{out}");
    let marks: Vec<char> = out
        .lines()
        .filter(|l| l.contains("(pid "))
        .filter_map(|l| l.chars().next())
        .collect();
    assert_eq!(marks, ['✖', '▲', '●'], "{out}");
}

#[test]
fn sockets_are_described_as_far_as_they_were_seen() {
    let mut bound = listener(8000);
    bound.state = ListenerState::Bound;
    bound.accept_queue = None;
    bound.backlog = None;
    let mut tables_only = listener(8000);
    tables_only.backlog = None;
    let mut side = own(listener(9090), &[10]);
    side.side = true;
    let cases = [
        (
            vec![own(bound, &[10])],
            "127.0.0.1:8000 (bound, not listening)",
        ),
        (
            vec![own(tables_only, &[10])],
            "127.0.0.1:8000 (accept queue 0/?)",
        ),
        (
            vec![own(listener(8000), &[10]), own(unix("/run/a.sock"), &[10])],
            "127.0.0.1:8000 (accept queue 0/128), unix:/run/a.sock (accept queue 0/128)",
        ),
        (vec![side], "nothing"),
        (vec![], "nothing"),
    ];
    for (listeners, want) in cases {
        let mut server = server(10, 8000);
        server.listeners = listeners;
        let out = told(vec![server], 0, vec![]);
        let line = out.lines().find_map(|l| l.strip_prefix("  listens on: "));
        assert_eq!(line, Some(want), "{out}");
    }
}

#[test]
fn what_was_not_seen_is_not_called_nothing() {
    let mut hidden = server(10, 8000);
    unseen(&mut hidden);
    hidden.why = "whether it listens cannot be seen".into();
    let unlock = Some("sudo steth");
    let gaps = vec![gap(
        "fd",
        Some(10),
        "/proc/10/fd: permission denied",
        unlock,
    )];
    let want = "\
? not seen       uvicorn shop:app10 (pid 10)  for 60 s
  listens on: ? (its open files may not be seen)
  whether it listens cannot be seen

not seen: fd of pid 10: permission denied; unlock: sudo steth
";
    assert_eq!(told(vec![hidden], 0, gaps), want);
}

#[test]
fn gaps_are_grouped_by_what_would_unlock_them() {
    let pids = 10..16;
    let servers: Vec<Server> = pids.clone().map(|pid| server(pid, 8000)).collect();
    let mut gaps = vec![gap("/proc", None, "hidepid=2", Some("sudo steth"))];
    for pid in pids {
        for source in ["fd", "cwd"] {
            let cause = format!("/proc/{pid}/{source}: permission denied");
            gaps.push(gap(source, Some(pid), &cause, Some("sudo steth")));
        }
    }
    gaps.push(gap(
        "python-stack",
        Some(12),
        "Python 2.3 is not supported",
        None,
    ));
    gaps.push(gap(
        "fd",
        Some(999),
        "of somebody whom nobody asked for",
        Some("sudo"),
    ));
    gaps.push(gap(
        "events",
        None,
        "process events need CAP_NET_ADMIN: short lives are missed, exit codes are not told",
        Some("sudo steth (or CAP_NET_ADMIN)"),
    ));
    gaps.push(gap(
        "heap",
        Some(13),
        "/proc/13/mem: read 8 bytes at 0x10: bad address",
        Some("restart it"),
    ));
    let out = told(servers, 0, gaps);
    let lines: Vec<&str> = out
        .lines()
        .filter(|l| l.starts_with("not seen: "))
        .collect();
    let want = [
        "not seen: /proc: hidepid=2; unlock: sudo steth",
        "not seen: cwd, fd of 6 processes (10, 11, 12, 13, …): permission denied; unlock: sudo steth",
        "not seen: python-stack of pid 12: Python 2.3 is not supported",
        "not seen: events: process events need CAP_NET_ADMIN: short lives are missed, exit codes are not told; unlock: sudo steth (or CAP_NET_ADMIN)",
        "not seen: heap of pid 13: read 8 bytes at 0x10: bad address; unlock: restart it",
    ];
    assert_eq!(lines, want, "{out}");
}

#[test]
fn no_server_is_said_and_the_other_pythons_are_counted() {
    let nobody = "no Python server is running that this user can see\n";
    assert_eq!(told(vec![], 0, vec![]), nobody);
    let two = format!("{nobody}other Python, not servers: 2 (batch0, batch1)\n");
    assert_eq!(told(vec![], 2, vec![]), two);
    let many = "other Python, not servers: 9 (batch0, batch1, batch2, batch3, batch4, batch5, …)\n";
    assert_eq!(told(vec![], 9, vec![]), format!("{nobody}{many}"));
}

#[test]
fn nothing_is_said_before_the_first_look_and_no_age_is_negative() {
    assert_eq!(text(&Scene::before_the_first_look(1.0)), "");
    let mut server = server(10, 8000);
    server.since = Moment(u64::MAX);
    assert!(told(vec![server], 0, vec![]).contains("for 0 s"));
}

/// The task that a startup waits for, until a finding speaks of its place.
#[test]
fn the_suspect_task_of_a_server_that_is_not_well() {
    let mut tasks = no_tasks();
    tasks.list = vec![task(TaskState::Waiting)];
    let mut starting = server(10, 8000);
    starting.members[0].standing = Standing::of(Arc::new(tasks));
    assert!(!told(vec![starting.clone()], 0, vec![]).contains("Task-2"));
    starting.phase = Phase::Starting;
    starting.members[0].phase = Phase::Starting;
    let line = "  look first at Task-2 of pid 10 in connect_db (app/db.py:16): Event.wait, for at least 0 s\n";
    let out = told(vec![starting.clone()], 0, vec![]);
    assert!(out.contains(line), "{out}");
    let mut found = finding(Code::StartupAwait, Severity::Critical);
    found.culprit = Some(Culprit {
        file: "/srv/app/db.py".into(),
        line: 16,
        function: "connect_db".into(),
    });
    starting.findings = vec![found];
    assert!(!told(vec![starting], 0, vec![]).contains("look first"));
}
