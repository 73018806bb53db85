//! The phase of a server and of each of its processes, against the words of the contract.

use steth::diagnosis::{Diagnosis, Phase};
use steth::snapshot::{Activity, ProcessState};

use super::fleet;
use super::world::{Build, End, World, codes, member, only};

use Phase::{
    Bound, Draining, Exited, Importing, Listening, NotAServer, Serving, Stalled, Starting, Stopped,
    Unseen,
};

/// A story, the phase of the only server at its end, and of some of its processes.
type Row = (
    &'static str,
    fn(&mut World) -> Diagnosis,
    Phase,
    &'static [(u32, Phase)],
);

fn check(rows: &[Row]) {
    for (name, story, phase, processes) in rows {
        let mut w = World::new();
        let seen = story(&mut w);
        let server = only(&seen);
        let line = &server.timeline;
        assert_eq!(server.phase, *phase, "{name}: {} {line:?}", server.why);
        for (pid, phase) in *processes {
            assert_eq!(member(server, *pid).phase, *phase, "{name}: pid {pid}");
        }
    }
}

const UVICORN: &str = "/venv/bin/uvicorn shop.main:app --port 8000";
const REQUEST: &str = "show /srv/shop/views.py:20 | lookup /srv/shop/rates.py:7";

fn alone<'a>(w: &'a mut World, stack: &str) -> &'a mut steth::snapshot::Process {
    w.old(10, 5.0, UVICORN).main(stack)
}

