//! What the screen shows of tasks and threads.

use std::sync::Arc;

use steth::diagnosis::{
    Code, Culprit, Finding, Kind, Member, Phase, Role, Server, Severity, Standing,
};
use steth::snapshot::{
    Activity, EventLoop, Frame, Gap, JobState, LoopKind, PoolKind, Process, Python, ReadBy, Stack,
    Stacks, Task, TaskState, WaitOn,
};

use super::build::{
    self, Doing, LOOP, children, end_of, event, get, lock, pool, semaphore, sleep, task,
};
use super::fixture::{self, at, frame};
use super::{ALL_SIZES, Screen, UNICODE, check};

const SITE: &str = "/srv/venv/lib/python3.12/site-packages";
const STD: &str = "/usr/lib/python3.12";

/// Frames of a text: `function file:line`, one after the other; `pkg+` and `std+` stand for where libraries are.
fn frames(text: &str) -> Vec<Frame> {
    let parts = text.split('|').map(str::trim).filter(|p| !p.is_empty());
    parts
        .map(|part| {
            let (function, place) = part.rsplit_once(' ').unwrap();
            let (file, line) = place.rsplit_once(':').unwrap();
            let file = match file.split_once('+') {
                Some(("std", rest)) => format!("{STD}/{rest}"),
                Some(("pkg", rest)) => format!("{SITE}/{rest}"),
                _ => file.to_owned(),
            };
            frame(function, &file, line.parse().unwrap())
        })
        .collect()
}

fn named(id: u64, name: &str, stack: &str) -> Task {
    task(id, name, frames(stack))
}

const LIFESPAN: &str = "LifespanOn.main pkg+uvicorn/lifespan/on.py:86 | FastAPI.__call__ pkg+fastapi/applications.py:1054
    | Router.lifespan pkg+starlette/routing.py:677 | _AsyncGeneratorContextManager.__aenter__ std+contextlib.py:210
    | lifespan /srv/app/main.py:10";
const REQUEST: &str = "RequestResponseCycle.run_asgi pkg+uvicorn/protocols/http/httptools_impl.py:409
    | FastAPI.__call__ pkg+fastapi/applications.py:1054 | run_endpoint_function pkg+fastapi/routing.py:212";
const WEBSOCKET: &str = "WebSocketProtocol.run_asgi pkg+uvicorn/protocols/websockets/websockets_impl.py:244
    | chat /srv/app/chat.py:9 | WebSocketProtocol.asgi_receive pkg+uvicorn/protocols/websockets/websockets_impl.py:348";
const EVENT: &str = "Event.wait std+asyncio/locks.py:213";

/// A startup that gathers two loaders, one of which waits for a lock that the other task holds.
fn startup() -> Vec<Task> {
    vec![
        named(1, "Task-1", &format!("Server.serve pkg+uvicorn/server.py:90 | Server.startup pkg+uvicorn/server.py:116 | LifespanOn.startup pkg+uvicorn/lifespan/on.py:56 | {EVENT}")).on(event(1)),
        named(2, "Task-2", &format!("{LIFESPAN} | prepare /srv/app/main.py:7")).on(children("gather", &[3, 4], Some(3))),
        named(3, "load-users", "load_users /srv/app/users.py:21 | Lock.acquire std+asyncio/locks.py:113").on(lock(2)).object(50).awaited_by(2).gives_up_in(56.0),
        named(4, "load-orders", "load_orders /srv/app/orders.py:8 | sleep std+asyncio/tasks.py:649").on(sleep(3600.0, 3480.0)).awaited_by(2),
        named(5, "refresh", "refresh /srv/app/cache.py:40 | connect pkg+asyncpg/connection.py:2300").on(WaitOn::Connect { address: Some("10.0.0.5:5432".into()) }).holds(50, "Lock"),
        named(6, "index", "build_index /srv/app/index.py:12").is(TaskState::Running),
        named(7, "warm", "warm /srv/app/cache.py:9").is(TaskState::Runnable),
        named(8, "late", "late /srv/app/cache.py:70").is(TaskState::NotStarted),
    ]
}

