//! A server in a network namespace of its own.

use std::path::Path;
use std::process::Command;

use crate::need;
use crate::support::python::{any, is_root};
use crate::support::server::Server;

/// A network namespace made by `ip netns`; dropping it removes it.
struct Namespace(String);

impl Namespace {
    fn new() -> Result<Namespace, String> {
        is_root()?;
        Namespace::named("plain")
    }

    /// Tests run side by side: each has a word of its own for its namespace.
    fn named(word: &str) -> Result<Namespace, String> {
        let namespace = Namespace(format!("steth-test-{}-{word}", std::process::id()));
        ip(&["netns", "add", &namespace.0])?;
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The same with a second interface, which leads nowhere.
    fn with_interface() -> Result<Namespace, String> {
        is_root()?;
        let namespace = Namespace::named("wide")?;
        let inside = |args: &[&str]| ip(&[&["-n", &namespace.0], args].concat());
        inside(&["link", "add", "near", "type", "veth", "peer", "name", "far"])?;
        inside(&["address", "add", "10.93.7.2/24", "dev", "near"])?;
        inside(&["link", "set", "near", "up"])?;
        inside(&["link", "set", "far", "up"])?;
        Ok(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.0]);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|error| format!("ip (iproute2): {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("ip {}: {said}", args.join(" ")))
    }
}

#[test]
fn a_second_network_namespace() {
    let python = need!(any());
    let namespace = need!(Namespace::new());
    let python = python.to_str().unwrap();
    let args = [
        "netns",
        "exec",
        &namespace.0,
        python,
        "lines_asyncio.py",
        "{port}",
    ];
    let server = Server::start(Path::new("ip"), &args);
    server.wait_listens();
    let verdict = server.check();
    verdict.phase(&["serving"]).quiet();
    let (theirs, ours) = (netns(server.pid), netns(std::process::id()));
    assert_ne!(theirs, ours);
    let port = u64::from(server.port);
    verdict.listener("in that namespace", |listener| {
        listener["port"].as_u64() == Some(port) && listener["netns"].as_u64() == Some(theirs)
    });
}

#[test]
fn loopback_where_clients_come_from_elsewhere() {
    let python = need!(any());
    let namespace = need!(Namespace::with_interface());
    let python = python.to_str().unwrap();
    let args = ["netns", "exec", &namespace.0, python];
    let serve = |host: &'static str| {
        let own = ["lines_asyncio.py", "{port}", host];
        let server = Server::start(Path::new("ip"), &[&args[..], &own].concat());
        server.wait_listens();
        server
    };
    let server = serve("127.0.0.1");
    server
        .check()
        .phase(&["serving"])
        .first_finding(&["loopback-only"]);
    drop(server);
    serve("0.0.0.0").check().phase(&["serving"]).quiet();
}

/// Inode of a process's network namespace.
fn netns(pid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata(format!("/proc/{pid}/ns/net"));
    namespace.expect("the process lives").ino()
}
