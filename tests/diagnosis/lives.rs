//! Servers over time: restarts and who is who after them, reloads, recycling, the end, timelines, and who is looked at closely.

use steth::diagnosis::{Code, Phase};
use steth::snapshot::{Activity, ProcessState};

use super::fleet;
use super::world::{Build, End, World, codes, find, member, only};

const UVICORN: &str = "/venv/bin/uvicorn shop.main:app --port 8000";

/// One boot under the shell with pid 5 that ends in its startup code.
fn boot_and_die(w: &mut World, pid: u32) {
    w.start(pid, UVICORN)
        .parent(5)
        .main("@uvicorn | @lifespan | open_pool /srv/shop/db.py:4");
    w.watch(0.5);
    w.end(pid, End::Code(3));
    w.watch(1.0);
}

#[test]
fn a_server_that_a_shell_starts_again_stays_the_same_server() {
    let mut w = World::new();
    w.other(5, "sh -c while :; do uvicorn shop.main:app; sleep 1; done");
    boot_and_die(&mut w, 10);
    let seen = w.look();
    let server = only(&seen);
    assert_eq!(
        (server.root.pid, server.phase, server.exits_total),
        (10, Phase::Exited, 1)
    );
    assert!(server.unsettled);
    assert_eq!(codes(server), Vec::<&str>::new());

    boot_and_die(&mut w, 11);
    let seen = w.look();
    let server = only(&seen);
    assert_eq!(
        (server.root.pid, server.phase, server.exits_total),
        (10, Phase::CrashLooping, 2)
    );
    assert!(!server.unsettled);
    assert_eq!(codes(server), ["crash-loop"]);

    w.start(12, UVICORN)
        .parent(5)
        .main("@uvicorn | @lifespan | open_pool /srv/shop/db.py:4");
    let seen = w.watch(0.3);
    let server = only(&seen);
    assert_eq!(
        (server.root.pid, server.pid, server.phase),
        (10, 12, Phase::CrashLooping)
    );
    assert_eq!(member(server, 5).role.word(), "supervisor");
    assert_eq!(
        server
            .exits
            .iter()
            .map(|e| e.exit.key.pid)
            .collect::<Vec<_>>(),
        [11, 10]
    );

    // At last it gets there, and then is what it is.
    w.listen(500, 8000);
    w.p(12)
        .main("@uvicorn | @poll")
        .at_rest()
        .holds(500)
        .accepts(500);
    let seen = w.watch(0.3);
    let server = only(&seen);
    assert_eq!((server.root.pid, server.phase), (10, Phase::Serving));
    let phases: Vec<Phase> = server.timeline.iter().map(|c| c.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Starting,
            Phase::Exited,
            Phase::Starting,
            Phase::CrashLooping,
            Phase::Serving
        ]
    );
}

#[test]
fn another_server_is_not_a_successor() {
    let cases: &[(&str, &str, u32, f64)] = &[
        (
            "another command line",
            "/venv/bin/uvicorn mail.main:app",
            5,
            1.0,
        ),
        ("another parent", UVICORN, 6, 1.0),
        ("much later", UVICORN, 5, 31.0),
    ];
    for (name, line, parent, after) in cases {
        let mut w = World::new();
        w.other(5, "sh");
        w.other(6, "sh");
        boot_and_die(&mut w, 10);
        w.watch(*after);
        w.start(11, line)
            .parent(*parent)
            .main("@uvicorn | @lifespan | open_pool /srv/shop/db.py:4");
        let seen = w.watch(0.3);
        assert!(seen.servers.iter().any(|s| s.root.pid == 11), "{name}");
        assert_eq!(
            seen.servers.iter().any(|s| s.root.pid == 10),
            *after < 30.0,
            "{name}"
        );
    }
    // And one that lives is nobody's predecessor: two replicas of the same line.
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    let line = w.p(10).cmdline.join(" ");
    w.start(11, &line).main("@uvicorn | @poll").at_rest();
    assert_eq!(w.watch(0.5).servers.len(), 2);
}

