use super::*;
use crate::snapshot::Moment;

fn read(text: &str) -> Vec<Arc<Traceback>> {
    let mut tracebacks = Tracebacks::default();
    for (number, text) in text.lines().enumerate() {
        tracebacks.feed(&LogLine {
            number: number as u64,
            at: Moment(number as u64),
            is_new: true,
            told_ms: None,
            pid: None,
            level: None,
            text: text.to_owned(),
        });
    }
    tracebacks.list()
}

/// Sentence, culprit as `function file:line`, first and last line.
fn only(text: &str) -> (String, String, u64, u64) {
    let list = read(text);
    assert_eq!(list.len(), 1, "{list:#?}");
    let told = &list[0];
    let culprit = told
        .culprit
        .as_ref()
        .map(|f| format!("{} {}:{}", f.function, f.file, f.line));
    (
        told.sentence(),
        culprit.unwrap_or_default(),
        told.first,
        told.last,
    )
}

const PLAIN: &str = "\
INFO:     Waiting for application startup.
ERROR:    Traceback (most recent call last):
  File \"/venv/lib/python3.11/site-packages/starlette/routing.py\", line 694, in lifespan
    async with self.lifespan_context(app) as maybe_state:
               ^^^^^^^^^^^^^^^^^^^^^^^^^^
  File \"/srv/shop/main.py\", line 30, in lifespan
    app.state.key = read_secret(\"api\")
  File \"/srv/shop/main.py\", line 8, in read_secret
    raise RuntimeError(name)
RuntimeError: secret api is not mounted: look

ERROR:    Application startup failed. Exiting.
";

#[test]
fn the_last_line_and_the_applications_own_frame_count() {
    let want = (
        "RuntimeError: secret api is not mounted: look".to_owned(),
        "read_secret /srv/shop/main.py:8".to_owned(),
        1,
        9,
    );
    assert_eq!(only(PLAIN), want);
}

#[test]
fn a_chain_is_one_traceback_and_its_last_exception_counts() {
    let text = "\
Exception in thread web:
Traceback (most recent call last):
  File \"/usr/lib/python3.11/asyncio/unix_events.py\", line 105, in add_signal_handler
    signal.set_wakeup_fd(self._csock.fileno())
ValueError: set_wakeup_fd only works in main thread

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"/usr/lib/python3.11/threading.py\", line 1045, in _bootstrap_inner
    self.run()
  File \"app.py\", line 16, in serve
    web.run_app(app)
RuntimeError: set_wakeup_fd only works in main thread
job tick
";
    let list = read(text);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].thread.as_deref(), Some("web"));
    assert_eq!((list[0].first, list[0].last), (0, 13));
    assert_eq!(list[0].exception, "RuntimeError");
    assert_eq!(list[0].culprit.as_ref().unwrap().function, "serve");
    assert_eq!(list[0].frames.len(), 2);
}

#[test]
fn a_cause_names_the_culprit_where_the_last_exception_has_none() {
    let text = "\
Traceback (most recent call last):
  File \"/srv/app/db.py\", line 4, in connect
    pool()
KeyError: 'dsn'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File \"/venv/lib/python3.11/site-packages/lib/x.py\", line 1, in wrap
    raise LibError from error
lib.LibError
";
    let (sentence, culprit, ..) = only(text);
    assert_eq!(sentence, "lib.LibError");
    assert_eq!(culprit, "connect /srv/app/db.py:4");
}

#[test]
fn the_exception_inside_a_group_counts() {
    let text = "\
  + Exception Group Traceback (most recent call last):
  |   File \"/srv/app/main.py\", line 9, in main
  |     async with asyncio.TaskGroup() as group:
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File \"/srv/app/main.py\", line 5, in load
    |     raise KeyError(1)
    | KeyError: 1
    +------------------------------------
INFO:     bye
";
    let (sentence, culprit, first, last) = only(text);
    assert_eq!(
        (sentence.as_str(), culprit.as_str()),
        ("KeyError: 1", "load /srv/app/main.py:5")
    );
    assert_eq!((first, last), (0, 8));
}

