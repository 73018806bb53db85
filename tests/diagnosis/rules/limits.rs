//! Descriptors and worker threads that are used up.

use steth::diagnosis::{Code, Severity};
use steth::snapshot::Activity;

use super::{check, fires};
use crate::fleet;
use crate::world::{Build, World, codes, only};

#[test]
fn fd_exhausted() {
    fn open(w: &mut World, open: u64, limit: Option<u64>) {
        fleet::uvicorn(w);
        let fds = w.p(10).fds.as_mut().unwrap();
        fds.open = open;
        fds.limit = limit;
        fds.classes.sockets = open - 5;
    }
    check(
        Code::FdExhausted,
        &[
            fires(
                "at the limit",
                |w| {
                    open(w, 1024, Some(1024));
                    w.watch(1.0)
                },
                Severity::Warning,
                None,
                &["pid 10", "1024 of 1024"],
            ),
            fires(
                "asyncio tries again and again",
                |w| {
                    open(w, 1023, Some(1024));
                    w.watch(1.0)
                },
                Severity::Warning,
                None,
                &["1023 of 1024"],
            ),
            fires(
                "somebody waits",
                |w| {
                    open(w, 64, Some(64));
                    w.waiting(500, 9);
                    w.watch(1.0)
                },
                Severity::Critical,
                None,
                &["9 connections in the accept queue"],
            ),
        ],
        &[
            ("two are left", |w| {
                open(w, 1022, Some(1024));
                w.watch(5.0)
            }),
            ("no limit to be seen", |w| {
                open(w, 1024, None);
                w.watch(5.0)
            }),
            ("a limit of none", |w| {
                open(w, 20, Some(0));
                w.watch(5.0)
            }),
            ("may not be read", |w| {
                fleet::uvicorn(w);
                w.p(10).fds = None;
                w.watch(5.0)
            }),
        ],
    );
}

#[test]
fn a_loop_that_accepts_in_vain_is_not_held_by_who_started_it() {
    let mut w = World::new();
    fleet::plain_asyncio(&mut w);
    w.watch(1.0);
    let fds = w.p(10).fds.as_mut().unwrap();
    fds.open = 64;
    fds.limit = Some(64);
    w.waiting(500, 9);
    let busy = "<module> /srv/gate/gateway.py:40 | main /srv/gate/gateway.py:36 | @asyncio | @step
        | BaseSelectorEventLoop._accept_connection std+asyncio/selector_events.py:178";
    w.p(10).main(busy).doing(Activity::Running);
    w.burns(10, 90.0);
    let seen = w.watch(9.0);
    let found = codes(only(&seen));
    assert_eq!(found.first(), Some(&"fd-exhausted"), "{found:?}");
    assert!(!w.ever.contains_key(&Code::LoopBlocked), "{found:?}");
}

/// So many of AnyIO's threads stand in a handler, and there are so many clients.
fn anyio(w: &mut World, threads: u32, clients: u64) {
    fleet::uvicorn(w);
    for at in 0..threads {
        let stack = "@anyio-thread | quote /srv/shop/views.py:50 | ask_bank /srv/shop/bank.py:8";
        w.p(10).thread(
            9_000 + at,
            "AnyIO worker thread",
            stack,
            Activity::Syscall(45),
        );
    }
    w.p(10).clients(7_000, clients, 8000);
}

/// A client whose request nobody has read.
fn unread(w: &mut World, pid: u32, inode: u64, bytes: u32) {
    w.p(pid).clients(inode, 4, 8000);
    let mut open = steth::snapshot::Connections::clone(w.p(pid).connections.as_ref().unwrap());
    open.list[3].recv_q = bytes;
    w.p(pid).connections = Some(open.into());
}

