//! A box with servers on it, built in code: each scene is what a look at a real machine would have given.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use steth::diagnosis::{
    Code, Culprit, Diagnosis, Finding, Kind, Member, MemberExit, Outsider, Phase, PhaseChange,
    Role, Server, ServerListener, Severity, Standing,
};
use steth::snapshot::{
    Activity, Connection, Connections, EventSource, Exit, Family, FdClasses, Fds, Frame, Gap,
    Inquiries, Listener, ListenerState, Moment, NetNs, OwnCost, Process, ProcessKey, ProcessState,
    Python, ReadBy, Snapshot, Stack, Stacks, Syscall, TcpCounters, TcpState, Thread,
};
use steth::view::Scene;

/// Seconds since boot at which every scene begins.
pub const BOOT_S: f64 = 5_000_000.0;
/// 2026-11-20T14:02:11Z
pub const WALL_MS: i64 = 1_795_183_331_000;

pub fn at(seconds: f64) -> Moment {
    Moment(((BOOT_S + seconds) * 1e9) as u64)
}

pub fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_time: u64::from(pid) * 10,
    }
}

pub fn scene(
    seconds: f64,
    servers: Vec<Server>,
    outsiders: Vec<Outsider>,
    gaps: Vec<Gap>,
) -> Arc<Scene> {
    let netns = NetNs {
        inode: 4_026_531_840,
        sampled_at: at(seconds),
        listeners: Vec::new(),
        bound_visible: true,
        counters: Some(TcpCounters {
            listen_overflows: 12,
            listen_drops: 12,
            ..TcpCounters::default()
        }),
        has_other_interface: Some(true),
        host: None,
        own: true,
        somaxconn: None,
    };
    let snapshot = Snapshot {
        host: "web-3".into(),
        at: at(seconds),
        wall_ms: WALL_MS + (seconds * 1000.0) as i64,
        processes: Vec::new(),
        netns: vec![Arc::new(netns)],
        socket_files: Vec::new(),
        exits: Vec::new(),
        events: EventSource::Connector,
        inquiries: Inquiries::default(),
        gaps,
        own: OwnCost {
            rss: 18 << 20,
            ..OwnCost::default()
        },
    };
    Arc::new(Scene {
        snapshot: Some(Arc::new(snapshot)),
        diagnosis: Arc::new(Diagnosis {
            servers: servers.into_iter().map(Arc::new).collect(),
            outsiders,
            attention: Vec::new(),
            unknown_holders: Vec::new(),
        }),
        interval_s: 1.0,
        own_cpu_percent: Some(0.6),
        observed_for_s: seconds,
        locals: Arc::default(),
        feed: Default::default(),
    })
}

pub fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        function: function.into(),
        file: file.into(),
        line,
    }
}

pub fn process(pid: u32, ppid: u32, cmdline: &str) -> Process {
    let thread = Thread {
        tid: pid,
        name: "python".into(),
        state: ProcessState::Sleeping,
        syscall: Some(Syscall {
            number: libc::SYS_epoll_pwait,
            args: [3, 0, 0, 0, 0, 0],
        }),
        syscall_seen: true,
        run_ns: 1,
        waited_ns: 0,
        switches: 1,
        waits_on: Some("anon_inode:[eventpoll]".into()),
    };
    Process {
        key: key(pid),
        ppid,
        started: at(-60.0),
        sampled_at: at(0.0),
        comm: "python".into(),
        cmdline: cmdline.split(' ').map(str::to_owned).collect(),
        cwd: Some("/srv".into()),
        exe: Some("/usr/bin/python3.11".into()),
        uid: 33,
        state: ProcessState::Sleeping,
        exit_status: None,
        tracer: None,
        frozen: Some(false),
        cpu_ns: 1,
        rss: 41 << 20,
        thread_count: 3,
        threads: Some(vec![thread]),
        fds: Some(Fds {
            open: 11,
            limit: Some(1024),
            classes: FdClasses {
                sockets: 4,
                files: 2,
                pipes: 2,
                epolls: 1,
                terminals: 2,
                ..FdClasses::default()
            },
            sockets: vec![7],
            stdio: [
                Some("/dev/null".into()),
                Some("/var/log/app.log".into()),
                Some("/var/log/app.log".into()),
            ],
            scanned_at: at(0.0),
        }),
        connections: Some(Arc::new(Connections::default())),
        waits: None,
        children: None,
        netns: Some(4_026_531_840),
        accepting: Some(Vec::new()),
        cgroup: None,
        cgroup_use: None,
        arg_start: None,
        heartbeat: None,
        python: Some(Python {
            version: Some("3.11.7".into()),
            stacks: None,
            stacks_true_at: None,
            tasks: None,
            intent: None,
        }),
    }
}

