//! What fills up little by little: open files, an accept queue.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::need;
use crate::others::told_of;
use crate::support::kernel;
use crate::support::load::Light;
use crate::support::python::any;
use crate::support::server::Server;
use crate::support::verdict::Verdict;

/// A trend of open files takes two minutes to tell.
#[test]
fn files_that_are_opened_and_not_closed() {
    let python = need!(any());
    let server = Server::start(&python, &["receipts_http.py", "{port}"]);
    server.wait_listens();
    let load = Light::on_port(server.port);
    load.wait_answers();
    let verdict = Verdict::of(server.pid, "135s", &server.log());
    verdict
        .phase(&["serving"])
        .first_finding(&["fd-growing"])
        .exit(0);
    let first = &verdict.server()["findings"][0];
    assert_eq!(first["severity"], "warning", "{first:#}");
    drop(load);
}

#[test]
fn a_queue_that_grows_behind_one_call() {
    let python = need!(any());
    let server = Server::start(&python, &["stock_xmlrpc.py", "{port}"]);
    server.wait_listens();
    let mut caller = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let call =
        "<?xml version='1.0'?><methodCall><methodName>count_shelves</methodName></methodCall>";
    let length = call.len();
    write!(caller, "POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{call}").unwrap();
    server.wait_log("counting", 1);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // One more every second: fewer than the queue has room for.
        scope.spawn(|| {
            let mut held = Vec::new();
            while !end.load(Ordering::Relaxed) && held.len() < 90 {
                held.push(TcpStream::connect(("127.0.0.1", server.port)));
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        server.wait_until("clients in its queue", || {
            kernel::accept_queue(server.pid, server.port) >= Some(2)
        });
        let verdict = std::panic::catch_unwind(|| told_of(&server, "accept-queue-growing"));
        end.store(true, Ordering::Relaxed);
        let verdict = verdict.unwrap();
        verdict.phase(&["stalled"]).culprit("count_shelves");
        let findings = verdict.server()["findings"].to_string();
        assert!(findings.contains("accept-queue-growing"), "{findings}");
        assert!(!findings.contains("accept-queue-full"), "{findings}");
    });
}
