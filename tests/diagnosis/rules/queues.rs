//! Sockets that are bound and do not listen, and accept queues that nobody drains.

use steth::diagnosis::{Code, Severity};
use steth::snapshot::{Activity, Process};

use super::{bound, check, fires, held, listening};
use crate::fleet;
use crate::world::{Build, End, World};

#[test]
fn bound_not_listening() {
    check(
        Code::BoundNotListening,
        &[
            fires(
                "young",
                |w| {
                    bound(w, 5.0);
                    w.watch(3.0)
                },
                Severity::Info,
                None,
                &["127.0.0.1:8000", "2.9 s", "refused"],
            ),
            fires(
                "late",
                |w| {
                    bound(w, 10.0);
                    w.watch(3.0)
                },
                Severity::Warning,
                None,
                &["workers have not got that far"],
            ),
            fires(
                "far too late",
                |w| {
                    bound(w, 40.0);
                    w.watch(3.0)
                },
                Severity::Critical,
                None,
                &["listen()"],
            ),
            fires(
                "nobody is left to listen",
                |w| {
                    bound(w, 5.0);
                    w.end(11, End::Signal(15));
                    w.end(12, End::Signal(15));
                    w.watch(3.0)
                },
                Severity::Critical,
                None,
                &["no process is there to listen"],
            ),
        ],
        &[
            ("not for long", |w| {
                bound(w, 40.0);
                w.watch(2.0)
            }),
            ("it listens in the end", |w| {
                bound(w, 40.0);
                w.watch(1.5);
                w.listen(500, 8000);
                w.p(11)
                    .main("@uvicorn-worker | @poll")
                    .at_rest()
                    .accepts(500);
                w.watch(5.0)
            }),
            ("kept beside what listens", |w| {
                fleet::granian(w);
                w.watch(5.0)
            }),
        ],
    );
}

const ONE_BY_ONE: &str = "<module> pages.py:20 | BaseServer.serve_forever std+socketserver.py:238 | BaseServer._handle_request_noblock std+socketserver.py:316";

/// A server without threads that has been seen to accept.
fn one_by_one(w: &mut World) -> &mut Process {
    w.listen(500, 8000);
    w.old(10, 90.0, "python pages.py 8000")
        .main("<module> pages.py:20 | @socketserver")
        .at_rest()
        .holds(500)
        .accepts(500);
    w.watch(1.0);
    w.p(10).accepts_nothing()
}

#[test]
fn no_worker_accepting() {
    let loads = Some("load_prices");
    check(
        Code::NoWorkerAccepting,
        &[
            fires(
                "young",
                |w| {
                    listening(w, 4.0);
                    w.watch(3.0)
                },
                Severity::Info,
                loads,
                &["2 workers are still importing"],
            ),
            fires(
                "late",
                |w| {
                    listening(w, 9.0);
                    w.watch(3.0)
                },
                Severity::Warning,
                loads,
                &["127.0.0.1:8000"],
            ),
            fires(
                "far too late",
                |w| {
                    listening(w, 40.0);
                    w.waiting(500, 7);
                    w.watch(3.0)
                },
                Severity::Critical,
                loads,
                &[
                    "7 connections in the accept queue",
                    "load_prices (shop/prices.py:5)",
                ],
            ),
            fires(
                "one request after the other, and one does not end",
                |w| {
                    one_by_one(w).main(&format!("{ONE_BY_ONE} | do_GET pages.py:9 | render pages.py:4 | Event.wait std+threading.py:629")).doing(Activity::Lock);
                    w.waiting(500, 3);
                    w.watch(8.0)
                },
                Severity::Warning,
                Some("render"),
                &[
                    "its only worker, which serves one request at a time, is with one in render (pages.py:4) for at least 7.9 s",
                ],
            ),
            fires(
                "the workers are gone",
                |w| {
                    listening(w, 4.0);
                    w.watch(1.0);
                    w.end(11, End::Signal(15));
                    w.end(12, End::Signal(15));
                    w.watch(3.0)
                },
                Severity::Critical,
                None,
                &["it has no worker", "0 connections"],
            ),
        ],
        &[
            ("not for long", |w| {
                listening(w, 40.0);
                w.watch(2.0)
            }),
            ("one request after the other, and they move on", |w| {
                one_by_one(w);
                w.waiting(500, 3);
                w.watch_while(8.0, |w, turn| {
                    let page = format!(
                        "{ONE_BY_ONE} | do_GET pages.py:9 | render_{} pages.py:4",
                        turn / 5
                    );
                    w.p(10).main(&page);
                })
            }),
            ("one of them accepts", |w| {
                listening(w, 40.0);
                w.p(12).main("@sync-idle").at_rest().accepts(500);
                w.watch(9.0)
            }),
            ("who accepts may not be seen", |w| {
                listening(w, 40.0);
                for pid in [10, 11, 12] {
                    w.p(pid).accepting = None;
                }
                w.watch(9.0)
            }),
            ("bound only", |w| {
                bound(w, 40.0);
                w.watch(9.0)
            }),
        ],
    );
}