pub fn member(process: Process, role: Role, phase: Phase, cpu: f64) -> Member {
    Member {
        process: Arc::new(process),
        role,
        phase,
        since: at(-43.0),
        cpu_percent: Some(cpu),
        fd_growth: Vec::new(),
        same_frame_s: None,
        standing: Standing::default(),
        exit: None,
    }
}

pub fn listener(
    port: u16,
    depth: Option<u32>,
    backlog: u32,
    holders: Vec<u32>,
    accepting: Option<Vec<u32>>,
) -> ServerListener {
    ServerListener {
        socket: Listener {
            inode: u64::from(port),
            family: Family::Tcp4,
            address: Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port,
            path: None,
            state: ListenerState::Listening,
            accept_queue: depth,
            backlog: Some(backlog),
            drops: Some(0),
            syn_queue: Some(0),
            v6only: None,
            uid: 33,
        },
        netns: 4_026_531_840,
        side: false,
        holders,
        accepting,
        depth_history: VecDeque::from([0, 1, 0, 2, depth.unwrap_or(0)]),
        drops_per_second: Some(0.0),
    }
}

pub fn server(name: &str, kind: Kind, phase: Phase, for_s: f64, members: Vec<Member>) -> Server {
    Server {
        root: members.first().map(|m| m.process.key).unwrap_or(key(1)),
        pid: members.first().map_or(1, |m| m.process.key.pid),
        name: name.into(),
        kind,
        phase,
        since: at(-for_s),
        since_is_bound: false,
        timeline: vec![
            PhaseChange {
                at: at(-for_s - 8.0),
                phase: Phase::Importing,
            },
            PhaseChange {
                at: at(-for_s),
                phase,
            },
        ],
        why: "the loop is armed and connections leave the queue".into(),
        findings: Vec::new(),
        finding_log: Vec::new(),
        listeners: Vec::new(),
        members,
        exits: VecDeque::new(),
        exits_total: 0,
        tcp_rates: None,
        unsettled: false,
        above: Vec::new(),
    }
}

