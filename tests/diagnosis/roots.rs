//! Who is who: launchers, watchers, what a program's source says that it starts or has run.

use steth::diagnosis::{Code, Diagnosis, Phase, Role, Severity};
use steth::snapshot::{Accepting, Activity, Intent, Reach, ServerThread};

use crate::fleet;
use crate::world::{Build, End, World, codes, find, member, only};

/// What the source of a process says.
fn intends(w: &mut World, pid: u32, call: &str, reach: Reach) {
    w.p(pid).python.as_mut().unwrap().intent = Some(Intent {
        file: "/srv/shop/app.py".into(),
        line: 40,
        call: call.to_owned(),
        reach,
    });
}

/// A script that waits for its child, as `subprocess.run` does.
fn keeper(w: &mut World, pid: u32) {
    w.old(pid, 60.0, "/venv/bin/python /srv/shop/keeper.py")
        .main("<module> /srv/shop/keeper.py:4 | run std+subprocess.py:550 | Popen.wait std+subprocess.py:1264 | Popen._wait std+subprocess.py:2053");
}

/// A server that dies at boot under it, again and again.
fn dies_under(w: &mut World, parent: u32) -> Diagnosis {
    for pid in 20..23 {
        w.pass(0.2);
        w.start(pid, "/venv/bin/python -m uvicorn shop:app")
            .parent(parent)
            .main("@uvicorn | @lifespan | open_pool /srv/shop/db.py:4");
        w.watch(0.5);
        w.end(pid, End::Code(3));
    }
    w.watch(0.1)
}

#[test]
fn a_script_that_starts_a_server_again_stands_beside_it() {
    let mut w = World::new();
    keeper(&mut w, 10);
    let seen = dies_under(&mut w, 10);
    let server = only(&seen);
    assert_eq!(server.phase, Phase::CrashLooping);
    assert_eq!(codes(server), ["crash-loop"]);
    assert_eq!(member(server, 10).role, Role::Supervisor);
    assert_eq!(seen.outsiders.len(), 0);
    assert_eq!(server.above, [10]);
}

#[test]
fn who_only_waits_for_a_server_stands_beside_it_and_nobody_else_does() {
    // (what stands above, whether it is part of the picture)
    type Case = (&'static str, fn(&mut World), bool);
    let cases: &[Case] = &[
        ("it waits for it", |w| keeper(w, 5), true),
        (
            "it has other things to do",
            |w| {
                w.old(5, 60.0, "/venv/bin/python -m pytest")
                    .main("<module> /srv/shop/tests.py:4");
            },
            false,
        ),
        (
            "it is a shell",
            |w| {
                w.other(5, "sh run.sh");
            },
            false,
        ),
    ];
    for (name, above, beside) in cases {
        let mut w = World::new();
        above(&mut w);
        fleet::uvicorn(&mut w);
        w.p(10).parent(5);
        let seen = w.watch(2.0);
        let server = only(&seen);
        assert_eq!(server.phase, Phase::Serving, "{name}");
        let there = server.members.iter().any(|m| m.process.key.pid == 5);
        assert_eq!(there, *beside, "{name}");
        assert!(server.above.contains(&5), "{name}");
        assert_eq!(codes(server), [""; 0], "{name}");
    }
}

#[test]
fn what_a_helper_starts_in_vain_is_no_crash_of_the_server() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    keeper(&mut w, 15);
    w.p(15).parent(10);
    for pid in 20..26 {
        w.pass(0.1);
        w.start(pid, "/venv/bin/python thumbnail.py")
            .parent(15)
            .main("<module> /srv/shop/thumbnail.py:3");
        w.end(pid, End::Code(1));
        w.watch(0.3);
    }
    assert!(!w.ever.contains_key(&Code::CrashLoop), "{:?}", w.ever);

    // A server of another kind that dies there is one of its own.
    let seen = dies_under(&mut w, 15);
    assert_eq!(seen.servers.len(), 2);
    let other = seen.servers.iter().find(|s| s.root.pid != 10).unwrap();
    assert_eq!(other.phase, Phase::CrashLooping);
    assert_eq!(member(other, 15).role, Role::Supervisor);
}

/// A script that was about to serve dies, and what is started after it lives for too short a time to be looked at.
fn dies_unseen(next: &str) -> Option<Phase> {
    let mut w = World::new();
    keeper(&mut w, 10);
    w.start(20, "/venv/bin/python app.py")
        .parent(10)
        .main("<module> /srv/shop/app.py:4");
    intends(&mut w, 20, "run_app", Reach::Ahead);
    w.watch(0.5);
    w.end(20, End::Code(1));
    w.watch(0.3);
    for pid in 21..24 {
        let born = w.now;
        w.start(pid, next).parent(10);
        w.born(pid, born);
        w.pass(0.3);
        w.end(pid, End::Code(1));
        w.watch(0.3);
    }
    let seen = w.watch(0.1);
    seen.servers.first().map(|server| server.phase)
}

