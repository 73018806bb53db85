//! What logs add: exceptions before deaths, refused addresses, threads that ended, claims that the kernel does not confirm; and
//! where they add nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use steth::diagnosis::{Code, Phase, Severity};
use steth::snapshot::{
    Activity, Frame, Holder, Level, LogLine, LogTail, ProcessKey, ServerThread, Sink, Traceback,
};

use super::coroutines::{HasTasks, task};
use super::fleet;
use super::stacks::frames;
use super::tasks::{Doing, sleep};
use super::world::{Build, End, World, codes, find, only};

const UVICORN: &str = "/venv/bin/uvicorn shop.main:app --port 8000";
const IN_USE: &str = "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use";

/// Something that must not be found, by name.
type Nearly = (&'static str, fn(&mut World));

/// Somebody writes a line, now.
fn write(w: &mut World, pid: u32, text: &str) {
    let (key, now) = (w.p(pid).key, w.now);
    let line = |number| LogLine {
        number,
        at: now,
        is_new: true,
        told_ms: None,
        pid: None,
        level: text.starts_with("ERROR").then_some(Level::Error),
        text: text.to_owned(),
    };
    let tail = tail(w);
    let number = tail.lines.last().map_or(0, |l| l.number + 1);
    tail.lines.push(Arc::new(line(number)));
    note_writer(tail, key);
}

/// Somebody writes a traceback, now: frames as in stacks, the exception with its message.
fn raise(w: &mut World, pid: u32, thread: Option<&str>, stack: &str, exception: &str) {
    write(w, pid, "Traceback (most recent call last):");
    write(w, pid, exception);
    let now = w.now;
    let frames: Vec<Frame> = frames(stack);
    let (name, message) = exception.split_once(": ").unwrap();
    let tail = tail(w);
    let last = tail.lines.last().unwrap().number;
    tail.tracebacks.push(Arc::new(Traceback {
        first: last - 1,
        last,
        at: now,
        is_new: true,
        pid: None,
        thread: thread.map(str::to_owned),
        exception: name.to_owned(),
        message: message.to_owned(),
        culprit: frames.iter().rev().find(|f| !f.is_library()).cloned(),
        frames,
    }));
}

fn tail(w: &mut World) -> &mut LogTail {
    if w.inquiries.logs.is_empty() {
        w.inquiries.logs.push(Arc::new(LogTail {
            sink: Sink::File {
                path: "/var/log/shop.log".into(),
            },
            writers: Vec::new(),
            is_fresh: false,
            changed_at: w.now,
            lines: Vec::new(),
            skipped: 0,
            tracebacks: Vec::new(),
        }));
    }
    Arc::make_mut(&mut w.inquiries.logs[0])
}

fn note_writer(tail: &mut LogTail, key: ProcessKey) {
    if let Err(at) = tail.writers.binary_search(&key) {
        tail.writers.insert(at, key);
    }
}

/// The lines are older than the program's looking, and say not when they were written.
fn make_old(w: &mut World) {
    let tail = tail(w);
    for line in &mut tail.lines {
        Arc::make_mut(line).is_new = false;
    }
    for traceback in &mut tail.tracebacks {
        Arc::make_mut(traceback).is_new = false;
    }
}

/// A shell, pid 5, starts uvicorn again and again; each time it says something before it ends.
fn loops(w: &mut World, times: u32, code: i32, say: impl Fn(&mut World, u32)) {
    w.other(5, "sh -c while :; do uvicorn shop.main:app; sleep 1; done");
    for pid in 10..10 + times {
        w.start(pid, UVICORN)
            .parent(5)
            .main("@uvicorn-cli | @import | <module> /srv/shop/main.py:3 | @import | <module> pkg+fastapi/__init__.py:7");
        w.watch(0.4);
        say(w, pid);
        w.end(pid, End::Code(code));
        w.watch(1.0);
    }
}

const RAISED: &str = "Router.lifespan pkg+starlette/routing.py:677 | lifespan /srv/shop/main.py:30 | read_secret /srv/shop/main.py:8";

#[test]
fn a_crash_loop_says_what_was_raised_and_where() {
    let mut w = World::new();
    loops(&mut w, 3, 3, |w, pid| {
        raise(
            w,
            pid,
            None,
            RAISED,
            "RuntimeError: secret api is not mounted",
        );
    });
    let seen = w.look();
    let server = only(&seen);
    let found = find(server, Code::CrashLoop);
    let words = "RuntimeError: secret api is not mounted in read_secret (shop/main.py:8)";
    assert!(found.summary.contains(words), "{}", found.summary);
    assert_eq!(found.culprit.as_ref().unwrap().function, "read_secret");
    assert!(
        found
            .evidence
            .iter()
            .any(|e| e.contains("traceback") && e.ends_with("(log)"))
    );
}

#[test]
fn an_exception_that_is_not_the_last_words_is_not_the_cause() {
    let cases: &[Nearly] = &[
        ("long before", |w| {
            w.old(99, 900.0, UVICORN);
            raise(w, 99, None, RAISED, "KeyError: 1");
            w.end(99, End::Code(1));
            w.pass(40.0);
            loops(w, 2, 3, |w, pid| {
                write(w, pid, "ERROR:    Application startup failed.")
            });
        }),
        ("of another process", |w| {
            loops(w, 2, 3, |w, pid| {
                raise(w, pid, None, RAISED, "KeyError: 1");
                Arc::make_mut(tail(w).tracebacks.last_mut().unwrap()).pid = Some(4000);
            });
        }),
        ("of who was killed", |w| {
            w.other(5, "sh");
            for pid in [10, 11] {
                w.start(pid, UVICORN).parent(5).main("@uvicorn | @poll");
                w.watch(0.4);
                raise(w, pid, None, RAISED, "KeyError: 1");
                w.end(pid, End::Signal(9));
                w.watch(1.0);
            }
        }),
        ("of somebody else's log", |w| {
            w.old(70, 900.0, "python job.py");
            loops(w, 2, 3, |w, _| raise(w, 70, None, RAISED, "KeyError: 1"));
        }),
    ];
    for (name, story) in cases {
        let mut w = World::new();
        story(&mut w);
        let seen = w.look();
        let server = seen
            .servers
            .iter()
            .find(|s| s.phase == Phase::CrashLooping)
            .unwrap_or_else(|| panic!("{name}: {:?}", seen.servers));
        let found = find(server, Code::CrashLoop);
        assert!(
            !found.summary.contains("KeyError"),
            "{name}: {}",
            found.summary
        );
    }
}

#[test]
fn what_was_being_imported_a_moment_before_is_no_culprit() {
    let mut w = World::new();
    loops(&mut w, 2, 3, |_, _| {});
    let seen = w.look();
    let found = find(only(&seen), Code::CrashLoop);
    assert_eq!(found.culprit, None);
}

/// nginx, not Python, has the port; a search has found it.
fn taken_by_nginx(w: &mut World) {
    w.listen(900, 8000);
    w.other(77, "nginx: master process");
    let key = w.p(77).key;
    let started = w.ago(3600.0);
    w.inquiries.holders.push(Holder {
        inode: 900,
        key,
        ppid: 1,
        started,
        cmdline: vec!["nginx:".into(), "master".into()],
    });
}

#[test]
fn a_refused_address_is_named_with_who_has_it() {
    let mut w = World::new();
    taken_by_nginx(&mut w);
    loops(&mut w, 3, 3, |w, pid| write(w, pid, IN_USE));
    let seen = w.look();
    let server = only(&seen);
    assert_eq!(codes(server), ["address-in-use", "crash-loop"]);
    let found = find(server, Code::AddressInUse);
    for word in [
        "127.0.0.1:8000",
        "pid 77 (nginx: master)",
        "60 min",
        "3 processes",
    ] {
        assert!(found.summary.contains(word), "{word}: {}", found.summary);
    }
    assert_eq!(found.severity, Severity::Critical);
    assert!(found.evidence.iter().any(|e| e.contains("[Errno 98]")));
    assert!(seen.unknown_holders == [900]);
}

#[test]
fn without_a_log_the_listener_in_the_way_tells() {
    let mut w = World::new();
    w.listen(900, 8000);
    w.old(77, 3600.0, UVICORN)
        .main("@uvicorn | @poll")
        .at_rest()
        .holds(900)
        .accepts(900);
    w.other(5, "sh");
    for pid in [10, 11] {
        w.start(pid, UVICORN).parent(5).main("@uvicorn | @lifespan");
        w.watch(0.5);
        w.end(pid, End::Code(3));
        w.watch(1.0);
    }
    let seen = w.look();
    let server = seen.servers.iter().find(|s| s.root.pid == 10).unwrap();
    let found = find(server, Code::AddressInUse);
    assert!(found.summary.contains("pid 77"), "{}", found.summary);
    assert!(
        found.remedy.contains("earlier instance"),
        "{}",
        found.remedy
    );
    assert!(seen.unknown_holders.is_empty());
    // The one that has the address serves, and nothing is wrong with it.
    let other = seen.servers.iter().find(|s| s.root.pid == 77).unwrap();
    assert_eq!((other.phase, other.findings.len()), (Phase::Serving, 0));
}

#[test]
fn a_zombie_wants_what_it_wanted_while_it_lived() {
    let mut w = World::new();
    taken_by_nginx(&mut w);
    w.other(5, "sh -c while :; do uvicorn shop.main:app; sleep 1; done");
    for pid in 10..13 {
        w.start(pid, UVICORN).parent(5).main("@uvicorn | @poll");
        w.watch(0.4);
        // It is seen dead before anybody tells of its end, and has no command line any more.
        w.leave_zombie(pid, 1 << 8);
        let seen = w.watch(0.5);
        if pid == 12 {
            assert_eq!(codes(only(&seen)), ["address-in-use", "crash-loop"]);
        }
        w.end(pid, End::Code(1));
        w.watch(0.5);
    }
}

#[test]
fn gunicorn_that_tries_again_and_again_is_told_too() {
    let mut w = World::new();
    taken_by_nginx(&mut w);
    w.start(10, "/venv/bin/gunicorn -b 0.0.0.0:8000 shop:app")
        .main("@arbiter | Arbiter.start pkg+gunicorn/arbiter.py:146 | create_sockets pkg+gunicorn/sock.py:199");
    let seen = w.watch(1.0);
    let found = find(only(&seen), Code::AddressInUse);
    assert!(found.summary.contains("0.0.0.0:8000"), "{}", found.summary);
}

/// Each try writes its line anew: the newest is always young.
#[test]
fn a_start_that_tries_its_address_again_and_again() {
    let mut w = World::new();
    taken_by_nginx(&mut w);
    let sleeps = task(1, "Task-1", "open_site /srv/shop/app.py:9 | @sleep").on(sleep(1.0, 0.5));
    w.start(10, "/venv/bin/python app.py")
        .main("<module> /srv/shop/app.py:20 | @asyncio | @poll")
        .at_rest()
        .tasks(vec![sleeps]);
    w.p(10).python.as_mut().unwrap().intent = Some(steth::snapshot::Intent {
        file: "/srv/shop/app.py".into(),
        line: 7,
        call: "start_server".into(),
        reach: steth::snapshot::Reach::Ahead,
    });
    for _ in 0..5 {
        write(&mut w, 10, IN_USE);
        w.watch(1.0);
    }
    let seen = w.look();
    let found = find(
        seen.servers.iter().find(|s| s.root.pid == 10).unwrap(),
        Code::AddressInUse,
    );
    assert!(
        found.summary.contains("127.0.0.1:8000: pid 77"),
        "{}",
        found.summary
    );
    let culprit = found.culprit.as_ref().map(|c| c.function.as_str());
    assert_eq!(culprit, Some("open_site"));
}

#[test]
fn an_address_that_was_not_refused_is_no_finding() {
    let cases: &[Nearly] = &[
        ("another address has the port", |w| {
            w.listen(900, 8000).address = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)));
            loops(w, 3, 3, |_, _| {});
        }),
        ("another port is taken", |w| {
            w.listen(900, 8001);
            loops(w, 3, 3, |_, _| {});
        }),
        ("it dies of something else, as its log says", |w| {
            w.listen(900, 8000);
            loops(w, 3, 1, |w, pid| raise(w, pid, None, RAISED, "KeyError: 1"));
        }),
        ("it ends well, or is killed", |w| {
            w.listen(900, 8000);
            loops(w, 3, 0, |_, _| {});
        }),
        ("a metrics port was refused, and the server goes on", |w| {
            w.start(10, UVICORN)
                .main("@uvicorn-load | <module> /srv/shop/main.py:3");
            w.watch(1.0);
            write(
                w,
                10,
                "WARNING:  no metrics: [Errno 98] Address already in use: ('0.0.0.0', 9100)",
            );
            w.watch(6.0);
        }),
        ("some port was refused, nobody has the server's own", |w| {
            w.start(10, UVICORN)
                .main("@uvicorn-load | <module> /srv/shop/main.py:3");
            w.watch(1.0);
            write(w, 10, "no metrics: [Errno 98] Address already in use");
            w.watch(6.0);
        }),
        ("refused once, then another port was free", |w| {
            w.start(10, "/venv/bin/python app.py")
                .main("@asyncio | @poll")
                .at_rest();
            write(w, 10, IN_USE);
            w.watch(0.5);
            w.listen(500, 8001);
            w.p(10).holds(500).accepts(500);
            w.watch(5.0);
        }),
        ("a server that serves wrote it yesterday", |w| {
            fleet::uvicorn(w);
            write(w, 10, IN_USE);
            make_old(w);
            w.watch(5.0);
        }),
        ("the run before wrote it", |w| {
            w.start(10, UVICORN)
                .main("@uvicorn-load | <module> /srv/shop/main.py:3");
            write(w, 10, IN_USE);
            make_old(w);
            w.watch(8.0);
        }),
        ("both share the port", |w| {
            w.listen(900, 8000);
            w.other(5, "sh");
            for pid in [10, 11] {
                w.start(
                    pid,
                    "/venv/bin/gunicorn --reuse-port -b 127.0.0.1:8000 shop:app",
                )
                .parent(5)
                .main("@arbiter");
                w.watch(0.5);
                w.end(pid, End::Code(3));
                w.watch(1.0);
            }
        }),
    ];
    for (name, story) in cases {
        let mut w = World::new();
        story(&mut w);
        assert!(!w.ever.contains_key(&Code::AddressInUse), "{name}");
    }
}

