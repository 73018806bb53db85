//! The demo's scenarios are what they say, by steth's own words.

use crate::need;
use crate::support::python::any;
use crate::support::verdict::{Verdict, steth};
use crate::support::{PATIENCE, eventually};

fn demo(name: &str, ready: impl Fn(&str) -> bool) -> (steth::demo::Running, Verdict) {
    let running = steth::demo::start(Some(name)).unwrap();
    let log = || std::fs::read_to_string(&running.log).unwrap_or_default();
    assert!(eventually(PATIENCE, || ready(&log())), "{}", log());
    let verdict = Verdict::of(running.pid, "3s", &log());
    (running, verdict)
}

#[test]
fn blocked_startup() {
    need!(any());
    let (_running, verdict) = demo("blocked-startup", |log| log.contains("attempt 1"));
    verdict
        .phase(&["bound", "starting"])
        .first_finding(&["startup-blocked", "bound-not-listening", "peer-silent"])
        .culprit("connect_to_database");
}

#[test]
fn queue_overflow() {
    need!(any());
    let (_running, verdict) = demo("queue-overflow", |log| log.contains("request:"));
    verdict
        .phase(&["stalled"])
        .first_finding(&["loop-blocked", "accept-queue-full"])
        .exit(1);
}

#[test]
fn crash_loop() {
    need!(any());
    let (_running, verdict) = demo("crash-loop", |log| log.matches("code 3").count() >= 2);
    verdict
        .phase(&["crash-looping"])
        .first_finding(&["crash-loop"])
        .exit(1);
}

#[test]
fn healthy() {
    need!(any());
    let (_running, verdict) = demo("healthy", |log| log.contains("ready"));
    verdict.phase(&["serving"]).quiet();
}

#[test]
fn the_list_names_them_all() {
    let (exit, stdout, stderr) = steth(&["demo", "--list"]);
    assert_eq!(exit, Some(0), "{stderr}");
    for scenario in steth::demo::SCENARIOS {
        assert!(stdout.contains(scenario.name), "{stdout}");
    }
}
