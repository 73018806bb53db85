//! No false alarm: what only looks like trouble.

use steth::diagnosis::{Phase, Severity};
use steth::snapshot::Activity;

use super::fleet::{self, FLEET};
use super::world::{Build, World, codes, member, only};

#[test]
fn every_kind_of_server_serves_and_has_no_finding_from_the_first_look_on() {
    for (name, build, kind, roles) in FLEET {
        let mut w = World::new();
        build(&mut w);
        for look in 0..60 {
            w.pass(0.1);
            let seen = w.look();
            let server = only(&seen);
            assert_eq!(
                server.phase,
                Phase::Serving,
                "{name}, look {look}: {}",
                server.why
            );
            assert_eq!(server.kind.word(), *kind, "{name}, look {look}");
            assert_eq!(codes(server), Vec::<&str>::new(), "{name}, look {look}");
            assert_eq!(server.members.len(), roles.len(), "{name}");
            for (pid, role) in *roles {
                assert_eq!(
                    member(server, *pid).role.word(),
                    *role,
                    "{name}, pid {pid}, look {look}"
                );
            }
        }
        let seen = w.look();
        assert!(seen.outsiders.is_empty(), "{name}");
        assert_eq!(
            seen.servers[0].timeline.len(),
            1,
            "{name}: {:?}",
            seen.servers[0].timeline
        );
    }
}

