//! Findings that are told from tasks: cases that fire them, cases that nearly do, and servers at work that fire nothing.

use steth::diagnosis::{Code, Diagnosis, Phase, Severity};
use steth::snapshot::{Activity, JobState, ObjectId, PoolKind, Process, Task, TaskState, WaitOn};

use super::coroutines::{HasTasks, task};
use super::fleet;
use super::tasks::{Doing, children, end_of, event, get, lock, pool, put, semaphore, sleep};
use super::world::{Build, World, codes, find, only};

type Story = fn(&mut World) -> Diagnosis;

/// What must be found at the end, in the first place.
struct Fires {
    name: &'static str,
    story: Story,
    severity: Severity,
    culprit: Option<&'static str>,
    says: &'static [&'static str],
}

fn check(code: Code, fires: &[Fires], nearly: &[(&str, Story)]) {
    for case in fires {
        let name = case.name;
        let mut w = World::new();
        let seen = (case.story)(&mut w);
        let server = only(&seen);
        let found = find(server, code);
        assert_eq!(server.findings[0].code, code, "{name}: {:?}", codes(server));
        assert_eq!(found.severity, case.severity, "{name}: {}", found.summary);
        let function = found.culprit.as_ref().map(|c| c.function.as_str());
        assert_eq!(function, case.culprit, "{name}: {}", found.summary);
        let text = format!("{} {}", found.summary, found.evidence.join(" "));
        for word in case.says {
            assert!(text.contains(word), "{name}: no {word:?} in {text:?}");
        }
    }
    for (name, story) in nearly {
        let mut w = World::new();
        story(&mut w);
        let told = w.ever.get(&code);
        assert!(told.is_none(), "{name}: a false {} {told:?}", code.word());
    }
}

