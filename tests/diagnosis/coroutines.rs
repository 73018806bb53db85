//! Coroutine stacks of real servers, as their processes report them: uvicorn 0.54, hypercorn 0.18, granian 2.8, gunicorn 27,
//! aiohttp 3.14, sanic 25.12, tornado 6.6, starlette and FastAPI of late 2026, Python 3.11.

use std::sync::Arc;

use steth::snapshot::{Frame, Moment, Pool, Process, Task, Tasks};

use super::stacks;
use super::tasks;

/// Frames of a text, as in [`stacks`], with the coroutines below by name.
pub fn frames(text: &str) -> Vec<Frame> {
    let parts = text.split('|').map(str::trim).filter(|p| !p.is_empty());
    let known = |name: &str| COROUTINES.iter().find(|(n, _)| *n == name);
    parts
        .flat_map(|part| match part.strip_prefix('@').and_then(known) {
            Some((_, text)) => frames(text),
            None => stacks::frames(part),
        })
        .collect()
}

/// A task with a stack of that text.
pub fn task(id: u64, name: &str, stack: &str) -> Task {
    tasks::task(id, name, frames(stack))
}

/// Tasks of a process of the world.
pub trait HasTasks {
    /// These are all its tasks, on its main thread's loop.
    fn tasks(&mut self, list: Vec<Task>) -> &mut Self;
    /// It has this pool, too.
    fn pool(&mut self, pool: Pool) -> &mut Self;
    /// Its tasks could not be read.
    fn tasks_unseen(&mut self) -> &mut Self;
}

impl HasTasks for Process {
    fn tasks(&mut self, list: Vec<Task>) -> &mut Self {
        let read = tasks::tasks(Moment(0), self.key.pid, list);
        self.python.as_mut().unwrap().tasks = Some(Arc::new(read));
        self
    }

    fn pool(&mut self, pool: Pool) -> &mut Self {
        read(self).pools.push(pool);
        self
    }

    fn tasks_unseen(&mut self) -> &mut Self {
        self.python.as_mut().unwrap().tasks = None;
        self
    }
}

fn read(process: &mut Process) -> &mut Tasks {
    let tasks = process.python.as_mut().unwrap().tasks.as_mut().unwrap();
    Arc::make_mut(tasks)
}