/// Forty requests that stand in four places, two hundred silent clients, and what a server has besides.
fn traffic() -> Vec<Task> {
    let mut list = vec![
        named(1, "Task-1", "Server.serve pkg+uvicorn/server.py:90 | Server.main_loop pkg+uvicorn/server.py:248 | sleep std+asyncio/tasks.py:649").on(sleep(0.1, 0.04)),
        named(2, "Task-2", "LifespanOn.main pkg+uvicorn/lifespan/on.py:86 | Router.lifespan pkg+starlette/routing.py:668 | LifespanOn.receive pkg+uvicorn/lifespan/on.py:137 | Queue.get std+asyncio/queues.py:158").on(get(0, 1)),
        named(3, "consumer", "consume /srv/app/jobs.py:8 | Queue.get std+asyncio/queues.py:158").on(get(12, 1)),
        named(4, "beat", "beat /srv/app/main.py:3 | sleep std+asyncio/tasks.py:649").on(sleep(0.5, 0.3)),
    ];
    let waits = |id: u64| {
        named(id, &format!("Task-{id}"), &format!("{REQUEST} | price /srv/app/views.py:20 | ask /srv/app/up.py:8 | Semaphore.acquire std+asyncio/locks.py:387")).on(semaphore(0, 12)).object(50)
    };
    let reads = |id: u64| {
        named(id, &format!("Task-{id}"), &format!("{REQUEST} | price /srv/app/views.py:20 | ask /srv/app/up.py:9 | AsyncClient.get pkg+httpx/_client.py:1800")).on(WaitOn::Read).holds(50, "Semaphore")
    };
    let queued = |id: u64| {
        named(
            id,
            &format!("Task-{id}"),
            &format!(
                "{REQUEST} | report /srv/app/views.py:44 | to_thread std+asyncio/threads.py:25"
            ),
        )
        .on(WaitOn::Job {
            state: JobState::Queued,
        })
    };
    let chats = |id: u64| named(id, &format!("Task-{id}"), WEBSOCKET).on(WaitOn::Read);
    list.extend((10..22).map(waits));
    list.extend((22..24).map(reads));
    list.extend((24..40).map(queued));
    list.extend((40..240).map(chats));
    list.push(
        named(
            300,
            "Task-300",
            &format!("{REQUEST} | wait_for_report /srv/app/views.py:52"),
        )
        .on(end_of(301)),
    );
    list.push(
        named(
            301,
            "make-report",
            &format!("make_report /srv/app/report.py:5 | {EVENT}"),
        )
        .on(event(1))
        .awaited_by(300),
    );
    list
}

/// Where the tasks stand that these readings have shown, one every ten seconds, the last one now.
fn standing(process: &mut Process, readings: Vec<steth::snapshot::Tasks>) -> Standing {
    let mut standing = Standing::default();
    for read in readings {
        process.python.as_mut().unwrap().tasks = Some(Arc::new(read));
        standing.observe(process);
    }
    standing
}

fn with_tasks(
    mut member: Member,
    list: Vec<Task>,
    change: impl Fn(&mut steth::snapshot::Tasks),
) -> Member {
    let process = Arc::make_mut(&mut member.process);
    let tid = process.key.pid;
    let readings = (0..5).map(|n| {
        let mut read = build::tasks(at(-40.0 + 10.0 * f64::from(n)), tid, list.clone());
        change(&mut read);
        read
    });
    member.standing = standing(process, readings.collect());
    member
}

fn uvicorn(pid: u32, phase: Phase) -> Member {
    let mut process = fixture::process(pid, 1, "/srv/venv/bin/uvicorn app.main:app --port 8000");
    process.python.as_mut().unwrap().version = Some("3.12.1".into());
    fixture::member(process, Role::Single, phase, 0.4)
}

/// Stacks as these readings have shown them; the last one is now.
fn threads(member: &mut Member, readings: Vec<Vec<Stack>>, by: ReadBy) {
    let process = Arc::make_mut(&mut member.process);
    let last = readings.len() as f64 - 1.0;
    for (n, list) in readings.into_iter().enumerate() {
        let moment = at((n as f64 - last) * 10.0);
        let python = process.python.as_mut().unwrap();
        python.stacks = Some(Arc::new(Stacks {
            at: moment,
            list,
            torn: 0,
            by,
            locks: Vec::new(),
        }));
        python.stacks_true_at = Some(moment);
        member.standing.observe(process);
    }
}

fn thread(tid: u32, name: &str, activity: Activity, stack: &str) -> Stack {
    Stack {
        tid: Some(tid),
        name: Some(name.into()),
        daemon: None,
        activity,
        holds_gil: false,
        frames: frames(stack),
    }
}

const POLL: &str = "<module> /srv/venv/bin/uvicorn:8 | main pkg+uvicorn/main.py:413 | run pkg+uvicorn/main.py:579 | Server.run pkg+uvicorn/server.py:65
    | run std+asyncio/runners.py:190 | BaseEventLoop.run_forever std+asyncio/base_events.py:608 | EpollSelector.select std+selectors.py:468";