/// uvicorn that waits for its database: connect() blocks the loop during startup.
pub fn starting_uvicorn() -> Server {
    let mut p = process(4127, 1, "/srv/venv/bin/uvicorn app.main:app --port 8000");
    p.connections = Some(Arc::new(Connections {
        total: 1,
        by_state: vec![(TcpState::SynSent, 1)],
        list: vec![Connection {
            inode: 9,
            state: TcpState::SynSent,
            local: (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 40_112),
            peer: (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), 5432),
            recv_q: 0,
            send_q: 1,
            retransmits: 5,
        }],
    }));
    let site = "/srv/venv/lib/python3.11/site-packages";
    let std = "/usr/lib/python3.11";
    let frames = vec![
        frame("<module>", "/srv/venv/bin/uvicorn", 8),
        frame("Command.__call__", &format!("{site}/click/core.py"), 1161),
        frame("Command.main", &format!("{site}/click/core.py"), 1082),
        frame("main", &format!("{site}/uvicorn/main.py"), 413),
        frame("run", &format!("{site}/uvicorn/main.py"), 579),
        frame("Server.run", &format!("{site}/uvicorn/server.py"), 65),
        frame("run", &format!("{std}/asyncio/runners.py"), 190),
        frame(
            "BaseEventLoop.run_forever",
            &format!("{std}/asyncio/base_events.py"),
            608,
        ),
        frame(
            "LifespanOn.main",
            &format!("{site}/uvicorn/lifespan/on.py"),
            86,
        ),
        frame("lifespan", "/srv/app/main.py", 14),
        frame("wait_for_database", "/srv/app/db.py", 31),
        frame("create_connection", &format!("{std}/socket.py"), 836),
    ];
    let stack = Stack {
        tid: Some(4127),
        name: Some("MainThread".into()),
        daemon: None,
        activity: Activity::Syscall(libc::SYS_connect),
        holds_gil: false,
        frames,
    };
    let other = Stack {
        tid: Some(4130),
        name: Some("asyncio_0".into()),
        daemon: None,
        activity: Activity::Lock,
        holds_gil: false,
        frames: vec![
            frame("Thread._bootstrap", &format!("{std}/threading.py"), 1002),
            frame(
                "_worker",
                &format!("{std}/concurrent/futures/thread.py"),
                81,
            ),
        ],
    };
    p.python = Some(Python {
        version: Some("3.11.7".into()),
        stacks: Some(Arc::new(Stacks {
            at: at(0.0),
            list: vec![stack, other],
            torn: 0,
            by: ReadBy::Own,
            locks: Vec::new(),
        })),
        stacks_true_at: Some(at(0.0)),
        tasks: None,
        intent: None,
    });
    let mut m = member(p, Role::Single, Phase::Starting, 0.2);
    m.same_frame_s = Some(43.0);
    let mut s = server(
        "uvicorn app.main:app",
        Kind::Uvicorn,
        Phase::Starting,
        43.0,
        vec![m],
    );
    s.findings = vec![Finding {
        code: Code::StartupBlocked,
        severity: Severity::Critical,
        summary: "startup has run wait_for_database (app/db.py:31) for 43 s: it blocks the loop, so nothing can listen".into(),
        culprit: Some(Culprit { file: "app/db.py".into(), line: 31, function: "wait_for_database".into() }),
        evidence: vec![
            "no socket of pid 4127 is bound (sock_diag)".into(),
            "main thread in connect() to 10.0.0.5:5432 (/proc, SYN-SENT)".into(),
            "same frame for 43 s (stacks)".into(),
        ],
        remedy: "move it off the loop or give it a time-out".into(),
        confirm: "ss -tnp state syn-sent dst 10.0.0.5".into(),
    }];
    s
}

/// Another server in its startup, as healthy as that is.
pub fn starting_uvicorn_like(pid: u32) -> Server {
    let m = member(
        process(pid, 1, "uvicorn other:app"),
        Role::Single,
        Phase::Starting,
        0.0,
    );
    server(
        "uvicorn other:app",
        Kind::Uvicorn,
        Phase::Starting,
        3.0,
        vec![m],
    )
}

