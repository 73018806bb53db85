//! What tasks are for, what they wait for in words, who waits for whom, and since when.

use std::sync::Arc;

use steth::diagnosis::task::{TaskRole, awaited, deadlock, role, scarce, suspect, words};
use steth::diagnosis::{Phase, Standing};
use steth::snapshot::{JobState, Moment, ObjectId, PoolKind, Task, TaskState, WaitOn};

use super::coroutines::task;
use super::tasks::{Doing, children, end_of, event, get, lock, pool, put, semaphore, sleep, tasks};

fn standing(list: Vec<Task>) -> Standing {
    Standing::of(Arc::new(tasks(Moment(0), 10, list)))
}

/// Readings one second apart: the lists of tasks as they were.
fn over_time(readings: Vec<Vec<Task>>) -> Standing {
    let mut world = super::world::World::new();
    let mut process = world.start(10, "python app.py").clone();
    let mut standing = Standing::default();
    for (second, list) in readings.into_iter().enumerate() {
        let at = Moment(0).plus_seconds(second as f64);
        process.python.as_mut().unwrap().tasks = Some(Arc::new(tasks(at, 10, list)));
        standing.observe(&process);
    }
    standing
}

#[test]
fn servers_tell_what_their_tasks_are_for() {
    use TaskRole::{Idle, Own, Request, Shutdown, Startup, Unknown};
    let own = "lifespan /srv/app/main.py:10 | wait_for_leader /srv/app/main.py:5 | @event";
    let cases = [
        (Startup, format!("@uvicorn-lifespan | {own}")),
        (Startup, "@uvicorn-lifespan | connect pkg+databases/core.py:78 | @event".into()),
        (Startup, format!("@hypercorn-lifespan | {own}")),
        (Startup, format!("@granian-lifespan | {own}")),
        (Startup, format!("@gunicorn-lifespan | {own}")),
        (Startup, format!("@aiohttp-startup | {own}")),
        (Startup, format!("@sanic-startup | {own}")),
        // Startup that leaves a block of its own is still startup.
        (
            Startup,
            "@uvicorn-lifespan | lifespan /srv/app/main.py:10 | Pool.__aexit__ /srv/app/pool.py:7 | @event".into(),
        ),
        (Idle, "@uvicorn-lifespan-idle".into()),
        (Idle, "@hypercorn-lifespan | app /srv/app/raw.py:13 | @hypercorn-lifespan-receive".into()),
        (Idle, "@granian-lifespan | app /srv/app/raw.py:13 | @granian-lifespan-receive".into()),
        (Idle, "@gunicorn-lifespan | app /srv/app/raw.py:13 | @gunicorn-lifespan-receive".into()),
        (Shutdown, "@uvicorn-lifespan-end | lifespan /srv/app/main.py:12 | flush /srv/app/out.py:3 | @event".into()),
        (Shutdown, "@uvicorn-shutdown".into()),
        (Shutdown, "@hypercorn-end".into()),
        (Shutdown, "@gunicorn-end".into()),
        (Shutdown, "@aiohttp-end".into()),
        (Shutdown, "main /srv/g.py:9 | Server.serve_forever std+asyncio/base_events.py:372 | Server.wait_closed std+asyncio/base_events.py:378".into()),
        // Served with, from 3.12 on.
        (Own, "main /srv/g.py:9 | Server.wait_closed std+asyncio/base_events.py:378".into()),
        (Unknown, "@uvicorn-startup".into()),
        (Unknown, "@uvicorn-idle".into()),
        (Unknown, "@hypercorn-startup".into()),
        (Unknown, "@hypercorn-serve-idle".into()),
        (Unknown, "@aiohttp-idle".into()),
        (Request, "@uvicorn-request | show /srv/app/views.py:20 | @event".into()),
        (Request, "@uvicorn-request | run_in_threadpool pkg+starlette/concurrency.py:34".into()),
        (Request, "@uvicorn-request | upload /srv/app/views.py:31 | post pkg+httpx/_client.py:1800 | @event".into()),
        (Request, "@middleware | timing /srv/app/main.py:22 | @call-next".into()),
        (Request, "@hypercorn-request | app /srv/app/raw.py:17 | @event".into()),
        (Request, "@granian-request | app /srv/app/raw.py:17 | @event".into()),
        (Request, "@gunicorn-request | app /srv/app/raw.py:17 | @event".into()),
        (Request, "@aiohttp-request | show /srv/app/views.py:20 | @event".into()),
        (Request, "@sanic-request | show /srv/app/views.py:20 | @event".into()),
        (Request, "@tornado-request | Show.get /srv/app/views.py:20 | @event".into()),
        (Idle, "@uvicorn-websocket | chat /srv/app/chat.py:9 | @websocket-receive".into()),
        (Idle, "@uvicorn-request | upload /srv/app/views.py:30 | @body".into()),
        (Idle, "@hypercorn-connection".into()),
        (Idle, "@gunicorn-connection".into()),
        (Idle, "@aiohttp-keepalive".into()),
        (Idle, "@sanic-keepalive".into()),
        (Idle, "@tornado-connection".into()),
        (Own, "consume /srv/app/jobs.py:8 | @get".into()),
        (Own, "main /srv/gate.py:36 | @sleep".into()),
        (Unknown, "Connection._listen pkg+aiokafka/conn.py:300".into()),
    ];
    for (want, stack) in cases {
        assert_eq!(role::of(&task(1, "Task-1", &stack)), want, "{stack}");
    }
}

