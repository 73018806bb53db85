//! The same few servers under every Python from 3.8 to 3.15: the stack is read, the phase and the culprit are right.

use std::path::Path;

use crate::need;
use crate::support::load::Light;
use crate::support::python::{interpreter, root_with};
use crate::support::server::{Server, apps};
use crate::support::verdict::Verdict;

/// A healthy http.server, a healthy asyncio server, and one that is bound and never listens.
fn three_servers(version: &str, start: impl Fn(&[&str]) -> Server) {
    for args in [
        &["-m", "http.server", "{port}", "--bind", "127.0.0.1"][..],
        &["lines_asyncio.py", "{port}"],
    ] {
        let server = start(args);
        server.wait_listens();
        let load = Light::on_port(server.port);
        load.wait_answers();
        let verdict = server.check();
        verdict.phase(&["serving"]).quiet();
        has_version(&verdict, version);
    }
    let server = start(&["bound_first.py", "{port}"]);
    server.wait_log("serving soon", 1);
    let verdict = server.check();
    verdict
        .phase(&["bound", "starting"])
        .first_finding(&["bound-not-listening", "startup-blocked"])
        .culprit("read_catalogue");
    has_version(&verdict, version);
}

fn has_version(verdict: &Verdict, version: &str) {
    let starts = |p: &serde_json::Value| {
        p["python"]
            .as_str()
            .is_some_and(|seen| seen == version || seen.starts_with(&format!("{version}.")))
    };
    if !verdict.processes().iter().any(starts) {
        verdict.fail(&format!("no process is known to be Python {version}"));
    }
}

fn installed(version: &str) {
    // A build machine states which Pythons it has; it may not have fewer than it states.
    if let Ok(stated) = std::env::var("STETH_PYTHONS")
        && !stated.split_whitespace().any(|one| one == version)
    {
        return;
    }
    let python = need!(interpreter(version));
    three_servers(version, |args| Server::start(&python, args));
}

/// A Python that lies in a root directory of its own; the application is copied into it.
fn in_root(version: &str) {
    let root = need!(root_with(version));
    let scratch = tempfile::tempdir_in(root.join("tmp")).unwrap();
    for app in ["lines_asyncio.py", "bound_first.py"] {
        std::fs::copy(apps().join(app), scratch.path().join(app)).unwrap();
    }
    let inside = scratch.path().strip_prefix(&root).unwrap();
    let folder = Path::new("/").join(inside);
    let enter = format!("cd {} && exec python{version} \"$@\"", folder.display());
    three_servers(version, |args| {
        let chroot = [root.to_str().unwrap(), "/bin/sh", "-c", &enter, "sh"];
        let all: Vec<&str> = chroot.iter().chain(args).copied().collect();
        Server::start(Path::new("/usr/sbin/chroot"), &all)
    });
}

macro_rules! versions {
    ($($name:ident $how:ident $version:literal,)*) => {
        $(#[test] fn $name() { $how($version); })*
    };
}

versions! {
    python_3_8 installed "3.8",
    python_3_9 installed "3.9",
    python_3_10 installed "3.10",
    python_3_11 installed "3.11",
    python_3_12 installed "3.12",
    python_3_13 installed "3.13",
    python_3_14 in_root "3.14",
    python_3_15 in_root "3.15",
}
