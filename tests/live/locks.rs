//! Servers whose threads stand in front of locks, of the GIL, of a client, or of a thread that a fork has not got: while others
//! are served, or none is.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use crate::need;
use crate::support::kernel;
use crate::support::python::{any, interpreter, venv};
use crate::support::server::Server;
use crate::waiting::settled;

/// A client that stays.
fn asks(server: &Server, request: &str) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client
}

fn request(server: &Server, line: &str) -> TcpStream {
    asks(server, &format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

#[test]
fn requests_that_wait_for_each_other_while_others_are_served() {
    for python in [need!(interpreter("3.8")), need!(any())] {
        let server = Server::start(&python, &["ledger_threads.py", "{port}"]);
        server.wait_listens();
        let _stuck = (request(&server, "PUT /1"), request(&server, "DELETE /1"));
        let verdict = settled(&server, "thread-deadlock");
        verdict
            .phase(&["serving"])
            .first_finding(&["thread-deadlock"])
            .exit(0);
        let first = verdict.server()["findings"][0].to_string();
        for function in ["book", "cancel"] {
            assert!(first.contains(function), "{first}");
        }
    }
}

/// The same line for both: which lock each wants, memory tells.
#[test]
fn requests_that_wait_for_each_other_on_one_line() {
    for version in ["3.8", "3.10", "3.11", "3.12", "3.13"] {
        let python = need!(interpreter(version));
        let server = Server::start(&python, &["ledger_threads.py", "{port}"]);
        server.wait_listens();
        let _stuck = (request(&server, "MOVE /a-b"), request(&server, "MOVE /b-a"));
        settled(&server, "thread-deadlock")
            .phase(&["serving"])
            .first_finding(&["thread-deadlock"])
            .culprit("move");
    }
}

#[test]
fn a_request_that_takes_a_lock_twice() {
    for version in ["3.9", "3.12", "3.13"] {
        let python = need!(interpreter(version));
        let server = Server::start(&python, &["ledger_threads.py", "{port}"]);
        server.wait_listens();
        let _stuck = request(&server, "POST /till");
        settled(&server, "thread-deadlock")
            .phase(&["serving"])
            .first_finding(&["thread-deadlock"])
            .culprit("close_till");
    }
}

#[test]
fn requests_that_wait_for_news_are_in_front_of_no_lock() {
    for python in [need!(interpreter("3.9")), need!(any())] {
        let server = Server::start(&python, &["ledger_threads.py", "{port}"]);
        server.wait_listens();
        let _clients: Vec<TcpStream> = (0..4).map(|_| request(&server, "GET /news")).collect();
        server.wait_log("waits for news", 4);
        let verdict = server.check();
        let findings = verdict.server()["findings"].to_string();
        verdict.phase(&["serving"]).quiet();
        assert!(!findings.contains("lock"), "{findings}");
    }
}

#[test]
fn threads_of_a_pool_that_wait_for_each_other() {
    for (label, program) in [("live", "hypercorn"), ("py313", "uvicorn")] {
        let path = need!(venv(label, program));
        let bind = ["-w", "0", "-b", "127.0.0.1:{port}", "seats_asgi:app"];
        let port = ["seats_asgi:app", "--port", "{port}"];
        let args = if program == "hypercorn" {
            &bind[..]
        } else {
            &port[..]
        };
        let server = Server::start(&path, args);
        server.wait_listens();
        let _stuck = (
            request(&server, "GET /reserve"),
            request(&server, "GET /release"),
        );
        let verdict = settled(&server, "thread-deadlock");
        verdict
            .phase(&["serving"])
            .first_finding(&["thread-deadlock"]);
        let first = verdict.server()["findings"][0].to_string();
        for function in ["reserve", "release"] {
            assert!(first.contains(function), "{first}");
        }
    }
}

#[test]
fn a_client_that_says_nothing_keeps_all_others() {
    for python in [need!(interpreter("3.8")), need!(any())] {
        let server = Server::start(&python, &["greeter_tcp.py", "{port}"]);
        server.wait_listens();
        let _silent: Vec<TcpStream> = (0..4).map(|_| asks(&server, "Jo")).collect();
        server.wait_log("connected", 1);
        settled(&server, "peer-silent")
            .phase(&["stalled"])
            .first_finding(&["peer-silent"])
            .culprit("read_name");
    }
}

#[test]
fn a_thread_that_a_fork_has_not_got() {
    let python = need!(any());
    let server = Server::start(&python, &["prefork_catalogue.py", "{port}"]);
    server.wait_log("forked", 1);
    settled(&server, "fork-deadlock")
        .phase(&["listening"])
        .first_finding(&["fork-deadlock"])
        .culprit("ask_catalogue");
}

#[test]
fn a_loop_that_polls_waits_for_the_gil() {
    for python in [need!(interpreter("3.9")), need!(any())] {
        let server = Server::start(&python, &["scales_tcp.py", "{port}"]);
        server.wait_log("weighing", 1);
        let _client = asks(&server, "?");
        server.wait_until("a client in its queue", || {
            kernel::accept_queue(server.pid, server.port) > Some(0)
        });
        let verdict = settled(&server, "gil-held");
        verdict
            .phase(&["stalled"])
            .first_finding(&["gil-held"])
            .culprit("weigh");
        let findings = verdict.server()["findings"].to_string();
        assert!(!findings.contains("still starting"), "{findings}");
    }
}

#[test]
fn a_loop_that_may_open_no_file_is_not_held_by_code() {
    let python: &Path = &need!(interpreter("3.12"));
    let server = Server::start(python, &["thumbs_asyncio.py", "{port}"]);
    server.wait_listens();
    let _clients: Vec<TcpStream> = (0..30).map(|_| asks(&server, "x")).collect();
    server.wait_log("full", 1);
    let verdict = settled(&server, "fd-exhausted");
    verdict.phase(&["stalled"]).first_finding(&["fd-exhausted"]);
    let findings = verdict.server()["findings"].to_string();
    assert!(!findings.contains("loop-blocked"), "{findings}");
}