/// gunicorn's gthread: the threads of its one worker, pid 11, are taken, and the last client has sent so many bytes.
fn gthread(w: &mut World, threads: u32, bytes: u32) {
    fleet::gunicorn_master(w);
    fleet::gunicorn_child(w, 11)
        .main("@gthread-idle")
        .at_rest()
        .holds(500)
        .accepts(500);
    for at in 0..threads {
        let name = format!("ThreadPoolExecutor-0_{at}");
        let stack = "@gthread-task | invoice /srv/shop/bills.py:12";
        w.p(11)
            .thread(9_000 + at, &name, stack, Activity::Syscall(45));
    }
    unread(w, 11, 7_000, bytes);
}

/// uvicorn, and so many threads of asyncio's default executor in the application's code.
fn executor(w: &mut World, threads: u32, clients: u64) {
    fleet::uvicorn(w);
    for at in 0..threads {
        let stack = "@executor-thread | consume /srv/shop/bus.py:4";
        w.p(10)
            .thread(9_000 + at, &format!("asyncio_{at}"), stack, Activity::Lock);
    }
    w.p(10).clients(7_000, clients, 8000);
}

#[test]
fn threadpool_exhausted() {
    fn waitress(w: &mut World, taken: u32, clients: u64) {
        fleet::waitress(w);
        for at in 0..taken {
            w.p(10).thread(
                9_000 + at,
                &format!("waitress-{at}"),
                "@waitress-task | invoice /srv/shop/bills.py:12",
                Activity::Lock,
            );
        }
        w.p(10).clients(7_000, clients, 8080);
    }
    check(
        Code::ThreadpoolExhausted,
        &[
            fires(
                "AnyIO",
                |w| {
                    anyio(w, 40, 60);
                    w.watch(3.0)
                },
                Severity::Critical,
                Some("ask_bank"),
                &[
                    "all 40 threads",
                    "AnyIO",
                    "2.9 s",
                    "ask_bank (shop/bank.py:8)",
                ],
            ),
            fires(
                "waitress",
                |w| {
                    waitress(w, 4, 9);
                    w.watch(3.0)
                },
                Severity::Critical,
                Some("invoice"),
                &["all 4 threads", "waitress"],
            ),
            fires(
                "gthread",
                |w| {
                    gthread(w, 3, 700);
                    w.watch(3.0)
                },
                Severity::Critical,
                Some("invoice"),
                &["all 3 threads", "ThreadPoolExecutor-0"],
            ),
            fires(
                "beside a thread that never rests",
                |w| {
                    anyio(w, 40, 60);
                    w.watch_while(3.0, |w, t| {
                        let stack = format!("@thread | step_{} /srv/shop/meter.py:3", t % 5);
                        w.p(10).thread(9_500, "meter", &stack, Activity::Running);
                    })
                },
                Severity::Critical,
                Some("ask_bank"),
                &["all 40 threads"],
            ),
            fires(
                "one of two workers",
                |w| {
                    fleet::uvicorn_workers(w);
                    for at in 0..40 {
                        w.p(12).thread(
                            9_100 + at,
                            "AnyIO worker thread",
                            "@anyio-thread | quote /srv/shop/views.py:50",
                            Activity::Syscall(45),
                        );
                    }
                    w.p(12).clients(7_000, 50, 8000);
                    w.watch(3.0)
                },
                Severity::Warning,
                Some("quote"),
                &["all 40 threads"],
            ),
        ],
        &[
            ("not for long", |w| {
                anyio(w, 40, 60);
                w.watch(2.0)
            }),
            ("not read for long", |w| {
                anyio(w, 40, 60);
                w.watch(1.5);
                w.cannot_read(10);
                w.watch(5.0)
            }),
            ("one thread is left", |w| {
                anyio(w, 39, 60);
                w.watch(5.0)
            }),
            ("nobody waits", |w| {
                anyio(w, 40, 40);
                w.watch(5.0)
            }),
            (
                "more threads than the default has: somebody has chosen another limit",
                |w| {
                    anyio(w, 41, 90);
                    w.watch(5.0)
                },
            ),
            (
                "threads of a pool that may still grow, and clients at rest",
                |w| {
                    executor(w, 6, 60);
                    w.watch(5.0)
                },
            ),
            ("gthread, and everything has been read", |w| {
                gthread(w, 3, 0);
                w.watch(5.0)
            }),
            ("gthread, and requests wait for a moment each", |w| {
                gthread(w, 3, 0);
                w.watch_while(9.0, |w, t| unread(w, 11, 7_000 + t as u64 / 15, 700))
            }),
            ("gthread, and one of its threads rests", |w| {
                gthread(w, 3, 700);
                w.p(11).thread(
                    9_002,
                    "ThreadPoolExecutor-0_2",
                    "@executor-thread",
                    Activity::Lock,
                );
                w.watch(5.0)
            }),
            (
                "consumers in a pool of their own, and an upload that is read slowly",
                |w| {
                    fleet::gunicorn_sync(w);
                    w.watch(1.0);
                    w.p(11)
                        .main("@sync-request | store /srv/shop/upload.py:9")
                        .accepts_nothing();
                    w.p(11).thread(
                        9_000,
                        "ThreadPoolExecutor-0_0",
                        "@executor-thread | consume /srv/shop/bus.py:4",
                        Activity::Lock,
                    );
                    unread(w, 11, 7_000, 90_000);
                    w.watch(5.0)
                },
            ),
            ("one of four rests", |w| {
                waitress(w, 3, 9);
                w.watch(5.0)
            }),
            ("one of them moves", |w| {
                waitress(w, 4, 9);
                w.watch_while(9.0, |w, t| {
                    w.p(10).thread(9_002, "waitress-2", &format!("@waitress-task | invoice /srv/shop/bills.py:12 | part_{} /srv/shop/bills.py:20", t / 15 % 2), Activity::Lock);
                })
            }),
        ],
    );
}

