//! Servers as people run them, each in a few lines: the healthy ones that other tests then break.

use steth::snapshot::Activity;

use super::world::{Build, World};

/// Seconds that everything in the fleet has been up when it is first seen.
const AGE: f64 = 600.0;

/// uvicorn, pid 10, port 8000 (inode 500), at rest.
pub fn uvicorn(w: &mut World) {
    w.listen(500, 8000);
    w.old(
        10,
        AGE,
        "/venv/bin/python /venv/bin/uvicorn shop.main:app --port 8000",
    )
    .main("@uvicorn | @poll")
    .at_rest()
    .holds(500)
    .accepts(500);
}

/// uvicorn with two workers, pids 11 and 12; pid 10 watches over them.
pub fn uvicorn_workers(w: &mut World) {
    w.listen(500, 8000);
    w.old(
        10,
        AGE,
        "/venv/bin/python /venv/bin/uvicorn shop.main:app --port 8000 --workers 2",
    )
    .main("@uvicorn-supervisor")
    .holds(500);
    for pid in [11, 12] {
        spawned(w, pid)
            .main("@uvicorn-worker | @poll")
            .at_rest()
            .holds(500)
            .accepts(500);
    }
}

/// uvicorn with a reloader, pid 10, and what it started, pid 11.
pub fn uvicorn_reload(w: &mut World) {
    w.listen(500, 8000);
    w.old(
        10,
        AGE,
        "/venv/bin/python /venv/bin/uvicorn shop.main:app --port 8000 --reload",
    )
    .main("@uvicorn-reloader")
    .holds(500);
    tracker(w, 9_001);
    spawned(w, 11)
        .main("@uvicorn-worker | @poll")
        .at_rest()
        .holds(500)
        .accepts(500);
}

/// A child that multiprocessing has spawned from pid 10.
pub fn spawned(w: &mut World, pid: u32) -> &mut steth::snapshot::Process {
    let process = w.old(pid, AGE - 1.0, "").parent(10);
    process.cmdline = [
        "/venv/bin/python",
        "-c",
        "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)",
        "--multiprocessing-fork",
    ]
    .map(str::to_owned)
    .to_vec();
    process
}

fn tracker(w: &mut World, pid: u32) {
    let process = w.old(pid, AGE - 1.0, "").parent(10);
    process.cmdline = [
        "/venv/bin/python",
        "-c",
        "from multiprocessing.resource_tracker import main;main(4)",
    ]
    .map(str::to_owned)
    .to_vec();
    process.main("<module> <string>:1 | main std+multiprocessing/resource_tracker.py:227");
}

/// gunicorn, master pid 10, two sync workers.
pub fn gunicorn_sync(w: &mut World) {
    gunicorn_master(w);
    for pid in [11, 12] {
        gunicorn_child(w, pid)
            .main("@sync-idle")
            .at_rest()
            .holds(500)
            .accepts(500);
    }
}

/// gunicorn, master pid 10, two workers that run uvicorn's loop.
pub fn gunicorn_uvicorn(w: &mut World) {
    gunicorn_master(w);
    for pid in [11, 12] {
        gunicorn_child(w, pid)
            .main("@gunicorn-uvicorn | @poll")
            .at_rest()
            .holds(500)
            .accepts(500);
    }
}

/// gunicorn's master alone, pid 10, with its control socket.
pub fn gunicorn_master(w: &mut World) {
    w.listen(500, 8000);
    w.listen_unix(501, "/run/user/1000/gunicorn.ctl");
    w.old(
        10,
        AGE,
        "/venv/bin/python /venv/bin/gunicorn -w 2 -b 127.0.0.1:8000 shop.wsgi:app",
    )
    .main("@arbiter-idle")
    .thread(
        9_010,
        "Thread-1 (_run_loop)",
        "@thread | ControlSocketServer._run_loop pkg+gunicorn/ctl/server.py:197 | @asyncio | @poll",
        Activity::Selector,
    )
    .holds(500)
    .holds(501)
    .accepts_on(501, 9_010);
}

/// A fork of gunicorn's master.
pub fn gunicorn_child(w: &mut World, pid: u32) -> &mut steth::snapshot::Process {
    w.old(
        pid,
        AGE - 1.0,
        "/venv/bin/python /venv/bin/gunicorn -w 2 -b 127.0.0.1:8000 shop.wsgi:app",
    )
    .parent(10)
}

/// granian: pid 10 keeps a bound socket, workers 11 and 12 listen on sockets of their own, tokio's threads accept.
pub fn granian(w: &mut World) {
    let line =
        "/venv/bin/python /venv/bin/granian --interface asgi --port 8000 --workers 2 shop:app";
    w.bind(500, 8000);
    w.old(10, AGE, line).main("@granian-master").holds(500);
    for pid in [11, 12] {
        let inode = 500 + u64::from(pid);
        w.listen(inode, 8000);
        w.old(pid, AGE - 1.0, line)
            .parent(10)
            .main("@granian-worker")
            .at_rest()
            .holds(500)
            .holds(inode)
            .accepts_on(inode, pid + 9_000);
    }
}

/// hypercorn: pid 10 watches, pid 11 serves.
pub fn hypercorn(w: &mut World) {
    w.listen(500, 8000);
    w.old(
        10,
        AGE,
        "/venv/bin/python /venv/bin/hypercorn -b 127.0.0.1:8000 shop:app",
    )
    .main("@hypercorn-master")
    .at_rest()
    .holds(500);
    spawned(w, 11)
        .main("@hypercorn-worker | @poll")
        .at_rest()
        .holds(500)
        .accepts(500);
}

