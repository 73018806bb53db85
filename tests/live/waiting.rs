//! Servers whose startup waits for something that does not come: each wait is named, with the function that waits.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use crate::need;
use crate::support::PATIENCE;
use crate::support::python::{any, venv};
use crate::support::server::Server;
use crate::support::verdict::Verdict;

/// An ASGI server whose startup waits in this function for what is there.
fn waiting(program: &Path, function: &str, there: &str) -> Server {
    let (wait, at) = (format!("LIVE_WAIT={function}"), format!("LIVE_AT={there}"));
    let program = program.to_str().unwrap();
    let bind = ["-w", "0", "-b", "127.0.0.1:{port}", "waits_asgi:app"];
    let port = ["waits_asgi:app", "--port", "{port}"];
    let own = if program.ends_with("hypercorn") {
        &bind[..]
    } else {
        &port[..]
    };
    let args = [&[wait.as_str(), at.as_str(), program], own].concat();
    let server = Server::start(Path::new("/usr/bin/env"), &args);
    server.wait_log("waiting now", 1);
    server
}

/// What is said once it can be told: on a busy machine a look may come before the first stack has been read.
pub fn settled(server: &Server, code: &str) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let verdict = server.check();
        let first = &verdict.server()["findings"][0]["code"];
        if first == code || Instant::now() > deadline {
            return verdict;
        }
    }
}

fn told(server: &Server, code: &str, function: &str, says: &[&str]) {
    let verdict = settled(server, code);
    verdict
        .phase(&["starting", "bound"])
        .first_finding(&[code])
        .culprit(function);
    let first = verdict.server()["findings"][0].to_string();
    for words in says {
        if !first.contains(words) {
            verdict.fail(&format!("the first finding does not say {words:?}"));
        }
    }
}

/// A listener of this machine whose queue is full: whoever connects is not answered. The connection fills it.
fn full() -> (TcpListener, TcpStream) {
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: listen(2) takes plain numbers; with a backlog of 0 the queue admits one connection.
    let listens = unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&full), 0) };
    assert_eq!(listens, 0);
    let first = TcpStream::connect(full.local_addr().unwrap()).unwrap();
    (full, first)
}

#[test]
fn a_connection_that_is_not_made_with_a_time_out_of_minutes() {
    let uvicorn = need!(venv("py313", "uvicorn"));
    let (full, _first) = full();
    let address = full.local_addr().unwrap();
    let server = waiting(&uvicorn, "fetch_licence", &address.port().to_string());
    let peer = address.to_string();
    let says = [peer.as_str(), "SYN-SENT", "its accept queue is full"];
    told(&server, "connect-hang", "fetch_licence", &says);
}

#[test]
fn a_connection_that_is_awaited() {
    for (label, program) in [("live", "hypercorn"), ("py313", "uvicorn")] {
        let program = need!(venv(label, program));
        let (full, _first) = full();
        let address = full.local_addr().unwrap();
        let server = waiting(&program, "open_pool", &address.port().to_string());
        let peer = address.to_string();
        let says = [peer.as_str(), "SYN-SENT", "its accept queue is full"];
        told(&server, "connect-hang", "open_pool", &says);
    }
}

#[test]
fn a_command_that_a_thread_of_the_loops_pool_waits_for() {
    for (label, program) in [("legacy", "uvicorn"), ("py313", "uvicorn")] {
        let program = need!(venv(label, program));
        let server = waiting(&program, "import_rates", "");
        let says = ["sleep 900", "the event loop idles"];
        told(&server, "subprocess-wait", "import_rates", &says);
    }
}

#[test]
fn a_command_that_a_coroutine_waits_for() {
    for (label, program) in [
        ("legacy", "uvicorn"),
        ("live", "hypercorn"),
        ("py313", "uvicorn"),
    ] {
        let program = need!(venv(label, program));
        for function in ["migrate_schema", "load_plugins"] {
            let server = waiting(&program, function, "");
            told(
                &server,
                "subprocess-wait",
                function,
                &["its child", "sleep 900"],
            );
        }
    }
}