const WEB: &str = "@thread | serve /srv/jobs/app.py:16 | run_app pkg+aiohttp/web.py:502 | BaseEventLoop.run_until_complete std+asyncio/base_events.py:653 | _run_app pkg+aiohttp/web.py:319";
const SIGNALS: &str =
    "RuntimeError: set_wakeup_fd only works in main thread of the main interpreter";

/// A script whose main thread works while a thread of it was to serve.
fn script(w: &mut World) {
    w.old(10, 60.0, "/venv/bin/python app.py")
        .main("<module> /srv/jobs/app.py:26 | run_jobs /srv/jobs/app.py:22");
}

#[test]
fn a_thread_that_was_to_serve_and_has_ended_is_the_cause() {
    let mut w = World::new();
    script(&mut w);
    w.look();
    raise(&mut w, 10, Some("web"), WEB, SIGNALS);
    let seen = w.watch(4.0);
    let server = only(&seen);
    assert_eq!(server.phase, Phase::Stalled);
    assert_eq!(codes(server), ["server-thread-died"]);
    let found = find(server, Code::ServerThreadDied);
    assert_eq!(found.culprit.as_ref().unwrap().function, "serve");
    assert!(found.summary.contains("\"web\"") && found.summary.contains("main thread"));
    assert!(
        found.remedy.contains("handle_signals=False"),
        "{}",
        found.remedy
    );

    // The same, from before the program looked: a log that began with the process.
    let mut w = World::new();
    script(&mut w);
    raise(&mut w, 10, Some("web"), WEB, SIGNALS);
    make_old(&mut w);
    tail(&mut w).is_fresh = true;
    let seen = w.watch(3.0);
    assert_eq!(codes(only(&seen)), ["server-thread-died"]);
}