/// Interpreters before 3.11 do not know the class that a function belongs to.
#[test]
fn roles_do_not_depend_on_qualified_names() {
    let mut old = task(
        1,
        "Task-1",
        "@uvicorn-lifespan | lifespan /srv/a.py:3 | @event",
    );
    for frame in Arc::make_mut(&mut old.frames) {
        let short = frame.function.rsplit('.').next().unwrap().to_owned();
        frame.function = short;
    }
    assert_eq!(role::of(&old), TaskRole::Startup);
}

#[test]
fn waits_in_words() {
    let future = |class: &str, call: Option<&str>| WaitOn::Future {
        class: class.into(),
        call: call.map(str::to_owned),
    };
    let connect = |address: Option<&str>| WaitOn::Connect {
        address: address.map(str::to_owned),
    };
    let job = |state| WaitOn::Job { state };
    let unknown_sleep = WaitOn::Sleep {
        delay_s: Some(5.0),
        left_s: None,
    };
    let cases = [
        (sleep(3600.0, 3480.0), "sleep", "sleep 60 min, 58 min left"),
        (sleep(0.5, -2.0), "sleep", "sleep 0.5 s, overdue by 2.0 s"),
        (unknown_sleep, "sleep", "sleep 5.0 s"),
        (event(1), "Event.wait", "Event.wait"),
        (event(4), "Event.wait", "Event.wait, 4 waiting"),
        (lock(1), "Lock.acquire", "Lock.acquire"),
        (
            semaphore(0, 7),
            "Semaphore.acquire",
            "Semaphore.acquire, 0 free, 7 waiting",
        ),
        (get(0, 3), "Queue.get", "Queue.get, empty, 3 getters"),
        (put(10, 10), "Queue.put", "Queue.put, full 10/10"),
        (
            connect(Some("10.0.0.5:5432")),
            "connect to 10.0.0.5:5432",
            "connect to 10.0.0.5:5432",
        ),
        (connect(None), "connect", "connect"),
        (WaitOn::Read, "read", "read: nothing has come"),
        (WaitOn::Drain, "drain", "drain: the peer takes nothing"),
        (
            children("gather", &[7, 8, 9], Some(5)),
            "gather",
            "gather: 3 of 5 pending",
        ),
        (
            children("TaskGroup", &[7], None),
            "TaskGroup",
            "TaskGroup: 1 pending",
        ),
        (end_of(2), "another task", "waits for worker"),
        (end_of(99), "another task", "waits for a task"),
        (
            job(JobState::Running),
            "an executor's job",
            "job running in a pool thread",
        ),
        (
            job(JobState::Queued),
            "an executor's job",
            "job queued: pool full 5/5, 12 waiting",
        ),
        (
            WaitOn::Process,
            "Process.wait",
            "waits for its child process",
        ),
        (
            future("Future", Some("Stream.read")),
            "Stream.read",
            "Stream.read",
        ),
        (
            future("_asyncio.Future", None),
            "_asyncio.Future",
            "_asyncio.Future",
        ),
    ];
    for (on, call, want) in cases {
        let first = task(1, "Task-1", "f /a.py:1 | get pkg+net/stream.py:4").on(on);
        let mut read = tasks(
            Moment(0),
            10,
            vec![first.clone(), task(2, "worker", "g /a.py:2")],
        );
        read.pools = vec![pool(PoolKind::Executor, Some("asyncio_"), 5, 5, 12)];
        let standing = Standing::of(Arc::new(read));
        assert_eq!(words::awaits(&first).as_deref(), Some(call));
        assert_eq!(
            words::of(standing.graph().unwrap(), 0).as_deref(),
            Some(want)
        );
    }
}

