//! End to end: the real program in a pseudo-terminal, on a real server, read as a person reads it.
#![cfg(test)]

mod support;

use std::path::Path;
use std::time::Duration;

use support::eventually;
use support::python::{any, venv};
use support::server::Server;
use support::terminal::Terminal;

/// A healthy server for the tests that are about the terminal.
fn server() -> Result<Server, String> {
    let server = Server::start(&any()?, &["lines_asyncio.py", "{port}"]);
    server.wait_listens();
    Ok(server)
}

/// The program on a server, with the table on screen.
fn screen_on(server: &Server, rows: u16, columns: u16, env: &[(&str, &str)]) -> Terminal {
    let terminal = Terminal::steth(rows, columns, env, &[&server.pid.to_string()]);
    terminal.wait_text(&["PHASE", "lines_asyncio", "serving"]);
    terminal
}

/// Parameters of all `CSI … m` sequences in what was written.
fn colours(bytes: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(bytes);
    text.split("\x1b[")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            rest[end..].starts_with('m').then(|| rest[..end].to_owned())
        })
        .flat_map(|list| {
            list.split([';', ':'])
                .filter_map(|number| number.parse().ok())
                .collect::<Vec<u32>>()
        })
        .filter(|number| matches!(number, 30..=38 | 40..=48 | 90..=97 | 100..=107))
        .collect()
}

#[test]
fn from_importing_over_starting_to_serving() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let gates = tempfile::tempdir().unwrap();
    let env = format!("LIVE_GATES={}", gates.path().display());
    let uvicorn = uvicorn.to_str().unwrap();
    let args = [&env, uvicorn, "gated_asgi:app", "--port", "{port}"];
    let server = Server::start(Path::new("/usr/bin/env"), &args);
    server.wait_log("importing begins", 1);
    let terminal = Terminal::steth(40, 140, &[], &[&server.pid.to_string()]);
    terminal.wait_text(&["PHASE", "gated_asgi", "importing"]);
    std::fs::write(gates.path().join("import"), "").unwrap();
    server.wait_log("startup begins", 1);
    terminal.wait_text(&["gated_asgi", "starting"]);
    std::fs::write(gates.path().join("startup"), "").unwrap();
    server.wait_listens();
    let port = format!(":{}", server.port);
    terminal.wait_text(&["gated_asgi", "serving", &port]);
}