#[test]
fn one_process() {
    check(&[
        (
            "no frame yet",
            |w| {
                w.start(10, UVICORN);
                w.watch(0.3)
            },
            Importing,
            &[(10, Importing)],
        ),
        (
            "no stack may be read",
            |w| {
                w.start(10, UVICORN).python.as_mut().unwrap().stacks = None;
                w.watch(0.3)
            },
            Importing,
            &[],
        ),
        (
            "the launcher imports the framework",
            |w| {
                alone(
                    w,
                    "<module> /venv/bin/uvicorn:5 | @import | <module> pkg+uvicorn/main.py:20",
                );
                w.watch(0.3)
            },
            Importing,
            &[(10, Importing)],
        ),
        (
            "the loop imports the application",
            |w| {
                alone(w, "@uvicorn-load | <module> /srv/shop/main.py:4");
                w.watch(0.3)
            },
            Importing,
            &[(10, Importing)],
        ),
        (
            "a module that starts its server while it is imported",
            |w| {
                alone(
                    w,
                    "<module> /srv/shop/run.py:2 | @import | <module> /srv/shop/main.py:9 | run pkg+uvicorn/main.py:577 | @uvicorn-server | @lifespan | lifespan /srv/shop/main.py:4",
                );
                w.watch(0.3)
            },
            Starting,
            &[],
        ),
        (
            "startup runs",
            |w| {
                alone(w, "@uvicorn | @lifespan | lifespan /srv/shop/main.py:9");
                w.watch(0.3)
            },
            Starting,
            &[(10, Starting)],
        ),
        (
            "startup is awaited",
            |w| {
                alone(w, "@uvicorn | @poll").at_rest();
                w.watch(0.3)
            },
            Starting,
            &[(10, Starting)],
        ),
        (
            "bound",
            |w| {
                w.bind(500, 8000);
                alone(w, "@uvicorn | @lifespan | lifespan /srv/shop/main.py:9").holds(500);
                w.watch(0.3)
            },
            Bound,
            &[(10, Starting)],
        ),
        (
            "listens, and is busy elsewhere",
            |w| {
                w.listen(500, 8000);
                alone(w, "@uvicorn | @lifespan | lifespan /srv/shop/main.py:9").holds(500);
                w.watch(0.3)
            },
            Listening,
            &[(10, Starting)],
        ),
        (
            "armed, in a handler",
            |w| {
                w.listen(500, 8000);
                alone(w, &format!("@uvicorn | @request | {REQUEST}"))
                    .holds(500)
                    .armed(500);
                w.watch(0.3)
            },
            Serving,
            &[(10, Serving)],
        ),
        (
            "a connection has left the queue",
            |w| {
                w.listen(500, 8000);
                alone(w, "@uvicorn | @poll")
                    .holds(500)
                    .clients(9_000, 1, 8000);
                w.watch(0.3)
            },
            Serving,
            &[],
        ),
        (
            "who accepts may not be seen, the loop is at rest",
            |w| {
                fleet::uvicorn(w);
                w.p(10).accepting = None;
                w.watch(0.3)
            },
            Serving,
            &[],
        ),
        (
            "who accepts may not be seen, and somebody waits",
            |w| {
                fleet::uvicorn(w);
                w.p(10).accepting = None;
                w.waiting(500, 2);
                w.watch(0.3)
            },
            Listening,
            &[],
        ),
        (
            "held",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10)
                    .main(&format!("@uvicorn | @request | {REQUEST}"))
                    .armed(500);
                w.watch(3.0)
            },
            Stalled,
            &[(10, Stalled)],
        ),
        (
            "held, not for long",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10)
                    .main(&format!("@uvicorn | @request | {REQUEST}"))
                    .armed(500);
                w.watch(1.9)
            },
            Serving,
            &[],
        ),
        (
            "not drained",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10).armed(500);
                w.waiting(500, 2);
                w.watch(3.0)
            },
            Stalled,
            &[],
        ),
        (
            "out of files",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10).fds.as_mut().unwrap().open = 1024;
                w.waiting(500, 2);
                w.watch(3.0)
            },
            Stalled,
            &[],
        ),
        (
            "stopped",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10).state = ProcessState::Stopped;
                w.watch(1.0)
            },
            Stopped,
            &[(10, Stopped)],
        ),
        (
            "frozen",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10).frozen = Some(true);
                w.watch(1.0)
            },
            Stopped,
            &[(10, Stopped)],
        ),
        (
            "whether frozen may not be seen",
            |w| {
                fleet::uvicorn(w);
                w.p(10).frozen = None;
                w.watch(1.0)
            },
            Serving,
            &[],
        ),
        (
            "its first thread has ended, others live on",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                let process = w.p(10);
                process.state = ProcessState::Zombie;
                process.thread_count = 3;
                process.fds = None;
                process.accepting = None;
                w.watch(1.0)
            },
            Unseen,
            &[(10, Unseen)],
        ),
        (
            "goes on after a stop",
            |w| {
                fleet::uvicorn(w);
                w.watch(1.0);
                w.p(10).state = ProcessState::Stopped;
                w.watch(3.0);
                w.p(10).state = ProcessState::Sleeping;
                w.watch(0.2)
            },
            Serving,
            &[],
        ),
        (
            "the listener is closed, a request is left",
            |w| {
                fleet::uvicorn(w);
                w.p(10).clients(9_000, 1, 8000);
                w.watch(1.0);
                w.close(500);
                w.watch(1.0)
            },
            Draining,
            &[(10, Draining)],
        ),
        (
            "draining when first seen",
            |w| {
                alone(w, "@uvicorn | @poll").clients(9_000, 1, 8000);
                w.watch(1.0)
            },
            Draining,
            &[],
        ),
        (
            "draining when first seen, on a port that a script has chosen",
            |w| {
                w.old(10, 60.0, "/venv/bin/python /srv/shop/run.py")
                    .main("<module> /srv/shop/run.py:12 | run pkg+uvicorn/main.py:577 | @uvicorn-server | @poll")
                    .at_rest()
                    .clients(9_000, 2, 50_123);
                w.watch(1.0)
            },
            Draining,
            &[],
        ),
        (
            "connections to two services that share a local port",
            |w| {
                w.old(10, 60.0, "/venv/bin/python /srv/shop/run.py")
                    .main("<module> /srv/shop/run.py:12 | run pkg+uvicorn/main.py:577 | @uvicorn-server | @poll")
                    .at_rest()
                    .clients(9_000, 2, 50_123);
                let mut open =
                    steth::snapshot::Connections::clone(w.p(10).connections.as_ref().unwrap());
                open.list[0].peer.1 = 5432;
                open.list[1].peer.1 = 6379;
                w.p(10).connections = Some(open.into());
                w.watch(1.0)
            },
            Starting,
            &[],
        ),
        (
            "its loop is closed, and threads of the default executor are waited for",
            |w| {
                alone(w, "@uvicorn-cli | Server.run pkg+uvicorn/server.py:65 | run std+asyncio/runners.py:190 | Runner.close std+asyncio/runners.py:73 | @asyncio | @poll").at_rest();
                w.watch(1.0)
            },
            Draining,
            &[],
        ),
        (
            "a script runs a loop before it starts its server",
            |w| {
                w.old(10, 5.0, "/venv/bin/python /srv/shop/run.py")
                    .main("<module> /srv/shop/run.py:12 | run std+asyncio/runners.py:190 | Runner.close std+asyncio/runners.py:73 | @asyncio | @poll")
                    .at_rest();
                w.p(10).python.as_mut().unwrap().intent = Some(steth::snapshot::Intent {
                    file: "/srv/shop/run.py".into(),
                    line: 14,
                    call: "uvicorn.run".into(),
                    reach: steth::snapshot::Reach::default(),
                });
                w.watch(1.0)
            },
            Starting,
            &[],
        ),
        (
            "the interpreter waits for a thread that does not end",
            |w| {
                alone(
                    w,
                    "_shutdown std+threading.py:1590 | Thread.join std+threading.py:1112",
                )
                .thread(
                    9_001,
                    "mailer",
                    "@thread | send /srv/shop/mail.py:4",
                    Activity::Lock,
                );
                w.watch(1.0)
            },
            Draining,
            &[],
        ),
        (
            "the main thread has ended, another one starts the server",
            |w| {
                w.old(10, 60.0, "/venv/bin/python -m waitress shop:app")
                    .main("_shutdown std+threading.py:1590 | Thread.join std+threading.py:1112")
                    .thread(
                        9_001,
                        "web",
                        "@thread | @import | <module> /srv/shop/app.py:4",
                        Activity::Running,
                    );
                w.watch(1.0)
            },
            Importing,
            &[],
        ),
        (
            "a program of its own has closed its listener",
            |w| {
                fleet::plain_asyncio(w);
                w.watch(1.0);
                w.close(500);
                w.watch(1.0)
            },
            Draining,
            &[],
        ),
        (
            "connections of its own are no clients",
            |w| {
                alone(w, "@uvicorn | @lifespan | lifespan /srv/shop/main.py:9")
                    .clients(9_000, 3, 41_000);
                let mut open =
                    steth::snapshot::Connections::clone(w.p(10).connections.as_ref().unwrap());
                for (at, connection) in open.list.iter_mut().enumerate() {
                    connection.local.1 += at as u16;
                    connection.peer.1 = 5432;
                }
                w.p(10).connections = Some(open.into());
                w.watch(1.0)
            },
            Starting,
            &[],
        ),
        (
            "waitress is created",
            |w| {
                w.old(10, 5.0, "/venv/bin/waitress-serve shop:app").main("<module> /venv/bin/waitress-serve:8 | run pkg+waitress/runner.py:280 | @import | <module> /srv/shop/app.py:3");
                w.watch(0.3)
            },
            Importing,
            &[],
        ),
        (
            "http.server on the way",
            |w| {
                w.old(10, 5.0, "python3 -m http.server 8000")
                    .main("<module> std+http/server.py:1313 | test std+http/server.py:1250");
                w.watch(0.3)
            },
            Starting,
            &[],
        ),
        (
            "a program whose loop accepts",
            |w| {
                fleet::plain_asyncio(w);
                w.watch(0.3)
            },
            Serving,
            &[(10, Serving)],
        ),
    ]);
}