const POOL: &str =
    "Thread._bootstrap std+threading.py:1002 | _worker std+concurrent/futures/thread.py:83";

/// uvicorn whose startup waits for a lock.
fn awaiting() -> Server {
    let mut member = with_tasks(uvicorn(4127, Phase::Starting), startup(), |read| {
        read.loops.iter_mut().for_each(|l| l.ready = Some(3));
    });
    threads(
        &mut member,
        vec![vec![thread(4127, "MainThread", Activity::Selector, POLL)]],
        ReadBy::Own,
    );
    let mut s = fixture::server(
        "uvicorn app.main:app",
        Kind::Uvicorn,
        Phase::Starting,
        43.0,
        vec![member],
    );
    s.findings = vec![Finding {
        code: Code::StartupAwait,
        severity: Severity::Critical,
        summary: "startup has awaited Lock.acquire in load_users (app/users.py:21) for at least 40 s: nothing listens before it ends (process is 60 s old)".into(),
        culprit: Some(Culprit { file: "/srv/app/users.py".into(), line: 21, function: "load_users".into() }),
        evidence: vec!["no socket of pid 4127 is bound to a port (sock_diag)".into()],
        remedy: "find why the holder does not give it back; give the wait a time-out (asyncio.timeout)".into(),
        confirm: "py-spy dump --nonblocking --pid 4127   # an idle loop: the wait is in a task".into(),
    }];
    s
}

/// uvicorn at work, every thread of its executor in one place.
fn serving() -> Server {
    let mut member = with_tasks(uvicorn(5000, Phase::Serving), traffic(), |read| {
        read.pools = vec![
            pool(PoolKind::Executor, Some("asyncio_"), 6, 6, 16),
            pool(PoolKind::Limiter, None, 40, 0, 0),
        ];
        read.torn = 2;
    });
    let read = |line: u32| {
        let mut list = vec![thread(5000, "MainThread", Activity::Selector, POLL)];
        let fetch = format!(
            "{POOL} | _WorkItem.run std+concurrent/futures/thread.py:58 | report /srv/app/views.py:45 | fetch_price /srv/app/up.py:40 | create_connection std+socket.py:836 | getaddrinfo std+socket.py:976"
        );
        list.extend((0..6).map(|n| {
            thread(
                5100 + n,
                &format!("asyncio_{n}"),
                Activity::Syscall(libc::SYS_recvfrom),
                &fetch,
            )
        }));
        list.push(thread(5200, "metrics", Activity::Running, &format!("Thread._bootstrap std+threading.py:1002 | collect /srv/app/metrics.py:7 | scan /srv/app/metrics.py:{line} | listdir std+os.py:210")));
        list
    };
    threads(&mut member, vec![read(14), read(15)], ReadBy::Own);
    let mut s = fixture::server(
        "uvicorn app.main:app",
        Kind::Uvicorn,
        Phase::Serving,
        3600.0,
        vec![member],
    );
    s.listeners = vec![fixture::listener(
        8000,
        Some(0),
        2048,
        vec![5000],
        Some(vec![5000]),
    )];
    s
}

fn showing(columns: u16, rows: u16, server: Server) -> Screen {
    Screen::showing(
        columns,
        rows,
        fixture::scene(0.0, vec![server], vec![], vec![]),
    )
}

#[test]
fn task_pictures() {
    for (columns, rows) in ALL_SIZES {
        for (name, server, keys) in [
            ("tasks-startup", awaiting(), ""),
            ("tasks-startup-focus", awaiting(), "5"),
            ("tasks-serving", serving(), ""),
            ("tasks-serving-focus", serving(), "5"),
            ("stacks-pool", serving(), "2"),
        ] {
            let mut screen = showing(columns, rows, server);
            screen.keys(keys);
            check(&format!("{name}-{columns}x{rows}"), &screen);
        }
    }
}

#[test]
fn the_suspect_is_on_the_first_screen_with_what_it_waits_for() {
    for (columns, rows) in [(80, 24), (160, 48)] {
        let screen = showing(columns, rows, awaiting());
        screen.has("▸[5] Tasks");
        screen.has("asyncio loop in thread 4127");
        screen.has("8 tasks: 1 running, 5 waiting, 1 runnable, 1 not started · ready 3");
        screen.has("▲· └ load-users");
        screen.has("load_users (app/users.py:21)");
        let text = screen.text();
        let row = |what: &str| text.lines().position(|l| l.contains(what)).unwrap();
        assert!(
            row("Task-2") < row("load-users"),
            "who waits stands above\n{text}"
        );
    }
    let mut wide = showing(160, 48, awaiting());
    wide.keys("5");
    wide.has("Lock.acquire, held by refresh (app/cache.py:40), 2 waiting");
    wide.has("gives up in 56 s");
    wide.has("sleep 60 min, 58 min left");
    wide.has("gather: 2 of 3 pending");
    wide.has("connect to 10.0.0.5:5432");
    wide.has("could go on: the loop has not got to it");
    wide.has("not started");
    wide.has("LifespanOn.main (uvicorn/lifespan/on.py:86)");
}