#[test]
fn a_reload_is_no_crash() {
    let mut w = World::new();
    fleet::uvicorn_reload(&mut w);
    w.watch(1.0);
    for pid in 12..18 {
        w.end(
            pid - 1,
            if pid % 2 == 0 {
                End::Signal(15)
            } else {
                End::Code(0)
            },
        );
        w.watch(0.2);
        fleet::spawned(&mut w, pid)
            .main("@uvicorn-worker | @step | @import | <module> /srv/shop/main.py:3")
            .holds(500);
        w.born(pid, w.now);
        w.watch(0.8);
        w.p(pid)
            .main("@uvicorn-worker | @poll")
            .at_rest()
            .accepts(500);
        let seen = w.watch(1.0);
        assert_eq!(only(&seen).phase, Phase::Serving);
    }
    assert_eq!(w.ever.keys().collect::<Vec<_>>(), Vec::<&Code>::new());
}

#[test]
fn recycling_is_no_crash() {
    let mut w = World::new();
    fleet::gunicorn_sync(&mut w);
    let mut phases = std::collections::BTreeSet::new();
    for pid in 13..33 {
        w.end(pid - 2, End::Code(0));
        fleet::gunicorn_child(&mut w, pid)
            .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3")
            .holds(500);
        w.born(pid, w.now);
        phases.insert(only(&w.watch(0.4)).phase);
        w.p(pid).main("@sync-idle").at_rest().accepts(500);
        phases.insert(only(&w.watch(0.6)).phase);
    }
    let seen = w.look();
    assert_eq!((only(&seen).exits_total, only(&seen).exits.len()), (20, 20));
    assert_eq!(phases.into_iter().collect::<Vec<_>>(), [Phase::Serving]);
    assert!(w.ever.is_empty(), "{:?}", w.ever);
}

#[test]
fn a_server_that_goes_stays_for_half_a_minute_with_its_reason() {
    let cases: &[(End, &str)] = &[
        (End::Code(0), "exited with code 0"),
        (End::Code(3), "exited with code 3"),
        (End::Signal(9), "killed by SIGKILL"),
        (End::Unseen, "could not be seen"),
    ];
    for (end, why) in cases {
        let mut w = World::new();
        fleet::uvicorn(&mut w);
        w.watch(2.0);
        w.end(10, *end);
        w.close(500);
        let seen = w.watch(1.0);
        let server = only(&seen);
        assert_eq!(server.phase, Phase::Exited);
        assert!(server.why.contains(why), "{end:?}: {}", server.why);
        assert!(!server.since_is_bound, "it was seen to go");
        assert!(
            server.findings.is_empty() && server.listeners.is_empty() && seen.attention.is_empty()
        );
        assert_eq!(member(server, 10).phase, Phase::Exited);
        assert!(member(server, 10).exit.is_some());
        assert_eq!(w.watch(28.5).servers.len(), 1, "after 29.5 s");
        assert_eq!(w.watch(1.0).servers.len(), 0, "after 30.5 s");
    }
}

#[test]
fn a_dead_root_that_nobody_reaps_is_one_server_that_has_ended() {
    let mut w = World::new();
    w.old(5, 900.0, "python launch.py")
        .main("<module> launch.py:9");
    fleet::uvicorn(&mut w);
    w.p(10).parent(5);
    w.watch(1.0);
    w.leave_zombie(10, 3 << 8);
    w.close(500);
    let seen = w.watch(1.0);
    assert_eq!(only(&seen).phase, Phase::Exited, "{}", only(&seen).why);
    assert!(only(&seen).why.contains("code 3"), "{}", only(&seen).why);

    // Its launcher starts another one, and still does not reap the first.
    let line = "/venv/bin/python /venv/bin/uvicorn shop.main:app --port 8000";
    w.start(11, line)
        .parent(5)
        .main("@uvicorn | @poll")
        .at_rest();
    w.listen(500, 8000);
    w.p(11).holds(500).accepts(500);
    let seen = w.watch(1.0);
    let alive: Vec<_> = seen
        .servers
        .iter()
        .filter(|s| s.phase == Phase::Serving)
        .collect();
    assert_eq!(alive.len(), 1);
    assert_eq!(alive[0].pid, 11);
}

