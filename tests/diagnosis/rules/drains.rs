//! Shutdowns that do not end.

use std::sync::Arc;

use steth::diagnosis::{Code, Severity};
use steth::snapshot::{Activity, Process};

use super::{check, fires};
use crate::fleet;
use crate::world::{Build, World};

/// uvicorn that has closed its listener, with so many clients still connected.
fn closing(w: &mut World, clients: u64) {
    fleet::uvicorn(w);
    w.watch(1.0);
    w.close(500);
    w.p(10).clients(7_000, clients, 8000);
}

#[test]
fn drain_connections() {
    check(
        Code::DrainConnections,
        &[
            fires(
                "streams that stay open",
                |w| {
                    closing(w, 2);
                    w.watch(3.0)
                },
                Severity::Info,
                None,
                &[
                    "at least 2.9 s for 2 connections to be closed",
                    "127.0.0.1:40000, 127.0.0.1:40001",
                ],
            ),
            fires(
                "many, for long",
                |w| {
                    closing(w, 9);
                    w.watch(31.0)
                },
                Severity::Critical,
                None,
                &["9 connections", "127.0.0.1:40002 and 6 more"],
            ),
            fires(
                "a thread answers one of them",
                |w| {
                    closing(w, 1);
                    let stack = "@anyio-thread | export /srv/shop/views.py:50";
                    w.p(10)
                        .thread(9_000, "AnyIO worker thread", stack, Activity::Lock);
                    w.watch(12.0)
                },
                Severity::Warning,
                Some("export"),
                &["1 connection", "export (shop/views.py:50) answers"],
            ),
        ],
        &[
            ("not for long", |w| {
                closing(w, 2);
                w.watch(1.9)
            }),
            ("nobody is connected", |w| {
                closing(w, 0);
                w.watch(9.0)
            }),
            ("its own connection to a database", |w| {
                closing(w, 1);
                let process = w.p(10);
                let mut open =
                    steth::snapshot::Connections::clone(process.connections.as_ref().unwrap());
                open.list[0].local.1 = 41_000;
                open.list[0].peer.1 = 5_432;
                process.connections = Some(Arc::new(open));
                w.watch(9.0)
            }),
            ("clients of a server that serves", |w| {
                fleet::uvicorn(w);
                w.p(10).clients(7_000, 40, 8000);
                w.watch(9.0)
            }),
        ],
    );
}

const EXIT: &str = "_shutdown std+threading.py:1622";
const EXECUTORS: &str = "_shutdown std+threading.py:1587 | _python_exit std+concurrent/futures/thread.py:31 | Thread.join std+threading.py:1119";

/// Waitress that has come to the end of its program, whose main thread stands there.
fn exits(w: &mut World, main: &str) {
    fleet::waitress(w);
    w.watch(1.0);
    w.close(500);
    let tids: Vec<u32> = others(w.p(10));
    for tid in tids {
        w.p(10).ends_thread(tid);
    }
    w.p(10).main(main).doing(Activity::Lock);
}

fn others(process: &Process) -> Vec<u32> {
    let stacks = process.python.as_ref().unwrap().stacks.as_ref().unwrap();
    let tids = stacks.list.iter().filter_map(|s| s.tid);
    tids.filter(|tid| *tid != process.key.pid).collect()
}

fn thread(w: &mut World, tid: u32, name: &str, stack: &str, daemon: Option<bool>) {
    let process = w.p(10);
    process.thread(tid, name, stack, Activity::Lock);
    let python = process.python.as_mut().unwrap();
    let stacks = Arc::make_mut(python.stacks.as_mut().unwrap());
    let stack = stacks.list.iter_mut().find(|s| s.tid == Some(tid));
    stack.unwrap().daemon = daemon;
}

#[test]
fn drain_threads() {
    check(
        Code::DrainThreads,
        &[
            fires(
                "a thread that is no daemon",
                |w| {
                    exits(w, EXIT);
                    let stack = "@thread | pump /srv/shop/bus.py:7 | get std+queue.py:171";
                    thread(w, 9_700, "pump", stack, Some(false));
                    thread(
                        w,
                        9_600,
                        "beat",
                        "@thread | beat /srv/shop/beat.py:3",
                        Some(true),
                    );
                    w.watch(3.0)
                },
                Severity::Info,
                Some("pump"),
                &["at least 2.9 s for 1 thread to end: pump in pump (shop/bus.py:7)"],
            ),
            fires(
                "a job of an executor, and an idle thread beside it",
                |w| {
                    exits(w, EXECUTORS);
                    let stack = "@executor-thread | run std+concurrent/futures/thread.py:58 | render /srv/shop/pdf.py:20";
                    thread(w, 9_700, "ThreadPoolExecutor-0_0", stack, Some(false));
                    thread(
                        w,
                        9_701,
                        "ThreadPoolExecutor-0_1",
                        "@executor-thread",
                        Some(false),
                    );
                    w.watch(12.0)
                },
                Severity::Warning,
                Some("render"),
                &[
                    "1 thread of an executor",
                    "ThreadPoolExecutor-0_0 in render (shop/pdf.py:20)",
                ],
            ),
            fires(
                "who is a daemon was not seen",
                |w| {
                    exits(w, EXIT);
                    thread(w, 9_700, "pump", "@thread | pump /srv/shop/bus.py:7", None);
                    w.watch(31.0)
                },
                Severity::Critical,
                Some("pump"),
                &["1 thread to end"],
            ),
        ],
        &[
            ("only daemons are left", |w| {
                exits(w, EXIT);
                thread(
                    w,
                    9_700,
                    "beat",
                    "@thread | beat /srv/shop/beat.py:3",
                    Some(true),
                );
                w.watch(9.0)
            }),
            ("not for long", |w| {
                exits(w, EXIT);
                thread(
                    w,
                    9_700,
                    "pump",
                    "@thread | pump /srv/shop/bus.py:7",
                    Some(false),
                );
                w.watch(1.9)
            }),
            ("an executor's threads have nothing to do", |w| {
                exits(w, EXECUTORS);
                thread(
                    w,
                    9_700,
                    "ThreadPoolExecutor-0_0",
                    "@executor-thread",
                    Some(false),
                );
                w.watch(9.0)
            }),
            ("another thread serves while the main one has ended", |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10).main(EXIT).doing(Activity::Lock);
                w.p(10).accepts_on(500, 9_700);
                thread(
                    w,
                    9_700,
                    "server",
                    "@thread | @uvicorn-server | @poll",
                    Some(false),
                );
                w.watch(9.0)
            }),
        ],
    );
}