#[test]
fn what_stands_in_one_place_is_one_row_and_what_is_at_rest_comes_last() {
    let mut screen = showing(160, 48, serving());
    let text = screen.text();
    let row = |what: &str| {
        let found = text.lines().position(|l| l.contains(what));
        found.unwrap_or_else(|| panic!("no {what:?} in\n{text}"))
    };
    assert!(row("12 ×") < row("consumer") && row("consumer") < row("200 ×"));
    screen.has("chat (app/chat.py:9)");
    screen.has("at rest (read)");
    screen.has("ThreadPoolExecutor asyncio_: 6/6 busy, 16 queued");
    screen.has("? 2 more tasks changed while they were read");
    screen.has("└ make-report");
    screen.lacks("Task-77");
    screen.keys("5");
    screen.has("Semaphore.acquire, 0 free, 12 waiting");
    screen.has("AnyIO limiter: 0/40 busy, 0 queued");
}

#[test]
fn no_tasks_differ_from_tasks_that_were_not_seen() {
    let none = with_tasks(uvicorn(10, Phase::Serving), Vec::new(), |read| {
        read.loops.clear()
    });
    let idle = with_tasks(uvicorn(10, Phase::Serving), Vec::new(), |read| {
        read.loops = vec![EventLoop {
            id: LOOP,
            kind: LoopKind::Uvloop,
            tid: None,
            ready: None,
        }];
    });
    let server = |member: Member| {
        fixture::server(
            "uvicorn a:b",
            Kind::Uvicorn,
            Phase::Serving,
            60.0,
            vec![member],
        )
    };
    let mut screen = showing(80, 24, server(none));
    screen.has("▸[2] Stacks");
    screen.keys("5");
    screen.has("– no tasks: no asyncio loop runs here");
    let mut screen = showing(80, 24, server(idle));
    screen.keys("5");
    screen.has("uvloop loop that no thread is seen to run · no tasks");
    let gap = Gap {
        source: "asyncio-tasks".into(),
        pid: Some(10),
        cause: "the layout of Python 3.16 is not known".into(),
        unlock: None,
    };
    let unseen = || server(uvicorn(10, Phase::Serving));
    let scene = fixture::scene(0.0, vec![unseen()], vec![], vec![gap]);
    let mut screen = Screen::showing(80, 24, scene);
    screen.keys("5");
    screen.has("? tasks not seen: the layout of Python 3.16 is not known");
    let mut screen = showing(80, 24, unseen());
    screen.keys("5");
    screen.has("? tasks: not seen yet");
    screen.lacks("no tasks");
}

#[test]
fn stacks_put_the_applications_frame_first_and_mark_what_moved() {
    let mut screen = showing(160, 48, serving());
    screen.keys("2");
    screen.has("6 × fetch_price (app/up.py:40)  in recvfrom()  asyncio_*  the same for 10 s");
    screen.has("asyncio_0 5100, asyncio_1 5101");
    screen.has("metrics 5200  running");
    let text = screen.text();
    let lines: Vec<&str> = text
        .lines()
        .map(|l| l.rsplit('│').next().unwrap())
        .collect();
    let at = |what: &str| {
        let found = lines.iter().position(|l| l.contains(what));
        found.unwrap_or_else(|| panic!("no {what:?} in\n{text}"))
    };
    assert!(at("▸ fetch_price (app/up.py:40)") < at("→ create_connection (socket.py:836)"));
    assert!(at("→ create_connection (socket.py:836)") < at("→ getaddrinfo (socket.py:976)"));
    assert!(at("→ getaddrinfo (socket.py:976)") < at("▸ report (app/views.py:45)"));
    assert!(
        lines[at("scan (app/metrics.py:15)")].contains("*▸ scan"),
        "{text}"
    );
    assert_eq!(
        text.matches('*').count(),
        2,
        "one frame has changed, beside the pool's names\n{text}"
    );
}