/// gunicorn whose workers die at boot.
pub fn crash_looping_gunicorn() -> Server {
    let master = member(
        process(3001, 1, "gunicorn: master [api:app]"),
        Role::Master,
        Phase::CrashLooping,
        1.0,
    );
    let worker = member(
        process(4126, 3001, "gunicorn: worker [api:app]"),
        Role::Worker,
        Phase::Importing,
        1.4,
    );
    let mut s = server(
        "gunicorn api:app",
        Kind::Gunicorn,
        Phase::CrashLooping,
        125.0,
        vec![master, worker],
    );
    let mut l = listener(0, Some(6), 5, vec![3001, 4126], Some(vec![]));
    l.socket.family = Family::Unix;
    l.socket.address = None;
    l.socket.path = Some("/run/api.sock".into());
    l.socket.drops = None;
    l.socket.syn_queue = None;
    l.depth_history = VecDeque::from([1, 3, 6]);
    l.drops_per_second = None;
    s.listeners = vec![l];
    s.exits_total = 14;
    s.exits = (0..14)
        .map(|n| MemberExit {
            role: Role::Worker,
            exit: Exit {
                key: key(4100 - n),
                ppid: 3001,
                at: at(-f64::from(n) * 9.0 - 1.0),
                lived_ns: Some(800_000_000),
                code: if n == 3 { None } else { Some(3) },
                signal: if n == 3 { Some(9) } else { None },
                cmdline: vec!["gunicorn: worker [api:app]".into()],
                python: true,
                last_stack: vec![frame("<module>", "/srv/api/settings.py", 12)],
            },
        })
        .collect();
    s.findings = vec![
        Finding {
            code: Code::CrashLoop,
            severity: Severity::Critical,
            summary: "14 workers have ended within 2 min, each after 0.8 s, with code 3: the application cannot be imported".into(),
            culprit: Some(Culprit { file: "api/settings.py".into(), line: 12, function: "<module>".into() }),
            evidence: vec!["14 exits with code 3 (proc connector)".into(), "last frame <module> (api/settings.py:12) (stacks)".into()],
            remedy: "run the import by hand and read its traceback".into(),
            confirm: "cd /srv && python -c 'import api'".into(),
        },
        Finding {
            code: Code::AcceptQueueFull,
            severity: Severity::Critical,
            summary: "the accept queue of unix:/run/api.sock is full: 6 of 5 wait".into(),
            culprit: None,
            evidence: vec!["6 connections wait, the limit is 5 (sock_diag)".into()],
            remedy: "let workers boot".into(),
            confirm: "ss -xl src /run/api.sock".into(),
        },
    ];
    s
}

/// gunicorn that serves with four workers.
pub fn serving_gunicorn() -> Server {
    let site = "/srv/venv/lib/python3.12/site-packages";
    let mut members = vec![member(
        process(900, 1, "gunicorn: master [shop:app]"),
        Role::Master,
        Phase::Serving,
        0.0,
    )];
    for pid in [911, 912, 913, 914] {
        let mut p = process(pid, 900, "gunicorn: worker [shop:app]");
        p.thread_count = 8;
        if let Some(python) = &mut p.python {
            python.version = Some("3.12.1".into());
            let frames = vec![
                frame("<module>", "/srv/venv/bin/gunicorn", 8),
                frame("Arbiter.run", &format!("{site}/gunicorn/arbiter.py"), 202),
                frame(
                    "ThreadWorker.run",
                    &format!("{site}/gunicorn/workers/gthread.py"),
                    210,
                ),
                frame(
                    "EpollSelector.select",
                    "/usr/lib/python3.12/selectors.py",
                    468,
                ),
            ];
            let stack = Stack {
                tid: Some(pid),
                name: Some("MainThread".into()),
                daemon: None,
                activity: Activity::Selector,
                holds_gil: false,
                frames,
            };
            python.stacks = Some(Arc::new(Stacks {
                at: at(0.0),
                list: vec![stack],
                torn: 0,
                by: ReadBy::Own,
                locks: Vec::new(),
            }));
            python.stacks_true_at = Some(at(0.0));
        }
        let mut m = member(p, Role::Worker, Phase::Serving, 7.8);
        m.fd_growth = vec![("sockets", 12.0)];
        members.push(m);
    }
    for m in &mut members {
        m.since = at(-41.0 * 86_400.0);
    }
    let mut s = server(
        "gunicorn shop:app",
        Kind::Gunicorn,
        Phase::Serving,
        41.0 * 86_400.0,
        members,
    );
    s.listeners = vec![listener(
        8000,
        Some(3),
        2048,
        vec![900, 911, 912, 913, 914],
        Some(vec![911, 912, 913, 914]),
    )];
    let mut metrics = listener(9100, Some(0), 5, vec![900], Some(vec![900]));
    metrics.side = true;
    s.listeners.push(metrics);
    s
}