#[test]
fn several_processes() {
    const HELD: &str = "@uvicorn-worker | @request | show /srv/shop/views.py:20";
    check(&[
        (
            "the supervisor has bound, the workers start",
            |w| {
                w.bind(500, 8000);
                w.old(10, 5.0, "/venv/bin/uvicorn shop.main:app --workers 2")
                    .main("@uvicorn-supervisor")
                    .holds(500);
                for pid in [11, 12] {
                    fleet::spawned(w, pid)
                        .main("@uvicorn-worker | @lifespan | lifespan /srv/shop/main.py:9")
                        .holds(500);
                    w.born(pid, w.ago(4.0));
                }
                w.watch(0.5)
            },
            Bound,
            &[(11, Starting), (12, Starting), (10, Bound)],
        ),
        (
            "one serves, one starts",
            |w| {
                fleet::uvicorn_workers(w);
                w.p(12)
                    .main("@uvicorn-worker | @lifespan | lifespan /srv/shop/main.py:9")
                    .accepts_nothing();
                w.watch(0.5)
            },
            Serving,
            &[(11, Serving), (12, Starting)],
        ),
        (
            "one serves, one is held",
            |w| {
                fleet::uvicorn_workers(w);
                w.watch(1.0);
                w.p(12).main(HELD).armed(500);
                w.watch(3.0)
            },
            Serving,
            &[(11, Serving), (12, Stalled), (10, Serving)],
        ),
        (
            "both are held",
            |w| {
                fleet::uvicorn_workers(w);
                w.watch(1.0);
                for pid in [11, 12] {
                    w.p(pid).main(HELD).armed(500);
                }
                w.watch(3.0)
            },
            Stalled,
            &[(11, Stalled), (12, Stalled)],
        ),
        (
            "one serves, one is stopped",
            |w| {
                fleet::uvicorn_workers(w);
                w.p(12).state = ProcessState::Stopped;
                w.watch(1.0)
            },
            Serving,
            &[(11, Serving), (12, Stopped)],
        ),
        (
            "one is held, one is stopped",
            |w| {
                fleet::uvicorn_workers(w);
                w.watch(1.0);
                w.p(11).main(HELD).armed(500);
                w.p(12).state = ProcessState::Stopped;
                w.watch(3.0)
            },
            Stalled,
            &[],
        ),
        (
            "all are stopped",
            |w| {
                fleet::gunicorn_sync(w);
                w.watch(1.0);
                for pid in [10, 11, 12] {
                    w.p(pid).frozen = Some(true);
                }
                w.watch(1.0)
            },
            Stopped,
            &[(10, Stopped), (11, Stopped)],
        ),
        (
            "only the master is stopped",
            |w| {
                fleet::gunicorn_sync(w);
                w.p(10).state = ProcessState::Stopped;
                w.watch(1.0)
            },
            Serving,
            &[(10, Stopped), (11, Serving)],
        ),
        (
            "a dead worker that nobody reaps",
            |w| {
                fleet::gunicorn_sync(w);
                w.watch(1.0);
                w.leave_zombie(12, 9);
                w.watch(1.0)
            },
            Serving,
            &[(11, Serving), (12, Exited)],
        ),
        (
            "the master has no worker yet",
            |w| {
                fleet::gunicorn_master(w);
                w.watch(0.5)
            },
            Listening,
            &[],
        ),
        (
            "the workers import",
            |w| {
                fleet::gunicorn_master(w);
                for pid in [11, 12] {
                    fleet::gunicorn_child(w, pid)
                        .main("@gunicorn-load | <module> /srv/shop/wsgi.py:3")
                        .holds(500);
                }
                w.watch(0.5)
            },
            Listening,
            &[(10, Listening), (11, Importing)],
        ),
        (
            "the worker's lifespan runs",
            |w| {
                fleet::gunicorn_master(w);
                fleet::gunicorn_child(w, 11)
                    .main("@gunicorn-uvicorn | @lifespan | lifespan /srv/shop/main.py:9")
                    .holds(500);
                w.watch(0.5)
            },
            Listening,
            &[(11, Starting)],
        ),
        (
            "the master preloads",
            |w| {
                w.start(10, "/venv/bin/gunicorn --preload shop.wsgi:app")
                    .main("@gunicorn-preload | <module> /srv/shop/wsgi.py:3");
                w.watch(0.5)
            },
            Importing,
            &[(10, Importing)],
        ),
        (
            "every sync worker is in a request, nobody waits",
            |w| {
                fleet::gunicorn_sync(w);
                w.watch(1.0);
                for pid in [11, 12] {
                    w.p(pid)
                        .main("@sync-request | show /srv/shop/views.py:20")
                        .accepts_nothing();
                }
                w.watch(20.0)
            },
            Serving,
            &[(11, Serving), (12, Serving)],
        ),
        (
            "every sync worker is in a request, and somebody waits",
            |w| {
                fleet::gunicorn_sync(w);
                w.watch(1.0);
                for pid in [11, 12] {
                    w.p(pid)
                        .main("@sync-request | show /srv/shop/views.py:20")
                        .accepts_nothing();
                }
                w.waiting(500, 1);
                w.watch(3.0)
            },
            Stalled,
            &[(11, Stalled), (12, Stalled)],
        ),
        (
            "granian's workers import",
            |w| {
                fleet::granian(w);
                for pid in [11, 12] {
                    w.close(500 + u64::from(pid));
                    w.p(pid).main("@granian-worker | load_target pkg+granian/_internal.py:63 | @import | <module> /srv/shop/main.py:4");
                }
                w.watch(0.5)
            },
            Bound,
            &[(11, Importing)],
        ),
        (
            "one of granian's workers is stopped",
            |w| {
                fleet::granian(w);
                w.watch(1.0);
                w.p(12).state = ProcessState::Stopped;
                w.watch(1.0)
            },
            Serving,
            &[(12, Stopped)],
        ),
        (
            "hypercorn's worker starts",
            |w| {
                fleet::hypercorn(w);
                w.bind(500, 8000);
                w.p(11).main("@hypercorn-worker | @step | Lifespan.handle_lifespan pkg+hypercorn/asyncio/lifespan.py:40 | boot /srv/shop/main.py:9").accepts_nothing();
                w.watch(0.5)
            },
            Bound,
            &[(11, Starting)],
        ),
        (
            "runserver's child imports",
            |w| {
                fleet::runserver(w);
                w.close(500);
                w.p(11)
                    .main("@runserver | @import | <module> /srv/shop/shop/urls.py:3");
                w.watch(0.5)
            },
            Importing,
            &[(10, Importing), (11, Importing)],
        ),
        (
            "the listener of Flask's reloader, while the child imports",
            |w| {
                fleet::flask_debug(w);
                w.p(11)
                    .main("<module> /srv/blog/wsgi.py:3 | @import | <module> /srv/blog/models.py:2")
                    .accepts_nothing();
                w.watch(0.5)
            },
            Listening,
            &[(11, Importing)],
        ),
        (
            "a program that has bound and not yet forked",
            |w| {
                fleet::prefork(w);
                for pid in [11, 12] {
                    w.end(pid, End::Signal(15));
                }
                w.watch(0.5)
            },
            Listening,
            &[],
        ),
        (
            "its children have not got that far",
            |w| {
                fleet::prefork(w);
                for pid in [11, 12] {
                    w.p(pid)
                        .main("<module> /srv/in/intake.py:49 | warm /srv/in/intake.py:12")
                        .accepts_nothing();
                }
                w.watch(0.5)
            },
            Listening,
            &[],
        ),
        (
            "uvicorn's workers have closed the listener and wait for clients",
            |w| {
                fleet::uvicorn_workers(w);
                w.watch(1.0);
                for pid in [11, 12] {
                    w.p(pid).drops(500).clients(9_000, 2, 8000);
                }
                w.watch(1.0)
            },
            Draining,
            &[(11, Draining)],
        ),
        (
            "gunicorn's master stops, and waits for a worker that is in a request",
            |w| {
                fleet::gunicorn_sync(w);
                w.end(12, End::Code(0));
                w.p(10).main("@arbiter-stop").drops(500);
                w.p(11)
                    .main("@sync-request | export /srv/shop/views.py:20")
                    .accepts_nothing()
                    .clients(9_000, 1, 8000);
                w.watch(4.0)
            },
            Draining,
            &[(10, Draining), (11, Draining)],
        ),
        (
            "a worker that is on its way out beside one that serves",
            |w| {
                fleet::uvicorn_workers(w);
                w.watch(1.0);
                w.p(11).drops(500).clients(9_000, 2, 8000);
                w.watch(1.0)
            },
            Serving,
            &[(11, Draining), (12, Serving)],
        ),
    ]);
}

