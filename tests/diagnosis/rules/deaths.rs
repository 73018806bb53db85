//! Processes that die, are killed, are stopped, or are missing.

use steth::diagnosis::{Code, Severity};
use steth::snapshot::{Activity, Heartbeat, ProcessState};

use super::{check, fires};
use crate::fleet;
use crate::world::{Build, End, World, only};

/// One worker of gunicorn boots for half a second and dies, and the next one is there a tenth later.
fn dies_at_boot(w: &mut World, pid: u32, how: End) {
    w.pass(0.1);
    fleet::gunicorn_child(w, pid)
        .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3 | connect /srv/shop/db.py:9")
        .holds(500);
    w.born(pid, w.now);
    w.watch(0.5);
    w.end(pid, how);
}

#[test]
fn crash_loop() {
    let culprit = Some("connect");
    check(
        Code::CrashLoop,
        &[
            fires(
                "an exit code",
                |w| {
                    fleet::gunicorn_master(w);
                    for pid in 11..15 {
                        dies_at_boot(w, pid, End::Code(3));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["4 processes", "exit code 3", "connect (shop/db.py:9)"],
            ),
            fires(
                "a signal",
                |w| {
                    fleet::gunicorn_master(w);
                    for pid in 11..13 {
                        dies_at_boot(w, pid, End::Signal(9));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["2 processes", "SIGKILL"],
            ),
            fires(
                "a code that nobody saw",
                |w| {
                    fleet::gunicorn_master(w);
                    for pid in 11..13 {
                        dies_at_boot(w, pid, End::Unseen);
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["exit code not seen"],
            ),
            fires(
                "beside a worker that serves",
                |w| {
                    fleet::gunicorn_sync(w);
                    w.watch(1.0);
                    for pid in 13..16 {
                        dies_at_boot(w, pid, End::Code(1));
                    }
                    w.watch(0.1)
                },
                Severity::Warning,
                culprit,
                &["3 processes"],
            ),
            fires(
                "after the import, where nobody was looking",
                |w| {
                    fleet::gunicorn_master(w);
                    for pid in 11..15 {
                        w.pass(0.1);
                        fleet::gunicorn_child(w, pid)
                            .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3")
                            .holds(500);
                        w.born(pid, w.now);
                        w.watch(0.2);
                        if pid == 12 {
                            w.p(pid).main("@gunicorn-uvicorn | @poll");
                            w.watch(0.1);
                        }
                        w.end(pid, End::Code(0));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                None,
                &["4 processes", "exit code 0"],
            ),
            fires(
                "under a shell's loop",
                |w| {
                    w.other(5, "sh -c while :; do uvicorn shop:app; done");
                    for turn in 0..3 {
                        w.pass(0.2);
                        w.start(10 + turn, "/venv/bin/uvicorn shop:app")
                            .parent(5)
                            .main("@uvicorn | @lifespan | open_pool /srv/shop/db.py:4");
                        w.watch(0.4);
                        w.end(10 + turn, End::Code(3));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                Some("open_pool"),
                &["3 processes", "exit code 3"],
            ),
        ],
        &[
            ("once", |w| {
                fleet::gunicorn_master(w);
                dies_at_boot(w, 11, End::Code(3));
                w.watch(9.0)
            }),
            ("two at a time, and none after them", |w| {
                fleet::gunicorn_sync(w);
                for pid in [11, 12] {
                    w.p(pid).accepts_nothing().main("@gunicorn-load");
                }
                w.watch(0.5);
                w.end(11, End::Code(3));
                w.end(12, End::Code(3));
                w.watch(9.0)
            }),
            ("asked to end", |w| {
                fleet::gunicorn_master(w);
                for pid in 11..17 {
                    dies_at_boot(w, pid, End::Signal(15));
                }
                w.watch(1.0)
            }),
            ("they had served", |w| {
                fleet::gunicorn_master(w);
                for pid in 11..17 {
                    w.pass(0.1);
                    fleet::gunicorn_child(w, pid)
                        .main("@sync-idle")
                        .at_rest()
                        .holds(500)
                        .accepts(500);
                    w.born(pid, w.now);
                    w.watch(0.5);
                    w.end(pid, End::Code(1));
                }
                w.watch(1.0)
            }),
            ("helpers", |w| {
                fleet::uvicorn(w);
                for pid in 20..26 {
                    w.pass(0.1);
                    w.start(pid, "/venv/bin/python thumbnail.py")
                        .parent(10)
                        .main("<module> /srv/shop/thumbnail.py:3");
                    w.watch(0.3);
                    w.end(pid, End::Code(1));
                }
                w.watch(1.0)
            }),
            ("far apart", |w| {
                fleet::gunicorn_sync(w);
                for pid in 13..16 {
                    dies_at_boot(w, pid, End::Code(1));
                    w.pass(70.0);
                    w.look();
                }
                w.watch(1.0)
            }),
        ],
    );
}

/// gunicorn whose command line has this option, before its one worker is there; clients wait.
fn arbiter(w: &mut World, option: &str) {
    fleet::gunicorn_master(w);
    let line = format!("/venv/bin/gunicorn -w 1 {option} shop.wsgi:app");
    w.p(10).cmdline = line.split_whitespace().map(str::to_owned).collect();
    w.waiting(500, 3);
    w.watch(0.5);
}

/// A sync worker boots, takes a request that does not end, and does not beat for so many seconds.
fn silent(w: &mut World, pid: u32, seconds: f64) {
    w.pass(0.1);
    fleet::gunicorn_child(w, pid)
        .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3")
        .holds(500)
        .heartbeat = Some(Heartbeat { age_ms: None });
    w.born(pid, w.now);
    w.watch(0.3);
    w.p(pid)
        .main("@sync-request | quote /srv/shop/views.py:20 | ask_bank /srv/shop/bank.py:8")
        .doing(Activity::Syscall(45))
        .accepts_nothing()
        .clients(7_000 + u64::from(pid), 1, 8000);
    let beat = w.now;
    w.watch_while(seconds, |w, _| {
        let age_ms = Some((w.now.seconds_since(beat) * 1000.0) as u64);
        w.p(pid).heartbeat = Some(Heartbeat { age_ms });
    });
}

/// The same, and then it ends.
fn silenced(w: &mut World, pid: u32, seconds: f64, how: End) {
    silent(w, pid, seconds);
    w.end(pid, how);
}

#[test]
fn worker_timeout_loop() {
    let culprit = Some("ask_bank");
    check(
        Code::WorkerTimeoutLoop,
        &[
            fires(
                "twice, by SIGKILL",
                |w| {
                    arbiter(w, "--timeout 3");
                    silenced(w, 11, 4.9, End::Signal(9));
                    silenced(w, 12, 5.1, End::Signal(9));
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["2 workers", "time-out 3.0 s", "ask_bank (shop/bank.py:8)"],
            ),
            fires(
                "SIGABRT ends it with code 1",
                |w| {
                    arbiter(w, "-t 3");
                    silenced(w, 11, 3.6, End::Code(1));
                    silenced(w, 12, 3.2, End::Code(1));
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["2 workers"],
            ),
            fires(
                "it dies in the server's own code, closing what it has taken",
                |w| {
                    arbiter(w, "-t 3");
                    for pid in [11, 12] {
                        silent(w, pid, 3.6);
                        w.p(pid)
                            .main("@gunicorn-worker | close_graceful pkg+gunicorn/util.py:312");
                        w.watch(0.3);
                        w.end(pid, End::Signal(9));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["2 workers"],
            ),
            fires(
                "once, and the next one is silent in the same place",
                |w| {
                    arbiter(w, "--timeout 3");
                    silenced(w, 11, 4.9, End::Signal(9));
                    silent(w, 12, 1.5);
                    w.look()
                },
                Severity::Critical,
                culprit,
                &["1 worker was"],
            ),
            fires(
                "nobody saw how it ended, or it is not reaped",
                |w| {
                    arbiter(w, "--timeout 3");
                    silenced(w, 11, 4.9, End::Unseen);
                    silent(w, 12, 4.9);
                    w.leave_zombie(12, 9);
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["2 workers"],
            ),
            fires(
                "the time-out stands in a file, and the silences are alike",
                |w| {
                    arbiter(w, "-c gunicorn.conf.py");
                    for pid in 11..14 {
                        silenced(w, pid, 12.2, End::Signal(9));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["3 workers", "after 12 s"],
            ),
            fires(
                "a version that counts from the fork, and an import that hangs",
                |w| {
                    arbiter(w, "--timeout 5");
                    for pid in 11..13 {
                        w.pass(0.1);
                        fleet::gunicorn_child(w, pid)
                            .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3 | ask_bank /srv/shop/bank.py:8")
                            .holds(500)
                            .heartbeat = Some(Heartbeat { age_ms: None });
                        w.born(pid, w.now);
                        w.watch(6.3);
                        w.end(pid, End::Signal(9));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                culprit,
                &["2 workers", "time-out 5.0 s"],
            ),
            fires(
                "uvicorn's workers, which keep the GIL while they import",
                |w| {
                    w.bind(500, 8000);
                    w.old(10, 60.0, "/venv/bin/uvicorn shop.main:app --workers 1")
                        .main("@uvicorn-supervisor")
                        .holds(500);
                    for pid in 11..13 {
                        gil_kept(w, pid, true);
                        w.end(pid, End::Signal(9));
                    }
                    w.watch(0.1)
                },
                Severity::Critical,
                Some("<module>"),
                &["2 workers", "time-out 5.0 s"],
            ),
        ],
        &[
            ("once", |w| {
                arbiter(w, "--timeout 3");
                silenced(w, 11, 4.9, End::Signal(9));
                w.watch(5.0)
            }),
            ("once, and the next one is silent elsewhere", |w| {
                arbiter(w, "--timeout 3");
                silenced(w, 11, 4.9, End::Signal(9));
                silent(w, 12, 0.1);
                w.p(12).main("@sync-request | export /srv/shop/bills.py:4");
                w.watch(2.8)
            }),
            ("killed before the time-out", |w| {
                arbiter(w, "--timeout 30");
                for pid in 11..15 {
                    silenced(w, pid, 5.0, End::Signal(9));
                }
                w.watch(1.0)
            }),
            ("told to end after a long request", |w| {
                arbiter(w, "--timeout 3");
                for pid in 11..15 {
                    silenced(w, pid, 4.5, End::Signal(15));
                }
                w.watch(1.0)
            }),
            ("ends by itself, without an error", |w| {
                arbiter(w, "--timeout 3");
                for pid in 11..15 {
                    silenced(w, pid, 4.5, End::Code(0));
                }
                w.watch(1.0)
            }),
            (
                "silences that are not alike, and a time-out that nobody knows",
                |w| {
                    arbiter(w, "");
                    for pid in 11..14 {
                        silenced(w, pid, f64::from(pid - 10) * 6.0, End::Signal(9));
                    }
                    w.watch(1.0)
                },
            ),
            ("all at once: a machine that slept", |w| {
                arbiter(w, "--timeout 3");
                silent(w, 11, 0.1);
                silent(w, 12, 4.8);
                w.p(11).heartbeat = w.p(12).heartbeat;
                w.look();
                w.end(11, End::Signal(9));
                w.end(12, End::Signal(9));
                w.watch(5.0)
            }),
            ("workers at rest that somebody kills by hand", |w| {
                arbiter(w, "");
                for pid in 11..15 {
                    silent(w, pid, 0.1);
                    w.p(pid).main("@sync-idle").at_rest().accepts(500);
                    w.waiting(500, 0);
                    w.watch(4.0);
                    w.p(pid).heartbeat = Some(Heartbeat {
                        age_ms: Some(4_000),
                    });
                    w.look();
                    w.end(pid, End::Signal(9));
                }
                w.watch(1.0)
            }),
            (
                "uvicorn's workers, killed while they wait without the GIL",
                |w| {
                    w.bind(500, 8000);
                    w.old(10, 60.0, "/venv/bin/uvicorn shop.main:app --workers 1")
                        .main("@uvicorn-supervisor")
                        .holds(500);
                    for pid in 11..15 {
                        gil_kept(w, pid, false);
                        w.end(pid, End::Signal(9));
                    }
                    w.watch(0.1)
                },
            ),
        ],
    );
}

/// A worker of uvicorn that imports for five seconds in one place, with the GIL or without.
fn gil_kept(w: &mut World, pid: u32, kept: bool) {
    w.pass(0.1);
    fleet::spawned(w, pid)
        .main("@uvicorn-worker | @step | @import | <module> /srv/shop/model.py:7")
        .holds(500);
    let stacks = w.p(pid).python.as_mut().unwrap().stacks.as_mut().unwrap();
    std::sync::Arc::make_mut(stacks).list[0].holds_gil = kept;
    w.born(pid, w.now);
    w.watch(5.4);
}

#[test]
fn worker_stopped() {
    check(
        Code::WorkerStopped,
        &[
            fires(
                "the only process",
                |w| {
                    fleet::uvicorn(w);
                    w.watch(1.0);
                    w.p(10).state = ProcessState::Stopped;
                    w.watch(1.0)
                },
                Severity::Critical,
                None,
                &["process 10", "0.9 s", "SIGSTOP"],
            ),
            fires(
                "one of two",
                |w| {
                    fleet::gunicorn_sync(w);
                    w.watch(1.0);
                    w.p(12).state = ProcessState::Stopped;
                    w.watch(1.0)
                },
                Severity::Warning,
                None,
                &["worker 12"],
            ),
            fires(
                "all",
                |w| {
                    fleet::gunicorn_sync(w);
                    w.watch(1.0);
                    for pid in [10, 11, 12] {
                        w.p(pid).state = ProcessState::Stopped;
                    }
                    w.watch(1.0)
                },
                Severity::Critical,
                None,
                &["master 10 (and 2 more)"],
            ),
            fires(
                "a debugger",
                |w| {
                    fleet::uvicorn(w);
                    w.watch(1.0);
                    w.p(10).state = ProcessState::Tracing;
                    w.p(10).tracer = Some(77);
                    w.watch(1.0)
                },
                Severity::Critical,
                None,
                &["tracer, pid 77"],
            ),
            fires(
                "the freezer",
                |w| {
                    fleet::uvicorn(w);
                    w.watch(1.0);
                    w.p(10).frozen = Some(true);
                    w.watch(1.0)
                },
                Severity::Critical,
                None,
                &["freezer"],
            ),
        ],
        &[
            ("for a blink", |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10).state = ProcessState::Stopped;
                w.watch(0.5);
                w.p(10).state = ProcessState::Sleeping;
                w.watch(5.0)
            }),
            ("a helper", |w| {
                fleet::uvicorn(w);
                w.start(20, "/venv/bin/python thumbnail.py")
                    .parent(10)
                    .main("<module> thumbnail.py:3")
                    .state = ProcessState::Stopped;
                w.watch(5.0)
            }),
            ("traced and running", |w| {
                fleet::uvicorn(w);
                w.p(10).tracer = Some(77);
                w.watch(5.0)
            }),
            ("disk sleep", |w| {
                fleet::uvicorn(w);
                w.p(10).state = ProcessState::DiskSleep;
                w.watch(5.0)
            }),
        ],
    );
}

#[test]
fn reloader_without_child() {
    fn typo(w: &mut World) {
        fleet::uvicorn_reload(w);
        w.p(11)
            .main("@uvicorn-worker | @step | @import | <module> /srv/shop/main.py:7")
            .accepts_nothing();
        w.watch(1.0);
    }
    check(
        Code::ReloaderWithoutChild,
        &[
            fires(
                "reaped",
                |w| {
                    typo(w);
                    w.end(11, End::Code(1));
                    w.watch(2.0)
                },
                Severity::Critical,
                Some("<module>"),
                &["reloader 10", "exit code 1"],
            ),
            fires(
                "by a signal",
                |w| {
                    typo(w);
                    w.end(11, End::Signal(11));
                    w.watch(2.0)
                },
                Severity::Critical,
                Some("<module>"),
                &["SIGSEGV"],
            ),
        ],
        &[
            ("just now", |w| {
                typo(w);
                w.end(11, End::Code(1));
                w.watch(1.4)
            }),
            ("the next one is there", |w| {
                typo(w);
                w.end(11, End::Code(0));
                w.watch(1.0);
                fleet::spawned(w, 12)
                    .main("@uvicorn-worker | @step | @import | <module> /srv/shop/main.py:7")
                    .holds(500);
                w.watch(9.0)
            }),
            ("it has not got that far", |w| {
                w.start(10, "/venv/bin/uvicorn shop.main:app --reload")
                    .main("@uvicorn-cli | @import");
                w.watch(2.9)
            }),
            ("a supervisor is none", |w| {
                fleet::uvicorn_workers(w);
                w.watch(1.0);
                w.end(11, End::Code(1));
                w.end(12, End::Code(1));
                w.watch(5.0)
            }),
        ],
    );
}

/// Each of them boots, takes one connection and hangs: in each round it was thought to serve for a moment.
#[test]
fn a_server_whose_workers_time_out_stays_stalled_in_every_round() {
    for how in [End::Signal(9), End::Code(1), End::Signal(6)] {
        let mut w = World::new();
        arbiter(&mut w, "--timeout 3");
        w.waiting(500, 5);
        for pid in 11..15 {
            silenced(&mut w, pid, 4.1, how);
        }
        let seen = w.look();
        let line = &only(&seen).timeline;
        let phases: Vec<&str> = line.iter().map(|c| c.phase.word()).collect();
        // Before it has hung once nobody can know.
        assert_eq!(phases, ["listening", "serving", "stalled"], "{how:?}");
    }
}

/// Django's child imports its URLs in the thread that is to serve.
fn urls(w: &mut World) {
    fleet::runserver(w);
    w.close(500);
    w.p(11)
        .main("@runserver | wait_for_apps_ready pkg+django/utils/autoreload.py:310")
        .thread(
            9_011,
            "django-main-thread",
            "@django-thread | @import | <module> /srv/shop/shop/urls.py:9",
            Activity::Running,
        );
    w.watch(1.0);
}

#[test]
fn server_thread_died() {
    check(
        Code::ServerThreadDied,
        &[
            fires(
                "while it imported",
                |w| {
                    urls(w);
                    w.p(11).main("@django-watch").ends_thread(9_011);
                    let seen = w.watch(2.0);
                    assert_eq!(only(&seen).phase.word(), "stalled");
                    seen
                },
                Severity::Critical,
                Some("<module>"),
                &["pid 11", "shop/urls.py:9"],
            ),
            fires(
                "before anybody looked, beside an exporter",
                |w| {
                    fleet::runserver(w);
                    w.close(500);
                    w.p(11).ends_thread(9_011).thread(
                        9_020,
                        "metrics",
                        "@exporter",
                        Activity::Selector,
                    );
                    let seen = w.watch(2.0);
                    assert_eq!(only(&seen).phase.word(), "stalled");
                    seen
                },
                Severity::Critical,
                None,
                &["nothing serves until a file changes"],
            ),
            fires(
                "Flask's",
                |w| {
                    fleet::flask_debug(w);
                    w.p(11).ends_thread(9_011).accepts_nothing();
                    w.watch(2.0)
                },
                Severity::Critical,
                None,
                &["pid 11"],
            ),
        ],
        &[
            ("just now", |w| {
                urls(w);
                w.p(11).main("@django-watch").ends_thread(9_011);
                w.watch(1.4)
            }),
            ("it still imports", |w| {
                urls(w);
                w.p(11).main("@django-watch");
                w.watch(9.0)
            }),
            ("its stack could not be read", |w| {
                fleet::runserver(w);
                w.p(11).ends_thread(9_011).torn(1);
                w.watch(9.0)
            }),
            ("it serves", |w| {
                fleet::runserver(w);
                w.watch(9.0)
            }),
        ],
    );
}
