//! What is counted: once, all of it, and never less than before.

use std::collections::BTreeMap;

use super::*;

#[test]
fn counters_never_go_down() {
    let spoil = |step: usize| -> Vec<Server> {
        let mut first = everything();
        first.listeners[0].socket.drops = Some([9, 12, 3, 3, 40][step % 5]);
        first.listeners[0].socket.inode = 7 + (step as u64 / 3);
        if step.is_multiple_of(2) {
            first.findings.clear();
        }
        match step % 11 {
            7 => vec![exited(first, Some(1))],
            8 => vec![],
            9 => vec![replaced(first, 90 + step as u32)],
            10 => vec![first, shop(30, 8000)],
            _ => vec![first, shop(30, 8001)],
        }
    };
    let counters = |text: &str| -> BTreeMap<String, f64> {
        let lines = text
            .lines()
            .filter(|l| l.split(['{', ' ']).next().unwrap().ends_with("_total"));
        lines
            .map(|l| l.rsplit_once(' ').unwrap())
            .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
            .collect()
    };
    let mut world = World::new();
    let mut last = BTreeMap::new();
    for step in 0..60 {
        world.look(spoil(step));
        let text = world.text();
        assert_no_series_twice(&text);
        for (series, value) in counters(&text) {
            let before = last.insert(series.clone(), value).unwrap_or(0.0);
            assert!(value >= before, "{series}: {before} then {value} at {step}");
        }
    }
    assert!(last.len() > 12, "{last:#?}");
}

#[test]
fn drops_are_those_of_all_sockets_and_go_on_when_one_is_replaced() {
    let with = |inode, drops| {
        let mut server = shop(10, 8000);
        server.listeners[0].socket.inode = inode;
        server.listeners[0].socket.drops = Some(drops);
        server
    };
    let mut world = World::new();
    for (inode, drops, want) in [
        (7, 5, 5.0),
        (7, 8, 8.0),
        (9, 0, 8.0),
        (9, 2, 10.0),
        (9, 1, 10.0),
    ] {
        world.look(vec![with(inode, drops)]);
        assert_eq!(world.value("steth_listener_drops_total", &[]), Some(want));
    }
    // SO_REUSEPORT: one address, two sockets.
    let mut two = with(9, 1);
    let mut second = two.listeners[0].clone();
    second.socket.inode = 10;
    (second.socket.accept_queue, second.socket.drops) = (Some(129), Some(3));
    two.listeners.push(second);
    world.look(vec![two]);
    for (name, want) in [
        ("steth_listener_drops_total", 13.0),
        ("steth_listener_accept_queue", 129.0),
        ("steth_listener_backlog", 256.0),
        ("steth_listener_accept_queue_fill_ratio", 1.0),
        ("steth_listener_accepting_processes", 1.0),
    ] {
        assert_eq!(world.value(name, &[]), Some(want), "{name}");
    }
}

#[test]
fn drops_are_not_counted_again_after_a_look_that_missed_the_socket() {
    let with = |drops| {
        let mut server = shop(10, 8000);
        server.listeners[0].socket.drops = Some(drops);
        server
    };
    let mut without = shop(10, 8000);
    without.listeners.clear();
    let mut world = World::new();
    world.look(vec![with(5)]).look(vec![without]);
    world.look(vec![with(6)]);
    assert_eq!(world.value("steth_listener_drops_total", &[]), Some(6.0));
}

#[test]
fn a_stall_is_counted_once_and_for_as_long_as_it_is_told() {
    let stalled = || Server {
        findings: vec![finding(Code::LoopBlocked, Severity::Critical)],
        phase: Phase::Stalled,
        ..shop(10, 8000)
    };
    let mut world = World::new();
    world.look(vec![shop(10, 8000)]);
    assert_eq!(
        world.value("steth_server_loop_stalls_total", &[]),
        Some(0.0)
    );
    for _ in 0..3 {
        world.look(vec![stalled()]);
    }
    world.look(vec![shop(10, 8000)]).look(vec![stalled()]);
    assert_eq!(
        world.value("steth_server_loop_stalls_total", &[]),
        Some(2.0)
    );
    assert_eq!(
        world.value("steth_server_loop_stalled_seconds_total", &[]),
        Some(3.0)
    );
    let begun = [("code", "loop-blocked"), ("severity", "critical")];
    assert_eq!(
        world.value("steth_server_findings_begun_total", &begun),
        Some(2.0)
    );
    // What happened while nobody looked is not known.
    world.look_after(3600.0, vec![stalled()]);
    assert_eq!(
        world.value("steth_server_loop_stalled_seconds_total", &[]),
        Some(3.0)
    );
    let serving = [("phase", "stalled")];
    assert_eq!(
        world.value("steth_server_phase_seconds_total", &serving),
        Some(3.0)
    );
}

#[test]
fn an_end_is_counted_when_it_is_told_how_and_all_of_many_are() {
    let with = |exits: Vec<crate::diagnosis::MemberExit>, total| {
        let mut server = shop(10, 8000);
        server.exits = exits.into();
        server.exits_total = total;
        server
    };
    let soon = |code, at: Moment| {
        let mut exit = death(11, 10, code, None);
        exit.exit.at = at;
        exit
    };
    let mut world = World::new();
    let at = NOW.plus_seconds(1.0);
    let name = "steth_server_process_exits_total";
    world.look(vec![with(vec![soon(None, at)], 1)]);
    assert_eq!(world.value(name, &[]), None);
    world.look(vec![with(vec![soon(Some(3), at)], 1)]);
    assert_eq!(world.value(name, &[]), Some(1.0));
    assert_eq!(
        world.value(name, &[("code", "3"), ("role", "worker")]),
        Some(1.0)
    );
    // Ten have died, and only one of them is remembered.
    world.look(vec![with(vec![soon(Some(3), at)], 10)]);
    assert_eq!(world.value(name, &[("code", "unknown")]), Some(9.0));
    world.look(vec![with(vec![soon(Some(3), at)], 10)]);
    assert_eq!(world.value(name, &[("code", "unknown")]), Some(9.0));
}
