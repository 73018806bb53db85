//! What holds a server back from outside of its code, and shutdowns that do not end.

use std::io::Write;
use std::net::TcpStream;

use crate::need;
use crate::support::load::crowd;
use crate::support::python::venv;
use crate::support::server::Server;
use crate::support::verdict::Verdict;
use crate::support::{heavy, kernel};

/// Looks for longer than the shortest time that says something: the machine may be busy.
fn looked_at(server: &Server) -> Verdict {
    Verdict::of(server.pid, "6s", &server.log())
}

fn terminate(pid: u32) {
    // SAFETY: kill takes plain numbers; the process is one that this test started and has not reaped.
    unsafe { libc::kill(i32::try_from(pid).unwrap(), libc::SIGTERM) };
}

#[test]
fn gil_that_one_call_keeps() {
    let python = need!(venv("main", "python"));
    let _turn = heavy();
    let server = Server::start(&python, &["factorial_aiohttp.py", "{port}"]);
    server.wait_listens();
    let held = crowd(server.port, 1);
    server.wait_log("counting", 1);
    let verdict = looked_at(&server);
    verdict
        .phase(&["stalled"])
        .first_finding(&["gil-held"])
        .culprit("count_orders");
    drop(held);
}

#[test]
fn shutdown_that_waits_for_a_stream() {
    let python = need!(venv("main", "python"));
    let server = Server::start(&python, &["ticker_aiohttp.py", "{port}"]);
    server.wait_listens();
    let held = crowd(server.port, 1);
    server.wait_log("following", 1);
    terminate(server.pid);
    server.wait_until("a closed listener", || {
        kernel::accept_queue(server.pid, server.port).is_none()
    });
    let verdict = looked_at(&server);
    verdict
        .phase(&["draining"])
        .first_finding(&["drain-connections"])
        .culprit("follow_prices");
    drop(held);
}

#[test]
fn exit_that_waits_for_a_job() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let args = ["-w", "0", "-b", "127.0.0.1:{port}", "exports_asgi:app"];
    let server = Server::start(&hypercorn, &args);
    server.wait_listens();
    drop(crowd(server.port, 1));
    server.wait_log("writing", 1);
    terminate(server.pid);
    server.wait_until("a closed listener", || {
        kernel::accept_queue(server.pid, server.port).is_none()
    });
    let verdict = looked_at(&server);
    verdict
        .phase(&["draining"])
        .first_finding(&["drain-threads"])
        .culprit("write_export");
}

#[test]
fn exit_that_waits_for_a_thread() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let args = [
        "-b",
        "127.0.0.1:{port}",
        "--graceful-timeout",
        "300",
        "outbox_wsgi:app",
    ];
    let server = Server::start(&gunicorn, &args);
    server.wait_log("Booting worker", 1).wait_listens();
    terminate(server.pid);
    server.wait_log("Worker exiting", 1);
    let verdict = looked_at(&server);
    verdict
        .phase(&["draining"])
        .first_finding(&["drain-threads"])
        .culprit("send_letters");
}

#[test]
fn one_of_two_sockets_that_share_a_port() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let args = [
        "-w",
        "2",
        "-t",
        "600",
        "--reuse-port",
        "-b",
        "127.0.0.1:{port}",
        "invoices_wsgi:app",
    ];
    let server = Server::start(&gunicorn, &args);
    server.wait_until("a socket of each worker", || {
        depths(server.pid, server.port).len() == 2
    });
    let mut stuck = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stuck
        .write_all(b"GET /invoice HTTP/1.1\r\nHost: live\r\n\r\n")
        .unwrap();
    server.wait_log("printing", 1);
    // The kernel chooses by the client's port: about half of them go where nobody takes them.
    let held = crowd(server.port, 24);
    server.wait_until("one queue that is drained, and one that is not", || {
        let depths = depths(server.pid, server.port);
        depths.contains(&0) && depths.iter().any(|d| *d > 0)
    });
    let verdict = looked_at(&server);
    verdict
        .phase(&["serving"])
        .first_finding(&["uneven-listeners"])
        .culprit("print_invoice");
    drop((stuck, held));
}

/// Depths of the accept queues of all listeners on the port.
fn depths(pid: u32, port: u16) -> Vec<u64> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let depth = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let listens = words.get(1)?.ends_with(&format!(":{port:04X}")) && words.get(3)? == &"0A";
        let depth = words.get(4)?.split_once(':')?.1;
        listens.then(|| u64::from_str_radix(depth, 16).unwrap_or(0))
    };
    table.lines().filter_map(depth).collect()
}

#[test]
fn ipv6_without_its_twin() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let args = ["echo_asgi:app", "--host", "::", "--port", "{port}"];
    let server = Server::start(&uvicorn, &args);
    server.wait_listens();
    let verdict = looked_at(&server);
    verdict.phase(&["serving"]).first_finding(&["ipv6-only"]);
}

#[test]
fn backlog_that_the_kernel_cuts() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let asked = (most.trim().parse::<u32>().unwrap() + 100).to_string();
    let args = ["echo_asgi:app", "--port", "{port}", "--backlog", &asked];
    let server = Server::start(&uvicorn, &args);
    server.wait_listens();
    let verdict = server.check();
    verdict
        .phase(&["serving"])
        .quiet()
        .first_finding(&["backlog-clamped"]);
}

#[test]
fn loop_beside_the_main_thread() {
    let python = need!(venv("main", "python"));
    let server = Server::start(&python, &["aside_asgi.py", "{port}"]);
    server.wait_log("Uvicorn running", 1).wait_listens();
    let verdict = looked_at(&server);
    verdict
        .phase(&["serving"])
        .quiet()
        .first_finding(&["loop-off-main-thread"]);
}
