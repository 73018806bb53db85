//! Event loops that do not turn.

use steth::diagnosis::{Code, Severity};
use steth::snapshot::{Activity, ProcessState, Thread};

use super::{DB, check, fires, held, lifespan};
use crate::fleet;
use crate::world::{Build, World};

/// The main thread of pid 10 has run for so many milliseconds, and waited for a processor for so many.
fn ready(w: &mut World, ran_ms: u64, waited_ms: u64) {
    let process = w.p(10);
    process.threads = Some(vec![Thread {
        tid: 10,
        name: "uvicorn".into(),
        state: ProcessState::Running,
        syscall: None,
        syscall_seen: true,
        run_ns: 1 + ran_ms * 1_000_000,
        waited_ns: waited_ms * 1_000_000,
        switches: 5,
        waits_on: None,
    }]);
}

#[test]
fn loop_blocked() {
    let culprit = Some("lookup");
    check(
        Code::LoopBlocked,
        &[
            fires(
                "nobody waits",
                |w| {
                    held(w);
                    w.watch(3.0)
                },
                Severity::Warning,
                culprit,
                &["pid 10", "2.9 s", "lookup (shop/rates.py:7)"],
            ),
            fires(
                "for long",
                |w| {
                    held(w);
                    w.watch(6.0)
                },
                Severity::Critical,
                culprit,
                &["5.9 s"],
            ),
            fires(
                "somebody waits",
                |w| {
                    held(w);
                    w.waiting(500, 3);
                    w.watch(3.0)
                },
                Severity::Critical,
                culprit,
                &["3 connections in the accept queue"],
            ),
            fires(
                "it computes on different lines",
                |w| {
                    held(w);
                    w.watch_while(3.0, |w, t| {
                        w.p(10)
                            .main(&format!("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:{}", 5 + t % 4))
                            .doing(Activity::Running);
                    })
                },
                Severity::Warning,
                culprit,
                &["2.9 s"],
            ),
            fires(
                "it computes, and shares the processor with others",
                |w| {
                    held(w);
                    w.watch_while(6.0, |w, t| ready(w, 50 * t as u64, 50 * t as u64))
                },
                Severity::Warning,
                culprit,
                &["at least 3.0 s"],
            ),
            fires(
                "one of two workers",
                |w| {
                    fleet::uvicorn_workers(w);
                    w.watch(1.0);
                    w.p(12).main("@uvicorn-worker | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7").armed(500);
                    w.watch(3.0)
                },
                Severity::Warning,
                culprit,
                &["pid 12"],
            ),
            fires(
                "a synchronous client's own poll, below the handler",
                |w| {
                    held(w);
                    w.p(10)
                        .main("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7 | wait_for_read pkg+urllib3/util/wait.py:146")
                        .doing(Activity::Syscall(7));
                    w.watch(3.0)
                },
                Severity::Warning,
                culprit,
                &["lookup"],
            ),
            fires(
                "a call of a library that patches or starts a loop, below the handler",
                |w| {
                    held(w);
                    w.p(10)
                        .main("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7 | recv pkg+gevent/_socket3.py:360")
                        .doing(Activity::Syscall(45));
                    w.watch(3.0)
                },
                Severity::Warning,
                culprit,
                &["lookup (shop/rates.py:7)"],
            ),
        ],
        &[
            (
                "it would turn if it were let: others have the processors",
                |w| {
                    held(w);
                    w.watch_while(20.0, |w, t| ready(w, 4 * t as u64, 96 * t as u64))
                },
            ),
            ("it has not been let since it was seen first", |w| {
                held(w);
                w.watch_while(20.0, |w, _| ready(w, 7, 0))
            }),
            ("not for long", |w| {
                held(w);
                w.watch(2.0)
            }),
            ("two looks far apart", |w| {
                held(w);
                w.look();
                w.pass(5.0);
                w.look()
            }),
            (
                "its stack was last read a while ago: it may turn for all that is known",
                |w| {
                    held(w);
                    w.watch(1.5);
                    w.cannot_read(10);
                    w.watch(9.0)
                },
            ),
            ("it never accepted", |w| {
                lifespan(w, 60.0, DB);
                w.watch(9.0)
            }),
            ("in its poll once in a while", |w| {
                held(w);
                w.watch_while(20.0, |w, t| match t % 19 {
                    0 => { w.p(10).main("@uvicorn | @poll").at_rest(); }
                    1 => { w.p(10).main("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7"); }
                    _ => {}
                })
            }),
            (
                "another request each time, by the line of the handler",
                |w| {
                    held(w);
                    w.watch_while(20.0, |w, t| {
                    w.p(10).main(&format!("@uvicorn | @request | show /srv/shop/views.py:{} | lookup /srv/shop/rates.py:7", 20 + t / 18));
                })
                },
            ),
            ("connections come and go", |w| {
                held(w);
                w.watch_while(20.0, |w, t| {
                    w.p(10).clients(7_000 + t as u64 / 15, 3, 8000);
                })
            }),
            ("it reads what it was sent", |w| {
                held(w);
                w.watch_while(20.0, |w, t| {
                    w.p(10).clients(7_000, 3, 8000);
                    let mut c =
                        steth::snapshot::Connections::clone(w.p(10).connections.as_ref().unwrap());
                    c.list[0].recv_q = if t % 15 == 0 { 0 } else { 400 };
                    w.p(10).connections = Some(c.into());
                })
            }),
            ("no loop at all", |w| {
                fleet::gunicorn_sync(w);
                w.watch(1.0);
                w.p(11)
                    .main("@sync-request | show /srv/shop/views.py:20")
                    .accepts_nothing();
                w.watch(9.0)
            }),
        ],
    );
}