#[test]
fn who_dies_unseen_in_a_servers_place_is_its_next_life() {
    let again = dies_unseen("/venv/bin/python app.py");
    assert_eq!(again, Some(Phase::CrashLooping));
    let other = dies_unseen("/venv/bin/python report.py");
    assert_eq!(other, Some(Phase::Exited));
}

/// watchfiles, with what it runs.
fn watcher(w: &mut World, runs: &str, reach: Reach) {
    w.old(10, 60.0, "/venv/bin/python /srv/shop/dev.py")
        .main("<module> /srv/shop/dev.py:4 | run_process pkg+watchfiles/run.py:112");
    intends(w, 10, runs, reach);
}

#[test]
fn a_watcher_of_a_server_needs_its_child() {
    for (runs, reach) in [
        ("run_app", Reach::Launched),
        ("/venv/bin/uvicorn shop:app --port 80", Reach::Command),
    ] {
        let mut w = World::new();
        watcher(&mut w, runs, reach);
        let seen = w.watch(3.0);
        let found = find(only(&seen), Code::ReloaderWithoutChild);
        assert_eq!(found.severity, Severity::Critical, "{runs}");

        w.start(11, "/venv/bin/python /srv/shop/web.py")
            .parent(10)
            .main("<module> /srv/shop/web.py:4");
        let seen = w.watch(1.0);
        let server = only(&seen);
        assert_eq!(member(server, 10).role, Role::Reloader, "{runs}");
        assert_eq!(member(server, 11).role, Role::Worker, "{runs}");
        assert!(!codes(server).contains(&"reloader-without-child"), "{runs}");
    }
    // It is none of a server, and not to be waited for.
    let mut w = World::new();
    watcher(&mut w, "make -C docs html", Reach::Command);
    let seen = w.watch(3.0);
    assert_eq!((seen.servers.len(), w.ever.len()), (0, 0));
}

#[test]
fn a_script_that_has_come_to_its_end_shuts_down_if_it_has_served() {
    const CLOSES: &str = "<module> /srv/shop/app.py:40 | run std+asyncio/runners.py:47 | _cancel_all_tasks std+asyncio/runners.py:63 | @asyncio | @poll";
    const WAITS: &str = "_shutdown std+threading.py:1590 | Thread.join std+threading.py:1112";
    let phase = |main: &str, reach: Option<Reach>| {
        let mut w = World::new();
        w.old(10, 60.0, "/venv/bin/python /srv/shop/app.py")
            .main(main)
            .at_rest();
        if let Some(reach) = reach {
            intends(&mut w, 10, "start_server", reach);
        }
        let seen = w.watch(1.0);
        seen.servers.first().map(|server| server.phase)
    };
    assert_eq!(phase(CLOSES, Some(Reach::Within)), Some(Phase::Draining));
    // Another loop, before the server's.
    assert_eq!(phase(CLOSES, Some(Reach::Ahead)), Some(Phase::Starting));
    assert_eq!(phase(WAITS, Some(Reach::Behind)), Some(Phase::Draining));
    assert_eq!(phase(WAITS, None), None);
}

