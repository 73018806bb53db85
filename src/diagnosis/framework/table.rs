//! The table of frameworks. Where kinds nest the outer one stands first: a UvicornWorker runs uvicorn inside gunicorn,
//! runserver runs wsgiref's socketserver.

use super::Says::{
    Accepts, AcceptsForPool, AwaitsConnection, BeatsToAccept, Ends, Exits, Forked, Forks,
    Greenlets, Helps, Loop, Restarts, Serves, Supervises, Takes, Watches, Worker,
};
use super::{Framework, Mark, Pool, Room, Says};
use crate::diagnosis::{Kind, Role};

const KIND: Says = Says::Kind;

/// What a row says where it says nothing.
const BLANK: Framework = Framework {
    kind: None,
    programs: &[],
    calls: &[],
    marks: &[],
    pool: None,
    watcher: Role::Supervisor,
    knows_its_loop: true,
};

pub(super) const TABLE: &[Framework] = &[
    Framework {
        kind: Some(Kind::Gunicorn),
        programs: &[("gunicorn", &[])],
        marks: &[
            Mark("/gunicorn/arbiter.py", "", &[KIND, Supervises]),
            Mark("/gunicorn/arbiter.py", "stop", &[Ends]),
            Mark("/gunicorn/workers/", "", &[KIND, Serves, Worker]),
            Mark("/gunicorn/workers/sync.py", "", &[BeatsToAccept]),
            Mark("/gunicorn/workers/sync.py", "handle", &[Takes]),
            Mark("/gunicorn/workers/gthread.py", "", &[AcceptsForPool]),
            Mark("/gunicorn/app/", "", &[KIND]),
        ],
        watcher: Role::Master,
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Granian),
        programs: &[("granian", &[])],
        marks: &[
            Mark("/granian/server/", "", &[KIND]),
            Mark("/granian/cli.py", "", &[KIND]),
            Mark("/granian/server/common.py", "", &[Supervises]),
            Mark("/granian/server/common.py", "shutdown", &[Ends]),
            // Its loops turn in C or Rust, below these frames.
            Mark("/granian/server/", "_spawn_asgi*", &[Loop]),
            Mark("/granian/server/", "_spawn_rsgi*", &[Loop]),
            Mark("/granian/server/", "wrapped", &[Worker]),
        ],
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Hypercorn),
        programs: &[("hypercorn", &[])],
        marks: &[
            Mark("/hypercorn/", "", &[KIND]),
            Mark("/hypercorn/asyncio/run.py", "", &[Serves]),
            Mark("/hypercorn/trio/run.py", "", &[Serves]),
            Mark("/hypercorn/run.py", "", &[Supervises]),
        ],
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Daphne),
        programs: &[("daphne", &[])],
        marks: &[Mark("/daphne/", "", &[KIND])],
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Uvicorn),
        programs: &[
            ("uvicorn", &[]),
            ("fastapi", &["run", "dev"]),
            ("litestar", &["run", "dev"]),
        ],
        calls: &["uvicorn.run"],
        marks: &[
            Mark("/uvicorn/server.py", "", &[KIND, Serves]),
            // uvloop turns below this frame.
            Mark("/uvicorn/server.py", "run", &[Loop]),
            Mark("/uvicorn/server.py", "shutdown", &[Ends]),
            Mark("/uvicorn/server.py", "_wait_tasks_to_complete", &[Ends]),
            Mark("/uvicorn/main.py", "", &[KIND]),
            Mark("/uvicorn/_subprocess.py", "", &[KIND]),
            Mark("/uvicorn/supervisors/", "", &[KIND, Supervises]),
            Mark("/uvicorn/supervisors/basereload.py", "", &[Restarts]),
            Mark("/uvicorn/supervisors/basereload.py", "shutdown", &[Ends]),
            Mark("/uvicorn/supervisors/multiprocess.py", "join_all", &[Ends]),
            Mark("/uvicorn/workers.py", "run", &[Loop]),
            Mark("/uvicorn_worker/_workers.py", "run", &[Loop]),
        ],
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Waitress),
        programs: &[("waitress-serve", &[]), ("waitress", &[])],
        marks: &[
            Mark("/waitress/server.py", "", &[KIND]),
            Mark("/waitress/wasyncore.py", "", &[KIND]),
            Mark("/waitress/wasyncore.py", "loop", &[Accepts]),
            Mark("/waitress/task.py", "shutdown", &[Ends]),
        ],
        pool: Some(Pool {
            name: Some("waitress"),
            threads: "waitress-",
            file: "/waitress/task.py",
            function: "handler_thread",
            room: Room::AllThere,
        }),
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Sanic),
        programs: &[("sanic", &[])],
        calls: &["Sanic.run"],
        marks: &[
            Mark("/sanic/", "", &[KIND]),
            Mark("/sanic/worker/manager.py", "", &[Supervises]),
            Mark("/sanic/worker/reloader.py", "", &[Helps]),
            Mark("/sanic/server/runners.py", "_serve_http_*", &[Loop]),
            Mark("/sanic/server/runners.py", "_run_server_forever", &[Loop]),
        ],
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Aiohttp),
        programs: &[("aiohttp.web", &[])],
        calls: &["run_app", "TCPSite", "UnixSite"],
        marks: &[
            Mark("/aiohttp/web.py", "", &[KIND, Serves]),
            Mark("/aiohttp/web.py", "run_app", &[Loop]),
            Mark("/aiohttp/web.py", "_cancel_tasks", &[Ends]),
        ],
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Django),
        programs: &[
            ("manage", DJANGO_SERVES),
            ("django-admin", DJANGO_SERVES),
            ("django", DJANGO_SERVES),
        ],
        marks: &[
            Mark("/django/core/management/commands/runserver.py", "", &[KIND]),
            Mark("/django/core/servers/basehttp.py", "", &[KIND]),
            Mark(
                "/django/utils/autoreload.py",
                "restart_with_reloader",
                &[Restarts, Supervises],
            ),
            Mark("/django/utils/autoreload.py", "run_loop", &[Watches]),
            Mark("/django/utils/autoreload.py", "tick", &[Watches]),
        ],
        watcher: Role::Reloader,
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Flask),
        programs: &[("flask", &["run"]), ("quart", &["run"])],
        calls: &["app.run", "application.run", "run_simple"],
        marks: &[
            Mark("/flask/cli.py", "", &[KIND]),
            Mark("/werkzeug/serving.py", "", &[KIND]),
            Mark("/werkzeug/_reloader.py", "", &[KIND]),
            Mark(
                "/werkzeug/_reloader.py",
                "restart_with_reloader",
                &[Restarts, Supervises],
            ),
            Mark("/werkzeug/_reloader.py", "run", &[Watches]),
        ],
        watcher: Role::Reloader,
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Tornado),
        marks: &[
            Mark("/tornado/httpserver.py", "", &[KIND]),
            Mark("/tornado/ioloop.py", "", &[KIND, Loop]),
            Mark("/tornado/platform/asyncio.py", "", &[KIND]),
        ],
        knows_its_loop: false,
        ..BLANK
    },
    Framework {
        kind: Some(Kind::HttpServer),
        programs: &[("http.server", &[]), ("SimpleHTTPServer", &[])],
        calls: &[
            "HTTPServer",
            "TCPServer",
            "WSGIServer",
            "XMLRPCServer",
            "make_server",
            "bottle.run",
            "serve_forever",
        ],
        marks: &[
            Mark("/http/server.py", "", &[KIND]),
            Mark("/socketserver.py", "", &[KIND]),
            Mark("/socketserver.py", "serve_forever", &[Accepts]),
            Mark("/SocketServer.py", "serve_forever", &[Accepts]),
            Mark("/socketserver.py", "_handle_request_noblock", &[Takes]),
            Mark("/SocketServer.py", "_handle_request_noblock", &[Takes]),
            Mark("/socketserver.py", "server_close", &[Ends]),
        ],
        watcher: Role::Master,
        knows_its_loop: false,
        ..BLANK
    },
    Framework {
        kind: Some(Kind::Uwsgi),
        programs: &[("uwsgi", &[]), ("pyuwsgi", &[])],
        watcher: Role::Master,
        knows_its_loop: false,
        ..BLANK
    },
    // A loop alone proves no server: kinds by it are told by what accepts.
    Framework {
        kind: Some(Kind::Asyncio),
        calls: &[
            "start_server",
            "start_unix_server",
            "create_server",
            "create_unix_server",
        ],
        marks: &[
            Mark("/asyncio/", "", &[Loop]),
            Mark("/uvloop/", "", &[Loop]),
            Mark("/asyncio/runners.py", "close", &[Ends]),
            Mark("/asyncio/runners.py", "_cancel_all_tasks", &[Ends]),
        ],
        watcher: Role::Master,
        knows_its_loop: false,
        ..BLANK
    },
    // Other loops.
    Framework {
        marks: &[
            Mark("/gevent/", "", &[Loop, Greenlets]),
            Mark("/trio/_core/", "", &[Loop]),
            Mark("/eventlet/hubs/", "", &[Loop, Greenlets]),
            Mark("/twisted/internet/base.py", "mainLoop", &[Loop]),
            Mark("/twisted/internet/asyncioreactor.py", "run", &[Loop]),
        ],
        ..BLANK
    },
    // Watchers of any program.
    Framework {
        marks: &[Mark(
            "/watchfiles/run.py",
            "run_process",
            &[Restarts, Supervises],
        )],
        ..BLANK
    },
    // Processes of the standard library that work for another one.
    Framework {
        marks: &[
            Mark("/concurrent/futures/process.py", "", &[Helps]),
            Mark("/multiprocessing/pool.py", "", &[Helps]),
            Mark("/multiprocessing/managers.py", "", &[Helps]),
            Mark("/multiprocessing/resource_tracker.py", "", &[Helps]),
            Mark("/multiprocessing/forkserver.py", "", &[Forks]),
            Mark("/multiprocessing/process.py", "", &[Forked]),
        ],
        ..BLANK
    },
    // The interpreter on its way out.
    Framework {
        marks: &[
            Mark("/threading.py", "_shutdown", &[Exits]),
            Mark("/concurrent/futures/thread.py", "_python_exit", &[Exits]),
            Mark("/concurrent/futures/process.py", "_python_exit", &[Exits]),
            Mark("/multiprocessing/util.py", "_exit_function", &[Exits]),
        ],
        ..BLANK
    },
    // Pools of connections.
    Framework {
        marks: &[
            Mark("/sqlalchemy/util/queue.py", "get", &[AwaitsConnection]),
            Mark("/psycopg_pool/pool.py", "getconn", &[AwaitsConnection]),
            Mark(
                "/redis/connection.py",
                "get_connection",
                &[AwaitsConnection],
            ),
            Mark(
                "/urllib3/connectionpool.py",
                "_get_conn",
                &[AwaitsConnection],
            ),
            Mark(
                "/httpcore/_sync/connection_pool.py",
                "wait_for_connection",
                &[AwaitsConnection],
            ),
        ],
        ..BLANK
    },
    // Twisted's, for WSGI and deferToThread: ten at most (twisted `internet/base.py`, `python/threadpool.py`).
    Framework {
        pool: Some(Pool {
            name: Some("Twisted"),
            threads: "PoolThread-twisted.internet.reactor",
            file: "/twisted/_threads/_threadworker.py",
            function: "work",
            room: Room::Default(10),
        }),
        ..BLANK
    },
    // Worker threads. AnyIO's default limiter has 40 tokens (anyio `_backends/_asyncio.py`).
    Framework {
        pool: Some(Pool {
            name: Some("AnyIO"),
            threads: "AnyIO worker thread",
            file: "/anyio/_backends/_asyncio.py",
            function: "run",
            room: Room::Default(40),
        }),
        ..BLANK
    },
    Framework {
        pool: Some(Pool {
            name: None,
            threads: "",
            file: "/concurrent/futures/thread.py",
            function: "_worker",
            room: Room::Unknown,
        }),
        ..BLANK
    },
    // Known to be no servers, whatever sockets they have. `manage` here is any other command of Django's.
    Framework {
        programs: &[
            ("celery", &[]),
            ("rq", &[]),
            ("rqworker", &[]),
            ("dramatiq", &[]),
            ("huey_consumer", &[]),
            ("arq", &[]),
            ("supervisord", &[]),
            ("pytest", &[]),
            ("pip", &[]),
            ("ipykernel_launcher", &[]),
            ("ipython", &[]),
            ("debugpy", &[]),
            ("adapter", &[]),
            ("manage", &[]),
            ("django-admin", &[]),
        ],
        ..BLANK
    },
];

const DJANGO_SERVES: &[&str] = &["runserver", "runserver_plus", "testserver"];
