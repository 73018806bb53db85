//! `steth wait`: from nothing to serving, and why not; its lines in a pipe, its exit codes, and its end by a signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::need;
use crate::support::python::{any, is_root, venv};
use crate::support::server::Server;
use crate::support::verdict::steth;
use crate::support::{PATIENCE, eventually, kernel};

const STETH: &str = env!("CARGO_BIN_EXE_steth");

/// `steth wait`, while it waits. Dropping it kills it.
struct Wait {
    child: Child,
    told: Arc<Mutex<String>>,
}

impl Wait {
    fn start(args: &[&str]) -> Wait {
        Wait::start_by(&[STETH, "wait"], args)
    }

    /// The same by a program that starts programs.
    fn start_by(by: &[&str], args: &[&str]) -> Wait {
        let mut child = Command::new(by[0])
            .args(&by[1..])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        let (heard, stderr) = (Arc::clone(&told), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut heard = heard.lock().unwrap();
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        Wait { child, told }
    }

    fn told(&self) -> String {
        self.told.lock().unwrap().clone()
    }

    /// Waits until it has told this, while it is still running.
    fn tells(&self, words: &str) -> &Wait {
        let seen = eventually(PATIENCE, || self.told().contains(words));
        assert!(seen, "never told {words:?}:\n{}", self.told());
        self
    }

    /// Waits for its end: how it ended, and its standard output.
    fn ended(mut self) -> (ExitStatus, String, String) {
        let ended = eventually(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_))));
        assert!(ended, "does not end:\n{}", self.told());
        let status = self.child.wait().unwrap();
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut out).unwrap();
        (status, out, self.told())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server whose output goes into a file, so that its log can be read.
fn with_log(folder: &Path, command: &str) -> Server {
    let log = folder.join("server.log");
    let line = format!("exec {command} >{} 2>&1", log.display());
    Server::start_in(folder, Path::new("/bin/sh"), &["-c", &line])
}

#[track_caller]
fn has(text: &str, all: &[&str]) {
    for part in all {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn from_nothing_over_every_phase_to_serving() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let gates = tempfile::tempdir().unwrap();
    let port = kernel::free_port().to_string();
    let wait = Wait::start(&[&format!(":{port}"), "--timeout", "10m"]);
    wait.tells(&format!("waiting for :{port} to serve"));
    let env = format!("LIVE_GATES={}", gates.path().display());
    let uvicorn = uvicorn.to_str().unwrap();
    let args = [&env, uvicorn, "gated_asgi:app", "--port", &port];
    let server = Server::start(Path::new("/usr/bin/env"), &args);
    server.wait_log("importing begins", 1);
    wait.tells("importing");
    std::fs::write(gates.path().join("import"), "").unwrap();
    server.wait_log("startup begins", 1);
    wait.tells("starting");
    std::fs::write(gates.path().join("startup"), "").unwrap();
    let (status, out, told) = wait.ended();
    assert_eq!(status.code(), Some(0), "{told}");
    assert_eq!(out, "");
    let last = told.lines().last().unwrap();
    has(last, &["gated_asgi", "serving on 127.0.0.1:", &port]);
    assert!(kernel::accept_queue(server.pid, port.parse().unwrap()).is_some());
}

#[test]
fn a_startup_that_hangs_is_told_with_its_place_and_log() {
    let python = need!(venv("main", "python"));
    let folder = tempfile::tempdir().unwrap();
    let app = "import asyncio\n\
               async def warm_the_cache():\n    \
                   print('asking the cache', flush=True)\n    \
                   await asyncio.get_running_loop().create_future()\n\
               async def app(scope, receive, send):\n    \
                   await receive()\n    \
                   await warm_the_cache()\n";
    std::fs::write(folder.path().join("cold.py"), app).unwrap();
    let port = kernel::free_port();
    let command = format!("{} -m uvicorn cold:app --port {port}", python.display());
    let server = with_log(folder.path(), &command);
    let log = folder.path().join("server.log");
    server.wait_until("its startup", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("asking the cache"))
    });
    let target = format!(":{port}");
    let (exit, out, told) = steth(&["wait", &target, "--timeout", "25s"]);
    assert_eq!(exit, Some(1), "{out}{told}");
    has(
        &told,
        &["starting", &format!("{target} does not serve after 25 s")],
    );
    has(
        &out,
        &[
            "starting",
            "startup-await",
            "warm_the_cache",
            "check it:",
            "log: asking the cache",
        ],
    );
}