#[test]
fn stacks_say_who_has_read_them() {
    let mut member = uvicorn(10, Phase::Serving);
    let python: &mut Python = Arc::make_mut(&mut member.process).python.as_mut().unwrap();
    python.version = Some("3.7.9".into());
    threads(
        &mut member,
        vec![vec![thread(10, "MainThread", Activity::Selector, POLL)]],
        ReadBy::PySpy,
    );
    let server = fixture::server(
        "uvicorn a:b",
        Kind::Uvicorn,
        Phase::Serving,
        60.0,
        vec![member],
    );
    showing(80, 24, server).has("  read by py-spy");
    showing(80, 24, serving()).lacks("py-spy");
}

#[test]
fn digits_and_panels_of_a_server_with_a_loop() {
    let mut screen = showing(80, 24, serving());
    screen.has("▸[5] Tasks");
    screen.keys("2");
    screen.has("▸[2] Stacks");
    screen.keys("<Esc>5");
    screen.has("▸[5] Tasks");
    let mut wide = showing(160, 48, serving());
    for panel in [
        "[1] Sockets",
        "[2] Stacks",
        "[3] Threads",
        "[4] Exits",
        "[5] Tasks",
    ] {
        wide.has(panel);
    }
    wide.keys("4");
    wide.has("▸[4] Exits");
    // Once a panel has been chosen it stays, whatever is selected.
    let both = fixture::scene(
        0.0,
        vec![serving(), fixture::starting_uvicorn()],
        vec![],
        vec![],
    );
    let mut screen = Screen::showing(80, 24, both);
    screen.has("▸[2] Stacks");
    screen.keys("j");
    screen.has("▸[5] Tasks");
    screen.keys("1<Esc>k");
    screen.has("▸[1] Sockets");
}

/// Names, addresses and classes come from the target's memory.
#[test]
fn hostile_tasks_stay_in_their_cells() {
    let long = "日本語".repeat(500);
    for name in ["\u{1b}[31mred\u{1b}[2J", "two\nlines\tand\rmore", &long, ""] {
        let on = WaitOn::Future {
            class: name.into(),
            call: Some(name.into()),
        };
        let mut one = named(1, name, "f /srv/a.py:1")
            .on(on)
            .holds(7, name)
            .awaited_by(1);
        one.frames = one
            .frames
            .iter()
            .map(|frame| Frame {
                function: name.to_owned(),
                file: name.to_owned(),
                ..frame.clone()
            })
            .collect();
        let circle = named(2, name, "g /srv/a.py:1").on(end_of(2)).awaited_by(2);
        let member = with_tasks(uvicorn(10, Phase::Starting), vec![one, circle], |read| {
            read.pools = vec![pool(PoolKind::Executor, Some(name), 1, 1, u32::MAX)];
            read.loops.iter_mut().for_each(|l| l.tid = Some(u32::MAX));
        });
        let server = fixture::server(
            "uvicorn a:b",
            Kind::Uvicorn,
            Phase::Starting,
            60.0,
            vec![member],
        );
        for (columns, rows) in ALL_SIZES {
            for keys in ["", "5", "w", "2"] {
                let mut screen = Screen::new(columns, rows, UNICODE);
                screen.see(fixture::scene(0.0, vec![server.clone()], vec![], vec![]));
                screen.keys(keys);
                let text = screen.text().replace('\n', "");
                assert!(!text.contains(char::is_control), "{text:?}");
            }
        }
    }
}

/// Ten thousand tasks, a chain of three thousand, and every task its own parent: drawn, in bounded room.
#[test]
fn many_tasks_and_deep_trees_are_drawn() {
    let idle = (10..5_010).map(|id| named(id, "Task", WEBSOCKET).on(WaitOn::Read));
    let apart =
        (10_000..10_400).map(|id| named(id, "Task", &format!("f{id} /srv/a.py:{}", id % 977)));
    let chain = (20_000..23_000).map(|id| {
        named(id, "Task", &format!("g{id} /srv/a.py:1"))
            .on(end_of(id + 1))
            .awaited_by(id - 1)
    });
    let list: Vec<Task> = idle.chain(apart).chain(chain).collect();
    let member = with_tasks(uvicorn(10, Phase::Serving), list, |_| {});
    let server = fixture::server(
        "uvicorn a:b",
        Kind::Uvicorn,
        Phase::Serving,
        60.0,
        vec![member],
    );
    let mut screen = showing(80, 24, server);
    screen.has("8400 tasks: 8400 waiting");
    screen.keys("5G");
    screen.has("5000 ×");
    assert_eq!(screen.state.panel.digit(), '5');
}
