//! Servers that serve, under light load: no alarm, phase `serving`, the right processes in the right roles.

use std::path::Path;

use crate::need;
use crate::support::kernel;
use crate::support::load::{Light, To};
use crate::support::python::venv;
use crate::support::server::Server;
use crate::support::verdict::Verdict;

/// Starts a server, asks it until it answers, and keeps asking while steth looks.
fn looked_at(program: &Path, args: &[&str]) -> Verdict {
    let server = Server::start(program, args);
    server.wait_listens();
    let load = Light::on_port(server.port);
    load.wait_answers();
    let verdict = server.check();
    verdict.phase(&["serving"]).quiet().whole_tree();
    let port = u64::from(server.port);
    verdict.listener("listening on its port", |listener| {
        listener["port"].as_u64() == Some(port) && listener["state"] == "listening"
    });
    verdict
}

#[test]
fn uvicorn_single() {
    let uvicorn = need!(venv("main", "uvicorn"));
    looked_at(&uvicorn, &["echo_asgi:app", "--port", "{port}"]).role("single", 1);
}

#[test]
fn uvicorn_supervisor_with_workers() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let args = ["echo_asgi:app", "--port", "{port}", "--workers", "3"];
    looked_at(&uvicorn, &args)
        .role("supervisor", 1)
        .role("worker", 3);
}

#[test]
fn uvicorn_reloader() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let args = ["echo_asgi:app", "--port", "{port}", "--reload"];
    looked_at(&uvicorn, &args)
        .role("reloader", 1)
        .role("worker|single", 1);
}

#[test]
fn gunicorn_sync() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let args = ["-w", "2", "-b", "127.0.0.1:{port}", "echo_wsgi:app"];
    looked_at(&gunicorn, &args)
        .role("master", 1)
        .role("worker", 2);
}

#[test]
fn gunicorn_threads() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let args = ["--threads", "4", "-b", "127.0.0.1:{port}", "echo_wsgi:app"];
    looked_at(&gunicorn, &args)
        .role("master", 1)
        .role("worker", 1);
}

#[test]
fn gunicorn_with_uvicorn_workers() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let kind = "uvicorn_worker.UvicornWorker";
    let args = [
        "-k",
        kind,
        "-w",
        "2",
        "-b",
        "127.0.0.1:{port}",
        "echo_asgi:app",
    ];
    looked_at(&gunicorn, &args)
        .role("master", 1)
        .role("worker", 2);
}

#[test]
fn hypercorn() {
    let hypercorn = need!(venv("live", "hypercorn"));
    let args = ["-w", "2", "-b", "127.0.0.1:{port}", "echo_asgi:app"];
    looked_at(&hypercorn, &args).role("worker", 2);
}

#[test]
fn granian() {
    let granian = need!(venv("main", "granian"));
    let args = [
        "--interface",
        "asgi",
        "--workers",
        "2",
        "--port",
        "{port}",
        "echo_asgi:app",
    ];
    looked_at(&granian, &args).role("worker", 2);
}

#[test]
fn waitress() {
    let waitress = need!(venv("main", "waitress-serve"));
    looked_at(&waitress, &["--listen=127.0.0.1:{port}", "echo_wsgi:app"]).role("single", 1);
}

#[test]
fn aiohttp() {
    let python = need!(venv("main", "python"));
    looked_at(&python, &["ledger_aiohttp.py", "{port}"]).role("single", 1);
}

#[test]
fn tornado() {
    let python = need!(venv("live", "python"));
    looked_at(&python, &["votes_tornado.py", "{port}"]).role("single", 1);
}

#[test]
fn sanic() {
    let python = need!(venv("live", "python"));
    looked_at(&python, &["menu_sanic.py", "{port}"]).role("worker", 1);
}

#[test]
fn django_runserver() {
    let python = need!(venv("main", "python"));
    let args = ["library_django.py", "runserver", "127.0.0.1:{port}"];
    looked_at(&python, &args).role("reloader", 1);
}

#[test]
fn flask_reloader() {
    let python = need!(venv("main", "python"));
    looked_at(&python, &["notes_flask.py", "{port}"]).role("reloader", 1);
}

#[test]
fn multiprocessing_helpers_are_no_servers() {
    let python = need!(venv("main", "python"));
    let verdict = looked_at(&python, &["pool_wsgi.py", "{port}"]);
    let worst = |p: &serde_json::Value| p["phase"] == "stalled" || p["phase"] == "starting";
    if verdict.processes().iter().any(worst) {
        verdict.fail("a helper is taken for a server that fails");
    }
}

#[test]
fn unix_socket() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("shop.sock");
    let bind = format!("unix:{}", socket.display());
    let server = Server::start(&gunicorn, &["-w", "2", "-b", &bind, "echo_wsgi:app"]);
    server.wait_until("the unix listener", || kernel::unix_listens(&socket));
    let load = Light::on(To::Unix(socket.clone()));
    load.wait_answers();
    let verdict = server.check();
    verdict.phase(&["serving"]).quiet().whole_tree();
    verdict.listener("the unix socket", |listener| {
        listener["family"] == "unix" && listener["path"].as_str() == socket.to_str()
    });
}

#[test]
fn ipv6() {
    if !Path::new("/proc/net/if_inet6").exists() {
        return crate::support::skip("no IPv6 in this kernel");
    }
    let hypercorn = need!(venv("live", "hypercorn"));
    let server = Server::start(&hypercorn, &["-b", "[::1]:{port}", "echo_asgi:app"]);
    server.wait_listens();
    let address = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, server.port));
    let load = Light::on(To::Tcp(address));
    load.wait_answers();
    let verdict = server.check();
    verdict.phase(&["serving"]).quiet();
    verdict.listener("on IPv6", |listener| {
        listener["family"] == "tcp6" && listener["address"] == "::1"
    });
}

#[test]
fn idle_server_without_any_client() {
    let python = need!(venv("live", "python"));
    let server = Server::start(&python, &["votes_tornado.py", "{port}"]);
    server.wait_listens();
    server.check().phase(&["serving"]).quiet();
}
