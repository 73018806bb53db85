//! What the source of a program says, read from a file as a search does.

use std::time::Duration;

use super::*;
use crate::snapshot::Activity;

const THREADS: (&str, &str) = ("_shutdown", "/usr/lib/python3.11/threading.py");
const IMPORTS: (&str, &str) = ("_find_and_load", "<frozen importlib._bootstrap>");

fn stack(frames: &[(&str, &str)]) -> Stack {
    Stack {
        tid: Some(1),
        name: None,
        daemon: None,
        activity: Activity::Lock,
        holds_gil: false,
        frames: frames
            .iter()
            .map(|(function, file)| Frame {
                function: (*function).into(),
                file: (*file).into(),
                line: 1,
            })
            .collect(),
    }
}

/// A search for what a script means that this process could read.
fn search(script: &str, frames: &[(&str, &str)]) -> Search {
    let pid = std::process::id();
    Search {
        key: ProcessKey { pid, start_time: 1 },
        cmdline: ["python", script].map(str::to_owned).to_vec(),
        cwd: None,
        stack: stack(frames),
        at: Moment(1),
    }
}

/// What is found where the main thread stands in these frames, and the script has this text.
fn found(text: &str, frames: &[(&str, &str)]) -> Option<(String, Reach)> {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("app.py");
    std::fs::write(&script, text).unwrap();
    let intent = Sources::default().intent(&search(script.to_str().unwrap(), frames))?;
    Some((intent.call, intent.reach))
}

#[test]
fn who_only_started_a_thread_that_serves_has_not_come_to_an_end_of_it() {
    for text in [
        "Thread(target=lambda: app.run(port=80)).start()\n",
        "t = threading.Thread(\n    target=lambda: app.run(port=80),\n)\nt.start()\n",
        "def main():\n    app.run(port=80)\n\nThread(target=lambda: main()).start()\n",
        "def serve(): Thread(target=srv.serve_forever).start()\nserve()\n",
        "def serve():\n    Thread(target=srv.serve_forever).start()\n\nserve()\n",
    ] {
        assert_eq!(found(text, &[THREADS]), None, "{text}");
    }
    for (text, call) in [
        ("app.run(port=80)\n", "app.run"),
        (
            "def serve():\n    srv.serve_forever()\n\nserve()\n",
            "serve",
        ),
        ("aws_lambda = 1; waitress.serve(aws_lambda)\n", "serve"),
        ("def serve(): warm()\nwaitress.serve(app)\n", "serve"),
    ] {
        let want = (call.to_owned(), Reach::Behind);
        assert_eq!(found(text, &[THREADS]), Some(want), "{text}");
    }
}

#[test]
fn what_a_text_says_is_not_called() {
    let told = "\"\"\"Started by web.py:\n\napp.run(port=80)\n\"\"\"\nwork()\n";
    assert_eq!(found(told, &[IMPORTS]), None);
    let one_line = "'''started by web.py: app.run(port=80)'''\nwork()\n";
    assert_eq!(found(one_line, &[IMPORTS]), None);
    for printed in [
        "print(\"uvicorn.run(app)\")\nwork()\n",
        "log('then app.run(port=80)'); work()\n",
        "HELP = f\"call asyncio.run(main()), or serve_forever()\"\nwork()\n",
    ] {
        assert_eq!(found(printed, &[IMPORTS]), None, "{printed}");
    }
    let beside = "app.run(name=\"shop (#1)\", port=80)\n";
    let want = ("app.run".to_owned(), Reach::Script);
    assert_eq!(found(beside, &[IMPORTS]), Some(want));
    let behind = "greet(\"#1\"); uvicorn.run(app)\n";
    let want = ("uvicorn.run".to_owned(), Reach::Script);
    assert_eq!(found(behind, &[IMPORTS]), Some(want));
    let calls = "\"\"\"The shop.\"\"\"\napp.run(port=80)\n";
    let want = ("app.run".to_owned(), Reach::Script);
    assert_eq!(found(calls, &[IMPORTS]), Some(want));
}

#[test]
fn who_has_lost_its_searcher_waits_for_nothing_and_gets_another() {
    let (sender, searches) = sync_channel(1);
    let (results, answers) = channel();
    drop((searches, results));
    let mut reader = IntentReader {
        searcher: Some((sender, answers)),
        ..IntentReader::default()
    };
    assert!(reader.search(search("/none.py", &[THREADS])));
    assert_eq!(reader.found(Instant::now() + Duration::from_secs(30)), []);
    assert!(reader.searcher.is_none());
    // The search is not lost with it.
    assert!(reader.search(search("/none.py", &[THREADS])));
    let found = reader.found(Instant::now() + Duration::from_secs(30));
    let none = (search("/none.py", &[]).key, None);
    assert_eq!(found.first(), Some(&none));
}

#[test]
fn the_script_is_what_the_interpreter_runs() {
    for (line, want) in [
        ("python app.py 80", Some("app.py")),
        ("/venv/bin/python3 -u -X dev /srv/app.py", None),
        ("python -u -B /srv/app.py", Some("/srv/app.py")),
        ("python -m shop app.py", None),
        ("python -c code app.py", None),
        ("python /venv/bin/uvicorn app.py", None),
        ("python", None),
    ] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(script(&words), want, "{line}");
    }
}

#[test]
fn an_end_is_told_by_the_outermost_frame() {
    assert!(is_past_its_end(&stack(&[THREADS])));
    // A program may call it, too.
    assert!(!is_past_its_end(&stack(&[
        ("<module>", "/srv/app.py"),
        THREADS
    ])));
    assert!(!is_past_its_end(&stack(&[(
        "_shutdown",
        "/srv/threading/app.py"
    )])));
    assert!(!is_past_its_end(&stack(&[])));
}
