//! Servers whose logs can be read: what they add to the verdict, and what they do not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;

use crate::need;
use crate::support::python::{any, venv};
use crate::support::server::Server;
use crate::support::verdict::steth;
use crate::support::{PATIENCE, eventually, kernel};

/// Runs a line of shell in the folder of the applications; `$LOG` is a file, `{port}` a port.
fn shell(line: &str, log: &Path) -> Server {
    let line = line.replace("$LOG", log.to_str().unwrap());
    Server::start(Path::new("sh"), &["-c", &line])
}

/// What steth says of the server that has `word` on the command line of one of its processes, and the gaps, once it is `so`:
/// on a busy machine a server that comes and goes may be missed in one answer, and told in the next.
#[track_caller]
fn told(word: &str, so: impl Fn(&Value) -> bool) -> (Value, Value) {
    let mut last = Value::Null;
    for _ in 0..12 {
        let (_, stdout, _) = steth(&["check", "--json", "--for", "5s"]);
        let document: Value = serde_json::from_str(&stdout).unwrap();
        let says = |server: &&Value| server["processes"].to_string().contains(word);
        let server = document["servers"].as_array().unwrap().iter().find(says);
        if let Some(server) = server.filter(|server| so(server)) {
            return (server.clone(), document["gaps"].clone());
        }
        last = server.cloned().unwrap_or(Value::Null);
    }
    panic!("it is not so: {last:#}");
}

/// True if the first finding has this code.
fn is_first(server: &Value, code: &str) -> bool {
    server["findings"][0]["code"] == code
}

/// The last lines as text.
fn log_of(server: &Value) -> String {
    let lines = server["log"].as_array();
    let texts = lines.into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|l| l["text"].as_str()).collect();
    texts.join("\n")
}

/// No finding above a note.
fn is_quiet(server: &Value) -> bool {
    let findings = server["findings"].as_array().unwrap();
    findings.iter().all(|f| f["severity"] == "info")
}

fn wait_for(path: &Path, part: &str, times: usize) {
    let has = || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.matches(part).count() >= times
    };
    let said = || std::fs::read_to_string(path).unwrap_or_default();
    assert!(eventually(PATIENCE, has), "never saw {part:?}: {}", said());
}

#[test]
fn a_crash_loop_names_what_was_raised() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("errors.txt");
    let gunicorn = gunicorn.display();
    // Its output goes into a pipe; its own log file, which the command line names, tells.
    let server = shell(
        &format!(
            "while :; do {gunicorn} --error-logfile $LOG -b 127.0.0.1:{{port}} vault_wsgi:app; sleep 0.5; done"
        ),
        &log,
    );
    wait_for(&log, "ValueError: invalid literal", 2);
    let word = format!("127.0.0.1:{}", server.port);
    // While a traceback is being written it is all that the last lines hold.
    let (server, _) = told(&word, |s| {
        is_first(s, "crash-loop")
            && s["findings"][0]["culprit"]["function"] == "open_vault"
            && log_of(s).contains("Worker failed to boot")
    });
    let text = server["findings"][0].to_string();
    assert!(text.contains("ValueError: invalid literal"), "{text}");
}

#[test]
fn an_address_that_this_very_test_has_is_in_use() {
    let python = need!(any());
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("out");
    let python = python.display();
    let _server = shell(
        &format!(
            "while :; do {python} -m http.server {port} --bind 127.0.0.1; sleep 0.5; done >>$LOG 2>&1"
        ),
        &log,
    );
    wait_for(&log, "Address already in use", 2);
    // Not a Python process: it is searched for among all.
    let own = format!("pid {} (", std::process::id());
    let word = format!("\"{port}\"");
    let (server, _) = told(&word, |s| {
        is_first(s, "address-in-use") && s["findings"][0]["summary"].to_string().contains(&own)
    });
    let summary = server["findings"][0]["summary"].to_string();
    assert!(summary.contains(&format!("127.0.0.1:{port}")), "{summary}");
    assert_eq!(server["findings"][0]["severity"], "critical");
}

#[test]
fn a_server_thread_that_died_is_told_by_the_log_and_without_it() {
    let python = need!(any());
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("kiosk");
    // 203.0.113.0/24 is for documentation (RFC 5737): bind() is refused.
    let start = format!(
        "exec {} kiosk_thread.py 203.0.113.1 {{port}}",
        python.display()
    );
    for output in [">$LOG 2>&1", "2>&1 | cat"] {
        let server = match output.starts_with('>') {
            true => shell(&format!("{start} {output}"), &log),
            false => shell(&format!("({start}) {output}"), &log),
        };
        match output.starts_with('>') {
            true => wait_for(&log, "Exception in thread kiosk-web", 1),
            false => drop(server.wait_log("Exception in thread kiosk-web", 1)),
        }
        let word = format!("\"{}\"", server.port);
        let (server, _) = told(&word, |s| is_first(s, "server-thread-died"));
        assert_eq!(server["phase"], "stalled");
        assert_eq!(server["findings"][0]["culprit"]["function"], "answer");
        assert_eq!(
            server["log"].is_array(),
            output.starts_with('>'),
            "{server:#}"
        );
    }
}

#[test]
fn a_server_that_logs_exceptions_and_serves_is_well() {
    let waitress = need!(venv("main", "waitress-serve"));
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("grumpy.log");
    let server = shell(
        &format!(
            "exec {} --listen=127.0.0.1:{{port}} grumpy_wsgi:app >>$LOG 2>&1",
            waitress.display()
        ),
        &log,
    );
    server.wait_listens();
    let ask = || {
        let mut client = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    };
    ask();
    wait_for(&log, "KeyError: 'price'", 1);
    let word = format!(":{}", server.port);
    let (server, _) = told(&word, |s| s["phase"] == "serving" && s["log"].is_array());
    assert!(is_quiet(&server), "{server:#}");
    let lines = server["log"].as_array().unwrap();
    let error = lines.iter().find(|l| l["level"] == "error").unwrap();
    assert!(error["text"].as_str().unwrap().contains("no price"));
    assert!(error["at"].as_str().is_some_and(|at| at.starts_with("20")));
}

#[test]
fn a_log_that_goes_into_a_pipe_is_left_alone_and_said() {
    let waitress = need!(venv("main", "waitress-serve"));
    let args = ["--listen=127.0.0.1:{port}", "echo_wsgi:app"];
    let server = Server::start(&waitress, &args);
    server.wait_listens();
    let word = format!(":{}", server.port);
    let (seen, gaps) = told(&word, |s| s["phase"] == "serving");
    assert!(seen["log"].is_null() && is_quiet(&seen), "{seen:#}");
    let own = format!("a pipe read by pid {}", std::process::id());
    let pid = u64::from(server.pid);
    let says = |gap: &&Value| {
        gap["source"] == "log" && gap["pid"] == pid && gap["cause"].to_string().contains(&own)
    };
    assert!(
        gaps.as_array().unwrap().iter().any(|g| says(&g)),
        "{gaps:#}"
    );
    // Nothing of what it said has been lost to the test, which reads the pipe.
    server.wait_log("Serving on http", 1);
    assert!(kernel::accept_queue(server.pid, server.port).is_some());
}
