//! A machine with more of everything than can be told.

use super::*;

#[test]
fn there_is_a_bound_to_everything_and_the_rest_is_counted() {
    let hostile = |n: u32| {
        let mut server = shop(1000 + n, 8000);
        server.name = format!("uvicorn {n}{}", "x".repeat(5000));
        let socket = server.listeners[0].clone();
        for port in 0..40 {
            let mut more = socket.clone();
            more.socket.port = 9000 + port;
            server.listeners.push(more);
        }
        for code in 0..60 {
            server
                .exits
                .push_back(death(5000 + n * 100 + code as u32, 1, Some(code), None));
        }
        server.exits_total = 60;
        let pool = |at: u32| Pool {
            id: ObjectId(at.into()),
            kind: PoolKind::Executor,
            prefix: Some(format!("pool {at}")),
            size: 1,
            busy: 1,
            queued: 0,
        };
        let tasks = Tasks {
            pools: (0..50).map(pool).collect(),
            ..no_tasks()
        };
        root_of(&mut server).python.as_mut().unwrap().tasks = Some(Arc::new(tasks));
        server
    };
    let mut world = World::new();
    for round in 0..6 {
        world.look((round * 150..round * 150 + 150).map(hostile).collect());
    }
    let text = world.text();
    assert_no_series_twice(&text);
    let servers = text.matches("steth_server_start_time_seconds{").count();
    assert_eq!(servers, tally::SERVERS);
    assert_eq!(
        text.matches("steth_listener_backlog{").count(),
        servers * listener::ADDRESSES
    );
    assert_eq!(
        text.matches("steth_server_pool_size{").count(),
        servers * inside::POOLS
    );
    assert!(text.matches("steth_server_process_exits_total{").count() <= servers * 13);
    assert!(text.lines().all(|line| line.len() < 1000));
    assert!(world.value("steth_left_out", &[("what", "servers")]) >= Some(22.0));
    let left_out = |what| world.value("steth_left_out", &[("what", what)]);
    assert_eq!(left_out("listeners"), Some((servers * 33) as f64));
    assert_eq!(left_out("pools"), Some((servers * 42) as f64));
}
