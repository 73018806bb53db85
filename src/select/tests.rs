use std::sync::Arc;

use super::*;
use crate::diagnosis::{Phase, Role};
use crate::snapshot::ListenerState;
use crate::testing::{diagnosis, listener, member, outsider, own, process, server, unix};

/// A master with a worker on :8000, a server on a unix socket with metrics on :9090, one that is to listen on :7000, and a
/// script.
fn fleet() -> Diagnosis {
    let mut web = server(10, 8000);
    let worker = process(11, "/venv/bin/gunicorn: worker [shop]");
    web.members
        .push(member(worker, Role::Worker, Phase::Serving));
    let mut local = server(20, 0);
    let mut metrics = own(listener(9090), &[20]);
    metrics.side = true;
    local.listeners = vec![own(unix("/run/api.sock"), &[20]), metrics];
    let mut starting = server(30, 0);
    starting.listeners.clear();
    let root = process(30, "/venv/bin/uvicorn late:app --port 7000");
    starting.members = vec![member(root, Role::Single, Phase::Starting)];
    starting.above = vec![29, 28, 10];
    diagnosis(
        vec![web, local, starting],
        vec![outsider(40, "python batch.py --port 6000")],
    )
}

/// Pids of the servers and of the others that are left.
fn pids(targets: &[&str]) -> (Vec<u32>, Vec<u32>) {
    let targets: Vec<Target> = targets.iter().map(|t| t.parse().unwrap()).collect();
    let left = select(fleet(), &targets);
    (
        left.servers.iter().map(|s| s.pid).collect(),
        left.outsiders.iter().map(|o| o.process.key.pid).collect(),
    )
}

#[test]
fn a_path_that_a_command_line_asks_for() {
    for (word, wanted, is) in [
        ("/run/api.sock", "/run/api.sock", true),
        ("unix:/run/api.sock", "/run/api.sock", true),
        ("unix:///run/api.sock", "/run/api.sock", true),
        ("--uds=/run/api.sock", "/run/api.sock", true),
        ("--bind=unix:/run/api.sock", "/run/api.sock", true),
        ("--bind=unix:run/api.sock", "./api.sock", true),
        ("--uds=/run/api.sock.old", "/run/api.sock", false),
        ("--uds=", "./", false),
    ] {
        assert_eq!(names_path(word, wanted), is, "{word} {wanted}");
    }
    let to_listen = |words: &str| {
        let mut server = server(30, 0);
        server.listeners.clear();
        server.members = vec![member(process(30, words), Role::Single, Phase::Starting)];
        is_server(&server, &Target::Path("/run/api.sock".into()))
    };
    assert!(to_listen("uvicorn app:app --uds /run/api.sock"));
    assert!(!to_listen("uvicorn app:app --port 8000"));
}

#[test]
fn targets_select_servers_and_scripts() {
    type Case = (&'static [&'static str], &'static [u32], &'static [u32]);
    let cases: &[Case] = &[
        (&[], &[10, 20, 30], &[40]),
        (&["10"], &[10], &[]),
        // Any process of a server stands for it.
        (&["11"], &[10], &[]),
        (&["40"], &[], &[40]),
        (&["1"], &[], &[]),
        // Who is in no server stands for those that it has started.
        (&["29"], &[30], &[]),
        (&["28"], &[30], &[]),
        (&["27"], &[], &[]),
        (&[":8000"], &[10], &[]),
        (&[":800"], &[], &[]),
        (&[":9090"], &[20], &[]),
        // Asked for on its command line, and not there yet.
        (&[":7000"], &[30], &[]),
        // What a script has on its command line is not a port that it serves.
        (&[":6000"], &[], &[]),
        // The port of a unix socket is no port.
        (&[":0"], &[], &[]),
        (&["/run/api.sock"], &[20], &[]),
        (&["unix:/run/api.sock"], &[20], &[]),
        (&["./api.sock"], &[20], &[]),
        (&["@api.sock"], &[], &[]),
        (&["gunicorn"], &[10], &[]),
        (&["uvicorn"], &[10, 20, 30], &[]),
        (&["late:app --port"], &[30], &[]),
        (&["batch.py"], &[], &[40]),
        (&["GUNICORN"], &[], &[]),
        // Each once, in the order of the diagnosis.
        (&["batch.py", ":9090", "11", ":8000"], &[10, 20], &[40]),
        (&["nobody", ":8000"], &[10], &[]),
    ];
    for (targets, servers, others) in cases {
        assert_eq!(
            pids(targets),
            (servers.to_vec(), others.to_vec()),
            "{targets:?}"
        );
    }
}

#[test]
fn a_server_that_listens_is_not_found_by_another_port_it_was_asked_for() {
    let mut moved = server(10, 8001);
    let root = process(10, "/venv/bin/uvicorn shop:app --port 8000");
    moved.members = vec![member(root, Role::Single, Phase::Serving)];
    let found = |port, moved: &Server| is_server(moved, &Target::Port(port));
    assert!(found(8001, &moved) && !found(8000, &moved));
    // A side port is not yet the one that was asked for.
    moved.listeners[0].side = true;
    assert!(found(8001, &moved) && found(8000, &moved));
    // A bound socket is one.
    moved.listeners[0].side = false;
    moved.listeners[0].socket.state = ListenerState::Bound;
    assert!(found(8001, &moved) && !found(8000, &moved));
}

#[test]
fn a_server_is_found_by_the_pid_that_it_began_with() {
    let mut restarted = server(10, 8000);
    restarted.pid = 12;
    restarted.members[0].process = Arc::new(process(12, "uvicorn"));
    for (pid, found) in [(10, true), (12, true), (13, false)] {
        assert_eq!(is_server(&restarted, &Target::Pid(pid)), found, "{pid}");
    }
}

#[test]
fn targets_that_select_nothing_are_all_named() {
    let targets: Vec<Target> = [":8000", ":1", "99", "batch.py", "nobody", "/x.sock"]
        .iter()
        .map(|t| t.parse().unwrap())
        .collect();
    let lost: Vec<String> = unmatched(&fleet(), &targets)
        .into_iter()
        .map(Target::to_string)
        .collect();
    assert_eq!(lost, [":1", "99", "nobody", "/x.sock"]);
    assert!(unmatched(&fleet(), &[]).is_empty());
}

#[test]
fn choices_are_a_line_each_with_the_address_that_people_know() {
    let lines = choices(&fleet());
    let want = [
        "     10  uvicorn shop:app10  on 127.0.0.1:8000",
        "     20  uvicorn shop:app20  on unix:/run/api.sock",
        "     30  uvicorn shop:app30",
        "     40  python batch.py --port 6000  (not a server)",
    ];
    assert_eq!(lines, want);
    let crowd = (0..100).map(|pid| outsider(pid, "x")).collect();
    assert_eq!(choices(&diagnosis(vec![], crowd)).len(), 40);
}

#[test]
fn a_path_is_the_sockets_own_or_relative_to_anywhere() {
    for (socket, wanted, same) in [
        ("/run/api.sock", "/run/api.sock", true),
        ("/run/api.sock", "./api.sock", true),
        ("api.sock", "./api.sock", true),
        ("/run/api.sock", "/api.sock", false),
        ("/run/xapi.sock", "./api.sock", false),
    ] {
        assert_eq!(same_path(socket, wanted), same, "{socket} {wanted}");
    }
}