/// A bare future that the application awaits itself: to name the function once more would say nothing.
#[test]
fn a_future_goes_by_its_class_where_the_application_awaits_it() {
    let on = || WaitOn::Future {
        class: "Future".into(),
        call: Some("changes".into()),
    };
    let own = task(1, "Task-1", "replay /a.py:9 | changes /a.py:5").on(on());
    assert_eq!(words::awaits(&own).as_deref(), Some("Future"));
    let lib = task(1, "Task-1", "replay /a.py:9 | changes pkg+feed/api.py:5").on(on());
    assert_eq!(words::awaits(&lib).as_deref(), Some("changes"));
    assert_eq!(words::awaits(&own.is(TaskState::Runnable)), None);
}

#[test]
fn a_lock_names_its_holder_and_a_holder_says_who_waits() {
    let standing = standing(vec![
        task(1, "Task-1", "a /srv/app/db.py:12 | @lock")
            .on(lock(2))
            .object(50)
            .gives_up_in(56.0),
        task(2, "Task-2", "b /srv/app/db.py:40 | @sleep")
            .on(sleep(9.0, 3.0))
            .holds(50, "Lock"),
        task(3, "Task-3", "c /srv/app/db.py:13 | @lock")
            .on(lock(2))
            .object(50)
            .holds(60, "Lock"),
        task(4, "Task-4", "d /srv/app/db.py:14").is(TaskState::Runnable),
    ]);
    let graph = standing.graph().unwrap();
    let said = |at| words::of(graph, at);
    assert_eq!(
        said(0).unwrap(),
        "Lock.acquire, held by Task-2 (app/db.py:40), 2 waiting"
    );
    assert_eq!(said(3), None, "it does not wait");
    let blocks = |at| words::blocks(graph, graph.task(at).unwrap());
    assert_eq!(blocks(0), ["gives up in 56 s"]);
    assert_eq!(blocks(1), ["holds Lock, 2 waiting"]);
    assert_eq!(blocks(2), [""; 0], "nobody waits for that one");
}

