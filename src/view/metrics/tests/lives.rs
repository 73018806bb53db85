//! Servers that end, come back, come twice, or get to be known later: their series go on.

use super::*;

#[test]
fn a_restart_keeps_the_series_and_is_counted_by_how_the_former_one_ended() {
    let labels = [("name", "uvicorn shop:app"), ("address", "127.0.0.1:8000")];
    let mut world = World::new();
    world.look(vec![shop(10, 8000)]).look(vec![shop(10, 8000)]);
    assert_eq!(world.phase(&labels).as_deref(), Some("serving"));
    world.look(vec![exited(shop(10, 8000), Some(1))]);
    assert_eq!(world.phase(&labels).as_deref(), Some("exited"));
    // Known again by the analyst: the same server.
    let known = |code| {
        let mut known = replaced(exited(shop(10, 8000), code), 30);
        known.members[0].exit = None;
        known.phase = Phase::Importing;
        known
    };
    world.look(vec![known(Some(1))]);
    assert_eq!(world.phase(&labels).as_deref(), Some("importing"));
    let by_one = [&labels[..], &[("code", "1")]].concat();
    assert_eq!(
        world.value("steth_server_restarts_total", &by_one),
        Some(1.0)
    );
    assert_eq!(
        world.value("steth_server_process_exits_total", &by_one),
        Some(1.0)
    );
    // Another parent, another working directory: not known again, and yet the same to whoever looks at the graph.
    world.look(vec![exited(known(Some(1)), None)]);
    let mut other = replaced(shop(40, 8000), 41);
    other.root = other.members[0].process.key;
    world.look(vec![exited(known(Some(1)), None), other]);
    assert_eq!(world.phase(&labels).as_deref(), Some("serving"));
    let untold = [&labels[..], &[("code", "unknown")]].concat();
    assert_eq!(
        world.value("steth_server_restarts_total", &untold),
        Some(1.0)
    );
    assert_no_series_twice(&world.text());
}

#[test]
fn a_second_server_of_the_same_name_and_address_gets_an_ordinal() {
    let twin = || {
        let mut twin = shop(30, 8000);
        twin.listeners[0].netns = 2;
        twin.phase = Phase::Stalled;
        twin
    };
    let mut world = World::new();
    for _ in 0..20 {
        world.look(vec![shop(10, 8000), twin()]);
    }
    assert_no_series_twice(&world.text());
    let second = [("ordinal", "2")];
    assert_eq!(world.phase(&second).as_deref(), Some("stalled"));
    assert_eq!(
        world
            .text()
            .matches("steth_server_start_time_seconds{")
            .count(),
        2
    );
    // The first one goes: the second one keeps its labels, and the next one gets those of the first.
    world.look(vec![exited(shop(10, 8000), None), twin()]);
    assert_eq!(world.phase(&second).as_deref(), Some("stalled"));
    let mut next = shop(50, 8000);
    next.root.start_time = 30_000;
    root_of(&mut next).key.start_time = 30_000;
    world.look(vec![twin(), next.clone()]);
    assert_eq!(world.phase(&second).as_deref(), Some("stalled"));
    assert_eq!(
        world
            .text()
            .matches("steth_server_start_time_seconds{")
            .count(),
        2
    );
    assert_no_series_twice(&world.text());
}

#[test]
fn a_successor_that_came_before_the_end_was_told_gets_the_labels_after_all() {
    let mut next = replaced(shop(30, 8000), 30);
    next.root = next.members[0].process.key;
    let mut world = World::new();
    world.look(vec![shop(10, 8000)]);
    world.look(vec![shop(10, 8000), next.clone()]);
    assert!(world.text().contains("ordinal=\"2\""));
    world.look(vec![exited(shop(10, 8000), Some(0)), next.clone()]);
    assert!(!world.text().contains("ordinal="), "{}", world.text());
    let restarts = world.value("steth_server_restarts_total", &[("code", "0")]);
    assert_eq!(restarts, Some(1.0));
    assert_no_series_twice(&world.text());
}