#[test]
fn a_script_whose_main_thread_is_past_its_end_may_serve_from_another() {
    let story = |change: fn(&mut World)| {
        let mut w = World::new();
        w.old(10, 60.0, "/venv/bin/python /srv/shop/app.py")
            .main("_shutdown std+threading.py:1590 | Thread.join std+threading.py:1112")
            .at_rest();
        intends(&mut w, 10, "start_server", Reach::Behind);
        change(&mut w);
        let seen = w.watch(1.0);
        only(&seen).phase
    };
    // (what else there is, the phase)
    type Case = (&'static str, fn(&mut World), Phase);
    let cases: &[Case] = &[
        (
            "a thread that only works",
            |w| {
                w.p(10).thread(
                    12,
                    "cars",
                    "@thread | load /srv/shop/app.py:9",
                    Activity::Running,
                );
            },
            Phase::Draining,
        ),
        (
            "a thread that imports what it will serve",
            |w| {
                w.p(10).thread(
                    12,
                    "web",
                    "@thread | serve /srv/shop/app.py:9 | @import | <module> /srv/shop/web.py:3",
                    Activity::Running,
                );
            },
            Phase::Importing,
        ),
        (
            "a thread in a loop",
            |w| {
                w.p(10).thread(
                    12,
                    "web",
                    "@thread | serve /srv/shop/app.py:9 | @asyncio | @poll",
                    Activity::Selector,
                );
            },
            Phase::Importing,
        ),
        (
            "a thread of which no frame says that it serves, and a socket",
            |w| {
                w.p(10).holds(500).thread(
                    12,
                    "web",
                    "@thread | serve /srv/shop/app.py:9",
                    Activity::Running,
                );
                w.listen(500, 8000);
                w.p(10).accepting = Some(vec![Accepting {
                    inode: 500,
                    tid: Some(12),
                }]);
            },
            Phase::Serving,
        ),
    ];
    for (name, change, phase) in cases {
        assert_eq!(story(*change), *phase, "{name}");
    }
}

#[test]
fn what_only_the_words_of_a_script_say_goes_when_nothing_is_ahead_of_where_it_stands() {
    for (reach, stays) in [(Reach::Script, false), (Reach::Ahead, true)] {
        let mut w = World::new();
        w.old(10, 5.0, "/venv/bin/python /srv/shop/app.py")
            .main("<module> /srv/shop/app.py:4");
        intends(&mut w, 10, "run_app", reach);
        assert_eq!(only(&w.watch(0.5)).phase, Phase::Importing);
        w.p(10).main("<module> /srv/shop/app.py:5");
        w.p(10).python.as_mut().unwrap().intent = None;
        let seen = w.watch(2.0);
        assert_eq!(!seen.servers.is_empty(), stays, "{reach:?}");
    }
}

#[test]
fn a_socket_that_is_left_open_does_not_serve() {
    let story = |accepting: Vec<Accepting>| {
        let mut w = World::new();
        w.old(10, 60.0, "/venv/bin/python app.py")
            .main("<module> /srv/jobs/app.py:26 | run_jobs /srv/jobs/app.py:22")
            .holds(500);
        w.listen(500, 8000);
        w.p(10).accepting = Some(accepting);
        let (key, passed_at) = (w.p(10).key, w.now);
        w.inquiries.server_threads.push(ServerThread {
            key,
            passed_at,
            file: "/srv/jobs/app.py".into(),
            line: 25,
            function: "serve_forever".into(),
            call: "serve_forever".into(),
            call_line: 25,
        });
        w
    };
    let mut w = story(Vec::new());
    let seen = w.watch(3.0);
    let server = only(&seen);
    assert_eq!(codes(server)[0], "server-thread-died");

    // The thread is in the library's own function.
    let mut w = story(Vec::new());
    w.p(10).thread(
        12,
        "web",
        "@thread | BaseServer.serve_forever std+socketserver.py:233",
        Activity::Running,
    );
    w.watch(3.0);
    assert!(!w.ever.contains_key(&Code::ServerThreadDied));

    let mut w = story(vec![Accepting {
        inode: 500,
        tid: Some(12),
    }]);
    w.watch(3.0);
    assert!(!w.ever.contains_key(&Code::ServerThreadDied));
}

#[test]
fn a_blocked_loop_whose_clients_are_unread_is_critical() {
    for (bytes, severity) in [(9, Severity::Critical), (0, Severity::Warning)] {
        let mut w = World::new();
        fleet::uvicorn(&mut w);
        w.p(10).clients(9_000, 2, 8000);
        w.watch(1.0);
        w.p(10)
            .main("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7")
            .armed(500);
        let mut unread = steth::snapshot::Connections::clone(w.p(10).connections.as_ref().unwrap());
        unread.list[1].recv_q = bytes;
        w.p(10).connections = Some(unread.into());
        let early = w.watch(1.5);
        assert!(only(&early).unsettled, "it cannot be told yet");
        let seen = w.watch(1.5);
        assert_eq!(find(only(&seen), Code::LoopBlocked).severity, severity);
        assert!(!only(&seen).unsettled);
    }
}

/// An upload that is larger than the handler takes at once: its connection was unread long before the loop was held.
#[test]
fn a_client_that_was_unread_before_waits_for_no_loop() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    w.p(10).clients(9_000, 2, 8000);
    let mut unread = steth::snapshot::Connections::clone(w.p(10).connections.as_ref().unwrap());
    unread.list[1].recv_q = 4_000_000;
    w.p(10).connections = Some(unread.into());
    w.watch(30.0);
    w.p(10)
        .main("@uvicorn | @request | show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7")
        .armed(500);
    let seen = w.watch(3.0);
    let found = find(only(&seen), Code::LoopBlocked);
    assert_eq!(found.severity, Severity::Warning, "{:?}", found.evidence);
    assert!(!found.evidence.iter().any(|e| e.contains("nobody has read")));
}

#[test]
fn a_master_that_hangs_in_a_hook_of_the_application_is_to_blame_itself() {
    let mut w = World::new();
    w.old(10, 20.0, "/venv/bin/gunicorn -c conf.py shop:app")
        .main("@arbiter | Arbiter.start pkg+gunicorn/arbiter.py:146 | on_starting /srv/shop/conf.py:5 | wait_for_licence /srv/shop/conf.py:3");
    let seen = w.watch(4.0);
    let server = only(&seen);
    assert_eq!(server.phase, Phase::Starting);
    let found = find(server, Code::StartupBlocked);
    let culprit = found.culprit.as_ref().unwrap();
    assert_eq!(culprit.function, "wait_for_licence");

    // It reads its own sources: nothing of the application's.
    let mut w = World::new();
    w.old(10, 20.0, "/venv/bin/gunicorn shop:app")
        .main("@arbiter | Arbiter.start pkg+gunicorn/arbiter.py:146");
    assert_eq!(codes(only(&w.watch(4.0))), Vec::<&str>::new());
}