#[test]
fn circles_and_what_only_looks_like_one() {
    let waits = |id, object| {
        task(id, "t", "f /a.py:1 | @lock")
            .on(lock(1))
            .object(object)
    };
    /// Name, tasks, and the ids of the first circle.
    type Case = (&'static str, Vec<Task>, Option<Vec<u64>>);
    let cases: Vec<Case> = vec![
        (
            "a lock and the end of a task",
            vec![
                waits(1, 50).awaited_by(2),
                task(2, "t", "g /a.py:2").on(end_of(1)).holds(50, "Lock"),
            ],
            Some(vec![2, 1]),
        ),
        (
            "two locks in two orders",
            vec![
                waits(1, 51).holds(50, "Lock"),
                waits(2, 50).holds(51, "Lock"),
            ],
            Some(vec![2, 1]),
        ),
        (
            "the same lock twice",
            vec![waits(1, 50).holds(50, "Lock")],
            Some(vec![1]),
        ),
        (
            "through a gather, behind a task that is not in it",
            vec![
                task(1, "t", "m /a.py:1")
                    .on(children("gather", &[2, 3], Some(2)))
                    .holds(50, "Lock"),
                task(2, "t", "s /a.py:2 | @sleep")
                    .on(sleep(1.0, 0.5))
                    .awaited_by(1),
                waits(3, 50).awaited_by(1),
                waits(4, 50),
            ],
            Some(vec![1, 3]),
        ),
        (
            "a chain without an end in itself",
            vec![
                waits(1, 50),
                task(2, "t", "g /a.py:2 | @sleep")
                    .on(sleep(9.0, 3.0))
                    .holds(50, "Lock"),
            ],
            None,
        ),
        (
            "a time-out will end it",
            vec![
                waits(1, 50).awaited_by(2).gives_up_in(4.0),
                task(2, "t", "g /a.py:2").on(end_of(1)).holds(50, "Lock"),
            ],
            None,
        ),
        (
            "it is content with the first of them",
            vec![
                task(1, "t", "m /a.py:1")
                    .on(children("wait", &[2, 3], Some(2)))
                    .holds(50, "Lock"),
                waits(2, 50),
                task(3, "t", "s /a.py:2 | @sleep").on(sleep(1.0, 0.5)),
            ],
            None,
        ),
        (
            "whose holder is not known",
            vec![
                waits(1, 50),
                waits(2, 50),
                task(3, "t", "h /a.py:9").on(end_of(1)),
            ],
            None,
        ),
        (
            "it is not inside yet",
            vec![waits(1, 50).entering(50, "Lock")],
            None,
        ),
    ];
    for (name, list, want) in cases {
        let standing = standing(list);
        let graph = standing.graph().unwrap();
        let circles = deadlock::circles(graph);
        let ids = circles.first().map(|circle| {
            let of = |link: &deadlock::Link| graph.task(link.task).unwrap().id.0;
            circle.iter().map(of).collect::<Vec<u64>>()
        });
        assert_eq!(ids, want, "{name}");
    }
}

/// A long chain of tasks that wait for each other, with a circle at its end: found without recursion, and once.
#[test]
fn a_circle_at_the_end_of_ten_thousand_tasks() {
    let n = 10_000;
    let mut list: Vec<Task> = (1..=n)
        .map(|id| {
            task(id, "t", "f /a.py:1")
                .on(end_of(id + 1))
                .awaited_by(id - 1)
        })
        .collect();
    list[n as usize - 1] = task(n, "t", "f /a.py:1")
        .on(end_of(n - 2))
        .awaited_by(n - 1);
    let standing = standing(list);
    let circles = deadlock::circles(standing.graph().unwrap());
    assert_eq!(circles.len(), 1);
    assert_eq!(circles[0].len(), 3);
    assert!(standing.graph().unwrap().way_from(0).len() <= 64);
    assert_eq!(standing.graph().unwrap().roots(), [0]);
}

#[test]
fn what_is_scarce_and_who_has_it() {
    let cm = "_AsyncGeneratorContextManager";
    let enter = "seed /srv/a.py:27 | _AsyncGeneratorContextManager.__aenter__ std+contextlib.py:210 | Pool.acquire /srv/a.py:17 | @get";
    /// Name, tasks, and of the only queue: a word of what it is for, those who wait, those who have one.
    type Case = (
        &'static str,
        Vec<Task>,
        Option<(&'static str, usize, usize)>,
    );
    let cases: Vec<Case> = vec![
        (
            "a semaphore without a free slot",
            vec![
                task(1, "t", "a /srv/a.py:1 | @slot").on(semaphore(0, 2)).object(50),
                task(2, "t", "a /srv/a.py:1 | @slot").on(semaphore(0, 2)).object(50),
                task(3, "t", "a /srv/a.py:2 | @sleep").on(sleep(9.0, 1.0)).holds(50, "Semaphore"),
            ],
            Some(("Semaphore", 2, 1)),
        ),
        (
            "a queue without room",
            vec![task(1, "t", "a /srv/a.py:1 | Queue.put std+asyncio/queues.py:120").on(put(4, 4)).object(50)],
            Some(("Queue", 1, 0)),
        ),
        (
            "a queue as a pool, entered twice by the same function",
            vec![
                task(1, "t", &format!("lifespan /srv/a.py:30 | seed /srv/a.py:27 | {enter}"))
                    .on(get(2, 1))
                    .object(50)
                    .holds(61, cm)
                    .entering(62, cm),
            ],
            Some(("pool", 1, 1)),
        ),
        (
            "asyncpg's pool",
            vec![
                task(1, "t", "show /srv/a.py:9 | PoolAcquireContext.__aenter__ pkg+asyncpg/pool.py:1017 | Pool._acquire.<locals>._acquire_impl pkg+asyncpg/pool.py:864 | @get")
                    .on(get(0, 2))
                    .object(50)
                    .entering(61, "PoolAcquireContext"),
                task(2, "t", "show /srv/a.py:10 | Connection.fetch pkg+asyncpg/connection.py:690").on(WaitOn::Read).holds(62, "PoolAcquireContext"),
            ],
            Some(("asyncpg", 1, 1)),
        ),
        (
            "httpx, each waiter with an event of its own",
            vec![
                task(1, "t", "ask /srv/a.py:9 | AsyncConnectionPool.handle_async_request pkg+httpcore/_async/connection_pool.py:250 | AsyncPoolRequest.wait_for_connection pkg+httpcore/_async/connection_pool.py:35 | @event").on(event(1)).object(71),
                task(2, "t", "ask /srv/a.py:9 | AsyncConnectionPool.handle_async_request pkg+httpcore/_async/connection_pool.py:250 | AsyncPoolRequest.wait_for_connection pkg+httpcore/_async/connection_pool.py:35 | @event").on(event(1)).object(72),
            ],
            Some(("httpx", 2, 0)),
        ),
        ("a semaphore with a free slot", vec![task(1, "t", "a /srv/a.py:1 | @slot").on(semaphore(1, 1)).object(50)], None),
        ("a consumer", vec![task(1, "t", "consume /srv/a.py:1 | @get").on(get(40, 1)).object(50)], None),
        ("a queue with room", vec![task(1, "t", "a /srv/a.py:1 | @get").on(put(3, 4)).object(50)], None),
        ("a queue that never had an item", vec![task(1, "t", enter).on(get(0, 1)).object(50)], None),
        (
            "a lifespan that waits for a word: the framework enters it",
            vec![task(1, "t", "@uvicorn-lifespan | lifespan /srv/a.py:10 | @get").on(get(3, 1)).object(50).entering(62, cm)],
            None,
        ),
        (
            "the pool connects, and does not wait for somebody else",
            vec![task(1, "t", "show /srv/a.py:9 | PoolConnectionHolder.acquire pkg+asyncpg/pool.py:180 | connect pkg+asyncpg/connection.py:2300").on(WaitOn::Connect { address: None })],
            None,
        ),
    ];
    for (name, list, want) in cases {
        let standing = standing(list);
        let queues = scarce::queues(standing.graph().unwrap());
        let Some((word, waiters, holders)) = want else {
            assert_eq!(queues, [], "{name}");
            continue;
        };
        let [queue] = queues.as_slice() else {
            panic!("{name}: {queues:?}");
        };
        assert!(queue.scarce.wanted().contains(word), "{name}: {queue:?}");
        assert_eq!(
            (queue.waiters.len(), queue.holders.len()),
            (waiters, holders),
            "{name}"
        );
    }
}

#[test]
fn who_waits_for_whom() {
    let standing = standing(vec![
        task(1, "main", "main /srv/a.py:1").on(children("gather", &[2, 3], Some(2))),
        task(2, "users", "@get").on(get(0, 1)).awaited_by(1),
        task(3, "orders", "replay /srv/a.py:5")
            .on(end_of(4))
            .awaited_by(1),
        task(4, "changes", "changes /srv/a.py:9").awaited_by(3),
        task(5, "beat", "beat /srv/a.py:20 | @sleep").on(sleep(1.0, 0.2)),
    ]);
    let graph = standing.graph().unwrap();
    assert_eq!(graph.roots(), [0, 4]);
    assert_eq!(graph.children(0), [1, 2]);
    assert_eq!(
        graph.way_from(0),
        [0, 2, 3],
        "by the one that stands in code of its own"
    );
    assert_eq!(graph.family(0).len(), 4);
    assert_eq!(graph.way_from(4), [4]);
}

/// A middleware waits for a stream, and only a library knows that its task will write into it.
#[test]
fn a_request_is_followed_through_a_frameworks_own_task() {
    let standing = standing(vec![
        task(
            1,
            "Task-7",
            "@middleware | timing /srv/a.py:22 | @call-next",
        )
        .on(event(1)),
        task(2, "coro", "@call-next-task | show /srv/a.py:27 | @event")
            .on(event(1))
            .awaited_by(1),
        // The application's own group: what its host waits for is its own affair.
        task(3, "Task-9", "@uvicorn-request | both /srv/a.py:40 | @event").on(event(1)),
        task(4, "Task-10", "side /srv/a.py:44 | @sleep")
            .on(sleep(1.0, 0.2))
            .awaited_by(3),
    ]);
    let graph = standing.graph().unwrap();
    assert_eq!(graph.way_from(0), [0, 1]);
    assert_eq!(graph.way_from(2), [2]);
    assert_eq!(graph.request_of(1), Some(0));
    assert_eq!(graph.request_of(3), Some(2));
    assert_eq!(graph.requests().into_iter().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_circle_of_tasks_has_a_root_all_the_same() {
    let standing = standing(vec![
        task(1, "a", "f /a.py:1").on(end_of(2)).awaited_by(2),
        task(2, "b", "g /a.py:1").on(end_of(1)).awaited_by(1),
        task(3, "c", "h /a.py:1").awaited_by(99),
    ]);
    let graph = standing.graph().unwrap();
    assert_eq!(graph.roots(), [2, 0]);
    assert_eq!(graph.way_from(0), [0, 1]);
}

#[test]
fn a_task_stands_where_it_stood_before() {
    let at = |line: u32, state: TaskState| {
        let stack = format!("main /srv/a.py:3 | fetch /srv/a.py:{line} | @event");
        let task = task(1, "Task-1", &stack).on(event(1)).object(50);
        match state {
            TaskState::Waiting => task,
            other => task.is(other),
        }
    };
    use TaskState::{Runnable, Waiting};
    // Seconds since: in the function, and on the line.
    let cases = [
        (
            "on one line",
            vec![at(9, Waiting), at(9, Waiting), at(9, Waiting)],
            (2.0, 2.0),
        ),
        (
            "on another line",
            vec![at(9, Waiting), at(9, Waiting), at(11, Waiting)],
            (2.0, 0.0),
        ),
        (
            "it may go on",
            vec![at(9, Waiting), at(9, Waiting), at(9, Runnable)],
            (2.0, 0.0),
        ),
        (
            "for another object",
            vec![
                at(9, Waiting),
                at(9, Waiting).object(51),
                at(9, Waiting).object(51),
            ],
            (2.0, 1.0),
        ),
        (
            "called from elsewhere",
            vec![
                at(9, Waiting),
                task(1, "Task-1", "main /srv/a.py:4 | fetch /srv/a.py:9 | @event")
                    .on(event(1))
                    .object(50),
                task(1, "Task-1", "main /srv/a.py:4 | fetch /srv/a.py:9 | @event")
                    .on(event(1))
                    .object(50),
            ],
            (1.0, 1.0),
        ),
        (
            "another task in the same memory",
            vec![at(9, Waiting), at(9, Waiting), {
                let mut t = at(9, Waiting);
                t.name = "Task-2".into();
                t
            }],
            (0.0, 0.0),
        ),
        (
            "one of its children has ended",
            vec![
                task(1, "t", "main /srv/a.py:3").on(children("gather", &[2, 3], Some(2))),
                task(1, "t", "main /srv/a.py:3").on(children("gather", &[3], Some(2))),
            ],
            (0.0, 0.0),
        ),
    ];
    for (name, readings, want) in cases {
        let readings = readings.into_iter().map(|t| vec![t]).collect();
        let standing = over_time(readings);
        let id = ObjectId(1);
        assert_eq!((standing.stood_s(id), standing.still_s(id)), want, "{name}");
    }
}

#[test]
fn who_leaves_a_queue_starts_its_time_anew() {
    let waits = |id| {
        task(id, "t", "f /srv/a.py:1 | @slot")
            .on(semaphore(0, 3))
            .object(50)
    };
    let moved = |id| task(id, "t", "f /srv/a.py:2 | @sleep").on(sleep(1.0, 0.5));
    let stuck = over_time(vec![vec![waits(1), waits(2)]; 4]);
    assert_eq!(stuck.stuck_s(Some(ObjectId(50)), ObjectId(2)), 3.0);
    let served = over_time(vec![
        vec![waits(1), waits(2)],
        vec![waits(1), waits(2)],
        vec![moved(1), waits(2)],
        vec![moved(1), waits(2)],
    ]);
    assert_eq!(served.stuck_s(Some(ObjectId(50)), ObjectId(2)), 1.0);
    let ended = over_time(vec![
        vec![waits(1), waits(2)],
        vec![waits(1), waits(2)],
        vec![waits(2)],
    ]);
    assert_eq!(ended.stuck_s(Some(ObjectId(50)), ObjectId(2)), 0.0);
}

/// A task that an incomplete reading leaves out keeps its place; one that a complete reading leaves out is forgotten.
#[test]
fn torn_readings_forget_nobody() {
    let mut world = super::world::World::new();
    let mut process = world.start(10, "python app.py").clone();
    let mut standing = Standing::default();
    let mut see = |second: f64, there: bool, torn: u32| {
        let list = if there {
            vec![task(1, "t", "f /srv/a.py:1 | @event").on(event(1))]
        } else {
            Vec::new()
        };
        let mut read = tasks(Moment(0).plus_seconds(second), 10, list);
        read.torn = torn;
        process.python.as_mut().unwrap().tasks = Some(Arc::new(read));
        standing.observe(&process);
        standing.still_s(ObjectId(1))
    };
    see(0.0, true, 0);
    see(1.0, false, 1);
    assert_eq!(see(2.0, true, 0), 2.0);
    see(3.0, false, 0);
    assert_eq!(see(4.0, true, 0), 0.0);
}

/// Where no thread has run since the reading, it still holds.
#[test]
fn an_idle_process_need_not_be_read_again() {
    let mut world = super::world::World::new();
    let mut process = world.start(10, "python app.py").clone();
    let python = process.python.as_mut().unwrap();
    python.tasks = Some(Arc::new(tasks(
        Moment(0).plus_seconds(5.0),
        10,
        vec![task(1, "t", "f /srv/a.py:1 | @event").on(event(1))],
    )));
    python.stacks_true_at = Some(Moment(0).plus_seconds(5.0));
    let mut standing = Standing::default();
    standing.observe(&process);
    assert_eq!(standing.still_s(ObjectId(1)), 0.0);
    process.python.as_mut().unwrap().stacks_true_at = Some(Moment(0).plus_seconds(9.0));
    standing.observe(&process);
    assert_eq!(standing.still_s(ObjectId(1)), 4.0);
    process.python.as_mut().unwrap().tasks = None;
    standing.observe(&process);
    assert!(standing.tasks.is_none());
}

#[test]
fn the_suspect() {
    let lifespan = || {
        task(
            2,
            "Task-2",
            "@uvicorn-lifespan | lifespan /srv/a.py:10 | @event",
        )
        .on(event(1))
    };
    let request = |id| {
        task(
            id,
            "Task-9",
            "@uvicorn-request | show /srv/a.py:20 | @event",
        )
        .on(event(1))
    };
    let beat = || task(8, "beat", "beat /srv/a.py:30 | @sleep").on(sleep(1.0, 0.3));
    let cases = [
        (
            "startup",
            Phase::Starting,
            vec![beat(), lifespan()],
            Some(2),
        ),
        (
            "a main coroutine",
            Phase::Starting,
            vec![
                task(1, "Task-1", "main /srv/a.py:9").on(end_of(3)),
                task(3, "Task-3", "load /srv/a.py:4 | @get")
                    .on(get(0, 1))
                    .awaited_by(1),
                beat(),
            ],
            Some(3),
        ),
        (
            "a request",
            Phase::Serving,
            vec![beat(), lifespan().is(TaskState::Waiting), request(9)],
            Some(9),
        ),
        (
            "nobody",
            Phase::Serving,
            vec![
                beat(),
                task(3, "c", "consume /srv/a.py:4 | @get").on(get(9, 1)),
            ],
            None,
        ),
        (
            "what the shutdown waits for",
            Phase::Draining,
            vec![
                task(1, "Task-1", "@uvicorn-shutdown").on(sleep(0.1, 0.05)),
                beat(),
                request(9),
            ],
            Some(9),
        ),
    ];
    for (name, phase, list, want) in cases {
        let standing = over_time(vec![list; 7]);
        let graph = standing.graph().unwrap();
        let found = suspect::of(&standing, phase).and_then(|at| graph.task(at));
        assert_eq!(found.map(|t| t.id.0), want, "{name}");
    }
}

/// Tasks that wait for each other, for locks and for slots in every way there is, and in some that there are not.
fn muddle(seed: u64) -> Vec<Task> {
    let mut state = seed;
    let mut any = |below: u64| {
        // A linear congruential generator: the same muddle in every run.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let stacks = [
        "@uvicorn-request | show /srv/a.py:9",
        "@middleware | timing /srv/a.py:22 | @call-next",
        "@uvicorn-lifespan | lifespan /srv/a.py:3",
        "work /srv/a.py:5",
        "@uvicorn-idle",
        "",
    ];
    let n = 2 + any(40);
    (0..n)
        .map(|id| {
            let stack = stacks[any(stacks.len() as u64) as usize];
            let mut one = task(id, "t", stack);
            one = match any(9) {
                0 => one.on(end_of(any(n + 3))),
                1 => one.on(children("gather", &[any(n), any(n), id], None)),
                2 => one.on(children("wait", &[any(n), any(n)], Some(9))),
                3 | 4 => one.on(lock(1)).object(1_000 + any(4)),
                5 => one.on(semaphore(0, 2)).object(1_000 + any(4)),
                6 => one.on(put(2, 2)).object(1_000 + any(4)),
                7 => one.is(TaskState::Runnable),
                _ => one.on(sleep(1.0, 0.5)),
            };
            for _ in 0..any(3) {
                one = one.awaited_by(any(n + 3));
            }
            for _ in 0..any(3) {
                one = one.holds(1_000 + any(4), "Lock");
            }
            one
        })
        .collect()
}

#[test]
fn whatever_waits_for_whatever_is_told_without_a_lie() {
    let mut circles_seen = 0;
    for seed in 0..400 {
        let list = muddle(seed);
        let n = list.len();
        let standing = over_time(vec![list; 7]);
        let graph = standing.graph().unwrap();
        for circle in deadlock::circles(graph) {
            circles_seen += 1;
            for (at, link) in circle.iter().enumerate() {
                let next = circle[(at + 1) % circle.len()].task;
                assert_eq!(link.for_what.task(), next, "seed {seed}: {circle:?}");
                let wait = graph.task(link.task).unwrap().wait.as_ref().unwrap();
                match link.for_what {
                    deadlock::Blocker::Lock(holder) => {
                        assert!(graph.holders(wait.object.unwrap()).any(|h| h == holder));
                    }
                    deadlock::Blocker::End(other) => {
                        let id = graph.task(other).unwrap().id;
                        assert!(awaited(graph.task(link.task).unwrap()).any(|a| a == id));
                    }
                }
            }
        }
        // Every task is below some root.
        let below: std::collections::BTreeSet<usize> = graph
            .roots()
            .into_iter()
            .flat_map(|r| graph.family(r))
            .collect();
        assert_eq!(below.len(), n, "seed {seed}");
        for queue in scarce::queues(graph) {
            assert!(!queue.waiters.is_empty());
        }
        for phase in [Phase::Starting, Phase::Serving, Phase::Draining] {
            let found = suspect::of(&standing, phase);
            assert!(found.is_none_or(|at| at < n), "seed {seed}");
        }
    }
    assert!(
        circles_seen > 50,
        "the muddle has too few circles: {circles_seen}"
    );
}
