//! Small scenes for unit tests, built by hand: a healthy server on a healthy machine, to be spoiled by the test.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::diagnosis::{
    Code, Diagnosis, Finding, Kind, Member, MemberExit, Outsider, Phase, Role, Server,
    ServerListener, Severity, Standing,
};
use crate::snapshot::{
    Activity, EventSource, Exit, Family, FdClasses, Fds, Frame, Gap, Inquiries, Level, Listener,
    ListenerState, LogLine, LogTail, Moment, ObjectId, OwnCost, Process, ProcessKey, ProcessState,
    Python, ReadBy, Sink, Snapshot, Stack, Stacks, Task, TaskState, Tasks, Wait, WaitOn,
};
use crate::view::Scene;

/// The moment of every scene: a minute after its processes were started.
pub(crate) const NOW: Moment = Moment(160_000_000_000);
const STARTED: Moment = Moment(100_000_000_000);

/// A Python process that was seen in full, at rest in a selector.
pub(crate) fn process(pid: u32, cmdline: &str) -> Process {
    Process {
        key: ProcessKey {
            pid,
            start_time: 10_000,
        },
        ppid: 1,
        started: STARTED,
        sampled_at: NOW,
        comm: "python3".into(),
        cmdline: cmdline.split(' ').map(str::to_owned).collect(),
        cwd: Some("/srv".into()),
        exe: Some("/usr/bin/python3.11".into()),
        uid: 1000,
        state: ProcessState::Sleeping,
        exit_status: None,
        tracer: None,
        frozen: Some(false),
        cpu_ns: 1_000_000_000,
        rss: 40 << 20,
        thread_count: 1,
        threads: Some(Vec::new()),
        fds: Some(Fds {
            open: 11,
            limit: Some(1024),
            classes: FdClasses::default(),
            sockets: vec![7],
            stdio: [None, None, None],
            scanned_at: NOW,
        }),
        connections: None,
        waits: None,
        children: None,
        netns: Some(1),
        accepting: Some(Vec::new()),
        cgroup: None,
        cgroup_use: None,
        arg_start: None,
        heartbeat: None,
        python: Some(python(pid)),
    }
}

/// An interpreter whose main thread waits in a selector.
pub(crate) fn python(pid: u32) -> Python {
    let main = Stack {
        tid: Some(pid),
        name: Some("MainThread".into()),
        daemon: None,
        activity: Activity::Selector,
        holds_gil: false,
        frames: vec![Frame {
            function: "select".into(),
            file: "/usr/lib/python3.11/selectors.py".into(),
            line: 468,
        }],
    };
    Python {
        version: Some("3.11.7".into()),
        stacks: Some(Arc::new(Stacks {
            at: NOW,
            list: vec![main],
            torn: 0,
            by: ReadBy::Own,
            locks: Vec::new(),
        })),
        stacks_true_at: Some(NOW),
        tasks: Some(Arc::new(no_tasks())),
        intent: None,
    }
}

/// A program that uses no asyncio.
pub(crate) fn no_tasks() -> Tasks {
    Tasks {
        at: NOW,
        loops: Vec::new(),
        list: Vec::new(),
        torn: 0,
        left_out: 0,
        pools: Vec::new(),
    }
}

/// A task in `connect_db`, which waits for an event if it waits.
pub(crate) fn task(state: TaskState) -> Task {
    let on = WaitOn::Event { waiters: Some(1) };
    Task {
        id: ObjectId(64),
        name: "Task-2".into(),
        event_loop: ObjectId(8),
        state,
        frames: [Frame {
            function: "connect_db".into(),
            file: "/srv/app/db.py".into(),
            line: 16,
        }]
        .into(),
        wait: (state == TaskState::Waiting).then_some(Wait { object: None, on }),
        awaited_by: Vec::new(),
        entered: Vec::new(),
    }
}

/// A living member.
pub(crate) fn member(process: Process, role: Role, phase: Phase) -> Member {
    Member {
        process: Arc::new(process),
        role,
        phase,
        since: STARTED,
        cpu_percent: Some(1.26),
        fd_growth: Vec::new(),
        same_frame_s: None,
        standing: Standing::default(),
        exit: None,
    }
}

/// A TCP socket on 127.0.0.1 that listens, inode 7.
pub(crate) fn listener(port: u16) -> Listener {
    Listener {
        inode: 7,
        family: Family::Tcp4,
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port,
        path: None,
        state: ListenerState::Listening,
        accept_queue: Some(0),
        backlog: Some(128),
        drops: Some(0),
        syn_queue: Some(0),
        v6only: None,
        uid: 1000,
    }
}

/// A unix socket that listens.
pub(crate) fn unix(path: &str) -> Listener {
    Listener {
        family: Family::Unix,
        address: None,
        path: Some(path.into()),
        drops: None,
        syn_queue: None,
        ..listener(0)
    }
}

/// The socket as one of a server's own.
pub(crate) fn own(socket: Listener, holders: &[u32]) -> ServerListener {
    ServerListener {
        socket,
        netns: 1,
        side: false,
        holders: holders.to_vec(),
        accepting: Some(holders.to_vec()),
        depth_history: VecDeque::new(),
        drops_per_second: None,
    }
}