/// hypercorn that serves in its first process.
pub fn hypercorn_alone(w: &mut World) {
    w.listen(500, 8000);
    w.old(
        10,
        AGE,
        "/venv/bin/python /venv/bin/hypercorn -b 127.0.0.1:8000 --workers 0 shop:app",
    )
    .main("@hypercorn-cli | @hypercorn-serve | @poll")
    .at_rest()
    .holds(500)
    .accepts(500);
}

/// Django's runserver: pid 10 watches, a thread of pid 11 serves while its main thread looks at files.
pub fn runserver(w: &mut World) {
    let line = "/venv/bin/python manage.py runserver 8000";
    w.listen(500, 8000);
    w.old(10, AGE, line).main("@django-reloader");
    w.old(11, AGE - 1.0, line)
        .parent(10)
        .main("@django-watch")
        .thread(
            9_011,
            "django-main-thread",
            "@django-serve",
            Activity::Selector,
        )
        .holds(500)
        .accepts_on(500, 9_011);
}

/// Flask in debug mode: the listener is the parent's, pid 10, which never accepts; pid 11 has inherited it.
pub fn flask_debug(w: &mut World) {
    let line = "/venv/bin/python wsgi.py";
    w.listen(500, 5000);
    w.old(10, AGE, line).main("@flask-reloader").holds(500);
    w.old(11, AGE - 1.0, line)
        .parent(10)
        .main("@flask-watch")
        .thread(
            9_011,
            "Thread-1 (serve_forever)",
            "@flask-serve",
            Activity::Selector,
        )
        .holds(500)
        .accepts_on(500, 9_011);
}

/// waitress with four threads at rest.
pub fn waitress(w: &mut World) {
    w.listen(500, 8080);
    let process = w
        .old(
            10,
            AGE,
            "/venv/bin/python /venv/bin/waitress-serve --listen=127.0.0.1:8080 shop:app",
        )
        .main("@waitress-idle")
        .at_rest()
        .holds(500)
        .accepts(500);
    for at in 0..4 {
        process.thread(
            9_000 + at,
            &format!("waitress-{at}"),
            "@waitress-rest",
            Activity::Lock,
        );
    }
}

/// `python -m http.server`.
pub fn http_server(w: &mut World) {
    w.listen(500, 8000);
    w.old(10, AGE, "/usr/bin/python3 -m http.server 8000")
        .main("<module> std+http/server.py:1313 | test std+http/server.py:1256 | @socketserver")
        .at_rest()
        .holds(500)
        .accepts(500);
}

/// A program with a loop of its own.
pub fn plain_asyncio(w: &mut World) {
    w.listen(500, 7000);
    w.old(10, AGE, "/venv/bin/python gateway.py")
        .main("<module> /srv/gate/gateway.py:40 | main /srv/gate/gateway.py:36 | @asyncio | @poll")
        .at_rest()
        .holds(500)
        .accepts(500);
}

/// A program that binds, forks, and lets its children accept.
pub fn prefork(w: &mut World) {
    let line = "/venv/bin/python intake.py";
    w.listen(500, 7000);
    w.old(10, AGE, line)
        .main("<module> /srv/in/intake.py:50 | watch /srv/in/intake.py:31")
        .holds(500);
    for pid in [11, 12] {
        w.old(pid, AGE - 1.0, line)
            .parent(10)
            .main("<module> /srv/in/intake.py:49 | serve /srv/in/intake.py:20 | socket.accept std+socket.py:293")
            .holds(500)
            .accepts(500);
    }
}

/// All of them by name, each with the kind, and role by pid.
pub type Fleet = (
    &'static str,
    fn(&mut World),
    &'static str,
    &'static [(u32, &'static str)],
);

pub const FLEET: &[Fleet] = &[
    ("uvicorn", uvicorn, "uvicorn", &[(10, "single")]),
    (
        "uvicorn --workers",
        uvicorn_workers,
        "uvicorn",
        &[(10, "supervisor"), (11, "worker"), (12, "worker")],
    ),
    (
        "uvicorn --reload",
        uvicorn_reload,
        "uvicorn",
        &[(10, "reloader"), (11, "worker"), (9_001, "helper")],
    ),
    (
        "gunicorn sync",
        gunicorn_sync,
        "gunicorn",
        &[(10, "master"), (11, "worker"), (12, "worker")],
    ),
    (
        "gunicorn uvicorn",
        gunicorn_uvicorn,
        "gunicorn",
        &[(10, "master"), (11, "worker"), (12, "worker")],
    ),
    (
        "granian",
        granian,
        "granian",
        &[(10, "supervisor"), (11, "worker"), (12, "worker")],
    ),
    (
        "hypercorn",
        hypercorn,
        "hypercorn",
        &[(10, "supervisor"), (11, "worker")],
    ),
    (
        "hypercorn alone",
        hypercorn_alone,
        "hypercorn",
        &[(10, "single")],
    ),
    (
        "runserver",
        runserver,
        "django",
        &[(10, "reloader"), (11, "worker")],
    ),
    (
        "flask debug",
        flask_debug,
        "flask",
        &[(10, "reloader"), (11, "worker")],
    ),
    ("waitress", waitress, "waitress", &[(10, "single")]),
    ("http.server", http_server, "http.server", &[(10, "single")]),
    ("asyncio", plain_asyncio, "asyncio", &[(10, "single")]),
    (
        "prefork",
        prefork,
        "other",
        &[(10, "master"), (11, "worker"), (12, "worker")],
    ),
];