#[test]
fn other_shapes_are_read_too() {
    let cases = [
        (
            "a prefix on every line, as those write it who start several programs",
            "web.1  | Traceback (most recent call last):\nweb.1  |   File \"/srv/a.py\", line 2, in f\nweb.1  |     g()\nweb.1  | KeyError: 1\n",
            ("KeyError: 1", "f /srv/a.py:2"),
        ),
        (
            "a syntax error, whose place has no function",
            "Traceback (most recent call last):\n  File \"/srv/a.py\", line 2, in <module>\n    import b\n  File \"/srv/b.py\", line 7\n    def f(\n         ^\nSyntaxError: '(' was never closed\n",
            ("SyntaxError: '(' was never closed", "<module> /srv/b.py:7"),
        ),
        (
            "loguru",
            "Traceback (most recent call last):\n\n> File \"/srv/a.py\", line 2, in f\n    g(x)\n    │ └ 1\n    └ <function g>\n\nZeroDivisionError: division by zero\n",
            ("ZeroDivisionError: division by zero", "f /srv/a.py:2"),
        ),
        (
            "rich",
            "╭───── Traceback (most recent call last) ─────╮\n│ /srv/a.py:2 in f            │\n│                             │\n│   1 def f():                │\n│ ❱ 2     g()                 │\n╰─────────────────────────────╯\nRuntimeError: no\n",
            ("RuntimeError: no", "f /srv/a.py:2"),
        ),
        (
            "faulthandler",
            "Fatal Python error: Segmentation fault\n\nThread 0x1 (most recent call first):\n  File \"/srv/w.py\", line 1 in idle\n\nCurrent thread 0x2 (most recent call first):\n  File \"/usr/lib/python3.11/ctypes/x.py\", line 5 in string_at\n  File \"/srv/a.py\", line 9 in peek\n  File \"/srv/a.py\", line 12 in <module>\n",
            ("Fatal Python error: Segmentation fault", "peek /srv/a.py:9"),
        ),
        (
            "lines of another process in between",
            "Traceback (most recent call last):\n  File \"/srv/a.py\", line 2, in f\nINFO:     Started server process [5]\n    g()\njob tick\nKeyError: 1\n",
            ("KeyError: 1", "f /srv/a.py:2"),
        ),
        (
            "another one begins before the first has ended",
            "Traceback (most recent call last):\nTraceback (most recent call last):\n  File \"/srv/a.py\", line 2, in f\n  File \"/srv/a.py\", line 2, in f\nKeyError: 1\nKeyError: 1\n",
            ("KeyError: 1", "f /srv/a.py:2"),
        ),
    ];
    for (name, text, want) in cases {
        let (sentence, culprit, ..) = only(text);
        assert_eq!((sentence.as_str(), culprit.as_str()), want, "{name}");
    }
}

#[test]
fn a_line_before_it_tells_the_pid_and_an_older_one_does_not() {
    let mut tracebacks = Tracebacks::default();
    let mut feed = |number, pid, text: &str| {
        tracebacks.feed(&LogLine {
            number,
            at: Moment(number),
            is_new: true,
            told_ms: None,
            pid,
            level: None,
            text: text.to_owned(),
        });
    };
    feed(0, Some(7), "[7] [ERROR] Exception in worker process");
    feed(1, None, "Traceback (most recent call last):");
    feed(2, None, "KeyError: 1");
    feed(3, Some(8), "[8] [INFO] x");
    feed(4, None, "some words");
    feed(5, None, "Traceback (most recent call last):");
    feed(6, None, "KeyError: 2");
    let pids: Vec<Option<u32>> = tracebacks.list().iter().map(|t| t.pid).collect();
    assert_eq!(pids, [Some(7), None]);
}

#[test]
fn what_never_ends_costs_a_bounded_room() {
    let mut text = "Traceback (most recent call last):\n".to_owned();
    for n in 0..10_000 {
        text.push_str(&format!("  File \"/srv/a.py\", line {n}, in f\n    f()\n"));
    }
    text.push_str("RecursionError: too deep\n");
    let list = read(&text);
    assert_eq!(list[0].frames.len(), FRAMES);
    assert_eq!(list[0].culprit.as_ref().unwrap().line, 9999);
    let many = PLAIN.repeat(100);
    assert_eq!(read(&many).len(), KEPT);
    // And every way of being cut off is survived.
    for len in 0..PLAIN.len() {
        if PLAIN.is_char_boundary(len) {
            read(&PLAIN[..len]);
        }
    }
    assert_eq!(read("Traceback (most recent call last):\na b\nc d\n"), []);
}