#[test]
fn a_fifo_that_a_thread_of_the_loops_pool_opens() {
    for (label, program) in [("live", "hypercorn"), ("py313", "uvicorn")] {
        let program = need!(venv(label, program));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        let path = path.to_str().unwrap();
        let server = waiting(&program, "open_features", path);
        let says = [path, "FIFO", "the event loop idles"];
        told(&server, "file-wait", "open_features", &says);
    }
}

#[test]
fn a_question_that_a_thread_of_the_loops_pool_asks() {
    for (label, program) in [("legacy", "uvicorn"), ("py313", "uvicorn")] {
        let program = need!(venv(label, program));
        let server = waiting(&program, "ask_passphrase", "");
        let says = ["standard input", "the event loop idles"];
        told(&server, "stdin-wait", "ask_passphrase", &says);
    }
}

#[test]
fn a_database_behind_a_unix_socket_that_does_not_answer() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sock");
    let _silent = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let server = waiting(&hypercorn, "greet_database", path);
    told(&server, "peer-silent", "greet_database", &[path]);
}

#[test]
fn the_output_of_a_command_that_a_daemon_keeps_open() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let server = waiting(&hypercorn, "collect_facts", "");
    told(&server, "subprocess-wait", "collect_facts", &["sleep 900"]);
}

#[test]
fn a_fifo_that_nobody_writes() {
    let uvicorn = need!(venv("legacy", "uvicorn"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let path = path.to_str().unwrap();
    let server = waiting(&uvicorn, "read_token", path);
    told(&server, "file-wait", "read_token", &[path, "FIFO"]);
}

#[test]
fn output_that_nobody_reads() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let server = waiting(&hypercorn, "report_progress", "");
    told(
        &server,
        "file-wait",
        "report_progress",
        &["in write()", "a pipe"],
    );
}

#[test]
fn a_question_on_standard_input() {
    let uvicorn = need!(venv("py313", "uvicorn"));
    let server = waiting(&uvicorn, "confirm_upgrade", "");
    told(
        &server,
        "stdin-wait",
        "confirm_upgrade",
        &["standard input"],
    );
}

#[test]
fn a_debugger_that_nobody_comes_to() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let args = ["-w", "0", "-b", "127.0.0.1:{port}", "ledger_rdb_asgi:app"];
    let server = Server::start(&hypercorn, &args);
    server.wait_log("opening the ledger", 1);
    told(
        &server,
        "debugger-wait",
        "open_ledger",
        &["a debugger to attach"],
    );
}

#[test]
fn a_record_lock_that_another_process_holds() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leader.lock");
    let path = path.to_str().unwrap();
    let server = waiting(&hypercorn, "become_leader", path);
    told(
        &server,
        "lock-wait",
        "become_leader",
        &[path, "held by pid"],
    );
}

#[test]
fn a_thread_that_is_joined_by_the_one_whose_lock_it_wants() {
    for (label, program) in [("live", "hypercorn"), ("py313", "uvicorn")] {
        let program = need!(venv(label, program));
        let server = waiting(&program, "warm_prices", "");
        told(
            &server,
            "thread-deadlock",
            "refresh_prices",
            &["warm_prices"],
        );
    }
}

#[test]
fn a_lock_taken_twice() {
    for (label, program) in [("legacy", "uvicorn"), ("py313", "uvicorn")] {
        let program = need!(venv(label, program));
        let server = waiting(&program, "reload_settings", "");
        told(
            &server,
            "thread-deadlock",
            "reload_settings",
            &["nobody can release"],
        );
    }
}

#[test]
fn a_lock_that_another_process_has() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let server = waiting(&hypercorn, "open_index", "");
    let says = ["several processes share", "keep_index"];
    told(&server, "lock-wait", "open_index", &says);
}

#[test]
fn a_lock_that_was_held_when_the_workers_were_forked() {
    let python = need!(any());
    let server = Server::start(&python, &["prefork_lines.py", "{port}"]);
    server.wait_log("forked", 1);
    settled(&server, "fork-deadlock")
        .phase(&["listening"])
        .first_finding(&["fork-deadlock"])
        .culprit("enter_registry");
}
