//! Each rule with cases that fire it, and cases that nearly do.

use steth::diagnosis::{Code, Diagnosis, Severity};
use steth::snapshot::{Activity, ProcessState};

use super::fleet;
use super::world::{Build, End, World, find};

/// What must be found at the end.
struct Fires {
    name: &'static str,
    story: fn(&mut World) -> Diagnosis,
    severity: Severity,
    culprit: Option<&'static str>,
    says: &'static [&'static str],
}

/// What must never be found on the way.
type Nearly = (&'static str, fn(&mut World) -> Diagnosis);

fn check(code: Code, fires: &[Fires], nearly: &[Nearly]) {
    for case in fires {
        let name = case.name;
        let mut w = World::new();
        let seen = (case.story)(&mut w);
        let server = seen.servers.iter().find(|s| s.root.pid == 10);
        let server = server.unwrap_or_else(|| panic!("{name}: no server"));
        let found = find(server, code);
        assert_eq!(found.severity, case.severity, "{name}: {}", found.summary);
        let function = found.culprit.as_ref().map(|c| c.function.as_str());
        assert_eq!(function, case.culprit, "{name}: {}", found.summary);
        for word in case.says {
            assert!(
                found.summary.contains(word),
                "{name}: no {word:?} in {:?}",
                found.summary
            );
        }
    }
    for (name, story) in nearly {
        let mut w = World::new();
        story(&mut w);
        assert!(
            !w.ever.contains_key(&code),
            "{name}: a false {}",
            code.word()
        );
    }
}

/// uvicorn with workers whose startup does not end: the port is bound by the supervisor, and that is all.
fn bound(w: &mut World, age: f64) {
    w.bind(500, 8000);
    w.old(
        10,
        age,
        "/venv/bin/uvicorn shop.main:app --port 8000 --workers 2",
    )
    .main("@uvicorn-supervisor")
    .holds(500);
    for pid in [11, 12] {
        starting(fleet::spawned(w, pid), "@uvicorn-worker").holds(500);
        let started = w.ago(age);
        w.born(pid, started);
    }
}

fn starting<'a>(
    process: &'a mut steth::snapshot::Process,
    base: &str,
) -> &'a mut steth::snapshot::Process {
    process.main(&format!(
        "{base} | @lifespan | lifespan /srv/shop/main.py:30 | fill_cache /srv/shop/cache.py:12"
    ))
}