/// uvicorn whose startup has begun some time ago; its loop is at rest.
fn uvicorn_starts(w: &mut World, age: f64) -> &mut Process {
    w.old(10, age, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main("@uvicorn | @poll")
        .at_rest()
}

fn server_task() -> Task {
    task(1, "Task-1", "@uvicorn-startup")
        .on(event(1))
        .object(40)
}

/// The lifespan, in these frames of the application.
fn lifespan(own: &str) -> Task {
    task(
        2,
        "Task-2",
        &format!("@uvicorn-lifespan | lifespan /srv/shop/main.py:10 | {own}"),
    )
}

fn waits_for_leader() -> Task {
    lifespan("prepare /srv/shop/main.py:7 | wait_for_leader /srv/shop/main.py:5 | @event")
        .on(event(1))
        .object(41)
}

fn beat(left: f64) -> Task {
    task(9, "beat", "beat /srv/shop/main.py:3 | @sleep")
        .on(sleep(0.5, left))
        .object(49)
}

#[test]
fn startup_await() {
    check(
        Code::StartupAwait,
        &[
            Fires {
                name: "an event that nobody sets",
                story: |w| {
                    uvicorn_starts(w, 40.0).tasks(vec![
                        beat(0.1),
                        server_task(),
                        waits_for_leader(),
                    ]);
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("wait_for_leader"),
                says: &[
                    "Event.wait in wait_for_leader (shop/main.py:5) for at least 2.9 s",
                    "nothing listens before it ends (process is 43 s old)",
                    "lifespan (shop/main.py:10) → prepare (shop/main.py:7) → wait_for_leader",
                    "no socket of pid 10",
                ],
            },
            Fires {
                name: "young",
                story: |w| {
                    uvicorn_starts(w, 3.0).tasks(vec![server_task(), waits_for_leader()]);
                    w.watch(3.0)
                },
                severity: Severity::Info,
                culprit: Some("wait_for_leader"),
                says: &[],
            },
            Fires {
                name: "two generators in a gather",
                story: |w| {
                    let replay = |id, name: &str| {
                        let stack = "replay /srv/shop/main.py:15 | changes /srv/shop/main.py:11";
                        task(id, name, stack).awaited_by(2)
                    };
                    let parent = lifespan("").on(children("gather", &[3, 4], Some(2)));
                    uvicorn_starts(w, 12.0).tasks(vec![
                        server_task(),
                        parent,
                        replay(3, "Task-3"),
                        replay(4, "Task-4"),
                    ]);
                    w.watch(3.0)
                },
                severity: Severity::Warning,
                culprit: Some("changes"),
                says: &[
                    "Future in changes (shop/main.py:11)",
                    "lifespan (shop/main.py:10) → replay",
                ],
            },
            Fires {
                name: "a connection, through a library, with a time-out around it",
                story: |w| {
                    let on = WaitOn::Connect {
                        address: Some("10.0.0.5:5432".into()),
                    };
                    let connects = lifespan(
                        "open_pool /srv/shop/db.py:31 | connect pkg+asyncpg/connection.py:2300",
                    )
                    .on(on)
                    .gives_up_in(56.0);
                    uvicorn_starts(w, 40.0).tasks(vec![server_task(), connects]);
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("open_pool"),
                says: &[
                    "connect to 10.0.0.5:5432 in open_pool (shop/db.py:31)",
                    "gives up in 56 s",
                ],
            },
            Fires {
                name: "the main coroutine of a plain program waits for a thread",
                story: |w| {
                    w.old(10, 40.0, "/venv/bin/python gate.py")
                        .main("<module> /srv/gate.py:24 | @asyncio | @poll")
                        .at_rest()
                        .thread(9_001, "asyncio_0", "@thread | _worker std+concurrent/futures/thread.py:83 | _WorkItem.run std+concurrent/futures/thread.py:58 | warm_cache /srv/gate.py:10 | Queue.get std+queue.py:171", Activity::Lock)
                        .tasks(vec![
                            task(1, "Task-1", "main /srv/gate.py:19 | to_thread std+asyncio/threads.py:25").on(WaitOn::Job { state: JobState::Running }),
                        ]);
                    w.p(10).python.as_mut().unwrap().intent = Some(steth::snapshot::Intent {
                        file: "/srv/gate.py".into(),
                        line: 20,
                        call: "start_server".into(),
                        reach: steth::snapshot::Reach::default(),
                    });
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("main"),
                says: &[
                    "an executor's job in main (srv/gate.py:19)",
                    "stands in warm_cache (srv/gate.py:10)",
                ],
            },
            Fires {
                name: "it tries again and again, each time with another task",
                story: |w| {
                    uvicorn_starts(w, 40.0);
                    w.watch_while(6.0, |w, turn| {
                        let tries = 100 + turn as u64 / 10;
                        let waits =
                            lifespan("reach /srv/shop/db.py:9 | wait_for std+asyncio/tasks.py:476")
                                .on(end_of(tries));
                        let tried = task(tries, &format!("Task-{tries}"), "ping /srv/shop/db.py:4")
                            .on(WaitOn::Read)
                            .awaited_by(2);
                        w.p(10).tasks(vec![server_task(), waits, tried]);
                    })
                },
                severity: Severity::Critical,
                culprit: Some("reach"),
                says: &["in reach (shop/db.py:9) for at least 5.9 s"],
            },
            Fires {
                name: "past its lifespan, an idle loop is all there is to tell",
                story: |w| {
                    let mut list = idle_uvicorn();
                    list.push(
                        task(3, "consumer", "consume /srv/shop/jobs.py:8 | @get").on(get(0, 1)),
                    );
                    uvicorn_starts(w, 40.0).tasks(list);
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: None,
                says: &["the event loop is idle"],
            },
            Fires {
                name: "a factory that the server awaits",
                story: |w| {
                    let makes = task(
                        1,
                        "Task-1",
                        "_run_app pkg+aiohttp/web.py:313 | make_app /srv/shop/main.py:6 | @event",
                    )
                    .on(event(1));
                    w.old(10, 40.0, "/venv/bin/python -m aiohttp.web shop.main:make_app")
                        .main("<module> pkg+aiohttp/web.py:560 | run_app pkg+aiohttp/web.py:520 | @asyncio | @poll")
                        .at_rest()
                        .tasks(vec![beat(0.1), makes]);
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("make_app"),
                says: &["Event.wait in make_app (shop/main.py:6)"],
            },
            Fires {
                name: "without tasks, an idle loop is all there is to tell",
                story: |w| {
                    uvicorn_starts(w, 40.0).tasks_unseen();
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: None,
                says: &["the event loop is idle"],
            },
        ],
        &[
            (
                "work in the background of a server that is past its lifespan",
                |w| {
                    let mut list = idle_uvicorn();
                    list.push(
                        task(3, "consumer", "consume /srv/shop/jobs.py:8 | @get").on(get(0, 1)),
                    );
                    uvicorn_starts(w, 40.0).doing(Activity::Running).tasks(list);
                    w.watch(5.0)
                },
            ),
            ("not for long", |w| {
                uvicorn_starts(w, 40.0).tasks(vec![server_task(), waits_for_leader()]);
                w.watch(2.0)
            }),
            ("it moves on", |w| {
                uvicorn_starts(w, 40.0);
                w.watch_while(9.0, |w, turn| {
                    let step =
                        lifespan(&format!("migrate_{} /srv/shop/db.py:9 | @event", turn / 15))
                            .on(event(1));
                    w.p(10).tasks(vec![server_task(), step]);
                })
            }),
            ("one of many children ends after the other", |w| {
                uvicorn_starts(w, 40.0);
                w.watch_while(9.0, |w, turn| {
                    let pending: Vec<u64> = (100 + turn as u64 / 15..140).collect();
                    let mut list = vec![
                        server_task(),
                        lifespan("").on(children("gather", &pending, Some(40))),
                    ];
                    list.extend(pending.iter().map(|id| {
                        task(*id, &format!("Task-{id}"), "load /srv/shop/cache.py:9")
                            .on(WaitOn::Read)
                            .awaited_by(2)
                    }));
                    w.p(10).tasks(list);
                })
            }),
            ("it has started", |w| {
                uvicorn_starts(w, 40.0).tasks(vec![server_task(), waits_for_leader()]);
                w.watch(1.0);
                w.listen(500, 8000);
                w.p(10).holds(500).accepts(500).tasks(idle_uvicorn());
                w.watch(5.0)
            }),
            (
                "a program that listens by itself has its startup behind it",
                |w| {
                    w.listen(500, 7000);
                    w.old(10, 40.0, "/venv/bin/python gate.py")
                    .main("<module> /srv/gate.py:24 | @asyncio | @poll")
                    .at_rest()
                    .holds(500)
                    .tasks(vec![task(1, "Task-1", "main /srv/gate.py:19 | Server.serve_forever std+asyncio/base_events.py:369")]);
                    w.watch(5.0)
                },
            ),
        ],
    );
}

fn idle_uvicorn() -> Vec<Task> {
    vec![
        task(1, "Task-1", "@uvicorn-idle").on(sleep(0.1, 0.05)),
        task(2, "Task-2", "@uvicorn-lifespan-idle")
            .on(get(0, 1))
            .object(42),
    ]
}

/// A request of uvicorn, in these frames of the application.
fn request(id: u64, own: &str) -> Task {
    task(
        id,
        &format!("Task-{id}"),
        &format!("@uvicorn-request | {own}"),
    )
}

/// The tasks of startup that take the same lock, one of which waits for the other.
fn index_and_snapshot() -> Vec<Task> {
    vec![
        beat(0.2),
        server_task(),
        lifespan("").on(end_of(3)),
        task(3, "rebuild-index", "rebuild_index /srv/shop/main.py:16")
            .on(end_of(4))
            .holds(50, "Lock")
            .awaited_by(2),
        task(
            4,
            "load-snapshot",
            "load_snapshot /srv/shop/main.py:10 | @lock",
        )
        .on(lock(1))
        .object(50)
        .awaited_by(3),
    ]
}

#[test]
fn task_deadlock() {
    check(
        Code::TaskDeadlock,
        &[
            Fires {
                name: "startup, through a lock and a task",
                story: |w| {
                    uvicorn_starts(w, 4.0).tasks(index_and_snapshot());
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("rebuild_index"),
                says: &[
                    "2 tasks have waited for each other for at least 2.9 s and always will",
                    "rebuild-index in rebuild_index (shop/main.py:16) waits for the end of load-snapshot",
                    "load-snapshot in load_snapshot (shop/main.py:10) waits for a Lock that rebuild-index holds",
                ],
            },
            Fires {
                name: "background work of a server that serves",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    list.push(
                        task(
                            5,
                            "sync",
                            "sync /srv/shop/jobs.py:4 | push /srv/shop/jobs.py:9 | @lock",
                        )
                        .on(lock(1))
                        .object(50)
                        .holds(50, "Lock"),
                    );
                    w.p(10).tasks(list);
                    w.watch(3.0)
                },
                severity: Severity::Warning,
                culprit: Some("push"),
                says: &[
                    "a task has waited for itself",
                    "a Lock that it holds itself",
                ],
            },
            Fires {
                name: "requests queue up behind two that take two locks in two orders",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    list.push(
                        request(5, "pay /srv/shop/pay.py:4 | @lock")
                            .on(lock(3))
                            .object(51)
                            .holds(50, "Lock"),
                    );
                    list.push(
                        request(6, "refund /srv/shop/pay.py:14 | @lock")
                            .on(lock(1))
                            .object(50)
                            .holds(51, "Lock"),
                    );
                    list.push(
                        request(7, "pay /srv/shop/pay.py:3 | @lock")
                            .on(lock(3))
                            .object(51),
                    );
                    list.push(
                        request(8, "pay /srv/shop/pay.py:3 | @lock")
                            .on(lock(3))
                            .object(51),
                    );
                    w.p(10).tasks(list);
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("refund"),
                says: &["2 tasks have waited for each other"],
            },
        ],
        &[
            ("not for long", |w| {
                uvicorn_starts(w, 4.0).tasks(index_and_snapshot());
                w.watch(1.4)
            }),
            ("a lock that goes from hand to hand", |w| {
                fleet::uvicorn(w);
                w.watch_while(9.0, |w, turn| {
                    let holder = 5 + turn as u64 % 4;
                    let mut list = idle_uvicorn();
                    for id in 5..9 {
                        list.push(if id == holder {
                            request(id, "save /srv/shop/v.py:5")
                                .on(WaitOn::Read)
                                .holds(50, "Lock")
                        } else {
                            request(id, "save /srv/shop/v.py:4 | @lock")
                                .on(lock(3))
                                .object(50)
                        });
                    }
                    w.p(10).tasks(list);
                })
            }),
            ("a holder that waits for something else", |w| {
                fleet::uvicorn(w);
                let mut list = idle_uvicorn();
                list.push(
                    request(5, "save /srv/shop/v.py:5")
                        .on(WaitOn::Read)
                        .holds(50, "Lock"),
                );
                list.push(
                    request(6, "save /srv/shop/v.py:4 | @lock")
                        .on(lock(1))
                        .object(50),
                );
                w.p(10).tasks(list);
                w.watch(9.0)
            }),
        ],
    );
}

/// A request that waits for a semaphore's slot.
fn waits_for_slot(id: u64) -> Task {
    request(
        id,
        "price /srv/shop/v.py:20 | ask /srv/shop/up.py:8 | @slot",
    )
    .on(semaphore(0, 6))
    .object(50)
}

/// One that has a slot, and stands in this line.
fn has_slot(id: u64, line: u32) -> Task {
    request(
        id,
        &format!("price /srv/shop/v.py:20 | ask /srv/shop/up.py:{line}"),
    )
    .on(WaitOn::Read)
    .holds(50, "Semaphore")
}

fn seeds_tables() -> Task {
    let cm = "_AsyncGeneratorContextManager";
    lifespan(
        "seed_table /srv/shop/main.py:27 | seed_table /srv/shop/main.py:27 | _AsyncGeneratorContextManager.__aenter__ std+contextlib.py:210
         | Pool.acquire /srv/shop/main.py:17 | @get",
    )
    .on(get(2, 1))
    .object(50)
    .entering(60, cm)
    .holds(61, cm)
    .holds(62, cm)
    .entering(63, cm)
}

#[test]
fn pool_exhausted() {
    check(
        Code::PoolExhausted,
        &[
            Fires {
                name: "startup takes more than there is",
                story: |w| {
                    uvicorn_starts(w, 4.0).tasks(vec![server_task(), seeds_tables()]);
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("Pool.acquire"),
                says: &[
                    "startup waits in Pool.acquire (shop/main.py:17)",
                    "for at least 2.9 s: the same task holds what there was",
                ],
            },
            Fires {
                name: "every request holds one connection and waits for another",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    for id in 5..9 {
                        let stack = "order /srv/shop/v.py:31 | PoolAcquireContext.__aenter__ pkg+asyncpg/pool.py:1017 | Pool._acquire.<locals>._acquire_impl pkg+asyncpg/pool.py:864 | @get";
                        list.push(
                            request(id, stack)
                                .on(get(0, 4))
                                .object(50)
                                .holds(60 + id, "PoolAcquireContext")
                                .entering(70 + id, "PoolAcquireContext"),
                        );
                    }
                    w.p(10).tasks(list);
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("order"),
                says: &[
                    "4 of 4 requests wait in order (shop/v.py:31) for a connection of the asyncpg pool",
                    "all 4 that hold one wait for another",
                ],
            },
            Fires {
                name: "some requests for a while",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    list.extend([has_slot(5, 9), waits_for_slot(6), waits_for_slot(7)]);
                    w.p(10).tasks(list);
                    w.watch(3.0)
                },
                severity: Severity::Info,
                culprit: Some("ask"),
                says: &[
                    "2 of 3 requests wait in ask (shop/up.py:8) for a slot of a Semaphore",
                    "held by Task-5 in ask (shop/up.py:9), read",
                ],
            },
            Fires {
                name: "many requests for long",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    list.push(has_slot(5, 9));
                    list.extend((6..12).map(waits_for_slot));
                    w.p(10).tasks(list);
                    w.watch(7.0)
                },
                severity: Severity::Warning,
                culprit: Some("ask"),
                says: &["6 of 7 requests"],
            },
            Fires {
                name: "a pool of httpx, which waits for an event of anyio's",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    let calls = "ask /srv/shop/up.py:8 | AsyncClient.get pkg+httpx/_client.py:1768 | AsyncConnectionPool.handle_async_request pkg+httpcore/_async/connection_pool.py";
                    let has = format!(
                        "{calls}:236 | AsyncHTTP11Connection._receive_event pkg+httpcore/_async/http11.py:217 | SocketStream.receive pkg+anyio/_backends/_asyncio.py:1431"
                    );
                    let waits = format!(
                        "{calls}:232 | AsyncPoolRequest.wait_for_connection pkg+httpcore/_async/connection_pool.py:35 | AsyncEvent.wait pkg+httpcore/_synchronization.py:151 | Event.wait pkg+anyio/_backends/_asyncio.py:2009 | @event"
                    );
                    list.push(request(5, &has).on(WaitOn::Read));
                    list.extend((6..9).map(|id| request(id, &waits).on(event(1)).object(60 + id)));
                    w.p(10).tasks(list);
                    w.watch(7.0)
                },
                severity: Severity::Warning,
                culprit: Some("ask"),
                says: &[
                    "3 of 4 requests wait in ask (shop/up.py:8) for a connection of the httpx pool",
                    "past that wait, in the same calls: Task-5 in ask (shop/up.py:8), read",
                ],
            },
            Fires {
                name: "a pool of redis: who waits for its condition is inside the condition's block",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    let calls = "ask /srv/shop/up.py:8 | Redis.execute_command pkg+redis/asyncio/client.py:929";
                    let has =
                        format!("{calls} | read_response pkg+redis/asyncio/connection.py:600");
                    let waits = format!(
                        "{calls} | BlockingConnectionPool.get_connection pkg+redis/asyncio/connection.py:3086 | Condition.wait std+asyncio/locks.py:267"
                    );
                    list.push(request(5, &has).on(WaitOn::Read));
                    list.extend((6..9).map(|id| {
                        let on = WaitOn::Condition { waiters: Some(3) };
                        request(id, &waits).on(on).object(50).holds(50, "Condition")
                    }));
                    w.p(10).tasks(list);
                    w.watch(7.0)
                },
                severity: Severity::Warning,
                culprit: Some("ask"),
                says: &[
                    "for a connection of the redis pool, and nobody has got one for at least 6.9 s Task-8: Condition.wait, 3 waiting (asyncio tasks)",
                    "past that wait, in the same calls: Task-5",
                ],
            },
            Fires {
                name: "all requests for very long, and who holds the slots is not known",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    list.extend((6..12).map(waits_for_slot));
                    w.p(10).tasks(list);
                    w.watch(17.0)
                },
                severity: Severity::Critical,
                culprit: Some("ask"),
                says: &["6 of 6 requests", "who holds them could not be seen"],
            },
            Fires {
                name: "a queue without room, whose consumer has died",
                story: |w| {
                    fleet::uvicorn(w);
                    let mut list = idle_uvicorn();
                    list.extend((6..10).map(|id| {
                        request(
                            id,
                            "track /srv/shop/t.py:5 | Queue.put std+asyncio/queues.py:120",
                        )
                        .on(put(100, 100))
                        .object(50)
                    }));
                    w.p(10).tasks(list);
                    w.watch(7.0)
                },
                severity: Severity::Warning,
                culprit: Some("track"),
                says: &["room in a Queue that is full", "full 100/100"],
            },
        ],
        &[
            ("not for long", |w| {
                fleet::uvicorn(w);
                let mut list = idle_uvicorn();
                list.extend((6..12).map(waits_for_slot));
                w.p(10).tasks(list);
                w.watch(1.4)
            }),
            ("a long queue that is served", |w| {
                fleet::uvicorn(w);
                w.watch_while(20.0, |w, turn| {
                    let first = turn as u64 / 15;
                    let mut list = idle_uvicorn();
                    list.push(has_slot(100 + first, 9));
                    list.extend((101 + first..150 + first).map(waits_for_slot));
                    w.p(10).tasks(list);
                })
            }),
            ("jobs in the background wait their turn", |w| {
                fleet::uvicorn(w);
                let mut list = idle_uvicorn();
                list.push(
                    task(5, "job", "resize /srv/shop/j.py:9")
                        .on(WaitOn::Process)
                        .holds(50, "Semaphore"),
                );
                list.extend((6..40).map(|id| {
                    task(id, "job", "resize /srv/shop/j.py:8 | @slot")
                        .on(semaphore(0, 34))
                        .object(50)
                }));
                w.p(10).tasks(list);
                w.watch(30.0)
            }),
            ("workers wait for jobs", |w| {
                fleet::uvicorn(w);
                let mut list = idle_uvicorn();
                list.extend((6..40).map(|id| {
                    task(id, "worker", "work /srv/shop/j.py:8 | @get")
                        .on(get(900, 34))
                        .object(50)
                }));
                w.p(10).tasks(list);
                w.watch(30.0)
            }),
        ],
    );
}

/// A slow upstream behind a semaphore: nobody gets a slot for seconds, but those who have one move.
#[test]
fn a_semaphore_whose_holders_move_is_no_more_than_worth_a_word() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    w.watch_while(40.0, |w, turn| {
        let mut list = idle_uvicorn();
        list.push(has_slot(5, 9 + turn as u32 / 20));
        list.extend((6..40).map(waits_for_slot));
        w.p(10).tasks(list);
    });
    assert_eq!(w.ever.get(&Code::PoolExhausted), Some(&Severity::Info));
}

const FETCH: &str = "@thread | _worker std+concurrent/futures/thread.py:83 | fetch /srv/shop/up.py:12 | socket.recv_into std+socket.py:705";

/// Five threads of the default executor, all in one place; so many requests wait for a thread.
fn executor(w: &mut World, queued: u32) {
    fleet::uvicorn(w);
    let process = w.p(10);
    for at in 0..5 {
        process.thread(
            9_000 + at,
            &format!("asyncio_{at}"),
            FETCH,
            Activity::Syscall(45),
        );
    }
    let mut list = idle_uvicorn();
    for id in 5..10 + u64::from(queued) {
        let state = if id < 10 {
            JobState::Running
        } else {
            JobState::Queued
        };
        list.push(
            request(
                id,
                "show /srv/shop/v.py:9 | to_thread std+asyncio/threads.py:25",
            )
            .on(WaitOn::Job { state }),
        );
    }
    process
        .tasks(list)
        .pool(pool(PoolKind::Executor, Some("asyncio"), 5, 5, queued));
}

#[test]
fn threadpool_exhausted() {
    check(
        Code::ThreadpoolExhausted,
        &[
            Fires {
                name: "the default executor",
                story: |w| {
                    executor(w, 12);
                    w.watch(3.0)
                },
                severity: Severity::Warning,
                culprit: Some("fetch"),
                says: &[
                    "all 5 threads of the ThreadPoolExecutor asyncio are taken, 5 of them in fetch (shop/up.py:12)",
                    "12 jobs in its queue",
                    "Task-10 (shop/v.py:9) waits for a free thread",
                ],
            },
            Fires {
                name: "startup waits for a thread",
                story: |w| {
                    let process = uvicorn_starts(w, 40.0);
                    process.thread(9_000, "load_0", FETCH, Activity::Syscall(45));
                    let queued = lifespan("load /srv/shop/main.py:6").on(WaitOn::Job {
                        state: JobState::Queued,
                    });
                    process.tasks(vec![server_task(), queued]).pool(pool(
                        PoolKind::Executor,
                        Some("load"),
                        1,
                        1,
                        1,
                    ));
                    w.watch(3.0)
                },
                severity: Severity::Critical,
                culprit: Some("fetch"),
                says: &["1 job in its queue"],
            },
            Fires {
                name: "a pool for work in the background",
                story: |w| {
                    fleet::uvicorn(w);
                    w.p(10)
                        .thread(9_000, "export_0", FETCH, Activity::Syscall(45))
                        .tasks(idle_uvicorn())
                        .pool(pool(PoolKind::Executor, Some("export"), 1, 1, 30));
                    w.watch(3.0)
                },
                severity: Severity::Info,
                culprit: Some("fetch"),
                says: &["30 jobs"],
            },
        ],
        &[
            ("not for long", |w| {
                executor(w, 12);
                w.watch(2.0)
            }),
            ("nobody waits", |w| {
                executor(w, 0);
                w.watch(9.0)
            }),
            ("the server ends, and its threads with it", |w| {
                executor(w, 12);
                w.watch(1.0);
                w.close(500);
                w.watch(9.0)
            }),
            ("its threads move", |w| {
                executor(w, 12);
                w.watch_while(9.0, |w, turn| {
                    for at in 0..5 {
                        let stack =
                            FETCH.replace(":12", &format!(":{}", 12 + (turn / 10 + at) % 3));
                        w.p(10).thread(
                            9_000 + at as u32,
                            &format!("asyncio_{at}"),
                            &stack,
                            Activity::Syscall(45),
                        );
                    }
                })
            }),
        ],
    );
}

/// The limiter of AnyIO and the stacks of its threads tell the same: it is said once.
#[test]
fn a_pool_that_is_seen_twice_is_told_once() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    let process = w.p(10);
    let mut list = idle_uvicorn();
    for at in 0..40 {
        let stack = "@anyio-thread | price /srv/shop/v.py:9 | fetch /srv/shop/up.py:12";
        process.thread(
            9_000 + at,
            "AnyIO worker thread",
            stack,
            Activity::Syscall(45),
        );
    }
    for id in 5..60 {
        let stack = "run_in_threadpool pkg+starlette/concurrency.py:34 | CapacityLimiter.acquire_on_behalf_of pkg+anyio/_backends/_asyncio.py:2100 | @event";
        list.push(request(id, stack).on(semaphore(0, 15)).object(2_000_000));
    }
    process
        .clients(7_000, 60, 8000)
        .tasks(list)
        .pool(pool(PoolKind::Limiter, None, 40, 40, 15));
    let seen = w.watch(4.0);
    let server = only(&seen);
    assert_eq!(
        codes(server),
        ["threadpool-exhausted"],
        "{:?}",
        server.findings
    );
    assert_eq!(
        (server.phase, server.findings[0].severity),
        (Phase::Stalled, Severity::Critical)
    );
    assert!(
        server.findings[0].summary.contains("40 of them in fetch"),
        "{:?}",
        server.findings
    );
}

/// uvicorn that was told to stop, and has closed its listener.
fn drains(w: &mut World, list: Vec<Task>) {
    fleet::uvicorn(w);
    w.p(10).tasks(idle_uvicorn());
    w.watch(1.0);
    w.close(500);
    w.p(10).tasks(list);
}

fn shutdown() -> Task {
    task(1, "Task-1", "@uvicorn-shutdown").on(sleep(0.1, 0.05))
}

fn exports() -> Task {
    request(5, "@background | export_rows /srv/shop/v.py:11 | @event")
        .on(event(1))
        .object(50)
}

#[test]
fn drain_tasks() {
    check(
        Code::DrainTasks,
        &[
            Fires {
                name: "a task in the background",
                story: |w| {
                    drains(
                        w,
                        vec![shutdown(), idle_uvicorn().remove(1), beat(0.1), exports()],
                    );
                    w.watch(3.0)
                },
                severity: Severity::Info,
                culprit: Some("export_rows"),
                says: &[
                    "for 1 task to end: Task-5 in export_rows (shop/v.py:11) (Event.wait)",
                    "no client is connected to pid 10",
                    "the server stands in Server._wait_tasks_to_complete (uvicorn/server.py:326)",
                ],
            },
            Fires {
                name: "for long",
                story: |w| {
                    drains(w, vec![shutdown(), exports()]);
                    w.watch(35.0)
                },
                severity: Severity::Critical,
                culprit: Some("export_rows"),
                says: &["at least 35 s"],
            },
            Fires {
                name: "the application's own shutdown",
                story: |w| {
                    let ends = task(1, "Task-1", "@uvicorn-serve | Server.shutdown pkg+uvicorn/server.py:311 | LifespanOn.shutdown pkg+uvicorn/lifespan/on.py:70 | @event").on(event(1));
                    let lifespan = task(2, "Task-2", "@uvicorn-lifespan-end | lifespan /srv/shop/main.py:14 | flush /srv/shop/out.py:3 | @event").on(event(1));
                    drains(w, vec![ends, lifespan, beat(0.1)]);
                    w.watch(12.0)
                },
                severity: Severity::Warning,
                culprit: Some("flush"),
                says: &["LifespanOn.shutdown"],
            },
            Fires {
                name: "a task that does not end though it is cancelled",
                story: |w| {
                    drains(w, Vec::new());
                    w.p(10).main("@uvicorn-cli | run std+asyncio/runners.py:190 | Runner.close std+asyncio/runners.py:71 | _cancel_all_tasks std+asyncio/runners.py:201 | BaseEventLoop.run_until_complete std+asyncio/base_events.py:640 | @poll").at_rest();
                    w.p(10).tasks(vec![
                        task(6, "sync", "sync /srv/shop/s.py:9 | @sleep").on(sleep(600.0, 300.0)),
                    ]);
                    w.watch(3.0)
                },
                severity: Severity::Info,
                culprit: Some("sync"),
                says: &["sync in sync (shop/s.py:9)"],
            },
        ],
        &[
            ("not for long", |w| {
                drains(w, vec![shutdown(), exports()]);
                w.watch(2.0)
            }),
            ("a client is still connected: it waits for that", |w| {
                drains(
                    w,
                    vec![
                        shutdown(),
                        request(5, "ticks /srv/shop/v.py:11 | @sleep").on(sleep(0.5, 0.2)),
                    ],
                );
                w.p(10).clients(7_000, 2, 8000);
                w.watch(9.0)
            }),
            ("a task in the background while it serves", |w| {
                fleet::uvicorn(w);
                let mut list = idle_uvicorn();
                list.push(exports());
                w.p(10).tasks(list);
                w.watch(9.0)
            }),
            (
                "a program that runs the server itself is not what the server waits for",
                |w| {
                    let stack = "main /srv/shop/run.py:9 | @uvicorn-shutdown";
                    drains(
                        w,
                        vec![task(1, "Task-1", stack).on(sleep(0.1, 0.05)), beat(0.1)],
                    );
                    w.watch(9.0)
                },
            ),
            ("nothing but the server's own is left", |w| {
                drains(w, vec![shutdown(), beat(0.1)]);
                w.watch(9.0)
            }),
        ],
    );
}

/// The server's own shutdown is on its tasks before the kernel shows anything.
#[test]
fn a_shutdown_that_waits_with_its_listener_open_is_draining() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    w.p(10).tasks(idle_uvicorn());
    w.watch(1.0);
    w.p(10).tasks(vec![shutdown(), exports()]);
    let seen = w.watch(0.5);
    assert_eq!(only(&seen).phase, Phase::Draining);
}