#[test]
fn an_exception_of_a_server_that_serves_is_no_finding() {
    let cases: &[Nearly] = &[
        ("caught and logged by a handler", |w| {
            fleet::uvicorn(w);
            w.look();
            raise(
                w,
                10,
                None,
                "@request | pay /srv/shop/pay.py:9",
                "ValueError: no",
            );
        }),
        ("a thread of a request", |w| {
            fleet::uvicorn(w);
            w.look();
            raise(
                w,
                10,
                Some("Thread-9 (mail)"),
                "@thread | mail /srv/shop/mail.py:4",
                "OSError: no",
            );
        }),
        ("a thread of a script that serves nobody", |w| {
            script(w);
            w.look();
            raise(
                w,
                10,
                Some("Thread-9 (mail)"),
                "@thread | mail /srv/jobs/mail.py:4",
                "OSError: no",
            );
        }),
        ("a request of a socketserver whose own thread lives", |w| {
            script(w);
            w.look();
            let stack = "@thread | ThreadingMixIn.process_request_thread std+socketserver.py:691 | do_GET /srv/jobs/app.py:9";
            raise(
                w,
                10,
                Some("Thread-9 (process_request_thread)"),
                stack,
                "ValueError: no",
            );
        }),
        ("the run before wrote it", |w| {
            script(w);
            raise(w, 10, Some("web"), WEB, SIGNALS);
            make_old(w);
        }),
        ("it listens after all", |w| {
            script(w);
            w.look();
            raise(w, 10, Some("web"), WEB, SIGNALS);
            w.listen(500, 8000);
            w.p(10).holds(500).accepts(500);
        }),
    ];
    for (name, story) in cases {
        let mut w = World::new();
        story(&mut w);
        w.watch(5.0);
        assert!(!w.ever.contains_key(&Code::ServerThreadDied), "{name}");
        let calm = w
            .ever
            .values()
            .all(|severity| *severity < Severity::Warning);
        assert!(calm, "{name}: {:?}", w.ever);
    }
}

