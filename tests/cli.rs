//! What scripts rely on: the real program's words on stdout and stderr, its JSON keys and its exit codes.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::python::{any, is_root};
use support::server::Server;
use support::verdict::steth;
use support::{PATIENCE, eventually};

const STETH: &str = env!("CARGO_BIN_EXE_steth");

/// A healthy server of the standard library.
fn server() -> Result<Server, String> {
    let args = ["-m", "http.server", "{port}", "--bind", "127.0.0.1"];
    let server = Server::start(&any()?, &args);
    server.wait_listens();
    Ok(server)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let map = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value:#}"));
    map.keys().map(String::as_str).collect()
}

fn set(words: &str) -> BTreeSet<&str> {
    words.split_whitespace().collect()
}

/// A program that is not ours, in bounded time: some of them start a namespace and ours in it.
fn output(program: &str, args: &[&str]) -> Result<Output, String> {
    let bounded = [&["60", program], args].concat();
    let output = Command::new("timeout")
        .args(bounded)
        .stdin(Stdio::null())
        .output();
    output.map_err(|error| format!("timeout (coreutils): {error}"))
}

#[test]
fn what_needs_no_server() {
    // Arguments, exit code, words on stdout, words on stderr.
    type Case = (
        &'static [&'static str],
        i32,
        &'static [&'static str],
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        (
            &["--help"],
            0,
            &[
                "Usage: steth",
                "check",
                "doctor",
                "demo",
                "Exit codes: 0 healthy",
            ],
            &[],
        ),
        (&["check", "--help"], 0, &["--for", "--json", "TARGET"], &[]),
        (
            &["--version"],
            0,
            &[concat!("steth ", env!("CARGO_PKG_VERSION"))],
            &[],
        ),
        (&["man"], 0, &[".TH steth 1", ".SH SYNOPSIS", "doctor"], &[]),
        (
            &["completions", "bash"],
            0,
            &["_steth()", "--json", "doctor"],
            &[],
        ),
        (
            &["completions", "zsh"],
            0,
            &["#compdef steth", "--json"],
            &[],
        ),
        (
            &["completions", "fish"],
            0,
            &["complete -c steth", "json"],
            &[],
        ),
        (&["completions", "cobol"], 2, &[], &["cobol", "bash"]),
        (
            &["check", "--nonsense"],
            2,
            &[],
            &["unexpected argument '--nonsense'"],
        ),
        (
            &["--nonsense"],
            2,
            &[],
            &["unexpected argument '--nonsense'"],
        ),
        (&["check", "--for", "3y"], 2, &[], &["unknown unit 'y'"]),
        (
            &["wait", "--help"],
            0,
            &["TARGET", "--timeout", "60s", "--until", "listening"],
            &[],
        ),
        (&["wait"], 2, &[], &["<TARGET>"]),
        (&["wait", ":8000", "gunicorn"], 2, &[], &["gunicorn"]),
        (
            &["wait", ":8000", "--until", "bound"],
            2,
            &[],
            &["listening", "serving"],
        ),
        (
            &["wait", ":8000", "--timeout", "3y"],
            2,
            &[],
            &["unknown unit 'y'"],
        ),
        (&["check", ":70000"], 2, &[], &["'70000' is not a port"]),
        (&["check", ""], 2, &[], &["empty target"]),
        (&["--interval", "1ms"], 2, &[], &["100ms to 60s"]),
        (
            &[],
            2,
            &[],
            &["the live screen needs a terminal", "steth check"],
        ),
        (
            &["demo"],
            2,
            &[],
            &["needs a terminal", "steth demo --list"],
        ),
        (&["demo", "nonsense"], 2, &[], &["steth demo --list"]),
        (
            &["demo", "--list"],
            0,
            &["blocked-startup", "queue-overflow", "crash-loop", "healthy"],
            &[],
        ),
    ];
    for (args, code, stdout, stderr) in cases {
        let (exit, out, err) = steth(args);
        assert_eq!(exit, Some(*code), "{args:?}\n{out}\n{err}");
        for (text, words) in [(&out, stdout), (&err, stderr)] {
            assert_eq!(text.is_empty(), words.is_empty(), "{args:?}\n{out}\n{err}");
            for word in *words {
                assert!(text.contains(word), "{args:?}: no {word:?} in\n{text}");
            }
        }
        assert!(!err.contains("panicked"), "{args:?}\n{err}");
    }
}

#[test]
fn the_demos_have_one_line_each() {
    let (_, out, _) = steth(&["demo", "--list"]);
    let named: Vec<&str> = out.lines().filter_map(|l| l.split(' ').next()).collect();
    let known: Vec<&str> = steth::demo::SCENARIOS.iter().map(|s| s.name).collect();
    assert_eq!(named, known);
}

