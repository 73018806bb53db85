//! Requests and clients of every sort, and how it begins and ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;

use crate::support::python::any;
use crate::support::server::Server;
use crate::support::verdict::steth;
use crate::support::{PATIENCE, eventually};
use crate::{Exporter, file, need, program, promtool};

#[test]
fn what_it_answers() {
    let exporter = Exporter::start("127.0.0.1:0");
    let openmetrics = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    for (request, headers, status, has) in [
        ("GET /metrics", "", "200", "text/plain; version=0.0.4"),
        (
            "GET /metrics",
            openmetrics,
            "200",
            "application/openmetrics-text; version=1.0.0",
        ),
        ("HEAD /metrics", "", "200", "content-length: "),
        ("GET /", "", "200", "text/plain"),
        ("GET /nothing", "", "404", "text/plain"),
        (
            "POST /metrics",
            "Content-Length: 0\r\n",
            "405",
            "allow: GET, HEAD",
        ),
    ] {
        let asked = format!("{request} HTTP/1.1\r\nHost: steth\r\n{headers}\r\n");
        let (head, body) = exporter.ask(&asked);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains(has), "{head}");
        assert_eq!(body.is_empty(), request.starts_with("HEAD"), "{body}");
        assert_eq!(body.ends_with("# EOF\n"), headers == openmetrics, "{body}");
    }
    let (head, _) = exporter.ask("nonsense\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn it_listens_where_it_is_told_and_on_loopback_else() {
    let (exit, out, _) = steth(&["metrics", "--help"]);
    assert_eq!(exit, Some(0));
    assert!(out.contains("[default: 127.0.0.1:9464]"), "{out}");
    if TcpListener::bind("[::1]:0").is_ok() {
        let exporter = Exporter::start("[::1]:0");
        assert!(exporter.address.is_ipv6() && exporter.address.port() != 0);
        assert!(exporter.metrics().contains("steth_build_info"));
    }
    for (listen, says) in [
        (":9464", "is not an address with a port"),
        ("localhost", "is not an address with a port"),
        ("127.0.0.1:70000", "is not an address with a port"),
        // TEST-NET-1 (RFC 5737): nobody has it.
        ("192.0.2.1:9464", "cannot listen on 192.0.2.1:9464"),
    ] {
        let (exit, _, told) = steth(&["metrics", "--listen", listen]);
        assert_eq!(exit, Some(2), "{told}");
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn an_address_that_is_taken_is_a_plain_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (exit, out, told) = steth(&["metrics", "--listen", &address]);
    assert_eq!((exit, out.as_str()), (Some(2), ""));
    let want = format!("steth: cannot listen on {address}: Address already in use");
    assert!(told.starts_with(&want), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn signals_end_it() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let status = Exporter::start("127.0.0.1:0").end_by(signal);
        assert_eq!(status.signal(), Some(signal));
    }
}

#[test]
fn clients_that_only_hold_connections_keep_nobody_out() {
    let exporter = Exporter::start("127.0.0.1:0");
    let connect = |_| {
        let mut stream = TcpStream::connect(exporter.address).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: a")
            .unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..200).map(connect).collect();
    for _ in 0..5 {
        assert!(exporter.metrics().contains("steth_build_info"));
    }
    // Each of them is shut out in the end: the first ones by those after them, the last ones since they do not ask.
    for stream in [0, 199] {
        let mut rest = Vec::new();
        match slow[stream].read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

#[test]
fn a_request_without_an_end_is_refused() {
    let exporter = Exporter::start("127.0.0.1:0");
    let mut stream = TcpStream::connect(exporter.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let header = format!("X-Long: {}\r\n", "a".repeat(1000));
    let refused = (0..10_000).any(|_| stream.write_all(header.as_bytes()).is_err());
    assert!(refused, "it reads ten megabytes of headers");
    assert!(exporter.metrics().contains("steth_build_info"));
}

#[test]
fn promtool_finds_no_fault() {
    need!(program("promtool").map(|_| ()));
    let python = need!(any());
    let args = ["-m", "http.server", "{port}", "--bind", "127.0.0.1"];
    let server = Server::start(&python, &args);
    server.wait_listens();
    let exporter = Exporter::start("127.0.0.1:0");
    let address = format!("address=\"127.0.0.1:{}\"", server.port);
    let told = eventually(PATIENCE, || exporter.metrics().contains(&address));
    assert!(told, "{}", exporter.metrics());
    promtool(&["check", "metrics"], &exporter.metrics()).unwrap();
    let everything = std::fs::read_to_string(file("tests/metrics/everything.text")).unwrap();
    promtool(&["check", "metrics"], &everything).unwrap();
    let path = |path: &str| file(path).to_str().unwrap().to_owned();
    let rules = path("assets/prometheus/steth.rules.yml");
    promtool(&["check", "rules", &rules], "").unwrap();
    promtool(
        &["test", "rules", &path("tests/metrics/rules_test.yml")],
        "",
    )
    .unwrap();
}
