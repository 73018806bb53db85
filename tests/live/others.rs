//! Failures of which the other modules have no server: pools, locks of tasks, name servers, descriptors, workers that end.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::Instant;

use crate::need;
use crate::support::load::{Light, crowd};
use crate::support::python::{any, is_root, venv};
use crate::support::server::Server;
use crate::support::verdict::Verdict;
use crate::support::{PATIENCE, heavy, kernel};

/// A listener of this machine that lets clients in and never says a word.
fn silent() -> (TcpListener, String) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    (silent, port)
}

/// What is said once this is the first finding.
pub fn told(server: &Server, code: &str) -> Verdict {
    until(server, |verdict| {
        verdict.server()["findings"][0]["code"] == code
    })
}

/// What is said once it is `so`: on a busy machine a look may be over before there is enough to tell.
pub fn until(server: &Server, so: impl Fn(&Verdict) -> bool) -> Verdict {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let verdict = Verdict::of(server.pid, "6s", &server.log());
        if so(&verdict) || Instant::now() > deadline {
            return verdict;
        }
    }
}

#[test]
fn a_pool_of_two_threads() {
    let python = need!(any());
    let (_printer, port) = silent();
    let server = Server::start(&python, &["labels_asyncio.py", "{port}", &port]);
    server.wait_listens();
    let held = crowd(server.port, 5);
    server.wait_log("printing", 2);
    told(&server, "threadpool-exhausted")
        .phase(&["serving", "stalled"])
        .first_finding(&["threadpool-exhausted"])
        .culprit("print_label");
    drop(held);
}

fn pool_of(client: &str) {
    let python = need!(venv("live", "python"));
    let (_peer, port) = silent();
    let server = Server::start(&python, &["prices_aiohttp.py", client, &port, "{port}"]);
    server.wait_listens();
    let held = crowd(server.port, 6);
    server.wait_log("asking", 6);
    told(&server, "pool-exhausted")
        .phase(&["serving"])
        .first_finding(&["pool-exhausted"])
        .culprit(&format!("ask_{client}"));
    drop(held);
}

#[test]
fn connections_of_aiohttp() {
    pool_of("aiohttp");
}

#[test]
fn connections_of_httpx() {
    pool_of("httpx");
}

#[test]
fn connections_of_redis() {
    pool_of("redis");
}

#[test]
fn connections_of_sqlalchemy() {
    pool_of("sqlalchemy");
}

#[test]
fn tasks_that_hold_what_the_other_wants() {
    let python = need!(venv("live", "python"));
    let server = Server::start(&python, &["transfer_tornado.py", "{port}"]);
    server.wait_log("took one", 2);
    told(&server, "task-deadlock")
        .phase(&["starting"])
        .first_finding(&["task-deadlock"])
        .culprit("transfer");
}

#[test]
fn a_task_that_is_not_to_be_cancelled() {
    let python = need!(venv("live", "python"));
    let server = Server::start(&python, &["stubborn_aiohttp.py", "{port}"]);
    server.wait_listens();
    // SAFETY: kill takes plain numbers; the process is one that this test started and has not reaped.
    unsafe { libc::kill(i32::try_from(server.pid).unwrap(), libc::SIGTERM) };
    server.wait_log("not now", 1);
    told(&server, "drain-tasks")
        .phase(&["draining"])
        .first_finding(&["drain-tasks"])
        .culprit("flush_counters");
}

#[test]
fn a_name_server_that_says_nothing() {
    need!(is_root());
    let python = need!(any());
    let _silent = UdpSocket::bind("127.0.0.153:53").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let resolver = folder.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.153\noptions timeout:30\n").unwrap();
    let line = format!(
        "mount --bind {} /etc/resolv.conf && exec {} broker_http.py {{port}}",
        resolver.display(),
        python.display()
    );
    let server = Server::start(Path::new("unshare"), &["-m", "sh", "-c", &line]);
    server.wait_log("looking", 1);
    told(&server, "dns-hang")
        .phase(&["importing", "starting"])
        .first_finding(&["dns-hang"])
        .culprit("find_broker");
}

