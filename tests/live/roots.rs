//! Who is who: what stands above a server, beside it and in its place, and that a process is taken for a server by what its
//! source says that it will start, or has run.

use std::io::Write;
use std::net::TcpStream;

use crate::need;
use crate::others::told;
use crate::support::python::{any, venv};
use crate::support::server::Server;
use crate::support::verdict::Verdict;
use crate::support::{heavy, kernel};

fn terminate(server: &Server) {
    // SAFETY: kill takes plain numbers; the process is a child of this test.
    unsafe { libc::kill(i32::try_from(server.pid).unwrap(), libc::SIGTERM) };
}

#[test]
fn a_supervisor_of_the_projects_own_stands_for_what_crashes_under_it() {
    let python = need!(any());
    let _turn = heavy();
    let server = Server::start(&python, &["keeper.py", "press_tcp.py", "{port}"]);
    server.wait_log("ended with", 1);
    told(&server, "crash-loop")
        .phase(&["crash-looping"])
        .first_finding(&["crash-loop"])
        .culprit("load_plates")
        .role("supervisor", 1)
        .exit(1);
}

#[test]
fn a_watcher_whose_child_is_gone_serves_nobody() {
    let python = need!(venv("main", "python"));
    let folder = tempfile::tempdir().unwrap();
    let watched = folder.path().to_str().unwrap();
    let server = Server::start(&python, &["dev_watch.py", watched, "{port}"]);
    server.wait_log("driver_that_nobody_installed", 1);
    let verdict = server.check();
    verdict
        .phase(&["importing", "exited", "crash-looping"])
        .first_finding(&["reloader-without-child"])
        .role("reloader", 1)
        .exit(1);
}

/// Its thread that serves has ended, and the main thread goes on looking for changed files.
#[test]
fn a_reloader_whose_thread_could_not_be_served_from() {
    let python = need!(venv("main", "python"));
    let server = Server::start(&python, &["atelier_django.py", "{port}"]);
    server.wait_log("views_that_nobody_painted", 1);
    told(&server, "server-thread-died")
        .first_finding(&["server-thread-died"])
        .role("reloader", 1)
        .exit(1);
}

#[test]
fn a_watcher_of_what_serves_nobody_is_none_of_our_business() {
    let watchfiles = need!(venv("main", "watchfiles"));
    let folder = tempfile::tempdir().unwrap();
    let watched = folder.path().to_str().unwrap();
    let server = Server::start(&watchfiles, &["echo tested", watched]);
    server.wait_log("tested", 1);
    server.check().not_a_server();
}

#[test]
fn what_is_asked_before_a_server_is_known_keeps_it_from_starting() {
    let python = need!(venv("main", "python"));
    let server = Server::start(&python, &["till_flask.py", "{port}"]);
    server.wait_log("the till wants a PIN", 1);
    let verdict = server.check();
    verdict
        .phase(&["importing", "starting"])
        .first_finding(&["stdin-wait"])
        .culprit("ask_pin");
}

#[test]
fn a_thread_that_served_is_missed_without_its_log() {
    let python = need!(any());
    let server = Server::start(&python, &["belfry_http.py", "{port}"]);
    server.wait_log("the rope is torn", 1);
    let verdict = server.check();
    verdict
        .phase(&["stalled", "listening"])
        .first_finding(&["server-thread-died"])
        .exit(1);
}

#[test]
fn an_exit_that_waits_for_threads_is_a_shutdown_to_who_comes_late() {
    let python = need!(any());
    let server = Server::start(&python, &["ferry_http.py", "{port}"]);
    server.wait_listens();
    terminate(&server);
    server.wait_until("no listener any more", || {
        kernel::accept_queue(server.pid, server.port).is_none()
    });
    let verdict = server.check();
    verdict
        .phase(&["draining"])
        .first_finding(&["drain-threads"])
        .culprit("load_cars");
}

#[test]
fn a_loop_that_cancels_its_tasks_is_a_shutdown_to_who_comes_late() {
    let python = need!(venv("py313", "python"));
    let server = Server::start(&python, &["loom_asyncio.py", "{port}"]);
    server.wait_listens();
    terminate(&server);
    server.wait_log("not before the spool is full", 1);
    let verdict = server.check();
    verdict
        .phase(&["draining"])
        .first_finding(&["drain-tasks"])
        .culprit("wind_yarn");
}

#[test]
fn a_program_that_a_server_has_started_is_a_server_of_its_own() {
    let python = need!(any());
    let server = Server::start(&python, &["pier_http.py", "{port}"]);
    server.wait_log("the pier is open", 1).wait_children(1);
    let child = kernel::descendants(server.pid)[0];
    server.wait_until("the child's listener", || {
        kernel::accept_queue(child, server.port).is_some()
    });
    let verdict = Verdict::of(child, "3s", &server.log());
    verdict.phase(&["serving"]).role("single", 1).quiet();
    let port = u64::from(server.port);
    verdict.listener("the child's own", |l| l["port"].as_u64() == Some(port));
}

#[test]
fn who_waits_for_a_server_stands_for_it() {
    let python = need!(any());
    let server = Server::start(&python, &["errand.py", "{port}"]);
    server.wait_children(1);
    let child = kernel::descendants(server.pid)[0];
    server.wait_until("the child's listener", || {
        kernel::accept_queue(child, server.port).is_some()
    });
    let verdict = server.check();
    verdict.phase(&["serving"]).role("supervisor", 1).quiet();
}

#[test]
fn a_loop_that_leaves_clients_unread_is_no_mere_warning() {
    let python = need!(venv("py312", "python"));
    let server = Server::start(&python, &["bell_asyncio.py", "{port}"]);
    server.wait_listens();
    let connect = || TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let (mut first, mut second) = (connect(), connect());
    server.wait_log("somebody is here", 2);
    first.write_all(b"hold\n").unwrap();
    server.wait_log("at the gate", 1);
    second.write_all(b"anybody?\n").unwrap();
    told(&server, "loop-blocked")
        .phase(&["stalled"])
        .first_finding(&["loop-blocked"])
        .culprit("wait_at_gate")
        .exit(1);
}