/// The source says that a thread was started on `serve`, which runs a server.
fn started(w: &mut World) {
    let (key, passed_at) = (w.p(10).key, w.now);
    w.inquiries.server_threads.push(ServerThread {
        key,
        passed_at,
        file: "/srv/jobs/app.py".into(),
        line: 25,
        function: "serve".into(),
        call: "run_app".into(),
        call_line: 16,
    });
}

#[test]
fn a_thread_that_the_source_has_started_and_that_is_not_there_is_the_cause() {
    let mut w = World::new();
    script(&mut w);
    started(&mut w);
    let seen = w.watch(3.0);
    let server = only(&seen);
    assert_eq!(server.phase, Phase::Stalled);
    assert_eq!(codes(server), ["server-thread-died"]);
    let culprit = server.findings[0].culprit.clone().unwrap();
    assert_eq!((culprit.function.as_str(), culprit.line), ("serve", 16));

    // It is there; or what is there cannot be seen in full; or it listens.
    let nearly: &[Nearly] = &[
        ("it is there", |w| {
            w.p(10).thread(
                12,
                "web",
                "@thread | Web.serve /srv/jobs/app.py:12",
                Activity::Running,
            );
        }),
        ("a thread could not be read", |w| {
            let python = w.p(10).python.as_mut().unwrap();
            Arc::make_mut(python.stacks.as_mut().unwrap()).torn = 1;
        }),
        ("no stack is seen", |w| {
            w.p(10).python.as_mut().unwrap().stacks = None
        }),
        ("it listens", |w| {
            w.listen(500, 8000);
            w.p(10).holds(500).accepts(500);
        }),
    ];
    for (name, change) in nearly {
        let mut w = World::new();
        script(&mut w);
        started(&mut w);
        change(&mut w);
        w.watch(4.0);
        assert!(!w.ever.contains_key(&Code::ServerThreadDied), "{name}");
    }
}