#[test]
fn a_process_that_crashes_is_not_waited_for_and_its_traceback_is_told() {
    let python = need!(venv("main", "python"));
    let folder = tempfile::tempdir().unwrap();
    let app = "import pathlib, time\n\
               while not pathlib.Path('go').exists():\n    \
                   time.sleep(0.05)\n\
               def read_prices():\n    \
                   return {}['currency']\n\
               read_prices()\n";
    std::fs::write(folder.path().join("prices.py"), app).unwrap();
    let port = kernel::free_port();
    let command = format!("{} -m uvicorn prices:app --port {port}", python.display());
    let server = with_log(folder.path(), &command);
    let by_pid = Wait::start(&[&server.pid.to_string(), "--timeout", "10m"]);
    let by_port = Wait::start(&[&format!(":{port}"), "--timeout", "30s"]);
    by_pid.tells("importing");
    by_port.tells("importing");
    std::fs::write(folder.path().join("go"), "").unwrap();
    for (wait, words) in [
        (by_pid, "has ended"),
        (by_port, "does not serve after 30 s"),
    ] {
        let (status, out, told) = wait.ended();
        assert_eq!(status.code(), Some(1), "{out}{told}");
        has(&told, &[words]);
        has(&out, &["exited", "KeyError", "currency", "read_prices"]);
    }
}

#[test]
fn a_master_that_gives_up_does_not_hide_what_its_worker_died_of() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let folder = tempfile::tempdir().unwrap();
    let app = "import os\n\
               def settings():\n    \
                   return os.environ['LIVE_NEVER_SET']\n\
               DSN = settings()\n";
    std::fs::write(folder.path().join("unset.py"), app).unwrap();
    let port = kernel::free_port();
    let wait = Wait::start(&[&format!(":{port}"), "--timeout", "30s"]);
    wait.tells("waiting for");
    let command = format!("{} -b 127.0.0.1:{port} unset:app", gunicorn.display());
    let _server = with_log(folder.path(), &command);
    let (status, out, told) = wait.ended();
    assert_eq!(status.code(), Some(1), "{out}{told}");
    has(&told, &["exited"]);
    has(
        &out,
        &[
            "log: KeyError: 'LIVE_NEVER_SET' in settings (",
            "unset.py:3",
        ],
    );
}

#[test]
fn a_loop_that_was_blocked_before_is_not_believed_to_serve() {
    let python = need!(venv("main", "python"));
    let folder = tempfile::tempdir().unwrap();
    let app = "import time\n\
               async def app(scope, receive, send):\n    \
                   if scope['type'] == 'http':\n        \
                       print('rendering', flush=True)\n        \
                       render()\n\
               def render():\n    \
                   time.sleep(3600)\n";
    std::fs::write(folder.path().join("report.py"), app).unwrap();
    let args = ["-m", "uvicorn", "report:app", "--port", "{port}"];
    let server = Server::start_in(folder.path(), &python, &args);
    server.wait_listens();
    let mut client = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    server.wait_log("rendering", 1);
    let target = format!(":{}", server.port);
    let (exit, out, told) = steth(&["wait", &target, "--timeout", "20s"]);
    assert_eq!(exit, Some(1), "{out}{told}");
    has(&out, &["stalled", "loop-blocked", "render ("]);
}

#[test]
fn an_old_server_that_keeps_the_port_is_no_success_of_the_new_one() {
    let python = need!(venv("main", "python"));
    let args = ["-m", "http.server", "{port}", "--bind", "127.0.0.1"];
    let old = Server::start(&python, &args);
    old.wait_listens();
    let folder = tempfile::tempdir().unwrap();
    let app = "import pathlib, time\n\
               while not pathlib.Path('go').exists():\n    \
                   time.sleep(0.05)\n\
               async def app(scope, receive, send):\n    \
                   pass\n";
    std::fs::write(folder.path().join("release.py"), app).unwrap();
    let port = old.port;
    let command = format!("{} -m uvicorn release:app --port {port}", python.display());
    let new = with_log(folder.path(), &command);
    new.wait_until("Python", || kernel::is_python(new.pid));
    let wait = Wait::start(&[&format!(":{port}"), "--timeout", "30s"]);
    wait.tells("release:app").tells("serving on");
    std::fs::write(folder.path().join("go"), "").unwrap();
    let (status, out, told) = wait.ended();
    assert_eq!(status.code(), Some(1), "{out}{told}");
    has(&told, &["exited", "does not serve after 30 s"]);
    has(&out, &["exited", "address already in use"]);
}

