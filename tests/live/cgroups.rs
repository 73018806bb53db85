//! Servers that a cgroup holds back: its quota of CPU time, its limit of memory.

use std::path::Path;

use crate::need;
use crate::others::until;
use crate::support::cgroup::{Cgroup, Limit};
use crate::support::heavy;
use crate::support::load::Light;
use crate::support::python::venv;
use crate::support::server::Server;

fn start_in(cgroup: &Cgroup, command: &str) -> Server {
    Server::start(Path::new("/bin/sh"), &["-c", &cgroup.line(command)])
}

#[test]
fn a_start_that_a_quota_slows() {
    let python = need!(venv("live", "python"));
    let cgroup = need!(Cgroup::new("slow", Limit::CpuPermille(60)));
    let _turn = heavy();
    let command = format!("{} primes_tornado.py {{port}} sieve", python.display());
    let server = start_in(&cgroup, &command);
    server.wait_log("sieving", 1);
    let verdict = until(&server, |verdict| {
        verdict.server()["findings"][0]["code"] == "cpu-throttled"
    });
    verdict
        .phase(&["starting"])
        .first_finding(&["cpu-throttled"]);
    let first = verdict.server()["findings"][0].to_string();
    for words in ["6 % of a core", "steth-test-"] {
        assert!(first.contains(words), "{first} does not say {words:?}");
    }
}

#[test]
fn a_quota_that_is_enough_is_not_in_the_way() {
    let python = need!(venv("live", "python"));
    let cgroup = need!(Cgroup::new("enough", Limit::CpuPermille(800)));
    let command = format!("{} primes_tornado.py {{port}} serve", python.display());
    let server = start_in(&cgroup, &command);
    server.wait_listens();
    let load = Light::on_port(server.port);
    load.wait_answers();
    let verdict = server.check();
    verdict.phase(&["serving"]).quiet();
    let findings = verdict.server()["findings"].to_string();
    assert!(!findings.contains("cpu-throttled"), "{findings}");
}

#[test]
fn workers_that_need_more_memory_than_there_is() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let cgroup = need!(Cgroup::new("small", Limit::MemoryMiB(160)));
    let _turn = heavy();
    let command = format!(
        "env LIVE_TILES=600 {} -b 127.0.0.1:{{port}} atlas_wsgi:app",
        gunicorn.display()
    );
    let server = start_in(&cgroup, &command);
    server.wait_log("loading tiles", 2);
    // A process may be killed before its stack has been read.
    let named = |verdict: &crate::support::verdict::Verdict| {
        let first = &verdict.server()["findings"][0];
        first["code"] == "oom-loop" && !first["culprit"].is_null()
    };
    let verdict = until(&server, named);
    verdict
        .phase(&["crash-looping"])
        .first_finding(&["oom-loop"])
        .culprit("load_tiles")
        .exit(1);
    let first = verdict.server()["findings"][0].to_string();
    assert!(first.contains("160 MiB"), "{first}");
}