/// So many requests ask SQLAlchemy's pool for a connection.
fn pooled(w: &mut World, requests: u32) {
    fleet::uvicorn(w);
    for at in 0..requests {
        w.p(10).thread(
            9_000 + at,
            "AnyIO worker thread",
            &format!("@anyio-thread | list_orders /srv/shop/views.py:12 | {NONE_FREE}:171"),
            Activity::Lock,
        );
    }
}

const NONE_FREE: &str = "Session.execute pkg+sqlalchemy/orm/session.py:2365 | QueuePool._do_get pkg+sqlalchemy/pool/impl.py:169 | Queue.get pkg+sqlalchemy/util/queue.py";

#[test]
fn pool_exhausted_by_threads() {
    check(
        Code::PoolExhausted,
        &[
            fires(
                "three requests",
                |w| {
                    pooled(w, 3);
                    w.watch(20.0)
                },
                Severity::Warning,
                Some("list_orders"),
                &[
                    "3 threads wait for a free connection of a pool, 3 of them in list_orders (shop/views.py:12)",
                    "none has come for at least 20 s",
                ],
            ),
            fires(
                "one, and others get theirs",
                |w| {
                    pooled(w, 1);
                    w.watch(20.0)
                },
                Severity::Info,
                Some("list_orders"),
                &["1 thread waits for a free connection"],
            ),
        ],
        &[
            ("not for long", |w| {
                pooled(w, 3);
                w.watch(1.5)
            }),
            ("each gets one before long", |w| {
                pooled(w, 3);
                w.watch_while(20.0, |w, turn| {
                    for at in 0..3 {
                        let stack = format!(
                            "@anyio-thread | list_orders /srv/shop/views.py:{} | {NONE_FREE}:171",
                            10 + (turn / 10 + at) % 4
                        );
                        let name = "AnyIO worker thread";
                        w.p(10)
                            .thread(9_000 + at as u32, name, &stack, Activity::Lock);
                    }
                })
            }),
            ("a connection is being made", |w| {
                pooled(w, 3);
                for tid in 9_000..9_003 {
                    let stack = "@anyio-thread | list_orders /srv/shop/views.py:12 | QueuePool._do_get pkg+sqlalchemy/pool/impl.py:177 | connect pkg+psycopg2/__init__.py:122";
                    w.p(10)
                        .thread(tid, "AnyIO worker thread", stack, Activity::Syscall(42));
                }
                w.watch(20.0)
            }),
        ],
    );
}