const COROUTINES: &[(&str, &str)] = &[
    ("event", "Event.wait std+asyncio/locks.py:213"),
    ("lock", "Lock.__aenter__ std+asyncio/locks.py:15 | Lock.acquire std+asyncio/locks.py:113"),
    ("slot", "Semaphore.__aenter__ std+asyncio/locks.py:15 | Semaphore.acquire std+asyncio/locks.py:387"),
    ("get", "Queue.get std+asyncio/queues.py:158"),
    ("sleep", "sleep std+asyncio/tasks.py:649"),
    (
        "asgi",
        "ProxyHeadersMiddleware.__call__ pkg+uvicorn/middleware/proxy_headers.py:63 | FastAPI.__call__ pkg+fastapi/applications.py:1224
        | ServerErrorMiddleware.__call__ pkg+starlette/middleware/errors.py:164 | Router.__call__ pkg+starlette/routing.py:683",
    ),
    (
        "endpoint",
        "request_response.<locals>.app pkg+fastapi/routing.py:175 | get_request_handler.<locals>.app pkg+fastapi/routing.py:762
        | run_endpoint_function pkg+fastapi/routing.py:381",
    ),
    (
        "uvicorn-lifespan",
        "LifespanOn.main pkg+uvicorn/lifespan/on.py:86 | @asgi | Router.lifespan pkg+starlette/routing.py:661
        | _AsyncGeneratorContextManager.__aenter__ std+contextlib.py:210",
    ),
    (
        "uvicorn-lifespan-idle",
        "LifespanOn.main pkg+uvicorn/lifespan/on.py:86 | @asgi | Router.lifespan pkg+starlette/routing.py:668
        | LifespanOn.receive pkg+uvicorn/lifespan/on.py:137 | @get",
    ),
    (
        "uvicorn-lifespan-end",
        "LifespanOn.main pkg+uvicorn/lifespan/on.py:86 | @asgi | Router.lifespan pkg+starlette/routing.py:661
        | _AsyncGeneratorContextManager.__aexit__ std+contextlib.py:217",
    ),
    ("uvicorn-serve", "Server.serve pkg+uvicorn/server.py:90 | Server._serve pkg+uvicorn/server.py:105"),
    (
        "uvicorn-startup",
        "@uvicorn-serve | Server.startup pkg+uvicorn/server.py:116 | LifespanOn.startup pkg+uvicorn/lifespan/on.py:56 | @event",
    ),
    ("uvicorn-idle", "@uvicorn-serve | Server.main_loop pkg+uvicorn/server.py:248 | @sleep"),
    (
        "uvicorn-shutdown",
        "@uvicorn-serve | Server.shutdown pkg+uvicorn/server.py:297 | wait_for std+asyncio/tasks.py:452
        | Server._wait_tasks_to_complete pkg+uvicorn/server.py:326 | @sleep",
    ),
    (
        "uvicorn-request",
        "RequestResponseCycle.run_asgi pkg+uvicorn/protocols/http/httptools_impl.py:422 | @asgi | @endpoint",
    ),
    (
        "uvicorn-websocket",
        "WebSocketProtocol.run_asgi pkg+uvicorn/protocols/websockets/websockets_impl.py:244 | @asgi",
    ),
    (
        "websocket-receive",
        "WebSocket.receive_text pkg+starlette/websockets.py:120 | WebSocket.receive pkg+starlette/websockets.py:38
        | WebSocketProtocol.asgi_receive pkg+uvicorn/protocols/websockets/websockets_impl.py:348",
    ),
    (
        "body",
        "Request.body pkg+starlette/requests.py:242 | Request.stream pkg+starlette/requests.py:229
        | RequestResponseCycle.receive pkg+uvicorn/protocols/http/httptools_impl.py:580 | @event",
    ),
    (
        "background",
        "Response.__call__ pkg+starlette/responses.py:175 | BackgroundTask.__call__ pkg+starlette/background.py:21",
    ),
    (
        "middleware",
        "RequestResponseCycle.run_asgi pkg+uvicorn/protocols/http/httptools_impl.py:422 | @asgi
        | BaseHTTPMiddleware.__call__ pkg+starlette/middleware/base.py:203",
    ),
    (
        "call-next",
        "BaseHTTPMiddleware.__call__.<locals>.call_next pkg+starlette/middleware/base.py:158
        | MemoryObjectReceiveStream.receive pkg+anyio/streams/memory.py:131 | @event",
    ),
    (
        "call-next-task",
        "TaskHandle._run_coro pkg+anyio/_core/_tasks.py:327
        | BaseHTTPMiddleware.__call__.<locals>.call_next.<locals>.coro pkg+starlette/middleware/base.py:149 | @endpoint",
    ),
    (
        "hypercorn-lifespan",
        "Lifespan.handle_lifespan pkg+hypercorn/asyncio/lifespan.py:56 | ASGIWrapper.__call__ pkg+hypercorn/app_wrappers.py:34",
    ),
    (
        "hypercorn-lifespan-receive",
        "Lifespan.asgi_receive pkg+hypercorn/asyncio/lifespan.py:109 | @get",
    ),
    ("hypercorn-serve-idle", "worker_serve pkg+hypercorn/asyncio/run.py:152 | TaskGroup.__aexit__ std+asyncio/taskgroups.py:110"),
    ("hypercorn-startup", "worker_serve pkg+hypercorn/asyncio/run.py:85 | Lifespan.wait_for_startup pkg+hypercorn/asyncio/lifespan.py:93 | wait_for std+asyncio/tasks.py:476"),
    ("hypercorn-end", "worker_serve pkg+hypercorn/asyncio/run.py:170 | wait_for std+asyncio/tasks.py:476"),
    (
        "hypercorn-connection",
        "worker_serve.<locals>._server_callback pkg+hypercorn/asyncio/run.py:109 | TCPServer.run pkg+hypercorn/asyncio/tcp_server.py:73
        | TCPServer._read_data pkg+hypercorn/asyncio/tcp_server.py:98 | wait_for std+asyncio/tasks.py:452
        | StreamReader.read std+asyncio/streams.py:708 | StreamReader._wait_for_data std+asyncio/streams.py:540",
    ),
    (
        "hypercorn-request",
        "_handle pkg+hypercorn/asyncio/task_group.py:28 | ASGIWrapper.__call__ pkg+hypercorn/app_wrappers.py:34",
    ),
    ("granian-lifespan", "LifespanProtocol.handle pkg+granian/asgi.py:26"),
    ("granian-lifespan-receive", "LifespanProtocol.receive pkg+granian/asgi.py:68 | @get"),
    ("granian-request", "_future_watcher_wrapper.<locals>.future_watcher pkg+granian/_futures.py:15"),
    ("gunicorn-lifespan", "LifespanManager._run_lifespan pkg+gunicorn/asgi/lifespan.py:141"),
    ("gunicorn-lifespan-receive", "LifespanManager._receive pkg+gunicorn/asgi/lifespan.py:167 | @get"),
    ("gunicorn-connection", "ASGIProtocol._handle_connection pkg+gunicorn/asgi/protocol.py:1355 | @event"),
    ("gunicorn-request", "ASGIProtocol._handle_http_request pkg+gunicorn/asgi/protocol.py:1900"),
    (
        "gunicorn-end",
        "ASGIWorker._serve pkg+gunicorn/workers/gasgi.py:226 | ASGIWorker._shutdown pkg+gunicorn/workers/gasgi.py:255 | @sleep",
    ),
    (
        "aiohttp-startup",
        "_run_app pkg+aiohttp/web.py:319 | BaseRunner.setup pkg+aiohttp/web_runner.py:310 | AppRunner._make_server pkg+aiohttp/web_runner.py:419
        | Application.startup pkg+aiohttp/web_app.py:465 | Signal.send pkg+aiosignal/__init__.py:52",
    ),
    ("aiohttp-idle", "_run_app pkg+aiohttp/web.py:415 | @sleep"),
    ("aiohttp-keepalive", "RequestHandler.start pkg+aiohttp/web_protocol.py:632"),
    ("aiohttp-request", "RequestHandler._handle_request pkg+aiohttp/web_protocol.py:577 | Application._handle pkg+aiohttp/web_app.py:563"),
    (
        "aiohttp-end",
        "_run_app pkg+aiohttp/web.py:417 | BaseRunner.cleanup pkg+aiohttp/web_runner.py:330 | Server.shutdown pkg+aiohttp/web_server.py:71",
    ),
    (
        "sanic-startup",
        "Sanic._server_event pkg+sanic/app.py:2446 | SignalRouter.dispatch pkg+sanic/signals.py:303 | SignalRouter._dispatch pkg+sanic/signals.py:247
        | Sanic._listener pkg+sanic/app.py:1630",
    ),
    (
        "sanic-keepalive",
        "connection_task connection_task:15 | Http.http1 pkg+sanic/http/http1.py:112
        | SanicProtocol.receive_more pkg+sanic/server/protocols/base_protocol.py:83 | @event",
    ),
    (
        "sanic-request",
        "connection_task connection_task:15 | Http.http1 pkg+sanic/http/http1.py:123 | handle_request handle_request:99",
    ),
    (
        "tornado-connection",
        "HTTP1ServerConnection._server_request_loop pkg+tornado/http1connection.py:954 | HTTP1Connection._read_message pkg+tornado/http1connection.py:213",
    ),
    ("tornado-request", "RequestHandler._execute pkg+tornado/web.py:2004"),
];