/// Worlds in which something goes on all the time, and nothing is wrong: the second part changes them before each look.
type Story = (&'static str, fn(&mut World), fn(&mut World, usize));

const HANDLER: &str = "show /srv/shop/views.py:20 | render /srv/shop/page.py:7";

const STORIES: &[Story] = &[
    (
        "a closed loop of clients keeps the queue of a sync worker at the same depth",
        fleet::gunicorn_sync,
        |w, turn| {
            w.waiting(500, 29);
            w.p(11)
                .main("@sync-request | show /srv/shop/views.py:20")
                .doing(Activity::Syscall(230))
                .accepts_nothing()
                .clients(7_000 + turn as u64 / 3, 1, 8000);
            w.p(12)
                .main("@sync-request | show /srv/shop/views.py:20")
                .doing(Activity::Syscall(230))
                .accepts_nothing()
                .clients(9_000 + turn as u64 / 3, 1, 8000);
        },
    ),
    (
        "the same handler in nine of ten samples, connections change",
        fleet::uvicorn,
        |w, turn| {
            let (stack, activity) = match turn % 10 {
                0 => ("@uvicorn | @poll".to_owned(), Activity::Selector),
                _ => (
                    format!("@uvicorn | @request | {HANDLER}"),
                    Activity::Running,
                ),
            };
            w.burns(10, 95.0);
            w.p(10)
                .main(&stack)
                .doing(activity)
                .clients(7_000 + turn as u64 / 3, 12, 8000);
        },
    ),
    (
        "the same handler in every sample, connections change every second",
        fleet::uvicorn,
        |w, turn| {
            w.burns(10, 100.0);
            w.p(10)
                .main(&format!("@uvicorn | @request | {HANDLER}"))
                .doing(Activity::Running)
                .clients(7_000 + turn as u64 / 10, 12, 8000);
        },
    ),
    (
        "a thousand connections per second, the queue spikes",
        fleet::uvicorn,
        |w, turn| {
            let depth = [0, 3, 0, 0, 41, 2, 0, 17, 0, 1, 0, 0, 0, 90, 5][turn % 15];
            w.waiting(500, depth);
            w.burns(10, 80.0);
            let busy = turn % 3 != 0;
            let stack = if busy {
                format!("@uvicorn | @request | {HANDLER}")
            } else {
                "@uvicorn | @poll".to_owned()
            };
            let activity = if busy {
                Activity::Running
            } else {
                Activity::Selector
            };
            w.p(10)
                .main(&stack)
                .doing(activity)
                .clients(7_000 + 100 * turn as u64, 60, 8000);
        },
    ),
    (
        "long requests in sync workers, nobody waits",
        fleet::gunicorn_sync,
        |w, turn| {
            for pid in [11, 12] {
                let rests = (turn + pid as usize * 30).is_multiple_of(90);
                w.p(pid).main(if rests {
                    "@sync-idle"
                } else {
                    "@sync-request | show /srv/shop/views.py:20 | ask /srv/shop/bank.py:3"
                });
                if rests {
                    w.p(pid).at_rest().accepts(500).clients(0, 0, 8000);
                } else {
                    w.p(pid)
                        .accepts_nothing()
                        .clients(u64::from(pid) * 100, 1, 8000);
                }
            }
        },
    ),
    (
        "three hundred idle keep-alive connections",
        fleet::uvicorn,
        |w, _| {
            w.p(10).clients(7_000, 300, 8000);
            w.p(10).fds.as_mut().unwrap().open = 311;
        },
    ),
    (
        "waitress with more idle connections than threads",
        fleet::waitress,
        |w, _| {
            w.p(10).clients(7_000, 50, 8080);
        },
    ),
    (
        "every thread of waitress is taken, each time by another request",
        fleet::waitress,
        |w, turn| {
            for at in 0..4 {
                let stack = format!(
                    "@waitress-task | view_{} /srv/shop/views.py:9",
                    (turn / 12 + at as usize) % 3
                );
                w.p(10).thread(
                    9_000 + at,
                    &format!("waitress-{at}"),
                    &stack,
                    Activity::Syscall(45),
                );
            }
            w.p(10).clients(7_000 + turn as u64 / 12, 9, 8080);
        },
    ),
    (
        "a loop that wakes up for its heartbeat",
        fleet::gunicorn_uvicorn,
        |w, turn| {
            let running = if turn % 10 == 0 {
                Activity::Running
            } else {
                Activity::Selector
            };
            w.p(11).doing(running);
            w.p(12).doing(running);
        },
    ),
    (
        "a websocket for hours: one connection, nothing moves",
        fleet::uvicorn,
        |w, _| {
            w.p(10).clients(7_000, 1, 8000);
        },
    ),
    ("files come and go", fleet::uvicorn, |w, turn| {
        w.p(10).fds.as_mut().unwrap().open = 20 + (turn as u64 * 7) % 900;
    }),
    (
        "a queue of one for a second",
        fleet::gunicorn_sync,
        |w, turn| {
            w.waiting(500, u32::from(turn % 20 < 10));
        },
    ),
    ("runserver in a request", fleet::runserver, |w, turn| {
        let serving = turn % 40 < 15;
        let stack = if serving {
            "@django-thread | run pkg+django/core/servers/basehttp.py:282 | handle pkg+django/core/handlers/wsgi.py:124 | show /srv/shop/views.py:3"
        } else {
            "@django-serve"
        };
        w.p(11)
            .thread(9_011, "django-main-thread", stack, Activity::Running);
    }),
];

#[test]
fn what_only_looks_like_trouble_raises_nothing() {
    for (name, build, change) in STORIES {
        let mut w = World::new();
        build(&mut w);
        w.watch(1.0);
        let seen = w.watch_while(40.0, change);
        let server = only(&seen);
        let loud: Vec<_> = w
            .ever
            .iter()
            .filter(|(_, s)| **s > Severity::Info)
            .collect();
        assert!(loud.is_empty(), "{name}: {loud:?}");
        let line = &server.timeline;
        assert!(
            line.iter().all(|c| c.phase == Phase::Serving),
            "{name}: {line:?}"
        );
    }
}

/// Twenty seconds of imports and startup that move all the time: said, never critical, and forgotten when it serves.
#[test]
fn a_slow_start_that_gets_there_is_never_critical() {
    let mut w = World::new();
    w.start(10, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main("<module> /venv/bin/uvicorn:5 | @import");
    w.burns(10, 90.0);
    w.watch_while(12.0, |w, turn| {
        w.p(10).main(&format!("@uvicorn-load | <module> /srv/shop/main.py:4 | @import | <module> /srv/shop/part_{}.py:1", turn / 5));
    });
    w.watch_while(8.0, |w, turn| {
        w.p(10).main(&format!(
            "@uvicorn | @lifespan | lifespan /srv/shop/main.py:{} | load /srv/shop/cache.py:9",
            20 + turn / 10
        ));
    });
    w.listen(500, 8000);
    w.p(10)
        .main("@uvicorn | @poll")
        .at_rest()
        .holds(500)
        .accepts(500);
    w.burns(10, 1.0);
    let seen = w.watch(5.0);
    assert_eq!(codes(only(&seen)), Vec::<&str>::new());
    assert_eq!(only(&seen).phase, Phase::Serving);
    let worst = w.ever.values().max().unwrap();
    assert!(*worst < Severity::Critical, "{:?}", w.ever);
}

/// What may not be seen is no failure: a user who may read neither files nor stacks.
#[test]
fn what_may_not_be_seen_raises_nothing() {
    for (name, build, _, roles) in FLEET {
        let mut w = World::new();
        build(&mut w);
        for (pid, _) in *roles {
            let process = w.p(*pid);
            process.fds = None;
            process.accepting = None;
            process.connections = None;
            process.frozen = None;
            let python = process.python.as_mut().unwrap();
            python.stacks = None;
        }
        w.watch(40.0);
        assert!(w.ever.is_empty(), "{name}: {:?}", w.ever);
    }
}
