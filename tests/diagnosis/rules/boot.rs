//! Imports and startups that last.

use steth::diagnosis::{Code, Severity};
use steth::snapshot::{Activity, Intent};

use super::{DB, bound, check, fires, lifespan};
use crate::fleet;
use crate::world::{Build, World};

/// uvicorn, so many seconds old, that imports.
fn importing(w: &mut World, age: f64, inner: &str) {
    w.old(10, age, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main(&format!(
            "@uvicorn-load | <module> /srv/shop/main.py:4 | @import | {inner}"
        ));
}

/// A script that is about to serve, and a child of multiprocessing that works for it.
fn script_with_helper(w: &mut World) {
    const SCRIPT: &str = "/usr/bin/python3 /srv/shop/main.py";
    const MAIN: &str = "<module> /srv/shop/main.py:9";
    w.old(10, 50.0, SCRIPT)
        .main(&format!("{MAIN} | read_index /srv/shop/main.py:3"));
    w.p(10).python.as_mut().unwrap().intent = Some(Intent {
        file: "/srv/shop/main.py".into(),
        line: 12,
        call: "serve_forever".into(),
        reach: steth::snapshot::Reach::default(),
    });
    w.old(11, 49.0, SCRIPT).parent(10).main(&format!(
        "{MAIN} | start std+multiprocessing/process.py:121 | _bootstrap std+multiprocessing/process.py:314 | \
         rebuild /srv/shop/main.py:5"
    ));
}

const STUCK: &str = "<module> /srv/shop/settings.py:40 | fetch_settings /srv/shop/settings.py:22";

#[test]
fn import_blocked() {
    let culprit = Some("fetch_settings");
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
                "a child that it has started for work of its own stands too",
                |w| {
                    script_with_helper(w);
                    w.watch(3.0)
                },
                Severity::Critical,
                Some("read_index"),
                &["read_index (shop/main.py:3)"],
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
            ("its stack is read late, and has not changed since", |w| {
                importing(w, 50.0, STUCK);
                let stacks = w.p(10).python.as_mut().unwrap().stacks.take();
                w.watch(1.6);
                w.p(10).python.as_mut().unwrap().stacks = stacks;
                w.watch(1.5)
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

#[test]
fn startup_blocked() {
    let culprit = Some("wait_for_database");
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
                None,
                &["6.0 s"],
            ),
            fires(
                "late",
                |w| {
                    awaiting(w, 12.0);
                    w.watch(3.0)
                },
                Severity::Warning,
                None,
                &["15 s"],
            ),
            fires(
                "far too late",
                |w| {
                    awaiting(w, 40.0);
                    w.watch(3.0)
                },
                Severity::Critical,
                None,
                &["43 s", "idle"],
            ),
            fires(
                "a greenlet waits: there is no await to be found",
                |w| {
                    w.old(10, 40.0, "/venv/bin/gunicorn -k gevent shop.main:app")
                        .main("@arbiter-idle");
                    w.old(11, 39.0, "/venv/bin/gunicorn -k gevent shop.main:app")
                        .parent(10)
                        .main("run pkg+gevent/hub.py:647")
                        .at_rest();
                    w.listen(500, 8000);
                    w.p(10).holds(500);
                    w.p(11).holds(500);
                    w.watch(3.0)
                },
                Severity::Critical,
                None,
                &["a greenlet of its start waits"],
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
                None,
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
                None,
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