#[test]
fn bound_not_listening() {
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: None,
        says,
    };
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
                &["127.0.0.1:8000", "2.9 s", "refused"],
            ),
            fires(
                "late",
                |w| {
                    bound(w, 10.0);
                    w.watch(3.0)
                },
                Severity::Warning,
                &["workers have not got that far"],
            ),
            fires(
                "far too late",
                |w| {
                    bound(w, 40.0);
                    w.watch(3.0)
                },
                Severity::Critical,
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

/// gunicorn whose workers import something heavy: the master listens.
fn listening(w: &mut World, age: f64) {
    fleet::gunicorn_master(w);
    for pid in [11, 12] {
        fleet::gunicorn_child(w, pid)
            .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3 | @import | <module> /srv/shop/prices.py:8 | load_prices /srv/shop/prices.py:5")
            .holds(500);
        w.born(pid, w.ago(age));
    }
    w.born(10, w.ago(age));
}

#[test]
fn no_worker_accepting() {
    let loads = Some("load_prices");
    let fires = |name, story, severity, culprit, says| Fires {
        name,
        story,
        severity,
        culprit,
        says,
    };
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

/// uvicorn that has served, and whose handler now sleeps.
fn held(w: &mut World) {
    fleet::uvicorn(w);
    w.watch(1.0);
    w.p(10)
        .main("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7")
        .armed(500);
}

#[test]
fn accept_queue_full() {
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: None,
        says,
    };
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
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: None,
        says,
    };
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
                &["grown by 7", "2.9 s"],
            ),
            fires(
                "for long",
                |w| {
                    held(w);
                    w.watch_while(6.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
                },
                Severity::Warning,
                &["grown by 14"],
            ),
            fires(
                "for very long",
                |w| {
                    held(w);
                    w.watch_while(16.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
                },
                Severity::Critical,
                &["is not drained"],
            ),
            fires(
                "before anybody has accepted",
                |w| {
                    listening(w, 4.0);
                    w.watch_while(3.0, |w, t| w.waiting(500, 1 + t as u32 / 4))
                },
                Severity::Info,
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

/// uvicorn, so many seconds old, that imports.
fn importing(w: &mut World, age: f64, inner: &str) {
    w.old(10, age, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main(&format!(
            "@uvicorn-load | <module> /srv/shop/main.py:4 | @import | {inner}"
        ));
}

const STUCK: &str = "<module> /srv/shop/settings.py:40 | fetch_settings /srv/shop/settings.py:22";

#[test]
fn import_blocked() {
    let culprit = Some("fetch_settings");
    let fires = |name, story, severity, culprit, says| Fires {
        name,
        story,
        severity,
        culprit,
        says,
    };
    check(
        Code::ImportBlocked,
        &[
            fires(
                "young",
                |w| {
                    importing(w, 4.0, STUCK);
                    w.watch(3.0)
                },
                Severity::Info,
                culprit,
                &["module settings", "fetch_settings (shop/settings.py:22)"],
            ),
            fires(
                "late",
                |w| {
                    importing(w, 12.0, STUCK);
                    w.watch(3.0)
                },
                Severity::Warning,
                culprit,
                &["at least 2.9 s"],
            ),
            fires(
                "far too late",
                |w| {
                    importing(w, 50.0, STUCK);
                    w.watch(3.0)
                },
                Severity::Critical,
                culprit,
                &["53 s old"],
            ),
            fires(
                "in a library, called from the application",
                |w| {
                    importing(
                        w,
                        50.0,
                        &format!(
                            "{STUCK} | get pkg+requests/api.py:73 | recv_into std+ssl.py:1166"
                        ),
                    );
                    w.watch(3.0)
                },
                Severity::Critical,
                culprit,
                &["shop/settings.py:22"],
            ),
            fires(
                "another line of the same function is the same place",
                |w| {
                    importing(w, 50.0, STUCK);
                    w.watch_while(4.0, |w, t| {
                        w.p(10).main(&format!("@uvicorn-load | <module> /srv/shop/main.py:4 | @import | <module> /srv/shop/settings.py:40 | fetch_settings /srv/shop/settings.py:{}", 20 + t % 3));
                    })
                },
                Severity::Critical,
                culprit,
                &["at least 3.9 s"],
            ),
        ],
        &[
            ("not for long", |w| {
                importing(w, 50.0, STUCK);
                w.watch(2.0)
            }),
            ("young", |w| {
                importing(w, 0.4, STUCK);
                w.watch(2.5)
            }),
            ("it moves", |w| {
                importing(w, 50.0, STUCK);
                w.watch_while(9.0, |w, t| {
                    w.p(10).main(&format!("@uvicorn-load | <module> /srv/shop/main.py:4 | @import | <module> /srv/shop/part_{}.py:3", t / 15));
                })
            }),
            ("it computes", |w| {
                importing(w, 50.0, STUCK);
                w.p(10).doing(Activity::Running);
                w.burns(10, 98.0);
                w.watch(6.0)
            }),
        ],
    );
}

#[test]
fn import_slow() {
    let fires = |name, story, severity, culprit, says| Fires {
        name,
        story,
        severity,
        culprit,
        says,
    };
    check(
        Code::ImportSlow,
        &[
            fires(
                "it computes",
                |w| {
                    importing(w, 9.0, STUCK);
                    w.p(10).doing(Activity::Running);
                    w.burns(10, 98.0);
                    w.watch(3.0)
                },
                Severity::Warning,
                Some("fetch_settings"),
                &["12 s", "module settings"],
            ),
            fires(
                "it moves",
                |w| {
                    importing(w, 40.0, STUCK);
                    w.watch_while(9.0, |w, t| {
                        w.p(10).main(&format!("@uvicorn-load | <module> /srv/shop/main.py:4 | @import | <module> /srv/shop/part_{}.py:3", t / 15));
                    })
                },
                Severity::Critical,
                Some("<module>"),
                &["49 s", "module part_5"],
            ),
        ],
        &[
            ("young", |w| {
                importing(w, 0.0, STUCK);
                w.burns(10, 98.0);
                w.watch(2.9)
            }),
            ("hardly looked at", |w| {
                importing(w, 50.0, STUCK);
                w.burns(10, 98.0);
                w.watch(1.4)
            }),
            ("blocked", |w| {
                importing(w, 50.0, STUCK);
                w.watch(9.0)
            }),
            ("gets there", |w| {
                importing(w, 0.0, STUCK);
                w.burns(10, 98.0);
                w.watch(2.5);
                w.listen(500, 8000);
                w.p(10)
                    .main("@uvicorn | @poll")
                    .at_rest()
                    .holds(500)
                    .accepts(500);
                w.watch(9.0)
            }),
        ],
    );
}

const DB: &str = "lifespan /srv/shop/main.py:30 | wait_for_database /srv/shop/db.py:31";

/// uvicorn, so many seconds old, whose lifespan is on the stack.
fn lifespan(w: &mut World, age: f64, inner: &str) {
    w.old(10, age, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main(&format!("@uvicorn | @lifespan | {inner}"));
}

#[test]
fn startup_blocked() {
    let culprit = Some("wait_for_database");
    let fires = |name, story, severity, culprit, says| Fires {
        name,
        story,
        severity,
        culprit,
        says,
    };
    check(
        Code::StartupBlocked,
        &[
            fires(
                "young",
                |w| {
                    lifespan(w, 4.0, DB);
                    w.watch(3.0)
                },
                Severity::Info,
                culprit,
                &["blocks the loop", "2.9 s"],
            ),
            fires(
                "late",
                |w| {
                    lifespan(w, 12.0, DB);
                    w.watch(3.0)
                },
                Severity::Warning,
                culprit,
                &["15 s old"],
            ),
            fires(
                "in a library's poll, deep below the application",
                |w| {
                    lifespan(
                        w,
                        60.0,
                        &format!("{DB} | connect pkg+psycopg2/__init__.py:122"),
                    );
                    w.watch(3.0)
                },
                Severity::Critical,
                culprit,
                &["shop/db.py:31"],
            ),
            fires(
                "without a loop",
                |w| {
                    w.old(10, 60.0, "/venv/bin/waitress-serve --listen=:8080 shop:app")
                        .main("@waitress | create /srv/shop/app.py:9 | migrate /srv/shop/db.py:44");
                    w.watch(3.0)
                },
                Severity::Critical,
                Some("migrate"),
                &["nothing listens before it ends"],
            ),
            fires(
                "a worker of a supervisor",
                |w| {
                    bound(w, 60.0);
                    w.watch(3.0)
                },
                Severity::Critical,
                Some("fill_cache"),
                &["fill_cache (shop/cache.py:12)"],
            ),
        ],
        &[
            ("one look", |w| {
                lifespan(w, 60.0, DB);
                w.look()
            }),
            ("not for long", |w| {
                lifespan(w, 60.0, DB);
                w.watch(2.0)
            }),
            ("two looks far apart", |w| {
                lifespan(w, 60.0, DB);
                w.look();
                w.pass(5.0);
                w.look()
            }),
            ("it moves", |w| {
                lifespan(w, 60.0, DB);
                w.watch_while(9.0, |w, t| {
                    w.p(10).main(&format!("@uvicorn | @lifespan | lifespan /srv/shop/main.py:{} | step /srv/shop/db.py:3", 30 + t / 15));
                })
            }),
            ("the loop is at rest", |w| {
                lifespan(w, 60.0, DB);
                w.p(10).main("@uvicorn | @poll").at_rest();
                w.watch(9.0)
            }),
            (
                "the loop is at rest below the application's own main()",
                |w| {
                    w.old(10, 60.0, "/venv/bin/python /venv/bin/uvicorn shop.main:app")
                    .main("<module> /srv/shop/run.py:12 | main /srv/shop/run.py:8 | run pkg+uvicorn/main.py:577 | @uvicorn-server | @poll")
                    .at_rest();
                    w.watch(9.0)
                },
            ),
        ],
    );
}

#[test]
fn startup_await() {
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: None,
        says,
    };
    fn awaiting(w: &mut World, age: f64) {
        w.old(10, age, "/venv/bin/uvicorn shop.main:app --port 8000")
            .main("@uvicorn | @poll")
            .at_rest();
    }
    check(
        Code::StartupAwait,
        &[
            fires(
                "young",
                |w| {
                    awaiting(w, 3.0);
                    w.watch(3.0)
                },
                Severity::Info,
                &["6.0 s"],
            ),
            fires(
                "late",
                |w| {
                    awaiting(w, 12.0);
                    w.watch(3.0)
                },
                Severity::Warning,
                &["15 s"],
            ),
            fires(
                "far too late",
                |w| {
                    awaiting(w, 40.0);
                    w.watch(3.0)
                },
                Severity::Critical,
                &["43 s", "idle"],
            ),
            fires(
                "it wakes up now and then, and waits again in the same way",
                |w| {
                    awaiting(w, 40.0);
                    w.watch_while(6.0, |w, t| {
                        w.p(10).doing(if t % 7 == 0 {
                            Activity::Running
                        } else {
                            Activity::Selector
                        });
                    })
                },
                Severity::Critical,
                &["46 s"],
            ),
            fires(
                "started by a script of its own",
                |w| {
                    w.old(10, 40.0, "/venv/bin/python /srv/shop/run.py")
                        .main("<module> /srv/shop/run.py:12 | main /srv/shop/run.py:8 | run pkg+uvicorn/main.py:577 | @uvicorn-server | @poll")
                        .at_rest();
                    w.watch(3.0)
                },
                Severity::Critical,
                &["idle"],
            ),
        ],
        &[
            ("not for long", |w| {
                awaiting(w, 40.0);
                w.watch(2.0)
            }),
            ("it listens", |w| {
                fleet::uvicorn(w);
                w.p(10).accepts_nothing();
                w.watch(9.0)
            }),
            ("it is blocked", |w| {
                lifespan(w, 60.0, DB);
                w.watch(9.0)
            }),
        ],
    );
}

#[test]
fn loop_blocked() {
    let culprit = Some("lookup");
    let fires = |name, story, severity, culprit, says| Fires {
        name,
        story,
        severity,
        culprit,
        says,
    };
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
        ],
        &[
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
    let fires = |name, story, severity, culprit, says| Fires {
        name,
        story,
        severity,
        culprit,
        says,
    };
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

#[test]
fn worker_stopped() {
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: None,
        says,
    };
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
fn fd_exhausted() {
    fn open(w: &mut World, open: u64, limit: Option<u64>) {
        fleet::uvicorn(w);
        let fds = w.p(10).fds.as_mut().unwrap();
        fds.open = open;
        fds.limit = limit;
        fds.classes.sockets = open - 5;
    }
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: None,
        says,
    };
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
                &["pid 10", "1024 of 1024"],
            ),
            fires(
                "asyncio tries again and again",
                |w| {
                    open(w, 1023, Some(1024));
                    w.watch(1.0)
                },
                Severity::Warning,
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
    let fires = |name, story, severity, culprit, says| Fires {
        name,
        story,
        severity,
        culprit,
        says,
    };
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

#[test]
fn reloader_without_child() {
    let fires = |name, story, says| Fires {
        name,
        story,
        severity: Severity::Critical,
        culprit: Some("<module>"),
        says,
    };
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
                &["reloader 10", "exit code 1"],
            ),
            fires(
                "by a signal",
                |w| {
                    typo(w);
                    w.end(11, End::Signal(11));
                    w.watch(2.0)
                },
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