#[test]
fn descriptors_that_are_all_taken() {
    let python = need!(any());
    let _turn = heavy();
    let server = Server::start(&python, &["gallery_threads.py", "{port}"]);
    server.wait_listens();
    let held = crowd(server.port, 40);
    told(&server, "fd-exhausted")
        .phase(&["stalled", "serving"])
        .first_finding(&["fd-exhausted"]);
    drop(held);
}

#[test]
fn a_listener_whose_worker_has_ended() {
    let python = need!(any());
    let server = Server::start(&python, &["spent_prefork.py", "{port}"]);
    server.wait_listens();
    let first = crowd(server.port, 1);
    server.wait_log("worker ended", 1);
    let held = crowd(server.port, 2);
    // What its parent does instead is as true, and may come first.
    let verdict = told_of(&server, "no-worker-accepting");
    verdict
        .phase(&["listening", "stalled"])
        .first_finding(&["no-worker-accepting", "startup-blocked"]);
    assert!(
        has(&verdict, "no-worker-accepting"),
        "{:#}",
        verdict.server()
    );
    drop((first, held));
}

pub fn told_of(server: &Server, code: &str) -> Verdict {
    until(server, |verdict| has(verdict, code))
}

fn has(verdict: &Verdict, code: &str) -> bool {
    let findings = verdict.server()["findings"].as_array();
    findings.is_some_and(|all| all.iter().any(|f| f["code"] == code))
}

#[test]
fn workers_that_are_killed_for_their_silence() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let args = [
        "-k",
        "uvicorn.workers.UvicornWorker",
        "-t",
        "2",
        "-b",
        "127.0.0.1:{port}",
        "halting_asgi:app",
    ];
    let server = Server::start(&gunicorn, &args);
    server.wait_listens();
    let load = Light::on_port(server.port);
    server.wait_log("rebuilding", 2);
    // On a busy machine one of them may die before its stack has been read.
    let named = |verdict: &Verdict| {
        let first = &verdict.server()["findings"][0];
        first["code"] == "worker-timeout-loop" && !first["culprit"].is_null()
    };
    until(&server, named)
        .first_finding(&["worker-timeout-loop"])
        .culprit("rebuild_thumbnails");
    drop(load);
}

#[test]
fn a_socket_for_its_owner_alone() {
    let waitress = need!(venv("main", "waitress-serve"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sock");
    let unix = format!("--unix-socket={}", path.display());
    let args = [unix.as_str(), "--unix-socket-perms=600", "echo_wsgi:app"];
    let server = Server::start(&waitress, &args);
    server.wait_until("its socket", || path.exists());
    told(&server, "socket-permission")
        .phase(&["serving"])
        .quiet()
        .first_finding(&["socket-permission"]);
}

#[test]
fn an_address_that_is_tried_again_and_again() {
    let python = need!(any());
    let (_taken, port) = silent();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("door.log");
    let line = format!(
        "exec {} patient_asyncio.py {port} > {} 2>&1",
        python.display(),
        log.display()
    );
    let server = Server::start(Path::new("sh"), &["-c", &line]);
    let says = || std::fs::read_to_string(&log).unwrap_or_default();
    server.wait_until("two refusals", || says().matches("not yet").count() >= 2);
    assert_eq!(kernel::accept_queue(server.pid, server.port), None);
    let verdict = told(&server, "address-in-use");
    verdict
        .phase(&["starting"])
        .first_finding(&["address-in-use"])
        .culprit("open_door");
    let summary = verdict.server()["findings"][0]["summary"].to_string();
    let own = format!("pid {}", std::process::id());
    assert!(summary.contains(&own), "{summary} does not name {own}");
}
