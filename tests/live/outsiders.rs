//! Python that never means to listen is never failing.

use std::net::TcpListener;

use crate::need;
use crate::support::kernel;
use crate::support::python::{any, venv};
use crate::support::server::Server;
use crate::support::verdict::steth;

#[test]
fn a_script_with_a_connection_to_another_process() {
    let python = need!(any());
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = peer.local_addr().unwrap().port().to_string();
    let server = Server::start(&python, &["batch.py", &port]);
    server.wait_log("batch begins", 1);
    server.check().not_a_server();
}

#[test]
fn a_script_that_sleeps() {
    let python = need!(any());
    let code = "import time; print('asleep', flush=True); time.sleep(900)";
    let server = Server::start(&python, &["-c", code]);
    server.wait_log("asleep", 1);
    server.check().not_a_server();
}

#[test]
fn a_celery_worker_without_sockets() {
    let celery = need!(venv("live", "celery"));
    let args = [
        "-A",
        "jobs_celery",
        "worker",
        "-c",
        "2",
        "--without-gossip",
        "--without-mingle",
        "-l",
        "info",
    ];
    let server = Server::start(&celery, &args);
    server.wait_log("ready.", 1).wait_children(2);
    server.check().not_a_server();
}

#[test]
fn a_target_that_does_not_exist_is_a_usage_error() {
    let gone = {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id().to_string()
    };
    let port = format!(":{}", kernel::free_port());
    for target in [gone.as_str(), port.as_str(), "no such name anywhere"] {
        let (exit, stdout, stderr) = steth(&["check", "--for", "0s", target]);
        assert_eq!(exit, Some(2), "{target}: {stdout}{stderr}");
        assert!(
            !stderr.trim().is_empty() && !stderr.contains("panicked"),
            "{stderr}"
        );
    }
}