/// So many connected clients that say nothing.
fn websockets(n: u64) -> Vec<Task> {
    let stack = "@uvicorn-websocket | chat /srv/shop/chat.py:9 | @websocket-receive";
    let one = task(0, "Task", stack).on(event(1));
    let nth = |id| Task {
        id: ObjectId(id),
        ..one.clone()
    };
    (10..10 + n).map(nth).collect()
}

/// Servers at work, in which something stands in one place for as long as one looks.
#[test]
fn healthy_tasks_raise_nothing() {
    type Change = fn(usize) -> Vec<Task>;
    let stories: &[(&str, Change)] = &[
        ("two thousand websockets", |_| websockets(2_000)),
        ("keep-alive connections of aiohttp and hypercorn", |_| {
            let keep = |id| task(id, "Task", "@aiohttp-keepalive");
            let read = |id| task(id, "Task", "@hypercorn-connection").on(WaitOn::Read);
            (10..300).map(keep).chain((300..600).map(read)).collect()
        }),
        ("long polls", |_| {
            let poll = |id| {
                request(id, "news /srv/shop/news.py:14 | @event")
                    .on(event(40))
                    .object(50)
            };
            (10..50).map(poll).collect()
        }),
        ("long polls of one queue of jobs", |_| {
            let poll = |id| {
                request(id, "next_job /srv/shop/jobs.py:14 | @get")
                    .on(get(70, 40))
                    .object(50)
            };
            (10..50).map(poll).collect()
        }),
        ("consumers and loops that sleep", |turn| {
            let consume = |id| {
                task(id, "consumer", "consume /srv/shop/jobs.py:8 | @get")
                    .on(get(12, 4))
                    .object(50)
            };
            let mut list: Vec<Task> = (10..14).map(consume).collect();
            list.push(beat(0.5 - turn as f64 % 5.0 / 10.0));
            list.push(
                task(20, "nightly", "nightly /srv/shop/jobs.py:30 | @sleep")
                    .on(sleep(86_400.0, 40_000.0)),
            );
            list
        }),
        ("a lock that is held briefly", |turn| {
            let held = request(11, "save /srv/shop/v.py:5")
                .on(WaitOn::Read)
                .holds(50, "Lock");
            let waits = request(12, "save /srv/shop/v.py:4 | @lock")
                .on(lock(1))
                .object(50);
            if turn % 7 == 0 {
                vec![held, waits]
            } else {
                vec![held]
            }
        }),
        ("a task that waits for its children", |_| {
            vec![
                task(10, "hub", "hub /srv/shop/hub.py:4").on(children(
                    "TaskGroup",
                    &[11, 12],
                    None,
                )),
                task(11, "in", "pump /srv/shop/hub.py:9")
                    .on(WaitOn::Read)
                    .awaited_by(10),
                task(12, "out", "pump /srv/shop/hub.py:9 | @get")
                    .on(get(3, 1))
                    .awaited_by(10),
            ]
        }),
        ("tasks that the loop has not got to", |turn| {
            let at = |id: u64| task(id, "Task", "work /srv/shop/w.py:3").is(TaskState::Runnable);
            (10..40 + turn as u64 % 9).map(at).collect()
        }),
    ];
    for (name, change) in stories {
        let mut w = World::new();
        fleet::uvicorn(&mut w);
        let seen = w.watch_while(7.0, |w, turn| {
            let mut list = idle_uvicorn();
            list.extend(change(turn));
            w.p(10).tasks(list);
        });
        assert!(w.ever.is_empty(), "{name}: {:?}", w.ever);
        assert_eq!(only(&seen).phase, Phase::Serving, "{name}");
    }
}