#[test]
fn accept_queue_full() {
    check(
        Code::AcceptQueueFull,
        &[
            fires(
                "over the backlog, while it is thought to serve",
                |w| {
                    held(w);
                    w.waiting(500, 129);
                    w.watch(0.3)
                },
                Severity::Info,
                None,
                &["129 connections", "backlog of 128"],
            ),
            fires(
                "over the backlog for long",
                |w| {
                    held(w);
                    w.waiting(500, 129);
                    w.watch(4.0)
                },
                Severity::Critical,
                None,
                &["129 connections", "backlog of 128"],
            ),
            fires(
                "at the backlog and dropping, while it is thought to serve",
                |w| {
                    held(w);
                    w.waiting(500, 128);
                    w.watch_while(1.0, |w, _| *w.socket(500).drops.as_mut().unwrap() += 2)
                },
                Severity::Warning,
                None,
                &["dropped per second"],
            ),
            fires(
                "at the backlog and dropping for long",
                |w| {
                    held(w);
                    w.waiting(500, 128);
                    w.watch_while(4.0, |w, _| *w.socket(500).drops.as_mut().unwrap() += 2)
                },
                Severity::Critical,
                None,
                &["dropped per second"],
            ),
            fires(
                "a unix socket",
                |w| {
                    fleet::uvicorn(w);
                    w.listen_unix(500, "/run/shop.sock");
                    w.watch(1.0);
                    w.p(10)
                        .main("@uvicorn | @request | show /srv/shop/views.py:20")
                        .armed(500);
                    w.waiting(500, 129);
                    w.watch(1.0)
                },
                Severity::Info,
                None,
                &["unix:/run/shop.sock"],
            ),
        ],
        &[
            ("as many as the backlog", |w| {
                held(w);
                w.waiting(500, 128);
                w.watch(4.0)
            }),
            ("full at one look", |w| {
                held(w);
                w.waiting(500, 129);
                w.watch(0.1);
                w.waiting(500, 0);
                w.watch(4.0)
            }),
            ("drops and an empty queue", |w| {
                fleet::uvicorn(w);
                w.watch_while(4.0, |w, _| *w.socket(500).drops.as_mut().unwrap() += 1)
            }),
            ("a side port", |w| {
                fleet::gunicorn_sync(w);
                w.waiting(501, 300);
                w.watch(4.0)
            }),
        ],
    );
}

#[test]
fn accept_queue_growing() {
    check(
        Code::AcceptQueueGrowing,
        &[
            fires(
                "for a while",
                |w| {
                    held(w);
                    w.watch_while(3.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
                },
                Severity::Info,
                None,
                &["grown by 7", "2.9 s"],
            ),
            fires(
                "for long",
                |w| {
                    held(w);
                    w.watch_while(6.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
                },
                Severity::Warning,
                None,
                &["grown by 14"],
            ),
            fires(
                "for very long",
                |w| {
                    held(w);
                    w.watch_while(16.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
                },
                Severity::Critical,
                None,
                &["is not drained"],
            ),
            fires(
                "before anybody has accepted",
                |w| {
                    listening(w, 4.0);
                    w.watch_while(3.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
                },
                Severity::Info,
                None,
                &["127.0.0.1:8000"],
            ),
        ],
        &[
            ("not for long", |w| {
                held(w);
                w.watch_while(2.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
            }),
            ("deep and steady", |w| {
                held(w);
                w.waiting(500, 60);
                w.watch(6.0)
            }),
            ("shorter once in a while", |w| {
                fleet::uvicorn(w);
                w.watch_while(20.0, |w, t| w.waiting(500, 20 + (t % 17) as u32 * 3))
            }),
            ("drained at once", |w| {
                fleet::uvicorn(w);
                w.watch_while(20.0, |w, t| {
                    w.waiting(500, if t % 19 == 0 { 0 } else { t as u32 })
                })
            }),
            ("no number to be seen", |w| {
                held(w);
                w.socket(500).accept_queue = None;
                w.watch(6.0)
            }),
        ],
    );
}
