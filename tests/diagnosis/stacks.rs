//! Stacks as text: `<module> app.py:9 | @import | load /srv/app/model.py:31`, outermost first.
//!
//! `@name` stands for the frames that a library puts there; full paths, as an interpreter has them.

use steth::snapshot::Frame;

/// Frames of a text.
pub fn frames(text: &str) -> Vec<Frame> {
    let parts = text.split('|').map(str::trim).filter(|p| !p.is_empty());
    parts
        .flat_map(|part| match part.strip_prefix('@') {
            Some(name) => frames(named(name)),
            None => vec![frame(part)],
        })
        .collect()
}

fn frame(text: &str) -> Frame {
    let (function, place) = text.split_once(' ').unwrap();
    let (file, line) = place.rsplit_once(':').unwrap();
    let file = match file.split_once('+') {
        Some(("std", rest)) => format!("/usr/lib/python3.11/{rest}"),
        Some(("pkg", rest)) => format!("/venv/lib/python3.11/site-packages/{rest}"),
        _ => file.to_owned(),
    };
    Frame {
        function: function.to_owned(),
        file,
        line: line.parse().unwrap(),
    }
}

fn named(name: &str) -> &'static str {
    let found = NAMED.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("no stack is called {name}"))
        .1
}

const NAMED: &[(&str, &str)] = &[
    // Python itself.
    (
        "import",
        "_find_and_load <frozen importlib._bootstrap>:1176 | _load_unlocked <frozen importlib._bootstrap>:690
        | exec_module <frozen importlib._bootstrap_external>:940 | _call_with_frames_removed <frozen importlib._bootstrap>:241",
    ),
    (
        "asyncio",
        "run std+asyncio/runners.py:190 | Runner.run std+asyncio/runners.py:118
        | BaseEventLoop.run_until_complete std+asyncio/base_events.py:640 | BaseEventLoop.run_forever std+asyncio/base_events.py:607",
    ),
    (
        "poll",
        "BaseEventLoop._run_once std+asyncio/base_events.py:1884 | EpollSelector.select std+selectors.py:468",
    ),
    (
        "step",
        "BaseEventLoop._run_once std+asyncio/base_events.py:1922 | Handle._run std+asyncio/events.py:80",
    ),
    (
        "thread",
        "Thread._bootstrap std+threading.py:1002 | Thread._bootstrap_inner std+threading.py:1045 | Thread.run std+threading.py:982",
    ),
    (
        "socketserver",
        "BaseServer.serve_forever std+socketserver.py:233 | _PollLikeSelector.select std+selectors.py:415",
    ),
    (
        "spawned",
        "<module> <string>:1 | spawn_main std+multiprocessing/spawn.py:122 | _main std+multiprocessing/spawn.py:135
        | BaseProcess._bootstrap std+multiprocessing/process.py:314 | BaseProcess.run std+multiprocessing/process.py:108",
    ),
    // uvicorn.
    (
        "uvicorn-cli",
        "<module> /venv/bin/uvicorn:8 | Command.main pkg+click/core.py:1078 | main pkg+uvicorn/main.py:410 | run pkg+uvicorn/main.py:577",
    ),
    ("uvicorn-server", "Server.run pkg+uvicorn/server.py:65 | @asyncio"),
    ("uvicorn", "@uvicorn-cli | @uvicorn-server"),
    (
        "uvicorn-worker",
        "@spawned | subprocess_started pkg+uvicorn/_subprocess.py:80 | @uvicorn-server",
    ),
    (
        "uvicorn-load",
        "@uvicorn | @step | Server.serve pkg+uvicorn/server.py:69 | Config.load pkg+uvicorn/config.py:467
        | import_from_string pkg+uvicorn/importer.py:19 | import_module std+importlib/__init__.py:126 | @import",
    ),
    (
        "uvicorn-reloader",
        "@uvicorn-cli | BaseReload.run pkg+uvicorn/supervisors/basereload.py:54 | StatReload.should_restart pkg+uvicorn/supervisors/statreload.py:30",
    ),
    (
        "uvicorn-supervisor",
        "@uvicorn-cli | Multiprocess.run pkg+uvicorn/supervisors/multiprocess.py:152 | Event.wait std+threading.py:629 | Condition.wait std+threading.py:331",
    ),
    (
        "lifespan",
        "@step | LifespanOn.main pkg+uvicorn/lifespan/on.py:86 | Starlette.__call__ pkg+starlette/applications.py:123 | Router.lifespan pkg+starlette/routing.py:677",
    ),
    (
        "request",
        "@step | RequestResponseCycle.run_asgi pkg+uvicorn/protocols/http/httptools_impl.py:409 | FastAPI.__call__ pkg+fastapi/applications.py:1054
        | run_endpoint_function pkg+fastapi/routing.py:212",
    ),
    (
        "anyio-rest",
        "@thread | WorkerThread.run pkg+anyio/_backends/_asyncio.py:943",
    ),
    (
        "anyio-thread",
        "@anyio-rest | Context.run pkg+starlette/concurrency.py:37",
    ),
    // gunicorn.
    (
        "arbiter",
        "<module> /venv/bin/gunicorn:8 | run pkg+gunicorn/app/wsgiapp.py:66 | Application.run pkg+gunicorn/app/base.py:235 | Arbiter.run pkg+gunicorn/arbiter.py:201",
    ),
    ("arbiter-idle", "@arbiter | Arbiter.sleep pkg+gunicorn/arbiter.py:357"),
    ("arbiter-stop", "@arbiter | Arbiter.halt pkg+gunicorn/arbiter.py:430 | Arbiter.stop pkg+gunicorn/arbiter.py:467"),
    (
        "gunicorn-worker",
        "@arbiter | Arbiter.manage_workers pkg+gunicorn/arbiter.py:570 | Arbiter.spawn_worker pkg+gunicorn/arbiter.py:608 | Worker.init_process pkg+gunicorn/workers/base.py:142",
    ),
    (
        "gunicorn-load",
        "@gunicorn-worker | Worker.load_wsgi pkg+gunicorn/workers/base.py:146 | import_app pkg+gunicorn/util.py:371 | import_module std+importlib/__init__.py:126 | @import",
    ),
    (
        "gunicorn-preload",
        "<module> /venv/bin/gunicorn:8 | run pkg+gunicorn/app/wsgiapp.py:66 | Application.run pkg+gunicorn/app/base.py:235 | Arbiter.setup pkg+gunicorn/arbiter.py:118
        | import_app pkg+gunicorn/util.py:371 | import_module std+importlib/__init__.py:126 | @import",
    ),
    (
        "sync-idle",
        "@gunicorn-worker | SyncWorker.run pkg+gunicorn/workers/sync.py:125 | SyncWorker.run_for_one pkg+gunicorn/workers/sync.py:84 | SyncWorker.wait pkg+gunicorn/workers/sync.py:34",
    ),
    (
        "sync-request",
        "@gunicorn-worker | SyncWorker.run pkg+gunicorn/workers/sync.py:125 | SyncWorker.run_for_one pkg+gunicorn/workers/sync.py:70 | SyncWorker.handle pkg+gunicorn/workers/sync.py:134
        | SyncWorker.handle_request pkg+gunicorn/workers/sync.py:177 | Flask.__call__ pkg+flask/app.py:1488",
    ),
    (
        "gthread-idle",
        "@gunicorn-worker | ThreadWorker.run pkg+gunicorn/workers/gthread.py:230 | EpollSelector.select std+selectors.py:468",
    ),
    (
        "executor-thread",
        "@thread | _worker std+concurrent/futures/thread.py:83",
    ),
    (
        "gthread-task",
        "@executor-thread | _WorkItem.run std+concurrent/futures/thread.py:58 | ThreadWorker.handle pkg+gunicorn/workers/gthread.py:286 | Flask.__call__ pkg+flask/app.py:1488",
    ),
    (
        "gunicorn-uvicorn",
        "@gunicorn-worker | UvicornWorker.run pkg+uvicorn/workers.py:107 | @uvicorn-server",
    ),
    // granian, hypercorn, waitress.
    (
        "granian-main",
        "<module> /venv/bin/granian:8 | entrypoint pkg+granian/cli.py:606 | Server.serve pkg+granian/server/mp.py:513 | AbstractServer.serve pkg+granian/server/common.py:767",
    ),
    (
        "granian-master",
        "@granian-main | AbstractServer._serve_loop pkg+granian/server/common.py:544 | Event.wait std+threading.py:629 | Condition.wait std+threading.py:327",
    ),
    (
        "granian-worker",
        "@granian-main | AbstractServer._spawn_workers pkg+granian/server/common.py:352 | BaseProcess.start std+multiprocessing/process.py:121
        | BaseProcess._bootstrap std+multiprocessing/process.py:314 | wrapped pkg+granian/server/mp.py:93 | MPServer._spawn_asgi_worker pkg+granian/server/mp.py:249",
    ),
    (
        "hypercorn-cli",
        "<module> /venv/bin/hypercorn:8 | main pkg+hypercorn/__main__.py:296 | run pkg+hypercorn/run.py:96",
    ),
    (
        "hypercorn-master",
        "@hypercorn-cli | wait_for_changes pkg+hypercorn/run.py:120 | wait std+multiprocessing/connection.py:930 | _PollLikeSelector.select std+selectors.py:415",
    ),
    (
        "hypercorn-serve",
        "asyncio_worker pkg+hypercorn/asyncio/run.py:193 | _run pkg+hypercorn/asyncio/run.py:230 | @asyncio",
    ),
    ("hypercorn-worker", "@spawned | @hypercorn-serve"),
    (
        "waitress",
        "<module> /venv/bin/waitress-serve:8 | run pkg+waitress/runner.py:300 | serve pkg+waitress/__init__.py:19 | BaseWSGIServer.run pkg+waitress/server.py:324 | loop pkg+waitress/wasyncore.py:245",
    ),
    ("waitress-idle", "@waitress | poll pkg+waitress/wasyncore.py:172"),
    (
        "waitress-thread",
        "@thread | ThreadedTaskDispatcher.handler_thread pkg+waitress/task.py:84",
    ),
    (
        "waitress-rest",
        "@waitress-thread | Condition.wait std+threading.py:327",
    ),
    (
        "waitress-task",
        "@waitress-thread | HTTPChannel.service pkg+waitress/channel.py:428 | WSGITask.execute pkg+waitress/task.py:456 | Flask.__call__ pkg+flask/app.py:1488",
    ),
    // Django and Flask.
    (
        "runserver",
        "<module> /srv/shop/manage.py:22 | main /srv/shop/manage.py:18 | execute_from_command_line pkg+django/core/management/__init__.py:442
        | Command.handle pkg+django/core/management/commands/runserver.py:111",
    ),
    (
        "django-reloader",
        "@runserver | run_with_reloader pkg+django/utils/autoreload.py:672 | restart_with_reloader pkg+django/utils/autoreload.py:273
        | run std+subprocess.py:550 | Popen._try_wait std+subprocess.py:2004",
    ),
    (
        "django-watch",
        "@runserver | run_with_reloader pkg+django/utils/autoreload.py:670 | BaseReloader.run pkg+django/utils/autoreload.py:343 | StatReloader.tick pkg+django/utils/autoreload.py:404",
    ),
    (
        "django-thread",
        "@thread | wrapper pkg+django/utils/autoreload.py:64 | Command.inner_run pkg+django/core/management/commands/runserver.py:144",
    ),
    (
        "django-serve",
        "@django-thread | run pkg+django/core/servers/basehttp.py:282 | @socketserver",
    ),
    (
        "flask-run",
        "<module> /srv/blog/wsgi.py:30 | Flask.run pkg+flask/app.py:615 | run_simple pkg+werkzeug/serving.py:1093 | run_with_reloader pkg+werkzeug/_reloader.py:461",
    ),
    (
        "flask-reloader",
        "@flask-run | ReloaderLoop.restart_with_reloader pkg+werkzeug/_reloader.py:275 | call std+subprocess.py:391 | Popen._try_wait std+subprocess.py:2004",
    ),
    ("flask-watch", "@flask-run | ReloaderLoop.run pkg+werkzeug/_reloader.py:258"),
    (
        "flask-serve",
        "@thread | BaseWSGIServer.serve_forever pkg+werkzeug/serving.py:819 | @socketserver",
    ),
    // Beside a server.
    (
        "exporter",
        "@thread | @socketserver",
    ),
];