#[test]
fn a_timeline_tells_the_way_to_serving() {
    let mut w = World::new();
    w.look();
    let born = w
        .start(10, UVICORN)
        .main("<module> /venv/bin/uvicorn:5 | @import | <module> /srv/shop/main.py:3")
        .started;
    w.watch(4.0);
    let starting = w.now.plus_seconds(0.1);
    w.p(10)
        .main("@uvicorn | @lifespan | open_pool /srv/shop/db.py:4");
    w.watch(5.0);
    let serving = w.now.plus_seconds(0.1);
    w.listen(500, 8000);
    w.p(10)
        .main("@uvicorn | @poll")
        .at_rest()
        .holds(500)
        .accepts(500);
    let seen = w.watch(3.0);
    let server = only(&seen);
    let line: Vec<_> = server.timeline.iter().map(|c| (c.phase, c.at)).collect();
    assert_eq!(
        line,
        [
            (Phase::Importing, born),
            (Phase::Starting, starting),
            (Phase::Serving, serving)
        ]
    );
    assert!(!server.since_is_bound && !server.unsettled);
    let log: Vec<_> = server
        .finding_log
        .iter()
        .map(|c| (c.code, c.began))
        .collect();
    assert_eq!(
        log,
        [
            (Code::ImportBlocked, true),
            (Code::ImportBlocked, false),
            (Code::StartupBlocked, true),
            (Code::StartupBlocked, false),
        ]
    );
    assert!(server.why.contains("127.0.0.1:8000"), "{}", server.why);
}

#[test]
fn what_began_before_the_first_look_is_a_bound() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    let first = w.now.plus_seconds(0.1);
    let seen = w.watch(5.0);
    assert!(only(&seen).since_is_bound);
    assert_eq!(only(&seen).since, first);
    w.p(10).state = ProcessState::Stopped;
    assert!(!only(&w.watch(1.0)).since_is_bound);
}

#[test]
fn timelines_and_logs_are_bounded() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    for _ in 0..100 {
        w.p(10).state = ProcessState::Stopped;
        w.watch(0.7);
        w.p(10).state = ProcessState::Sleeping;
        w.watch(0.2);
    }
    let seen = w.look();
    let server = only(&seen);
    assert_eq!((server.timeline.len(), server.finding_log.len()), (64, 64));
    assert_eq!(server.timeline.last().unwrap().phase, Phase::Serving);
    assert!(!server.finding_log.last().unwrap().began);
}

#[test]
fn exits_are_bounded_and_counted() {
    let mut w = World::new();
    fleet::gunicorn_sync(&mut w);
    w.watch(0.5);
    for pid in 100..200 {
        fleet::gunicorn_child(&mut w, pid)
            .main("@sync-idle")
            .at_rest()
            .holds(500)
            .accepts(500);
        w.born(pid, w.now);
        w.watch(0.2);
        w.end(pid, End::Code(0));
    }
    let seen = w.watch(0.1);
    assert_eq!(
        (only(&seen).exits.len(), only(&seen).exits_total),
        (64, 100)
    );
    assert_eq!(only(&seen).exits[0].exit.key.pid, 199);
}

#[test]
fn attention_goes_to_what_moves_or_may_be_stuck() {
    type Story = (&'static str, fn(&mut World), &'static [u32]);
    const STORIES: &[Story] = &[
        ("at rest", fleet::uvicorn, &[]),
        (
            "young",
            |w| {
                fleet::uvicorn(w);
                w.born(10, w.now);
            },
            &[10],
        ),
        (
            "in a handler",
            |w| {
                fleet::uvicorn(w);
                w.p(10)
                    .main("@uvicorn | @request | show /srv/shop/views.py:20")
                    .armed(500);
            },
            &[10],
        ),
        (
            "computing",
            |w| {
                fleet::uvicorn(w);
                w.p(10).doing(Activity::Running);
            },
            &[10],
        ),
        (
            "starting",
            |w| {
                w.old(10, 60.0, UVICORN)
                    .main("@uvicorn | @lifespan | open_pool /srv/shop/db.py:4");
            },
            &[10],
        ),
        (
            "stopped",
            |w| {
                fleet::uvicorn(w);
                w.p(10).state = ProcessState::Stopped;
            },
            &[],
        ),
        (
            "one of two workers is busy",
            |w| {
                fleet::gunicorn_sync(w);
                w.p(12)
                    .main("@sync-request | show /srv/shop/views.py:20")
                    .accepts_nothing();
            },
            &[12],
        ),
        (
            "a watching main thread is no worker",
            fleet::gunicorn_uvicorn,
            &[],
        ),
    ];
    for (name, story, pids) in STORIES {
        let mut w = World::new();
        story(&mut w);
        let seen = w.watch(1.0);
        let keys: Vec<u32> = seen.attention.iter().map(|k| k.pid).collect();
        assert_eq!(keys, *pids, "{name}");
    }
    let mut w = World::new();
    for pid in 100..200 {
        w.start(pid, &format!("/venv/bin/uvicorn shop_{pid}:app"))
            .main("@uvicorn | @poll");
    }
    assert_eq!(w.watch(0.5).attention.len(), 64);
}

