//! What is a task for? Told by the frames of the server that runs it, never by the names that an application gives.

use super::{below_own, own, short_name, waits};
use crate::snapshot::{Frame, Task, WaitOn};

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskRole {
    /// It runs the application's startup: nothing is served before it is done.
    Startup,
    /// It ends the server, or runs the application's shutdown.
    Shutdown,
    /// It answers a request, or talks with a client that is connected.
    Request,
    /// It waits for a client or the server to have work for it: the normal state of a server at rest.
    Idle,
    /// The application's own: the main coroutine, background work.
    Own,
    /// A library's own, of which nothing more is known.
    Unknown,
}

/// A function of a server or framework: the end of its file's path and its name without its class.
type Mark = (&'static str, &'static [&'static str]);

/// Inside these the application's startup runs (and, in those called lifespan, its shutdown too).
const STARTUP: &[Mark] = &[
    ("/uvicorn/lifespan/on.py", &["main"]),
    ("/hypercorn/asyncio/lifespan.py", &["handle_lifespan"]),
    ("/hypercorn/trio/lifespan.py", &["handle_lifespan"]),
    ("/granian/asgi.py", &["handle"]),
    ("/gunicorn/asgi/lifespan.py", &["_run_lifespan"]),
    ("/starlette/routing.py", &["lifespan"]),
    ("/litestar/_asgi/asgi_router.py", &["lifespan"]),
    ("/quart/app.py", &["startup"]),
    ("/aiohttp/web_runner.py", &["setup"]),
    ("/aiohttp/web_app.py", &["startup"]),
    ("/sanic/app.py", &["_server_event", "_startup"]),
];

/// A server that ends.
const SHUTDOWN: &[Mark] = &[
    ("/uvicorn/server.py", &["shutdown"]),
    ("/uvicorn/lifespan/on.py", &["shutdown"]),
    ("/hypercorn/asyncio/lifespan.py", &["wait_for_shutdown"]),
    ("/granian/asgi.py", &["shutdown"]),
    ("/gunicorn/workers/gasgi.py", &["_shutdown"]),
    ("/gunicorn/asgi/lifespan.py", &["shutdown"]),
    ("/aiohttp/web_runner.py", &["cleanup", "shutdown"]),
    ("/aiohttp/web_app.py", &["shutdown", "cleanup"]),
    ("/aiohttp/web_server.py", &["shutdown"]),
    ("/quart/app.py", &["shutdown"]),
];

/// A request or a connection.
const REQUEST: &[Mark] = &[
    ("/uvicorn/protocols/", &["run_asgi"]),
    ("/hypercorn/asyncio/task_group.py", &["_handle"]),
    ("/granian/_futures.py", &["future_watcher"]),
    (
        "/gunicorn/asgi/protocol.py",
        &[
            "_handle_connection",
            "_handle_http_request",
            "_handle_websocket",
        ],
    ),
    (
        "/hypercorn/asyncio/tcp_server.py",
        &["run", "_idle_timeout"],
    ),
    ("/aiohttp/web_protocol.py", &["_handle_request", "start"]),
    ("/tornado/web.py", &["_execute"]),
    ("/tornado/http1connection.py", &["_server_request_loop"]),
    ("/django/core/handlers/asgi.py", &["__call__"]),
    ("connection_task", &["connection_task"]),
    ("/sanic/http/http1.py", &["http1"]),
];

/// Where servers keep their own main coroutine.
const SERVERS: &[&str] = &[
    "/uvicorn/server.py",
    "/hypercorn/asyncio/run.py",
    "/granian/server/",
    "/gunicorn/workers/",
    "/aiohttp/web.py",
    "/sanic/app.py",
    "/sanic/server/",
];

/// Parts of the paths of what moves bytes between a server and its clients: a handler that waits inside these waits for its
/// client, or for the server's next word.
const TALK: &[&str] = &[
    "/uvicorn/protocols/",
    "/uvicorn/lifespan/",
    "/hypercorn/",
    "/granian/",
    "/gunicorn/asgi/",
    "/daphne/",
    "/sanic/server/",
    "/sanic/http/",
    "/aiohttp/web_",
    "/tornado/http1connection.py",
    "/tornado/websocket.py",
    "/tornado/iostream.py",
    "/websockets/",
    "/starlette/websockets.py",
    "/starlette/requests.py",
];

/// What a task is for.
pub fn of(task: &Task) -> TaskRole {
    let has_own = own(task).is_some();
    if has(task, STARTUP) {
        return match (talks(task), leaves_a_block(task)) {
            (true, _) => TaskRole::Idle,
            (false, true) => TaskRole::Shutdown,
            (false, false) => TaskRole::Startup,
        };
    }
    if has(task, SHUTDOWN) || ends_hypercorn(task) || closes_a_server(task) {
        TaskRole::Shutdown
    } else if has(task, REQUEST) {
        match talks(task) || !has_own && !calls_on(task) {
            true => TaskRole::Idle,
            false => TaskRole::Request,
        }
    } else if !has_own {
        TaskRole::Unknown
    } else if talks(task) {
        TaskRole::Idle
    } else {
        TaskRole::Own
    }
}

/// True if a server's own main coroutine is on the task.
pub fn runs_a_server(task: &Task) -> bool {
    let is_server = |f: &Frame| SERVERS.iter().any(|mark| f.file.contains(mark));
    task.frames.iter().any(is_server)
}

/// True if code of the application is called from within what a server runs, and not only starts the server.
pub fn calls_the_application(task: &Task) -> bool {
    let of_package = |f: &Frame| f.file.contains("-packages/");
    let first = task.frames.iter().position(of_package);
    own(task).is_some_and(|(at, _)| first.is_none_or(|first| at > first))
}

/// True if the task runs, or waits inside, one of these functions.
fn has(task: &Task, marks: &[Mark]) -> bool {
    task.frames.iter().any(|f| is_one_of(f, marks))
}

fn is_one_of(frame: &Frame, marks: &[Mark]) -> bool {
    let name = short_name(frame);
    let there = |file: &str| match file.ends_with('/') {
        true => frame.file.contains(file),
        false => frame.file.ends_with(file),
    };
    // Names first: they are short, and tell most frames apart.
    marks
        .iter()
        .any(|(file, functions)| functions.contains(&name) && there(file))
}

/// True if what it waits for is to come from its client, or from the server that runs it.
fn talks(task: &Task) -> bool {
    waits(task).is_some() && (own_code_talks(task) || receives(task))
}

fn own_code_talks(task: &Task) -> bool {
    own(task).is_some() && below_own(task).iter().any(is_talk)
}

/// A lifespan in the server's `receive`: its startup has ended, with or without a line of the application on it.
fn receives(task: &Task) -> bool {
    let receives = |f: &Frame| matches!(short_name(f), "receive" | "_receive" | "asgi_receive");
    task.frames.iter().any(|f| receives(f) && is_talk(f))
}

fn is_talk(frame: &Frame) -> bool {
    TALK.iter().any(|mark| frame.file.contains(mark))
}

/// After its `yield` a lifespan is in the `__aexit__` of its context manager; before it, in `__aenter__`. What stands further
/// in are blocks of the application's own.
fn leaves_a_block(task: &Task) -> bool {
    let inside = task
        .frames
        .iter()
        .skip_while(|f| !is_one_of(f, STARTUP))
        .map(short_name);
    let mut blocks = inside.filter(|name| matches!(*name, "__aenter__" | "__aexit__"));
    blocks.next() == Some("__aexit__")
}

/// `wait_closed` after `serve_forever` or at the end of `async with server` (3.12 and newer wait there for connections). Called by
/// itself it is what some programs serve with.
fn closes_a_server(task: &Task) -> bool {
    let asyncio = |f: &Frame| f.file.contains("/asyncio/");
    task.frames.windows(2).any(|pair| match pair {
        [outer, inner] => {
            asyncio(outer)
                && matches!(short_name(outer), "serve_forever" | "__aexit__")
                && asyncio(inner)
                && short_name(inner) == "wait_closed"
        }
        _ => false,
    })
}

/// hypercorn's shutdown has no function of its own: it waits for its connections right in `worker_serve`.
fn ends_hypercorn(task: &Task) -> bool {
    let serves = |f: &Frame| f.file.contains("/hypercorn/") && short_name(f) == "worker_serve";
    let mut frames = task.frames.iter().skip_while(|f| !serves(f));
    frames.next().is_some()
        && frames
            .next()
            .is_some_and(|f| matches!(short_name(f), "wait_for" | "wait_closed"))
}

/// True if a task of the server that has no line of the application on it does more than to wait for the next request: it has
/// gone on into a framework, or waits for another task.
fn calls_on(task: &Task) -> bool {
    let of_framework = |f: &Frame| f.file.contains("-packages/") && !is_talk(f);
    let delegates = matches!(
        task.wait.as_ref().map(|w| &w.on),
        Some(WaitOn::Task { .. } | WaitOn::Children { .. } | WaitOn::Job { .. })
    );
    delegates || task.frames.iter().any(of_framework)
}
