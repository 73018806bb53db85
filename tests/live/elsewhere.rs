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
        let namespace = Namespace(format!("steth-test-{}", std::process::id()));
        ip(&["netns", "add", &namespace.0])?;
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"])?;
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

/// Inode of a process's network namespace.
fn netns(pid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata(format!("/proc/{pid}/ns/net"));
    namespace.expect("the process lives").ino()
}