#[test]
fn a_thread_that_was_started_anew_has_not_ended() {
    let mut w = World::new();
    script(&mut w);
    w.look();
    raise(&mut w, 10, Some("web"), WEB, SIGNALS);
    w.p(10).thread(12, "web", WEB, Activity::Selector);
    w.watch(5.0);
    assert!(!w.ever.contains_key(&Code::ServerThreadDied));
}

#[test]
fn what_the_log_claims_is_held_against_the_kernel() {
    const CLAIM: &str = "INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)";
    let told = |w: &mut World, seconds: f64| {
        let seen = w.watch(seconds);
        let server = only(&seen).clone();
        let first = server.findings.first();
        let evidence = first.map(|f| f.evidence.join("\n")).unwrap_or_default();
        format!("{} {evidence}", server.why)
    };
    // Bound by the supervisor, and nothing more.
    let mut w = World::new();
    w.bind(500, 8000);
    w.start(
        10,
        "/venv/bin/uvicorn shop.main:app --port 8000 --workers 2",
    )
    .main("@uvicorn-supervisor")
    .holds(500);
    for pid in [11, 12] {
        fleet::spawned(&mut w, pid)
            .main("@uvicorn-worker | @lifespan | warm /srv/shop/main.py:4")
            .holds(500);
        let now = w.now;
        w.born(pid, now);
    }
    write(&mut w, 10, CLAIM);
    let words = told(&mut w, 4.0);
    let want =
        "\"Uvicorn running on http://127.0.0.1:8000\" 4.0 s ago, but listen() has not been called";
    assert!(words.contains(want), "{words}");

    // No socket at all; and no finding yet that it could stand under.
    let mut w = World::new();
    w.start(10, UVICORN)
        .main("@uvicorn | @lifespan | warm /srv/shop/main.py:4");
    write(&mut w, 10, CLAIM);
    let words = told(&mut w, 1.5);
    assert!(words.contains("but nothing listens"), "{words}");

    // It is true, or was said by another run, or is said this very moment.
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    write(&mut w, 10, CLAIM);
    assert!(!told(&mut w, 4.0).contains("log said"));
    let mut w = World::new();
    w.start(10, UVICORN)
        .main("@uvicorn | @lifespan | warm /srv/shop/main.py:4");
    write(&mut w, 10, CLAIM);
    make_old(&mut w);
    assert!(!told(&mut w, 4.0).contains("log said"));
    write(&mut w, 10, CLAIM);
    assert!(!told(&mut w, 0.5).contains("log said"));
}