#[test]
fn doctor_has_one_row_per_subject() {
    let (exit, out, err) = steth(&["doctor"]);
    assert_eq!((exit, err.as_str()), (Some(0), ""), "{out}");
    let (mut subjects, mut reasons) = (Vec::new(), 0);
    for line in out.lines() {
        if let Some(reason) = line.strip_prefix("           ") {
            reasons += usize::from(!reason.starts_with("unlock: "));
            continue;
        }
        let mark = ["✔ yes    ", "◐ partly ", "✖ no     "];
        let subject = mark.iter().find_map(|mark| line.strip_prefix(mark));
        subjects.push(subject.unwrap_or_else(|| panic!("no row: {line:?}")));
    }
    let distinct: BTreeSet<&str> = subjects.iter().copied().collect();
    assert_eq!(distinct.len(), subjects.len(), "{out}");
    assert_eq!(reasons, subjects.len(), "{out}");
    for word in [
        "stacks",
        "open files",
        "listeners",
        "births",
        "exit codes",
        "log files",
        "journal",
    ] {
        assert!(subjects.iter().any(|s| s.contains(word)), "{word}\n{out}");
    }
}

#[test]
fn a_target_that_matches_nothing_is_told_what_there_is() {
    let server = need!(server());
    let pid = server.pid.to_string();
    for (target, sentence) in [
        ("4194999", "no Python process with pid 4194999"),
        (":9", "no Python server listens on port 9"),
        (
            "/nowhere/x.sock",
            "no Python server listens on /nowhere/x.sock",
        ),
        (
            "zzz-nobody",
            "no Python process has 'zzz-nobody' in its command line",
        ),
    ] {
        // One target that is there does not hide one that is not.
        for targets in [&[target][..], &[&pid, target]] {
            let args = [&["check", "--for", "300ms"], targets].concat();
            let (exit, out, err) = steth(&args);
            assert_eq!((exit, out.as_str()), (Some(2), ""), "{args:?}\n{err}");
            assert!(
                err.starts_with(&format!("steth: {sentence}; there are:\n")),
                "{err}"
            );
            let listed = |l: &str| {
                l.trim_start().starts_with(&format!("{pid} "))
                    && l.ends_with(&format!("  on 127.0.0.1:{}", server.port))
            };
            assert!(err.lines().any(listed), "{pid} on :{}\n{err}", server.port);
        }
    }
}