/// One server goes from importing to serving; one goes back to that, saves it, replays it and makes a report of it.
#[test]
fn what_was_seen_is_gone_through_again_and_saved_and_replayed_and_reported() {
    let uvicorn = need!(venv("main", "uvicorn"));
    let (gates, saved) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let env = format!("LIVE_GATES={}", gates.path().display());
    let args = [
        &env,
        uvicorn.to_str().unwrap(),
        "gated_asgi:app",
        "--port",
        "{port}",
    ];
    let server = Server::start(Path::new("/usr/bin/env"), &args);
    server.wait_log("importing begins", 1);
    let (folder, pid) = (saved.path().to_str().unwrap(), server.pid.to_string());
    let steth = env!("CARGO_BIN_EXE_steth");
    let within = ["-C", folder, steth, &pid];
    let mut live = Terminal::open(Path::new("/usr/bin/env"), 40, 140, &[], &within);
    live.wait_text(&["gated_asgi", "importing"]);
    for gate in ["import", "startup"] {
        std::fs::write(gates.path().join(gate), "").unwrap();
    }
    live.wait_text(&["gated_asgi", "serving", "live 1s"]);

    live.keys("(");
    live.wait_text(&["◀", " ago", "importing", "1 of "]);
    live.keys("}");
    live.wait("the next change", |text| {
        text.contains("◀") && !text.contains(" 1 of ")
    });
    live.keys("L");
    live.wait_text(&["live 1s", "serving"]);
    live.keys("R");
    live.wait_text(&["looks", "steth replay steth-"]);
    live.keys("S");
    live.wait_text(&["the screen is in steth-"]);
    live.keys("q");
    assert_eq!(live.ended(), 0);

    let made = |extension: &str| {
        let files = std::fs::read_dir(saved.path()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let mut fitting = paths.filter(|path| path.extension().is_some_and(|e| e == extension));
        fitting.next().unwrap()
    };
    let view = std::fs::read_to_string(made("txt")).unwrap();
    assert!(
        view.contains("gated_asgi") && view.contains("PHASE"),
        "{view}"
    );
    let recording = made("steth");
    let recording = recording.to_str().unwrap();
    let mut replay = Terminal::steth(40, 140, &[], &["replay", recording]);
    replay.wait_text(&["gated_asgi", "recorded"]);
    replay.keys(")");
    replay.wait_text(&["gated_asgi", "serving"]);
    replay.keys("(");
    replay.wait_text(&["gated_asgi", "importing"]);
    replay.keys("q");
    assert_eq!(replay.ended(), 0);

    let report = std::process::Command::new(steth)
        .args(["report", "--from", recording, "-o", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&report.stdout);
    assert!(
        report.status.success(),
        "{}",
        String::from_utf8_lossy(&report.stderr)
    );
    for part in ["gated\\_asgi", "| importing |", "| serving |"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn q_leaves_and_restores_the_terminal() {
    let server = need!(server());
    let mut terminal = screen_on(&server, 24, 80, &[]);
    assert!(terminal.is_taken());
    let raw = terminal.modes();
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
    assert!(eventually(Duration::from_secs(30), || terminal.is_restored()));
    let modes = terminal.modes();
    assert_ne!(modes, raw, "still in raw mode");
}

#[test]
fn sigterm_restores_the_terminal() {
    let server = need!(server());
    let mut terminal = screen_on(&server, 24, 80, &[]);
    let raw = terminal.modes();
    terminal.signal(libc::SIGTERM);
    assert_eq!(terminal.ended(), 143);
    assert!(eventually(Duration::from_secs(30), || terminal.is_restored()));
    assert_ne!(terminal.modes(), raw, "still in raw mode");
}

#[test]
fn control_c_restores_the_terminal() {
    let server = need!(server());
    let mut terminal = screen_on(&server, 24, 80, &[]);
    terminal.keys("\x03");
    assert_eq!(terminal.ended(), 130);
    assert!(eventually(Duration::from_secs(30), || terminal.is_restored()));
}

#[test]
fn follows_the_size_of_the_terminal() {
    let server = need!(server());
    let mut terminal = screen_on(&server, 24, 80, &[]);
    for (rows, columns) in [(48, 160), (24, 80), (12, 40), (3, 10), (1, 1), (40, 120)] {
        terminal.resize(rows, columns);
        // Whatever fits is there; the program must live on.
        std::thread::sleep(Duration::from_millis(150));
    }
    terminal.wait_text(&["PHASE", "lines_asyncio", "serving"]);
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn no_color_writes_no_colour() {
    let server = need!(server());
    let plain = screen_on(&server, 24, 80, &[("NO_COLOR", "1")]);
    assert_eq!(colours(&plain.bytes()), Vec::<u32>::new());
    let coloured = screen_on(&server, 24, 80, &[]);
    assert_ne!(colours(&coloured.bytes()), Vec::<u32>::new());
}

#[test]
fn without_utf8_the_screen_is_ascii() {
    let server = need!(server());
    let terminal = screen_on(&server, 24, 80, &[("LC_ALL", "C")]);
    let bytes = terminal.bytes();
    assert!(bytes.is_ascii(), "{}", terminal.text());
}

#[test]
fn a_dumb_terminal_gets_plain_text() {
    let server = need!(server());
    let pid = server.pid.to_string();
    let mut terminal = Terminal::steth(24, 80, &[("TERM", "dumb")], &[&pid]);
    terminal.wait("any text", |text| !text.trim().is_empty());
    terminal.keys("\x03");
    let status = terminal.ended();
    let bytes = terminal.bytes();
    assert!(!bytes.contains(&0x1b), "an escape sequence was written");
    assert!(!terminal.text().contains("panicked"));
    assert_ne!(status, 101);
}

#[test]
fn help_and_panels_are_reached_at_80_by_24() {
    let server = need!(server());
    let mut terminal = screen_on(&server, 24, 80, &[]);
    terminal.keys("?");
    // Seen before the next key: ESC and a digit that arrive together are Alt and the digit.
    terminal.wait("the help", |text| {
        let first = text.lines().next().unwrap_or_default();
        first.contains("help") && !text.contains("PHASE")
    });
    terminal.keys("\x1b");
    terminal.wait_text(&["PHASE"]);
    terminal.keys("2");
    terminal.wait("the stacks", |text| text.contains("MainThread"));
    terminal.keys("1");
    let port = format!(":{}", server.port);
    terminal.wait("the sockets", |text| text.contains(&port));
}

/// What OSC 52 has asked the terminal to keep, last first.
fn clipboard(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let asked = text.split("\x1b]52;c;").skip(1);
    let mut all: Vec<String> = asked
        .filter_map(|rest| Some(rest.split_once('\x07')?.0.to_owned()))
        .collect();
    all.reverse();
    all
}

/// `base64 -d`, by the machine's own program.
fn decoded(base64: &str) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(base64.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{base64}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn enter_on_a_finding_asks_the_terminal_to_copy_its_command() {
    let python = need!(any());
    for term in ["xterm-256color", "vt220"] {
        let server = Server::start(&python, &["bound_first.py", "{port}"]);
        let pid = server.pid.to_string();
        let mut terminal = Terminal::steth(40, 140, &[("TERM", term)], &[&pid]);
        terminal.wait_text(&["bound", "check it:"]);
        terminal.keys("w");
        terminal.keys("\r");
        terminal.wait_text(&["finding 1 of", "Check it by hand", "copied:"]);
        let asked = clipboard(&terminal.bytes());
        if term == "vt220" {
            assert_eq!(asked, Vec::<String>::new());
            terminal.wait_text(&["not copied"]);
        } else {
            let command = decoded(&asked[0]);
            assert_eq!(asked.len(), 1);
            terminal.wait("the command", |text| text.contains(&command));
            assert!(!command.is_empty());
        }
        terminal.keys("\x1b");
        terminal.wait_text(&["PHASE"]);
        terminal.keys("q");
        assert_eq!(terminal.ended(), 0);
    }
}

#[test]
fn stops_for_the_shell_and_comes_back() {
    let server = need!(server());
    let shell = Path::new("/bin/bash");
    if !shell.exists() {
        return support::skip("no bash for job control");
    }
    let env = [("PS1", "ready> "), ("HISTFILE", "")];
    let mut terminal = Terminal::open(shell, 24, 80, &env, &["--norc", "--noprofile", "-i"]);
    terminal.wait_text(&["ready>"]);
    let program = env!("CARGO_BIN_EXE_steth");
    terminal.keys(&format!("{program} {}\n", server.pid));
    terminal.wait_text(&["PHASE", "lines_asyncio", "serving"]);
    terminal.keys("\x1a");
    terminal.wait("the shell", |text| text.contains("Stopped"));
    assert!(terminal.is_restored());
    terminal.keys("fg\n");
    terminal.wait_text(&["PHASE", "lines_asyncio", "serving"]);
    terminal.keys("q");
    terminal.wait("the shell", |text| text.contains("ready>"));
    terminal.keys("echo code $?\n");
    terminal.wait_text(&["code 0"]);
    assert!(terminal.is_restored());
    terminal.keys("exit\n");
    terminal.ended();
}

#[test]
fn the_demo_shows_its_failure_and_leaves_nothing() {
    need!(any());
    let mut terminal = Terminal::steth(40, 140, &[], &["demo", "crash-loop"]);
    terminal.wait_text(&["PHASE", "crash_loop.py", "crash-looping"]);
    let children = support::kernel::descendants(terminal.pid());
    assert!(!children.is_empty());
    let group = children[0];
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
    assert!(eventually(Duration::from_secs(30), || {
        support::kernel::group_members(group).is_empty()
    }));
}

/// Makes the README's picture: the real screen on the demo's own servers.
///
///     cargo test --release --test pty -- --ignored picture
#[test]
#[ignore = "writes assets/screen.svg and assets/screen.txt"]
fn picture_for_the_readme() {
    let scenarios = steth::demo::SCENARIOS;
    let running: Vec<_> = scenarios
        .iter()
        .map(|scenario| steth::demo::start(Some(scenario.name)).unwrap())
        .collect();
    let pids: Vec<String> = running.iter().map(|demo| demo.pid.to_string()).collect();
    let pids: Vec<&str> = pids.iter().map(String::as_str).collect();
    let mut terminal = Terminal::steth(34, 132, &[], &pids);
    terminal.wait_text(&["PHASE", "serving", "crash-looping", "stalled"]);
    // Long enough for the queues to have a history and for the startup to be late.
    std::thread::sleep(Duration::from_secs(35));
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    std::fs::write(assets.join("screen.svg"), terminal.picture()).unwrap();
    std::fs::write(assets.join("screen.txt"), terminal.text() + "\n").unwrap();
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
}
