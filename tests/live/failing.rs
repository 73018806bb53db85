//! Servers that log but do not serve: the phase, the code and the culprit that an operator has to be told.
//!
//! Severity depends on how long a start already takes: it is asked for only where that is long, or where no start excuses it.

use std::fmt::Write;
use std::net::TcpListener;
use std::time::Duration;

use crate::need;
use crate::others::told;
use crate::support::load::crowd;
use crate::support::python::{any, venv};
use crate::support::server::Server;
use crate::support::verdict::Verdict;
use crate::support::{eventually, heavy, kernel};

#[test]
fn import_that_is_slow_but_moves() {
    let python = need!(venv("main", "python"));
    let folder = tempfile::tempdir().unwrap();
    let mut package = String::new();
    for number in 0..100 {
        let module = format!("import time\ntime.sleep(0.45)\nTABLE = list(range({number}))\n");
        std::fs::write(folder.path().join(format!("region_{number}.py")), module).unwrap();
        writeln!(package, "import region_{number}").unwrap();
    }
    package.push_str("from echo_wsgi import app\n");
    std::fs::write(folder.path().join("atlas.py"), package).unwrap();
    let args = [
        "-v",
        "-m",
        "waitress",
        "--listen=127.0.0.1:{port}",
        "atlas:app",
    ];
    let server = Server::start_in(folder.path(), &python, &args);
    server.wait_log("import 'region_2'", 1);
    let verdict = server.check();
    verdict.phase(&["importing"]);
    // Slow is no failure by itself: a warning or a note, never `import-blocked`.
    let codes = verdict.server()["findings"].to_string();
    assert!(!codes.contains("import-blocked"), "{codes}");
    assert!(codes.contains("import-slow"), "{:#}", verdict.server());
}

#[test]
fn import_that_stands_still() {
    let waitress = need!(venv("main", "waitress-serve"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = silent.local_addr().unwrap().port();
    let env = format!("LIVE_PEER={peer}");
    let program = std::path::Path::new("/usr/bin/env");
    let waitress = waitress.to_str().unwrap();
    let args = [
        &env,
        waitress,
        "--listen=127.0.0.1:{port}",
        "flags_wsgi:app",
    ];
    let server = Server::start(program, &args);
    server.wait_log("asking for flags", 1);
    let verdict = server.check();
    verdict
        .phase(&["importing"])
        .first_finding(&["import-blocked", "peer-silent"])
        .culprit("fetch_flags");
}

#[test]
fn startup_blocked_by_synchronous_code() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let args = ["-w", "0", "-b", "127.0.0.1:{port}", "rules_asgi:app"];
    let server = Server::start(&hypercorn, &args);
    server.wait_log("loading the rules", 1);
    // A start may take its time; one that has stood still for half a minute is critical, to a script too.
    server.wait_age(Duration::from_secs(32));
    let verdict = server.check();
    verdict
        .phase(&["starting", "bound"])
        .first_finding(&["startup-blocked", "bound-not-listening"])
        .culprit("load_fraud_rules")
        .exit(1);
}

#[test]
fn startup_that_computes_for_ever() {
    let python = need!(venv("main", "python"));
    let _turn = heavy();
    let server = Server::start(&python, &["ledger_aiohttp.py", "{port}", "stuck"]);
    server.wait_log("rebuilding", 1);
    let verdict = server.check();
    verdict
        .phase(&["starting"])
        .first_finding(&["startup-blocked"])
        .culprit("rebuild_ledger");
}

#[test]
fn bound_by_the_supervisor_and_never_listening() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let args = ["rules_asgi:app", "--port", "{port}", "--workers", "2"];
    let server = Server::start(&uvicorn, &args);
    server.wait_log("loading the rules", 2);
    assert!(server.log().contains("Uvicorn running on"));
    assert_eq!(kernel::accept_queue(server.pid, server.port), None);
    let verdict = server.check();
    verdict
        .phase(&["bound", "starting"])
        .first_finding(&["bound-not-listening", "startup-blocked"]);
    let port = u64::from(server.port);
    verdict.listener("bound and not listening", |listener| {
        listener["port"].as_u64() == Some(port)
            && listener["state"] == "bound"
            && listener["accept_queue"].is_null()
    });
}

#[test]
fn bound_by_itself_and_never_listening() {
    let python = need!(any());
    let server = Server::start(&python, &["bound_first.py", "{port}"]);
    server.wait_log("serving soon", 1);
    let verdict = server.check();
    verdict
        .phase(&["bound", "starting"])
        .first_finding(&["bound-not-listening", "startup-blocked"])
        .culprit("read_catalogue");
}