#[test]
fn side_ports_do_not_make_a_server_serve() {
    let story = |w: &mut World| {
        alone(
            w,
            "@uvicorn | @lifespan | lifespan /srv/shop/main.py:9 | compile_rules /srv/shop/rules.py:3",
        );
    };
    let exporter = |w: &mut World| {
        story(w);
        w.listen(700, 9100);
        w.p(10)
            .thread(
                9_700,
                "Thread-1 (serve_forever)",
                "@exporter",
                Activity::Selector,
            )
            .holds(700)
            .accepts_on(700, 9_700);
    };
    let mut w = World::new();
    exporter(&mut w);
    let seen = w.watch(5.0);
    let server = only(&seen);
    assert_eq!(
        (server.phase, codes(server)),
        (Starting, vec!["startup-blocked"])
    );
    assert!(server.listeners[0].side, "{:?}", server.listeners[0]);

    // And when it is there, its own socket comes first.
    w.listen(500, 8000);
    w.p(10)
        .main("@uvicorn | @poll")
        .at_rest()
        .holds(500)
        .accepts(500);
    let seen = w.watch(1.0);
    let sides: Vec<(u16, bool)> = only(&seen)
        .listeners
        .iter()
        .map(|l| (l.socket.port, l.side))
        .collect();
    assert_eq!(sides, [(8000, false), (9100, true)]);

    // granian keeps a bound socket of the same port beside those that listen.
    let mut w = World::new();
    fleet::granian(&mut w);
    let seen = w.watch(0.5);
    let sides: Vec<(u64, bool)> = only(&seen)
        .listeners
        .iter()
        .map(|l| (l.socket.inode, l.side))
        .collect();
    assert_eq!(sides, [(511, false), (512, false), (500, true)]);

    // A manager's private socket, held by the server and served by its helper.
    let mut w = World::new();
    alone(
        &mut w,
        "@uvicorn | @lifespan | lifespan /srv/shop/main.py:9",
    );
    w.listen_unix(800, "/tmp/pymp-x1/listener-9q");
    w.p(10).holds(800);
    fleet::spawned(&mut w, 20)
        .main("@spawned | BaseManager._run_server std+multiprocessing/managers.py:591")
        .holds(800)
        .accepts(800);
    w.born(20, w.now);
    let seen = w.watch(1.0);
    assert_eq!(only(&seen).phase, Starting);
    assert_eq!(member(only(&seen), 20).role.word(), "helper");

    // A debugger's adapter, as a child and as a process of its own.
    for parent in [10, 1] {
        let mut w = World::new();
        story(&mut w);
        w.listen(900, 5678);
        let adapter = "/venv/bin/python /venv/lib/python3.11/site-packages/debugpy/adapter --for-server 41000 --port 5678";
        w.start(21, adapter).parent(parent).main("<module> pkg+debugpy/adapter/__main__.py:227 | main pkg+debugpy/adapter/__main__.py:60 | wait std+threading.py:327").holds(900).accepts_on(900, 9_900);
        let seen = w.watch(1.0);
        assert_eq!(
            only(&seen).phase,
            Starting,
            "adapter under pid {parent}: {}",
            only(&seen).why
        );
    }
}

