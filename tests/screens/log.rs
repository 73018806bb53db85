//! The panel of the log: the newest lines at the bottom, tracebacks folded, phases between the lines.

use std::sync::Arc;

use steth::snapshot::{Frame, Level, LogLine, LogTail, Sink, Traceback};
use steth::view::Scene;

use super::fixture::{self, at};
use super::{ALL_SIZES, Screen, check};

fn line(number: u64, seconds: f64, level: Option<Level>, text: &str) -> Arc<LogLine> {
    Arc::new(LogLine {
        number,
        at: at(seconds),
        is_new: true,
        told_ms: None,
        pid: None,
        level,
        text: text.to_owned(),
    })
}

/// A worker of the crash-looping server writes a traceback between an info and an error; then so many lines more.
fn scene(more: u64) -> Arc<Scene> {
    let server = fixture::crash_looping_gunicorn();
    let info = Some(Level::Info);
    let error = Some(Level::Error);
    let mut lines = vec![
        line(0, -9.0, info, "[INFO] Booting worker with pid: 30291"),
        line(1, -8.0, None, "Traceback (most recent call last):"),
        line(
            2,
            -8.0,
            None,
            "  File \"/srv/api/main.py\", line 8, in read_secret",
        ),
        line(3, -8.0, None, "    raise RuntimeError(name)"),
        line(4, -8.0, error, "RuntimeError: secret api is not mounted"),
        line(
            5,
            -7.5,
            Some(Level::Warning),
            "[WARNING] worker has no secret",
        ),
        line(
            6,
            -7.0,
            error,
            "[ERROR] Worker (pid:30291) exited with code 3",
        ),
    ];
    lines.extend((7..7 + more).map(|n| line(n, -1.0, info, &format!("[INFO] tick {n}"))));
    let frame = Frame {
        function: "read_secret".into(),
        file: "/srv/api/main.py".into(),
        line: 8,
    };
    let tail = LogTail {
        sink: Sink::File {
            path: "/var/log/api/error.log".into(),
        },
        writers: server.members.iter().map(|m| m.process.key).collect(),
        is_fresh: false,
        changed_at: at(0.0),
        lines,
        skipped: 0,
        tracebacks: vec![Arc::new(Traceback {
            first: 1,
            last: 4,
            at: at(-8.0),
            is_new: true,
            pid: None,
            thread: None,
            exception: "RuntimeError".into(),
            message: "secret api is not mounted".into(),
            culprit: Some(frame.clone()),
            frames: vec![frame],
        })],
    };
    let mut scene = Scene::clone(&fixture::scene(0.0, vec![server], vec![], vec![]));
    if let Some(snapshot) = &mut scene.snapshot {
        Arc::make_mut(snapshot).inquiries.logs.push(Arc::new(tail));
    }
    Arc::new(scene)
}

#[test]
fn pictures_of_the_log() {
    for (columns, rows) in ALL_SIZES {
        let mut screen = Screen::showing(columns, rows, scene(0));
        screen.keys("6");
        check(&format!("log-{columns}x{rows}"), &screen);
    }
}

#[test]
fn tracebacks_are_folded_until_one_looks() {
    let mut screen = Screen::showing(120, 36, scene(0));
    screen.keys("6<Esc>");
    screen.has(
        "✖ RuntimeError: secret api is not mounted  in read_secret (api/main.py:8)  … 3 lines",
    );
    screen.lacks("raise RuntimeError");
    screen.has("▲ [WARNING] worker has no secret");
    screen.has("as the kernel shows");
    screen.keys("6");
    screen.has("raise RuntimeError");
}

#[test]
fn the_newest_lines_stay_in_sight_until_one_scrolls_away() {
    let mut screen = Screen::showing(80, 24, scene(100));
    screen.keys("6");
    screen.has("tick 106");
    screen.lacks("Booting worker");
    screen.see(scene(200));
    screen.has("tick 206");
    // Who scrolls up stays where he is, and End leads back.
    screen.keys("<Up><Up><Up>");
    screen.lacks("tick 206");
    screen.see(scene(300));
    screen.lacks("tick 306");
    screen.keys("<End>");
    screen.see(scene(301));
    screen.has("tick 307");
    // The panel that nobody looks at shows the end, too.
    screen.keys("<Esc>");
    screen.has("tick 307");
}

#[test]
fn a_long_line_is_shown_whole_to_who_looks() {
    let mut scene = Scene::clone(&scene(0));
    let long = format!("[ERROR] {} the end", "x".repeat(200));
    if let Some(snapshot) = &mut scene.snapshot {
        let tail = &mut Arc::make_mut(snapshot).inquiries.logs[0];
        Arc::make_mut(tail)
            .lines
            .push(line(7, -1.0, Some(Level::Error), &long));
    }
    let mut screen = Screen::showing(80, 24, Arc::new(scene));
    screen.keys("6");
    screen.has("the end");
    screen.keys("<Esc>");
    screen.lacks("the end");
}

#[test]
fn a_log_that_cannot_be_read_says_why() {
    let server = fixture::starting_uvicorn();
    let pid = server.pid;
    let gap = steth::snapshot::Gap {
        source: "log".into(),
        pid: Some(pid),
        cause: "stdout is a pipe read by pid 77 (containerd-shim)".into(),
        unlock: None,
    };
    let scene = fixture::scene(0.0, vec![server], vec![], vec![gap]);
    let mut screen = Screen::showing(100, 30, scene);
    screen.lacks("not seen: log");
    screen.keys("6");
    screen.has("? log not seen: stdout is a pipe read by pid 77 (containerd-shim)");
}