#[test]
fn one_death_at_boot_is_not_settled_for_a_while() {
    let mut w = World::new();
    fleet::gunicorn_master(&mut w);
    fleet::gunicorn_child(&mut w, 11)
        .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3")
        .holds(500);
    w.watch(1.0);
    w.born(11, w.ago(1.0));
    w.watch(0.1);
    w.end(11, End::Code(3));
    assert!(only(&w.watch(1.0)).unsettled);
    assert!(!only(&w.watch(10.0)).unsettled);
    // A worker that serves settles it at once.
    let mut w = World::new();
    fleet::gunicorn_sync(&mut w);
    w.watch(1.0);
    fleet::gunicorn_child(&mut w, 13)
        .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3")
        .holds(500);
    w.born(13, w.now);
    w.watch(0.5);
    w.end(13, End::Code(3));
    assert!(!only(&w.watch(1.0)).unsettled);
}

/// The reloader waits in its parent; what is imported and stands still is the child.
#[test]
fn a_blocked_import_is_found_in_the_child_and_not_in_its_reloader() {
    let mut w = World::new();
    fleet::runserver(&mut w);
    w.close(500);
    w.p(11).main("@runserver | @import | <module> /srv/shop/shop/urls.py:3 | fetch_routes /srv/shop/shop/urls.py:9");
    let seen = w.watch(5.0);
    let found = find(only(&seen), Code::ImportBlocked);
    assert_eq!(
        found.culprit.as_ref().unwrap().function,
        "fetch_routes",
        "{}",
        found.summary
    );

    // Without the child there is nothing that imports.
    w.end(11, End::Code(1));
    let seen = w.watch(5.0);
    assert_eq!(
        codes(only(&seen)),
        ["reloader-without-child"],
        "{}",
        only(&seen).why
    );
}

/// "stalled when it once could serve and none of its processes does": the listener of a reloader whose child has died.
#[test]
fn a_server_whose_only_worker_has_died_is_stalled() {
    let mut w = World::new();
    fleet::uvicorn_reload(&mut w);
    w.watch(2.0);
    w.end(11, End::Code(1));
    let seen = w.watch(3.0);
    assert_eq!(only(&seen).phase, Phase::Stalled, "{}", only(&seen).why);
}

/// gunicorn's arbiter aborts a worker that misses its heartbeat; the next one takes a connection and hangs in its turn. Each
/// of them moves once, and clients wait all the time.
#[test]
fn a_worker_that_is_killed_again_and_again_leaves_its_server_stalled() {
    for (signal, want) in [
        (6, Phase::Stalled),
        (9, Phase::Stalled),
        (15, Phase::Serving),
    ] {
        let mut w = World::new();
        fleet::gunicorn_sync(&mut w);
        w.end(12, End::Signal(15));
        w.watch(1.0);
        w.waiting(500, 7);
        for pid in 13..17 {
            w.end(if pid == 13 { 11 } else { pid - 1 }, End::Signal(signal));
            fleet::gunicorn_child(&mut w, pid)
                .main("@sync-request | ask /srv/shop/upstream.py:13")
                .doing(Activity::Syscall(45))
                .holds(500)
                .accepts_nothing();
            w.born(pid, w.now);
            w.p(pid).clients(7_000 + u64::from(pid), 1, 8000);
            w.watch(1.5);
        }
        let seen = w.look();
        assert_eq!(
            only(&seen).phase,
            want,
            "signal {signal}: {}",
            only(&seen).why
        );
    }
}

