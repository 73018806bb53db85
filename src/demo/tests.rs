//! The demo on the real kernel: each scenario fails as its title says, and leaves nothing behind.

use super::*;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Pids of a process group's members that are not zombies.
fn group_members(group: u32) -> Vec<u32> {
    let mut members = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
        if fields[3] == group.to_string() && fields[1] != "Z" {
            members.push(pid);
        }
    }
    members
}

/// Accept-queue depth of a listener on 127.0.0.1, from /proc/net/tcp; `None` if nothing listens there.
fn accept_queue(port: u16) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[1] == local && words[3] == "0A")
            .then(|| u64::from_str_radix(words[4].split_once(':').unwrap().1, 16).unwrap())
    })
}

fn wait_for<T>(what: &str, log: &std::path::Path, mut seen: impl FnMut(&str) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        if let Some(value) = seen(&text) {
            return value;
        }
        assert!(Instant::now() < deadline, "never saw {what}; log:\n{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn port_of(running: &Running) -> u16 {
    wait_for("an address", &running.log, |text| {
        let (port, _) = text.split_once("http://127.0.0.1:")?.1.split_once('\n')?;
        port.parse().ok()
    })
}

/// Starts a scenario; `None`, said aloud, where there is no Python. CI has one.
fn started(name: &str) -> Option<Running> {
    match start(Some(name)) {
        Err(DemoError::NoPython { found }) if std::env::var_os("CI").is_none() => {
            // Not eprintln!: the harness captures it in a test that passes.
            let _ = writeln!(
                io::stderr(),
                "SKIPPED {name}: no Python >= 3.8 on the PATH ({found})"
            );
            None
        }
        other => Some(other.unwrap()),
    }
}

/// Starts a scenario, shows it to `look`, and holds that nothing of it is left.
fn with_demo(name: &str, look: impl FnOnce(&Running)) {
    let Some(running) = started(name) else {
        return;
    };
    let (pid, log) = (running.pid, running.log.clone());
    look(&running);
    assert!(group_members(pid).contains(&pid));
    drop(running);
    assert_eq!(group_members(pid), Vec::<u32>::new());
    assert!(!log.parent().unwrap().exists());
}

#[test]
fn names_are_typable_and_unique() {
    for (at, scenario) in SCENARIOS.iter().enumerate() {
        let typable = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(scenario.name.chars().all(typable), "{}", scenario.name);
        assert!(
            SCENARIOS[..at]
                .iter()
                .all(|other| other.name != scenario.name)
        );
        assert!(!scenario.title.is_empty());
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let message = start(Some("nope")).unwrap_err().to_string();
    for scenario in SCENARIOS {
        assert!(message.contains(scenario.name), "{message}");
    }
}

#[test]
fn blocked_startup_says_that_it_runs_and_does_not_listen() {
    with_demo("blocked-startup", |running| {
        let port = port_of(running);
        wait_for("an attempt", &running.log, |text| {
            text.contains("attempt 1").then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(accept_queue(port), None);
        let refused = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn queue_overflow_fills_the_accept_queue() {
    with_demo("queue-overflow", |running| {
        let port = port_of(running);
        // A backlog of 5 admits 6.
        wait_for("a full queue", &running.log, |_| {
            (accept_queue(port) == Some(6)).then_some(())
        });
    });
}

#[test]
fn crash_loop_listens_and_its_workers_die() {
    with_demo("crash-loop", |running| {
        let port = port_of(running);
        wait_for("three deaths", &running.log, |text| {
            (text.matches("exited with code 3").count() >= 3).then_some(())
        });
        assert!(accept_queue(port).is_some());
    });
}

#[test]
fn healthy_answers() {
    with_demo("healthy", |running| {
        use std::io::Read;
        let mut client = std::net::TcpStream::connect(("127.0.0.1", port_of(running))).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    });
}

#[test]
fn a_group_ends_even_if_it_ignores_sigterm() {
    let child = Command::new("/bin/sh")
        .args(["-c", "trap '' TERM; sleep 60 & echo $!; wait; wait; wait"])
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let deadline = Instant::now() + Duration::from_secs(30);
    while group_members(pid).len() < 2 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(group_members(pid).len(), 2);
    drop(Group::new(child));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !group_members(pid).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(group_members(pid), Vec::<u32>::new());
}

#[test]
fn the_group_ends_by_itself_when_the_demo_is_killed() {
    let Some(mut running) = started("crash-loop") else {
        return;
    };
    wait_for("a death", &running.log, |text| {
        text.contains("exited with code 3").then_some(())
    });
    // What the kernel does to our end of the pipe when this program is killed.
    drop(running._group.leader.stdin.take());
    let deadline = Instant::now() + Duration::from_secs(30);
    while !group_members(running.pid).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(group_members(running.pid), Vec::<u32>::new());
}
