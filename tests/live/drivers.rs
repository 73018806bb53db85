//! Drivers of databases and services whose peer takes the connection and never says a word: the application's own line is named,
//! however many layers of the driver (for SQLAlchemy a greenlet too) stand below it.

use std::net::TcpListener;

use crate::need;
use crate::support::python::venv;
use crate::support::server::Server;

fn waits_in(driver: &str) {
    let python = need!(venv("live", "python"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = silent.local_addr().unwrap().port().to_string();
    let args = ["drivers_asyncio.py", driver, &peer, "{port}"];
    let server = Server::start(&python, &args);
    server.wait_log("asking", 1);
    let verdict = server.check();
    verdict
        .phase(&["starting"])
        .first_finding(&["startup-await", "peer-silent"])
        .culprit(&format!("ask_{driver}"));
}

#[test]
fn asyncpg() {
    waits_in("asyncpg");
}

#[test]
fn sqlalchemy() {
    waits_in("sqlalchemy");
}

#[test]
fn redis() {
    waits_in("redis");
}

#[test]
fn httpx() {
    waits_in("httpx");
}

#[test]
fn aiohttp() {
    waits_in("aiohttp");
}

#[test]
fn aiomysql() {
    waits_in("aiomysql");
}