#[test]
fn an_address_that_becomes_known_moves_the_series_and_stays_over_a_restart() {
    let booting = || {
        let mut booting = shop(10, 8000);
        booting.listeners.clear();
        booting.phase = Phase::Importing;
        booting.name = "python shop.py".into();
        root_of(&mut booting).cmdline = ["python", "shop.py"].map(str::to_owned).to_vec();
        booting
    };
    let serving = || Server {
        listeners: shop(10, 8000).listeners,
        phase: Phase::Serving,
        ..booting()
    };
    let mut world = World::new();
    world.look(vec![booting()]).look(vec![booting()]);
    assert!(!world.text().contains("address="));
    world.look(vec![serving()]);
    assert_eq!(
        world
            .text()
            .matches("steth_server_start_time_seconds{")
            .count(),
        1
    );
    let labels = [("name", "python shop.py"), ("address", "127.0.0.1:8000")];
    let importing = [&labels[..], &[("phase", "importing")]].concat();
    assert_eq!(
        world.value("steth_server_phase_seconds_total", &importing),
        Some(2.0)
    );
    // The next one is on its way to the same address, as far as anybody knows.
    world.look(vec![exited(serving(), Some(0))]);
    let mut next = replaced(booting(), 30);
    next.root = next.members[0].process.key;
    world.look(vec![next]);
    assert_eq!(world.phase(&labels).as_deref(), Some("importing"));
    assert_no_series_twice(&world.text());
}

#[test]
fn how_long_a_start_took_is_told_only_where_it_was_seen() {
    use Phase::{CrashLooping, Exited, Importing, Listening, Serving, Stalled, Starting};
    for (changes, want) in [
        (
            &[(0.0, Importing), (1.0, Starting), (4.0, Serving)][..],
            Some(4.0),
        ),
        (
            &[
                (0.5, Starting),
                (4.0, Serving),
                (9.0, Stalled),
                (10.0, Serving),
            ],
            Some(4.0),
        ),
        (&[(30.0, Serving)], None),
        (&[(30.0, Stalled), (31.0, Serving)], None),
        (&[(30.0, Listening), (31.0, Serving)], None),
        (
            &[(0.0, Importing), (1.0, CrashLooping), (7.0, Serving)],
            Some(7.0),
        ),
        (&[(0.0, Importing), (1.0, Exited)], None),
        // The one before it has ended a moment ago.
        (
            &[
                (-5.0, Serving),
                (-1.0, Exited),
                (0.5, Listening),
                (1.0, Serving),
            ],
            Some(1.0),
        ),
    ] {
        let mut server = shop(10, 8000);
        let started = server.members[0].process.started;
        let change = |(s, phase): &(f64, Phase)| PhaseChange {
            at: Moment((started.0 as f64 + s * 1e9) as u64),
            phase: *phase,
        };
        server.timeline = changes.iter().map(change).collect();
        let mut world = World::new();
        world.look(vec![server]);
        let name = "steth_server_startup_duration_seconds";
        assert_eq!(world.value(name, &[]), want, "{changes:?}");
    }
}

#[test]
fn a_server_that_has_vanished_is_told_as_exited_for_a_while() {
    let mut world = World::new();
    let both = || vec![shop(10, 8000), shop(30, 8001)];
    world.look(both()).look(both());
    let labels = [("address", "127.0.0.1:8000")];
    world.look(vec![shop(30, 8001)]);
    assert_eq!(world.phase(&labels).as_deref(), Some("exited"));
    assert_eq!(world.value("steth_server_threads", &labels), None);
    assert_eq!(world.value("steth_servers", &[]), Some(1.0));
    world.look_after(tally::GONE_TOLD_S, vec![shop(30, 8001)]);
    assert_eq!(world.phase(&labels), None);
    // Its counters go on when it comes back.
    world.look(both());
    let serving = [&labels[..], &[("phase", "serving")]].concat();
    assert_eq!(world.phase(&labels).as_deref(), Some("serving"));
    assert_eq!(
        world.value("steth_server_phase_seconds_total", &serving),
        Some(1.0)
    );
}