/// One process that serves on a port.
pub(crate) fn server(pid: u32, port: u16) -> Server {
    let process = process(pid, &format!("/venv/bin/uvicorn shop:app{pid}"));
    Server {
        root: process.key,
        pid,
        name: format!("uvicorn shop:app{pid}"),
        kind: Kind::Uvicorn,
        phase: Phase::Serving,
        since: STARTED,
        since_is_bound: false,
        timeline: Vec::new(),
        why: "it accepts".into(),
        findings: Vec::new(),
        finding_log: Vec::new(),
        listeners: vec![own(listener(port), &[pid])],
        members: vec![member(process, Role::Single, Phase::Serving)],
        exits: VecDeque::new(),
        exits_total: 0,
        tcp_rates: None,
        above: Vec::new(),
        unsettled: false,
    }
}

/// The same process of a server, as someone sees it who may look at nothing but its command line.
pub(crate) fn unseen(server: &mut Server) {
    server.phase = Phase::Unseen;
    server.listeners.clear();
    for member in &mut server.members {
        member.phase = Phase::Unseen;
        member.cpu_percent = None;
        let process = Arc::make_mut(&mut member.process);
        process.fds = None;
        process.accepting = None;
        if let Some(python) = &mut process.python {
            python.version = None;
            python.stacks = None;
            python.tasks = None;
        }
    }
}

/// A Python process that is no server.
pub(crate) fn outsider(pid: u32, cmdline: &str) -> Outsider {
    Outsider {
        process: Arc::new(process(pid, cmdline)),
        name: cmdline.to_owned(),
        cpu_percent: None,
        standing: Standing::default(),
        phase: Phase::NotAServer,
    }
}

/// A finding that says which it is in every field.
pub(crate) fn finding(code: Code, severity: Severity) -> Finding {
    let word = code.word();
    Finding {
        code,
        severity,
        summary: format!("{word} in one sentence"),
        culprit: None,
        evidence: vec![format!("{word} was seen (proc)")],
        remedy: format!("mend {word}"),
        confirm: format!("look at {word}"),
    }
}

/// How a worker of pid `ppid` ended.
pub(crate) fn death(pid: u32, ppid: u32, code: Option<i32>, signal: Option<i32>) -> MemberExit {
    MemberExit {
        exit: Exit {
            key: ProcessKey {
                pid,
                start_time: 9_000,
            },
            ppid,
            at: STARTED,
            lived_ns: Some(840_000_000),
            code,
            signal,
            cmdline: Vec::new(),
            python: true,
            last_stack: Vec::new(),
        },
        role: Role::Worker,
    }
}

/// Something that was not seen.
pub(crate) fn gap(source: &str, pid: Option<u32>, cause: &str, unlock: Option<&str>) -> Gap {
    Gap {
        source: source.into(),
        pid,
        cause: cause.into(),
        unlock: unlock.map(str::to_owned),
    }
}

/// A log that these processes write to, with lines that came one second after the other.
pub(crate) fn log(writers: &[ProcessKey], lines: &[(Option<Level>, &str)]) -> Arc<LogTail> {
    let line = |(at, (level, text)): (usize, &(Option<Level>, &str))| {
        let number = at as u64;
        Arc::new(LogLine {
            number,
            at: Moment(STARTED.0 + number * 1_000_000_000),
            is_new: true,
            told_ms: None,
            pid: None,
            level: *level,
            text: (*text).to_owned(),
        })
    };
    Arc::new(LogTail {
        sink: Sink::File {
            path: "/var/log/shop.log".into(),
        },
        writers: writers.to_vec(),
        is_fresh: false,
        changed_at: NOW,
        lines: lines.iter().enumerate().map(line).collect(),
        skipped: 0,
        tracebacks: Vec::new(),
    })
}

/// The scene with this log in it.
pub(crate) fn with_log(mut scene: Scene, log: Arc<LogTail>) -> Scene {
    if let Some(snapshot) = &mut scene.snapshot {
        Arc::make_mut(snapshot).inquiries.logs.push(log);
    }
    scene
}

/// The diagnosis that there are these.
pub(crate) fn diagnosis(servers: Vec<Server>, outsiders: Vec<Outsider>) -> Diagnosis {
    Diagnosis {
        servers: servers.into_iter().map(Arc::new).collect(),
        outsiders,
        attention: Vec::new(),
        unknown_holders: Vec::new(),
    }
}

/// All that a view may see.
pub(crate) fn scene(diagnosis: Diagnosis, gaps: Vec<Gap>) -> Scene {
    let snapshot = Snapshot {
        host: "web-3".into(),
        at: NOW,
        wall_ms: 1_763_647_331_120,
        processes: Vec::new(),
        netns: Vec::new(),
        socket_files: Vec::new(),
        exits: Vec::new(),
        events: EventSource::Connector,
        inquiries: Inquiries::default(),
        gaps,
        own: OwnCost::default(),
    };
    Scene {
        snapshot: Some(Arc::new(snapshot)),
        diagnosis: Arc::new(diagnosis),
        interval_s: 1.0,
        own_cpu_percent: None,
        observed_for_s: 3.04,
        locals: Arc::default(),
        feed: Default::default(),
    }
}