/// Worlds without any server; every Python process is an outsider.
#[test]
fn what_does_not_mean_to_listen_is_no_server() {
    type Story = (&'static str, fn(&mut World));
    const STORIES: &[Story] = &[
        ("a script that computes", |w| {
            w.old(10, 50.0, "python train.py")
                .main("<module> train.py:9 | fit train.py:4")
                .doing(Activity::Running);
        }),
        ("a script with connections", |w| {
            w.old(10, 50.0, "python crawl.py")
                .main("<module> crawl.py:9 | @asyncio | @poll")
                .clients(9_000, 40, 51_000);
        }),
        ("celery with a health port", |w| {
            w.listen(700, 8080);
            w.old(10, 50.0, "/venv/bin/python /venv/bin/celery -A shop worker")
                .main("<module> /venv/bin/celery:8 | @poll")
                .holds(700)
                .accepts(700);
        }),
        ("celery and its children", |w| {
            w.old(10, 50.0, "/venv/bin/celery -A shop worker")
                .main("<module> /venv/bin/celery:8 | @poll");
            w.old(11, 49.0, "/venv/bin/celery -A shop worker")
                .parent(10)
                .main("<module> /venv/bin/celery:8 | workloop pkg+billiard/pool.py:351");
        }),
        ("migrations", |w| {
            w.start(10, "python manage.py migrate")
                .main("<module> /srv/shop/manage.py:22 | main /srv/shop/manage.py:18");
        }),
        ("a consumer with an exporter", |w| {
            w.listen(700, 9100);
            w.old(10, 50.0, "python consume.py")
                .main("<module> consume.py:30 | consume consume.py:20 | settle consume.py:11")
                .thread(
                    9_700,
                    "Thread-1 (serve_forever)",
                    "@exporter",
                    Activity::Selector,
                )
                .holds(700)
                .accepts_on(700, 9_700);
        }),
        ("a manager and its user", |w| {
            w.listen_unix(800, "/tmp/pymp-x1/listener-9q");
            w.old(10, 50.0, "python grid.py").main("<module> grid.py:9");
            fleet::spawned(w, 20)
                .main("@spawned | BaseManager._run_server std+multiprocessing/managers.py:591")
                .holds(800)
                .accepts(800);
        }),
        (
            "a script that has inherited what its parent listens on",
            |w| {
                w.listen(700, 8080);
                w.other(5, "/usr/bin/node gateway.js").holds(700);
                w.start(10, "python resize.py")
                    .parent(5)
                    .main("<module> resize.py:9")
                    .holds(700);
            },
        ),
        ("a notebook", |w| {
            w.listen(700, 41_001);
            w.old(10, 50.0, "python -m ipykernel_launcher -f kernel.json").main("<module> pkg+ipykernel_launcher.py:18 | start pkg+tornado/platform/asyncio.py:205 | @poll").holds(700).accepts(700);
        }),
        ("a shell", |w| {
            w.start(10, "python").main("<module> <stdin>:1");
        }),
        ("a bound socket", |w| {
            w.bind(700, 9000);
            w.start(10, "python probe.py")
                .main("<module> probe.py:3")
                .holds(700);
        }),
    ];
    for (name, story) in STORIES {
        let mut w = World::new();
        story(&mut w);
        let seen = w.watch(3.0);
        let names: Vec<_> = seen
            .servers
            .iter()
            .map(|s| (&s.name, s.phase, &s.why))
            .collect();
        assert!(names.is_empty(), "{name}: {names:?}");
        assert!(
            seen.outsiders.iter().all(|o| o.phase == NotAServer),
            "{name}"
        );
        assert!(!seen.outsiders.is_empty(), "{name}");
        assert!(seen.attention.is_empty(), "{name}");
    }
}

#[test]
fn what_a_server_starts_is_its_helper() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    w.start(20, "python resize.py")
        .parent(10)
        .main("<module> resize.py:9")
        .holds(500);
    w.other(30, "sh -c python count.py").parent(10).holds(500);
    w.start(31, "python count.py")
        .parent(30)
        .main("<module> count.py:9")
        .holds(500);
    fleet::spawned(&mut w, 40)
        .main("@spawned | _process_worker std+concurrent/futures/process.py:249")
        .holds(500);
    let seen = w.watch(3.0);
    let server = only(&seen);
    assert_eq!((server.phase, codes(server)), (Serving, vec![]));
    for pid in [20, 31, 40] {
        assert_eq!(
            (member(server, pid).role.word(), member(server, pid).phase),
            ("helper", NotAServer),
            "pid {pid}"
        );
    }
}