#[test]
fn blocked_loop_whose_queue_overflows() {
    let python = need!(venv("live", "python"));
    let server = Server::start(&python, &["votes_tornado.py", "{port}", "stuck"]);
    server.wait_listens();
    let held = crowd(server.port, 1);
    server.wait_log("tallying", 1);
    let more = crowd(server.port, 40);
    // A backlog of 7 admits 8.
    server.wait_until("a full queue", || {
        kernel::accept_queue(server.pid, server.port) == Some(8)
    });
    let verdict = server.check();
    verdict
        .phase(&["stalled"])
        .first_finding(&["loop-blocked", "accept-queue-full"])
        .exit(1);
    verdict.listener("full", |listener| {
        listener["accept_queue"] == 8 && listener["backlog"] == 7
    });
    drop((held, more));
}

#[test]
fn single_thread_that_is_taken() {
    let python = need!(any());
    let server = Server::start(&python, &["archive_http.py", "{port}"]);
    server.wait_listens();
    let held = crowd(server.port, 1);
    server.wait_log("unpacking", 1);
    let more = crowd(server.port, 12);
    assert!(eventually(Duration::from_secs(60), || {
        kernel::accept_queue(server.pid, server.port) >= Some(5)
    }));
    let verdict = server.check();
    verdict.phase(&["stalled"]).exit(1);
    drop((held, more));
}

#[test]
fn single_thread_that_waits_for_an_event() {
    let python = need!(venv("main", "python"));
    let server = Server::start(&python, &["flash_flask.py", "{port}"]);
    server.wait_listens();
    let held = crowd(server.port, 1);
    server.wait_log("waiting for the flash", 1);
    let more = crowd(server.port, 3);
    let verdict = told(&server, "no-worker-accepting");
    verdict
        .phase(&["stalled"])
        .first_finding(&["no-worker-accepting"])
        .culprit("wait_for_flash");
    let first = verdict.server()["findings"][0].to_string();
    assert!(first.contains("one request at a time"), "{first}");
    drop((held, more));
}

#[test]
fn workers_that_die_at_boot_under_a_supervisor() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let _turn = heavy();
    let args = ["unbootable_wsgi:app", "--port", "{port}", "--workers", "2"];
    let server = Server::start(&uvicorn, &args);
    server.wait_log("LIVE_SECRET_THAT_NOBODY_SET", 3);
    let verdict = server.check();
    verdict
        .phase(&["crash-looping"])
        .first_finding(&["crash-loop"])
        .exit(1);
}

#[test]
fn gunicorn_that_is_started_again_and_again() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let python = need!(venv("main", "python"));
    let _turn = heavy();
    // The master gives up when its first worker cannot boot (exit code 3); what starts it again is a small supervisor.
    let again = "import subprocess, sys, time\nwhile True:\n    subprocess.call(sys.argv[1:])\n    time.sleep(0.4)\n";
    let gunicorn = gunicorn.to_str().unwrap();
    let args = [
        "-c",
        again,
        gunicorn,
        "-b",
        "127.0.0.1:{port}",
        "unbootable_wsgi:app",
    ];
    let server = Server::start(&python, &args);
    server.wait_log("LIVE_SECRET_THAT_NOBODY_SET", 2);
    let address = format!("127.0.0.1:{}", server.port);
    let verdict = Verdict::of_word(&address, server.pid, &server.log());
    verdict
        .phase(&["crash-looping"])
        .first_finding(&["crash-loop"])
        .exit(1);
    let exits = verdict.server()["exits"].as_array().unwrap();
    if !exits.iter().any(|exit| exit["code"] == 3) {
        verdict.fail("no exit with gunicorn's code 3 was seen");
    }
}

#[test]
fn stopped_worker() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let args = ["-t", "300", "-b", "127.0.0.1:{port}", "echo_wsgi:app"];
    let server = Server::start(&gunicorn, &args);
    server.wait_log("Booting worker", 1).wait_listens();
    let worker = kernel::descendants(server.pid)[0];
    // SAFETY: kill takes plain numbers; the worker is a child of the server that this test started.
    unsafe { libc::kill(i32::try_from(worker).unwrap(), libc::SIGSTOP) };
    let verdict = server.check();
    verdict
        .phase(&["stalled", "stopped"])
        .first_finding(&["worker-stopped"])
        .exit(1);
}

#[test]
fn a_side_port_does_not_make_it_serving() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let metrics = kernel::free_port();
    let env = format!("LIVE_METRICS={metrics}");
    let program = std::path::Path::new("/usr/bin/env");
    let hypercorn = hypercorn.to_str().unwrap();
    let args = [
        &env,
        hypercorn,
        "-w",
        "0",
        "-b",
        "127.0.0.1:{port}",
        "metrics_asgi:app",
    ];
    let server = Server::start(program, &args);
    server.wait_log("loading the rules", 1);
    assert!(kernel::accept_queue(server.pid, metrics).is_some());
    let verdict = server.check();
    verdict
        .phase(&["starting", "bound"])
        .first_finding(&["startup-blocked", "bound-not-listening"])
        .culprit("load_fraud_rules");
}