/// A server whose accept queue overflows.
pub fn overflowing() -> Server {
    let m = member(
        process(7001, 1, "python server.py"),
        Role::Single,
        Phase::Stalled,
        99.6,
    );
    let mut s = server(
        "python server.py",
        Kind::Asyncio,
        Phase::Stalled,
        31.0,
        vec![m],
    );
    let mut l = listener(9000, Some(129), 128, vec![7001], Some(vec![]));
    l.depth_history = VecDeque::from([3, 40, 90, 129, 129]);
    l.drops_per_second = Some(17.2);
    l.socket.drops = Some(532);
    l.socket.syn_queue = Some(64);
    s.listeners = vec![l];
    s.findings = vec![Finding {
        code: Code::AcceptQueueFull,
        severity: Severity::Critical,
        summary: "the accept queue of 0.0.0.0:9000 is full (129 of 128 wait) and 17 connections per second are dropped".into(),
        culprit: None,
        evidence: vec!["accept queue 129/128 (sock_diag)".into(), "532 drops so far (sock_diag)".into()],
        remedy: "find what holds the loop: panel 2".into(),
        confirm: "ss -ltn sport = :9000".into(),
    }];
    s
}

/// A server of another user: hardly anything of it may be seen.
pub fn unseen() -> (Server, Vec<Gap>) {
    let mut p = process(977, 1, "python -m aiohttp.web app:make");
    p.fds = None;
    p.threads = None;
    p.connections = None;
    p.accepting = None;
    p.python = Some(Python {
        version: None,
        stacks: None,
        stacks_true_at: None,
        tasks: None,
        intent: None,
    });
    let mut m = member(p, Role::Single, Phase::Listening, 0.0);
    m.cpu_percent = None;
    let mut s = server(
        "aiohttp app:make",
        Kind::Aiohttp,
        Phase::Listening,
        300.0,
        vec![m],
    );
    s.since_is_bound = true;
    s.why = "it listens; who accepts could not be seen".into();
    let mut l = listener(8080, None, 128, vec![977], None);
    l.socket.backlog = None;
    l.socket.drops = None;
    l.socket.syn_queue = None;
    l.depth_history.clear();
    l.drops_per_second = None;
    s.listeners = vec![l];
    let gap = |source: &str, cause: &str| Gap {
        source: source.into(),
        pid: Some(977),
        cause: cause.into(),
        unlock: Some("sudo steth".into()),
    };
    (
        s,
        vec![
            gap("fds", "permission denied"),
            gap("python-stack", "ptrace access denied"),
        ],
    )
}

pub fn outsider(pid: u32, name: &str) -> Outsider {
    Outsider {
        process: Arc::new(process(pid, 1, name)),
        name: name.into(),
        cpu_percent: Some(0.0),
        standing: Standing::default(),
        phase: Phase::NotAServer,
    }
}

/// The machine of the mock-up: one of everything.
pub fn busy(seconds: f64) -> Arc<Scene> {
    let (blind, gaps) = unseen();
    let servers = vec![
        serving_gunicorn(),
        blind,
        crash_looping_gunicorn(),
        starting_uvicorn(),
        overflowing(),
    ];
    let others = vec![
        outsider(50, "celery -A shop worker"),
        outsider(51, "backup.py"),
        outsider(52, "fail2ban-server"),
    ];
    scene(seconds, servers, others, gaps)
}

/// Sixty servers, the fortieth of which fails.
pub fn sixty(seconds: f64) -> Arc<Scene> {
    let one = |n: u32| {
        let phase = if n == 40 {
            Phase::Stalled
        } else {
            Phase::Serving
        };
        let m = member(
            process(1000 + n, 1, &format!("uvicorn svc{n}:app")),
            Role::Single,
            phase,
            f64::from(n),
        );
        let mut s = server(
            &format!("uvicorn svc{n}:app"),
            Kind::Uvicorn,
            phase,
            3600.0,
            vec![m],
        );
        s.listeners = vec![listener(
            8000 + n as u16,
            Some(0),
            2048,
            vec![1000 + n],
            Some(vec![1000 + n]),
        )];
        s
    };
    scene(seconds, (0..60).map(one).collect(), Vec::new(), Vec::new())
}