/// Pid and start time stay. What was known of the program before is not true of the next one.
#[test]
fn a_process_that_runs_another_program_starts_anew() {
    const IMPORTS: &str = "<module> /srv/mail/main.py:3 | @import | <module> /srv/mail/rules.py:2";
    type Change = (&'static str, fn(&mut World));
    const CHANGES: &[Change] = &[
        ("another line", |w| {
            w.p(10).execs("/venv/bin/uvicorn mail.main:app --port 9000");
        }),
        ("the same line, as a server that restarts itself", |w| {
            let line = w.p(10).cmdline.join(" ");
            w.p(10).execs(&line);
        }),
        (
            "another interpreter, and no right to see where arguments lie",
            |w| {
                w.p(10).arg_start = None;
                w.p(10).exe = Some("/usr/bin/python3.11".into());
                w.look();
                w.p(10).execs("/opt/bin/uvicorn mail.main:app").exe =
                    Some("/usr/bin/python3.13".into());
            },
        ),
    ];
    for (name, change) in CHANGES {
        let mut w = World::new();
        fleet::uvicorn(&mut w);
        w.p(10).clients(9_000, 2, 8000);
        assert_eq!(only(&w.watch(2.0)).phase, Phase::Serving);
        change(&mut w);
        w.close(500);
        w.p(10).main(IMPORTS);
        let seen = w.watch(2.5);
        let server = only(&seen);
        assert_eq!(server.phase, Phase::Importing, "{name}: {}", server.why);
        assert_eq!(codes(server), Vec::<&str>::new(), "{name}: it is young");
        let phases: Vec<Phase> = server.timeline.iter().map(|c| c.phase).collect();
        assert_eq!(phases, [Phase::Serving, Phase::Importing], "{name}");
        assert_eq!(
            server.name.contains("mail"),
            !name.contains("same"),
            "{name}: {}",
            server.name
        );
        // And that it once served does not make it stalled, or draining, when it gets to its startup.
        w.p(10)
            .main("@uvicorn | @lifespan | lifespan /srv/mail/main.py:30");
        assert_eq!(only(&w.watch(0.3)).phase, Phase::Starting, "{name}");
    }
}

/// gunicorn writes `gunicorn: worker [app]` over its arguments when it has setproctitle.
#[test]
fn a_title_is_no_new_program() {
    let mut w = World::new();
    fleet::gunicorn_sync(&mut w);
    w.watch(1.0);
    for (pid, title) in [
        (10, "gunicorn: master [shop]"),
        (11, "gunicorn: worker [shop]"),
        (12, "gunicorn: worker [shop]"),
    ] {
        w.p(pid).cmdline = vec![title.to_owned()];
    }
    // Busy when the title comes: nothing but what is remembered says that they serve.
    for pid in [11, 12] {
        w.p(pid)
            .main("@gunicorn-worker | boot /srv/shop/wsgi.py:3")
            .accepts_nothing();
    }
    let seen = w.watch(1.0);
    assert_eq!(only(&seen).phase, Phase::Serving, "{}", only(&seen).why);
    assert_eq!(only(&seen).timeline.len(), 1);
    w.close(500);
    let seen = w.watch(0.5);
    assert_eq!(member(only(&seen), 11).phase, Phase::Draining);
}

/// A crash loop may have a round that is longer than a look lasts: who is there now has not died yet.
#[test]
fn workers_far_younger_than_their_server_may_have_taken_the_place_of_others() {
    for (root_age, worker_age, accepts, want) in [
        (60.0, 2.0, false, true),
        (4.0, 2.0, false, false),
        (60.0, 40.0, false, false),
        (60.0, 2.0, true, false),
    ] {
        let mut w = World::new();
        fleet::gunicorn_master(&mut w);
        w.born(10, w.ago(root_age));
        let worker = fleet::gunicorn_child(&mut w, 11).holds(500);
        if accepts {
            worker.main("@sync-idle").at_rest().accepts(500);
        } else {
            worker.main("@gunicorn-load | <module> /srv/shop/wsgi.py:3");
        }
        w.born(11, w.ago(worker_age));
        let name = format!("{root_age} {worker_age} {accepts}");
        assert_eq!(only(&w.watch(0.5)).unsettled, want, "{name}");
    }
}