/// The cause comes first: who waits for each other, then what hangs on it.
#[test]
fn causes_come_before_symptoms() {
    let mut w = World::new();
    uvicorn_starts(&mut w, 40.0).tasks(index_and_snapshot());
    let seen = w.watch(3.0);
    assert_eq!(codes(only(&seen)), ["task-deadlock", "startup-await"]);
    let mut w = World::new();
    uvicorn_starts(&mut w, 40.0).tasks(vec![server_task(), seeds_tables()]);
    let seen = w.watch(3.0);
    assert_eq!(codes(only(&seen)), ["pool-exhausted", "startup-await"]);
}

/// A blocked loop keeps every task where it is: the loop is to blame.
#[test]
fn a_blocked_loop_is_not_taken_for_an_exhausted_pool() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    let mut list = idle_uvicorn();
    list.push(has_slot(5, 9));
    list.extend((6..12).map(waits_for_slot));
    w.p(10)
        .tasks(list)
        .main("@uvicorn | @request | report /srv/shop/r.py:3");
    let seen = w.watch(8.0);
    assert_eq!(
        only(&seen).findings[0].code,
        Code::LoopBlocked,
        "{:?}",
        codes(only(&seen))
    );
}

/// `cargo test --release --test diagnosis task_cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints, proves nothing"]
fn task_cost() {
    for n in [10, 1_000, 10_000] {
        let mut w = World::new();
        fleet::uvicorn(&mut w);
        w.p(10).tasks(websockets(n));
        w.watch(1.0);
        let snapshots: Vec<_> = (0..20)
            .map(|_| {
                w.pass(0.1);
                w.snapshot()
            })
            .collect();
        let since = std::time::Instant::now();
        for snapshot in &snapshots {
            w.analyst.observe(snapshot);
        }
        println!("{n} tasks: {:?} for a look", since.elapsed() / 20);
    }
}