#[test]
fn a_listener_without_a_worker_does_not_serve() {
    let gunicorn = need!(venv("main", "gunicorn"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let env = format!("LIVE_PEER={}", silent.local_addr().unwrap().port());
    let gunicorn = gunicorn.to_str().unwrap();
    let args = [
        &env,
        gunicorn,
        "-b",
        "127.0.0.1:{port}",
        "-t",
        "0",
        "flags_wsgi:app",
    ];
    let server = Server::start(Path::new("/usr/bin/env"), &args);
    server.wait_listens();
    server.wait_log("asking for flags", 1);
    let target = format!(":{}", server.port);
    let (exit, out, told) = steth(&["wait", &target, "--timeout", "20s"]);
    assert_eq!(exit, Some(1), "{out}{told}");
    has(&out, &["fetch_flags", "→"]);
    assert!(!told.contains("serving"), "{told}");
    let (exit, out, told) = steth(&["wait", &target, "--until", "listening"]);
    assert_eq!((exit, out.as_str()), (Some(0), ""), "{told}");
}

#[test]
fn a_socket_that_is_bound_does_not_even_listen() {
    let python = need!(any());
    let server = Server::start(&python, &["bound_first.py", "{port}"]);
    server.wait_until("Python", || kernel::is_python(server.pid));
    let pid = server.pid.to_string();
    let args = ["wait", &pid, "--until", "listening", "--timeout", "15s"];
    let (exit, out, told) = steth(&args);
    assert_eq!(exit, Some(1), "{out}{told}");
    has(&told, &["bound", "does not listen after 15 s"]);
    has(&out, &["bound-not-listening"]);
}

#[test]
fn the_pid_of_a_script_means_the_server_that_it_starts() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let line = format!("{} echo_asgi:app --port {{port}}; true", uvicorn.display());
    let server = Server::start(Path::new("/bin/sh"), &["-c", &line]);
    let wait = Wait::start(&[&server.pid.to_string(), "--timeout", "10m"]);
    let (status, out, told) = wait.ended();
    assert_eq!(status.code(), Some(0), "{out}{told}\n{}", server.log());
    has(
        &told,
        &[
            "echo_asgi",
            &format!("serving on 127.0.0.1:{}", server.port),
        ],
    );
}

#[test]
fn a_unix_socket_that_is_not_there_yet() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let path = path.to_str().unwrap();
    let wait = Wait::start(&[path, "--timeout", "10m"]);
    wait.tells("waiting for");
    let server = Server::start(&uvicorn, &["echo_asgi:app", "--uds", path]);
    let (status, out, told) = wait.ended();
    assert_eq!(status.code(), Some(0), "{out}{told}\n{}", server.log());
    has(&told, &["serving on unix:", path]);
}

#[test]
fn what_never_comes_is_told_when_the_time_is_up() {
    let target = format!(":{}", kernel::free_port());
    let (exit, out, told) = steth(&["wait", &target, "--timeout", "1s"]);
    assert_eq!((exit, out.as_str()), (Some(1), ""), "{told}");
    has(
        &told,
        &[
            &format!("{target} does not serve after 1"),
            "no Python server listens on port",
        ],
    );
    // A pid does not come: there is nothing to wait for.
    let (exit, out, told) = steth(&["wait", "4194999", "--timeout", "10m"]);
    assert_eq!((exit, out.as_str()), (Some(2), ""), "{told}");
    has(&told, &["no Python process with pid 4194999"]);
}

#[test]
fn signals_end_it() {
    let target = format!(":{}", kernel::free_port());
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let wait = Wait::start(&[&target, "--timeout", "10m"]);
        wait.tells("waiting for");
        kill(wait.child.id(), signal);
        let (status, ..) = wait.ended();
        assert_eq!(status.signal(), Some(signal));
    }
}

#[test]
fn signals_end_it_as_the_first_process_of_a_container() {
    need!(is_root());
    let target = format!(":{}", kernel::free_port());
    let unshare = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        STETH,
    ];
    let cases: [&[&str]; 2] = [
        &["wait", &target, "--timeout", "10m"],
        &["check", "--for", "10m"],
    ];
    for args in cases {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let wait = Wait::start_by(&unshare, args);
            let mut first = None;
            let listens = eventually(PATIENCE, || {
                first = kernel::descendants(wait.child.id()).first().copied();
                first.is_some_and(|pid| catches(pid, signal))
            });
            assert!(listens, "{args:?} has no handler for {signal}");
            kill(first.unwrap(), signal);
            let (status, out, told) = wait.ended();
            assert_eq!(status.code(), Some(128 + signal), "{args:?}\n{out}{told}");
        }
    }
}

/// True if the process has a handler for this signal (`SigCgt` in /proc/PID/status).
fn catches(pid: u32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let bits = caught.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> (signal - 1) & 1 == 1)
}

fn kill(pid: u32, signal: i32) {
    // SAFETY: kill takes plain numbers; the process is a child of this test, or of its child.
    unsafe { libc::kill(i32::try_from(pid).unwrap(), signal) };
}

#[test]
fn in_a_shell_pipe_its_code_decides() {
    let server = {
        let args = ["-m", "http.server", "{port}", "--bind", "127.0.0.1"];
        Server::start(&need!(any()), &args)
    };
    let script = format!(
        "set -o pipefail; {STETH} wait :{} --timeout 10m 2>&1 | cat && echo deployed; \
         {STETH} wait :{} --timeout 1s 2>&1 | cat || echo kept the old one",
        server.port,
        kernel::free_port(),
    );
    let mut shell = Wait::start_by(&["bash", "-c", &script], &[]);
    let mut out = String::new();
    let mut stdout = shell.child.stdout.take().unwrap();
    stdout.read_to_string(&mut out).unwrap();
    has(
        &out,
        &["serving on 127.0.0.1:", "\ndeployed\n", "kept the old one"],
    );
    let ended = eventually(
        Duration::from_secs(30),
        || matches!(shell.child.try_wait(), Ok(Some(status)) if status.success()),
    );
    assert!(ended);
}