#[test]
fn a_reloader_whose_child_raised_says_what_and_where() {
    let mut w = World::new();
    fleet::uvicorn_reload(&mut w);
    w.watch(1.0);
    w.p(11)
        .main("@uvicorn-worker | @step | @import | <module> /srv/shop/main.py:7")
        .accepts_nothing();
    w.watch(1.0);
    let stack = "@uvicorn-worker | @step | @import | <module> /srv/shop/main.py:9";
    raise(
        &mut w,
        11,
        None,
        stack,
        "NameError: name 'limit' is not defined",
    );
    w.end(11, End::Code(1));
    let seen = w.watch(3.0);
    let found = find(only(&seen), Code::ReloaderWithoutChild);
    let words = "NameError: name 'limit' is not defined in <module> (shop/main.py:9)";
    assert!(found.summary.contains(words), "{}", found.summary);
    // Where it was seen a moment before is not where it raised.
    assert_eq!(found.culprit.as_ref().unwrap().line, 9);
    assert!(found.evidence.iter().any(|e| e.ends_with("(log)")));
}

#[test]
fn a_server_thread_that_died_under_a_reloader_is_one_finding_of_log_and_stacks() {
    let mut w = World::new();
    fleet::runserver(&mut w);
    w.close(500);
    w.p(11).main("@django-watch").ends_thread(9_011);
    w.look();
    let stack = "@django-thread | @import | <module> /srv/shop/shop/urls.py:9";
    let said = "ImportError: cannot import name 'vews'";
    raise(&mut w, 11, Some("django-main-thread"), stack, said);
    let seen = w.watch(4.0);
    let server = only(&seen);
    assert_eq!(server.phase, Phase::Stalled);
    assert_eq!(codes(server), ["server-thread-died"]);
    let found = find(server, Code::ServerThreadDied);
    assert!(found.summary.contains(said), "{}", found.summary);
    assert_eq!(
        found.culprit.as_ref().unwrap().file,
        "/srv/shop/shop/urls.py"
    );
    for source in ["(log)", "looked for changed files"] {
        let has = found.evidence.iter().any(|e| e.contains(source));
        assert!(has, "{source}: {:?}", found.evidence);
    }
}
