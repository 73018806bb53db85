//! What does steth cost, beside the tools that it stands in for, on this machine and in this run?
//!
//!     cargo bench --bench look            everything, about three minutes
//!     cargo bench --bench look -- look    one of: look, live, paint, watched
//!
//! Prints measurements and ratios; asserts nothing. A peer that is not installed is named as missing.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the bench"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../support/mod.rs"]
mod measure;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use measure::cost::{cpu_of_pid, cpu_to_run, median_of};
use measure::{heading, row, wanted};
use support::python::{any, venv};
use support::server::Server;
use support::terminal::Terminal;

const SERVERS: usize = 50;
const STETH: &str = env!("CARGO_BIN_EXE_steth");

fn main() {
    heading("peer");
    let needs_farm = ["look", "live", "paint"];
    if needs_farm.into_iter().any(wanted) {
        let farm = farm();
        if wanted("look") {
            one_look(&farm);
        }
        if wanted("live") {
            live();
        }
        if wanted("paint") {
            first_paint();
        }
    }
    if wanted("watched") {
        watched();
    }
}

/// Fifty quiet servers of three threads each.
fn farm() -> Vec<Server> {
    let python = any().unwrap_or_else(|reason| panic!("{reason}"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/look");
    let start = |_| Server::start_in(&folder, &python, &["farm.py", "{port}"]);
    let farm: Vec<Server> = (0..SERVERS).map(start).collect();
    for server in &farm {
        server.wait_listens();
    }
    farm
}

/// CPU time of one full look, process start included, and of the peers' equivalent.
fn one_look(farm: &[Server]) {
    let check = |time: &str| {
        // 1: somebody else's server on this machine may be failing.
        cpu_to_run(
            Command::new(STETH).args(["check", "--for", time, "--json"]),
            &[0, 1],
        )
    };
    let ours = median_of(5, || check("0s"));
    // Quiet processes are looked at once a second: what a longer check costs more is the price of so many looks.
    let later = median_of(3, || (check("10s") - ours).max(0.0) / 10.0);
    let peer = py_spy().map(|py_spy| {
        median_of(3, || {
            let dump = |server: &Server| {
                let pid = server.pid.to_string();
                cpu_to_run(
                    Command::new(&py_spy).args(["dump", "--nonblocking", "--pid", &pid]),
                    &[0],
                )
            };
            let dumps: f64 = farm.iter().map(dump).sum();
            dumps + cpu_to_run(Command::new("ss").arg("-ltnp"), &[0])
        })
    });
    row(
        "first look at 50 processes, CPU (py-spy dump each + ss)",
        ours * 1e3,
        peer.map(|seconds| seconds * 1e3),
        "ms",
    );
    row(
        "each later look at them, CPU (py-spy dump each + ss)",
        later * 1e3,
        peer.map(|seconds| seconds * 1e3),
        "ms",
    );
}

fn py_spy() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("py-spy"));
    let found = venv("main", "py-spy").ok();
    let found = found.or_else(|| on_path.into_iter().find(|path| path.is_file()));
    if found.is_none() {
        println!("py-spy is missing: no ratio for one look");
    }
    found
}

/// CPU and terminal bytes of the live screen at its default rates, beside htop at one look a second.
fn live() {
    let span = Duration::from_secs(20);
    let measure = |program: &Path, args: &[&str]| {
        let terminal = Terminal::open(program, 48, 160, &[], args);
        std::thread::sleep(Duration::from_secs(4));
        let (cpu, bytes) = (cpu_of_pid(terminal.pid()), terminal.bytes().len());
        std::thread::sleep(span);
        let cpu = cpu_of_pid(terminal.pid()) - cpu;
        let bytes = terminal.bytes().len() - bytes;
        let seconds = span.as_secs_f64();
        (100.0 * cpu / seconds, bytes as f64 / seconds)
    };
    let ours = measure(Path::new(STETH), &[]);
    let htop = ["/usr/bin/htop", "/bin/htop", "/usr/local/bin/htop"];
    let htop = htop.iter().map(Path::new).find(|path| path.exists());
    let peer = htop.map(|htop| measure(htop, &["-d", "10"]));
    if peer.is_none() {
        println!("htop is missing: no ratio for the live screen");
    }
    let cpu = "live at default rates, CPU of one core (htop -d 10)";
    row(cpu, ours.0, peer.map(|peer| peer.0), "%");
    let bytes = "live, bytes to the terminal per second (htop -d 10)";
    row(bytes, ours.1, peer.map(|peer| peer.1), "B/s");
}

/// Milliseconds from the start to the table's header, and to the last of fifty phases.
fn first_paint() {
    let mut headers = Vec::new();
    let mut phases = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let terminal = Terminal::steth(200, 160, &[], &["farm.py"]);
        headers.push(ms_until(begun, &terminal, |text| text.contains("PHASE")));
        phases.push(ms_until(begun, &terminal, |text| {
            text.lines().filter(|line| is_serving(line)).count() >= SERVERS
        }));
    }
    let mut headers = headers.into_iter();
    let mut phases = phases.into_iter();
    let first = median_of(5, || headers.next().expect("five were taken"));
    let all = median_of(5, || phases.next().expect("five were taken"));
    row("first paint with the table's header", first, None, "ms");
    row("all 50 phases on screen", all, None, "ms");
}

fn is_serving(line: &str) -> bool {
    line.contains("farm.py") && line.contains("serving")
}

fn ms_until(begun: Instant, terminal: &Terminal, seen: impl Fn(&str) -> bool) -> f64 {
    let limit = Duration::from_secs(20);
    while !seen(&terminal.text()) {
        if begun.elapsed() > limit {
            println!(
                "not seen within {limit:?}; the screen:\n{}",
                terminal.text()
            );
            return f64::NAN;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    begun.elapsed().as_secs_f64() * 1e3
}

/// Requests per second of a uvicorn under wrk, watched and not, in turn.
fn watched() {
    let Ok(uvicorn) = venv("main", "uvicorn") else {
        println!("uvicorn is missing: run tests/setup.sh");
        return;
    };
    let args = [
        "echo_asgi:app",
        "--port",
        "{port}",
        "--log-level",
        "warning",
    ];
    let server = Server::start(&uvicorn, &args);
    server.wait_listens();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let Some(alone) = requests_per_second(server.port) else {
            println!("wrk is missing: nothing to load uvicorn with");
            return;
        };
        without.push(alone);
        let screen = Terminal::steth(48, 160, &[], &[&server.pid.to_string()]);
        screen.wait_text(&["PHASE"]);
        with.extend(requests_per_second(server.port));
    }
    let spread = |all: &[f64]| {
        let (low, high) = all.iter().fold((f64::MAX, 0.0_f64), |(low, high), &one| {
            (low.min(one), high.max(one))
        });
        format!("{low:.0}..{high:.0}")
    };
    let (watched, alone) = (spread(&with), spread(&without));
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len().max(1) as f64;
    row(
        "requests per second, watched (unwatched)",
        mean(&with),
        Some(mean(&without)),
        "/s",
    );
    println!("  five rounds in turn: watched {watched}, unwatched {alone}");
}

fn requests_per_second(port: u16) -> Option<f64> {
    let url = format!("http://127.0.0.1:{port}/");
    let wrk = ["-t1", "-c16", "-d4s", &url];
    let output = Command::new("wrk").args(wrk).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("Requests/sec:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