/// A process that works, with an exporter beside it, is told to be the same all the time, whatever its main thread does.
#[test]
fn a_side_port_is_not_a_server_every_other_second() {
    type Story = (&'static str, [&'static str; 2], bool);
    const STORIES: &[Story] = &[
        (
            "takes work from a queue",
            [
                "settle consume.py:11",
                "Queue.get std+queue.py:171 | Condition.wait std+threading.py:327",
            ],
            false,
        ),
        (
            "has a loop of its own",
            [
                "@asyncio | @poll",
                "@asyncio | @step | settle consume.py:11",
            ],
            false,
        ),
        (
            "serves, and sleeps in main()",
            [
                "main consume.py:9",
                "main consume.py:9 | report consume.py:11",
            ],
            true,
        ),
    ];
    for (name, inner, serves) in STORIES {
        let mut w = World::new();
        w.listen(700, 9100);
        w.old(10, 50.0, "python consume.py")
            .thread(
                9_700,
                "Thread-1 (serve_forever)",
                "@exporter",
                Activity::Selector,
            )
            .holds(700)
            .accepts_on(700, 9_700);
        let mut answers = std::collections::BTreeSet::new();
        for turn in 0..200 {
            w.p(10).main(&format!(
                "<module> consume.py:30 | {}",
                inner[turn / 10 % 2]
            ));
            w.pass(0.1);
            let seen = w.look();
            answers.insert(
                seen.servers
                    .iter()
                    .map(|s| s.phase.word())
                    .collect::<Vec<_>>(),
            );
        }
        let want = if *serves { vec!["serving"] } else { vec![] };
        assert_eq!(answers.into_iter().collect::<Vec<_>>(), [want], "{name}");
        assert!(w.ever.is_empty(), "{name}: {:?}", w.ever);
    }
}

/// Who may be seen neither to hold a socket nor to run anything may be a server for all that is known.
#[test]
fn a_hidden_process_that_is_in_no_server_has_no_phase() {
    for (line, want) in [
        ("python app.py", Unseen),
        ("/venv/bin/celery -A shop worker", NotAServer),
        (
            "python|-c|from multiprocessing.resource_tracker import main;main(4)",
            NotAServer,
        ),
    ] {
        let mut w = World::new();
        let process = w.start(10, line);
        if line.contains('|') {
            process.cmdline = line.split('|').map(str::to_owned).collect();
        }
        process.fds = None;
        process.accepting = None;
        process.python.as_mut().unwrap().stacks = None;
        assert_eq!(w.watch(1.0).outsiders[0].phase, want, "{line}");
    }
    let mut w = World::new();
    w.start(10, "python app.py").main("<module> app.py:3").fds = None;
    assert_eq!(
        w.watch(1.0).outsiders[0].phase,
        NotAServer,
        "its stack is seen"
    );
}