/// The contract's keys, and what was added to them.
#[test]
fn json_has_the_keys_of_the_contract() {
    let server = need!(server());
    let port = format!(":{}", server.port);
    let (exit, out, err) = steth(&["check", "--for", "1s", "--json", &port]);
    assert_eq!((exit, err.as_str()), (Some(0), ""), "{out}");
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["schema"], "steth.check/1");
    assert_eq!(
        keys(&document),
        set("schema host taken_at observed_for_s servers gaps")
    );
    assert!(document["observed_for_s"].as_f64().unwrap() >= 1.0);
    let taken_at = document["taken_at"].as_str().unwrap();
    assert!(
        taken_at.ends_with('Z') && taken_at.len() == 24,
        "{taken_at}"
    );
    assert_eq!(document["servers"].as_array().unwrap().len(), 1, "{out}");

    let seen = &document["servers"][0];
    assert_eq!(
        keys(seen),
        set("name kind pid phase phase_for_s why listeners processes findings exits log")
    );
    assert_eq!(seen["kind"], "http.server");
    assert_eq!(seen["phase"], "serving");
    assert_eq!(seen["pid"], server.pid);
    assert_eq!(seen["findings"].as_array().unwrap().len(), 0);
    assert_eq!(seen["exits"].as_array().unwrap().len(), 0);

    let listener = &seen["listeners"][0];
    assert_eq!(
        keys(listener),
        set(
            "family address port path state accept_queue backlog drops syn_queue v6only side holders accepting netns"
        )
    );
    assert_eq!(listener["family"], "tcp4");
    assert_eq!(listener["address"], "127.0.0.1");
    assert_eq!(listener["port"], server.port);
    assert_eq!(listener["state"], "listening");
    assert_eq!(listener["accept_queue"], 0);
    assert!(listener["backlog"].as_u64().unwrap() > 0);
    assert_eq!(listener["holders"], serde_json::json!([server.pid]));

    let process = &seen["processes"][0];
    assert_eq!(
        keys(process),
        set(
            "pid ppid start_time role phase cmdline python state cpu_percent rss threads fds tasks stacks"
        )
    );
    assert_eq!(process["pid"], server.pid);
    assert_eq!(process["ppid"], std::process::id());
    assert_eq!(process["role"], "single");
    assert!(process["rss"].as_u64().unwrap() > 1 << 20);
    assert_eq!(keys(&process["fds"]), set("open limit"));

    // Stacks may be out of reach (a sandbox, Yama): null and a gap then.
    let Some(stack) = process["stacks"].get(0) else {
        let gaps = document["gaps"].as_array().unwrap();
        let told = gaps.iter().any(|g| g["source"] == "python-stack");
        assert!(process["stacks"].is_null() && told, "{out}");
        return;
    };
    assert_eq!(keys(stack), set("tid name activity holds_gil frames"));
    assert_eq!(stack["tid"], server.pid);
    assert_eq!(stack["activity"], "selector");
    assert_eq!(keys(&stack["frames"][0]), set("function file line"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let server = need!(server());
    let pid = server.pid.to_string();
    let cases: [&[&str]; 6] = [
        &["check", "--for", "200ms", &pid],
        &["check", "--for", "200ms", "--json", &pid],
        &["doctor"],
        &["man"],
        &["completions", "bash"],
        &["demo", "--list"],
    ];
    for args in cases {
        let mut child = start(args);
        // Nobody has read and nobody will: the first write fails.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), err.as_ref()),
            (Some(0), ""),
            "{args:?}"
        );
    }
    let head = format!("'{STETH}' check --for 200ms {pid} | head -1; exit ${{PIPESTATUS[0]}}");
    let output = need!(output("bash", &["-c", &head]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

fn start(args: &[&str]) -> Child {
    Command::new(STETH)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started")
}

#[test]
fn signals_end_a_check_at_once() {
    for (signal, shell_sees) in [(libc::SIGTERM, 143), (libc::SIGINT, 130)] {
        let mut child = start(&["check", "--for", "1h"]);
        let tasks = format!("/proc/{}/task", child.id());
        let looks = eventually(PATIENCE, || {
            std::fs::read_dir(&tasks).is_ok_and(|tasks| tasks.count() > 1)
        });
        let pid = i32::try_from(child.id()).unwrap();
        // SAFETY: kill takes plain numbers; the child is not reaped yet, so the number is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let ended = eventually(Duration::from_secs(60), || {
            child.try_wait().is_ok_and(|status| status.is_some())
        });
        if !ended {
            let _ = child.kill();
        }
        let output = child.wait_with_output().unwrap();
        assert!(
            looks && ended,
            "signal {signal}: looks {looks}, ended {ended}"
        );
        let status = output.status;
        let code = status.code().or(status.signal().map(|s| 128 + s));
        assert_eq!(code, Some(shell_sees), "{status:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    }
}

/// The program where every user can run it, whatever the rights of the build's folders.
fn for_everybody() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("steth");
    std::fs::copy(STETH, &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (folder, program)
}

#[test]
fn another_user_is_told_which_right_is_missing() {
    need!(is_root());
    let server = need!(server());
    let (_folder, program) = for_everybody();
    let program = program.to_str().unwrap();
    let as_nobody = |args: &[&str]| {
        let drop_rights = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        output("setpriv", &[&drop_rights[..], &[program], args].concat())
    };
    let (pid, port) = (server.pid.to_string(), format!(":{}", server.port));
    let text = need!(as_nobody(&["check", "--for", "500ms", &pid]));
    let out = String::from_utf8_lossy(&text.stdout);
    assert_eq!(text.status.code(), Some(3), "{text:?}");
    assert!(out.contains("not seen"), "{out}");
    assert!(
        out.contains("unlock: sudo steth (or CAP_SYS_PTRACE"),
        "{out}"
    );
    assert!(!out.contains("listens on: nothing"), "{out}");

    let json = need!(as_nobody(&["check", "--for", "500ms", "--json", &pid]));
    assert_eq!(json.status.code(), Some(3));
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    let seen = &document["servers"][0];
    for key in ["phase", "listeners"] {
        assert!(seen[key].is_null(), "{key}: {seen:#}");
    }
    for key in ["fds", "stacks", "phase"] {
        assert!(seen["processes"][0][key].is_null(), "{key}: {seen:#}");
    }
    let gaps = document["gaps"].as_array().unwrap();
    for source in ["fd", "python-stack"] {
        let fits = |g: &&Value| g["source"] == source && g["pid"] == server.pid;
        let gap = gaps.iter().find(fits);
        let gap = gap.unwrap_or_else(|| panic!("no gap of {source}: {document:#}"));
        assert_eq!(keys(gap), set("source pid cause unlock"));
        assert!(gap["unlock"].as_str().unwrap().contains("sudo steth"));
    }

    let unowned = need!(as_nobody(&["check", "--for", "500ms", &port]));
    let err = String::from_utf8_lossy(&unowned.stderr);
    assert_eq!(unowned.status.code(), Some(3), "{unowned:?}");
    assert!(
        err.contains(&format!("something listens on {port}")),
        "{err}"
    );
    assert!(err.contains("sudo steth"), "{err}");
}

#[test]
fn a_machine_without_python_is_healthy() {
    need!(is_root());
    let namespace = ["-p", "-f", "--mount-proc", STETH, "check", "--for", "300ms"];
    let text = need!(output("unshare", &namespace));
    let out = String::from_utf8_lossy(&text.stdout);
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    assert!(out.starts_with("no Python server is running"), "{out}");

    let json = need!(output("unshare", &[&namespace[..], &["--json"]].concat()));
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["servers"], serde_json::json!([]), "{document:#}");

    let named = need!(output("unshare", &[&namespace[..], &[":80"]].concat()));
    let err = String::from_utf8_lossy(&named.stderr);
    assert_eq!(named.status.code(), Some(2), "{named:?}");
    assert!(
        err.contains("no Python process that this user can see"),
        "{err}"
    );
}
