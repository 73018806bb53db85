//! A small world that is looked at: processes, sockets, and a clock that moves when it is told to.
//!
//! ```text
//! let mut w = World::new();
//! w.start(10, "uvicorn shop:app --port 8000").main("@uvicorn | @poll").at_rest();
//! w.listen(501, 8000);
//! w.p(10).holds(501).accepts(501);
//! let seen = w.watch(3.0);
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use steth::diagnosis::{Analyst, Code, Diagnosis, Finding, Member, Phase, Server, Severity};
use steth::snapshot::{
    Accepting, Activity, Connection, Connections, EventSource, Exit, Family, FdClasses, Fds,
    Inquiries, Listener, ListenerState, Moment, NetNs, OwnCost, Process, ProcessKey, ProcessState,
    Python, ReadBy, Snapshot, Stack, Stacks, TcpState,
};

use super::stacks::frames;

/// The network namespace that everything lives in.
const NETNS: u64 = 4_026_531_840;
/// Where arguments lie.
const ARGUMENTS: u64 = 0x7ffd_0000_1000;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A machine, and somebody who looks at it.
pub struct World {
    pub now: Moment,
    pub analyst: Analyst,
    processes: BTreeMap<u32, Process>,
    listeners: BTreeMap<u64, Listener>,
    /// The network namespace that everything lives in; its sockets are listed apart.
    pub netns: NetNs,
    /// Files of unix sockets.
    pub socket_files: Vec<steth::snapshot::SocketFile>,
    burning: BTreeMap<u32, f64>,
    unread: BTreeSet<u32>,
    exits: Vec<Exit>,
    pub inquiries: Inquiries,
    /// Every finding that any look has shown, with the worst severity that it had.
    pub ever: BTreeMap<Code, Severity>,
}

/// How a process ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    Code(i32),
    Signal(i32),
    Unseen,
}

impl World {
    /// An empty machine, up for three hours.
    pub fn new() -> Self {
        let mut world = Self {
            now: Moment(0).plus_seconds(10_800.0),
            analyst: Analyst::default(),
            processes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            netns: NetNs {
                inode: NETNS,
                sampled_at: Moment(0),
                listeners: Vec::new(),
                bound_visible: true,
                counters: None,
                has_other_interface: Some(true),
                host: None,
                own: true,
                somaxconn: None,
            },
            socket_files: Vec::new(),
            burning: BTreeMap::new(),
            unread: BTreeSet::new(),
            exits: Vec::new(),
            inquiries: Inquiries::default(),
            ever: BTreeMap::new(),
        };
        world.other(1, "/sbin/init");
        world
    }

    /// A Python process that starts now, with pid 1 as its parent, an empty stack, and ten open files.
    pub fn start(&mut self, pid: u32, cmdline: &str) -> &mut Process {
        let words = cmdline.split(' ').map(str::to_owned).collect();
        let process = self.insert(pid, words);
        process.python = Some(Python {
            version: Some("3.11.7".into()),
            stacks: Some(Arc::new(Stacks {
                at: Moment(0),
                list: Vec::new(),
                torn: 0,
                by: ReadBy::Own,
                locks: Vec::new(),
            })),
            stacks_true_at: None,
            tasks: None,
            intent: None,
        });
        process
    }

    /// A Python process that has been there for a while.
    pub fn old(&mut self, pid: u32, seconds: f64, cmdline: &str) -> &mut Process {
        let started = self.ago(seconds);
        self.start(pid, cmdline);
        self.born(pid, started)
    }

    /// The process started at that moment.
    pub fn born(&mut self, pid: u32, started: Moment) -> &mut Process {
        let process = self.p(pid);
        process.started = started;
        process.key.start_time = started.0 / 10_000_000;
        process
    }

    /// So many seconds before now.
    pub fn ago(&self, seconds: f64) -> Moment {
        Moment(self.now.0 - (seconds * 1e9) as u64)
    }

    /// A process that is not Python.
    pub fn other(&mut self, pid: u32, cmdline: &str) -> &mut Process {
        self.insert(pid, cmdline.split(' ').map(str::to_owned).collect())
    }

    fn insert(&mut self, pid: u32, cmdline: Vec<String>) -> &mut Process {
        let process = Process {
            key: ProcessKey {
                pid,
                start_time: self.now.0 / 10_000_000,
            },
            ppid: u32::from(pid != 1),
            started: self.now,
            sampled_at: self.now,
            comm: "python".into(),
            cmdline,
            cwd: Some("/srv/app".into()),
            exe: None,
            uid: 1000,
            state: ProcessState::Sleeping,
            exit_status: None,
            tracer: None,
            frozen: Some(false),
            cpu_ns: 0,
            rss: 40 << 20,
            thread_count: 1,
            threads: None,
            fds: Some(Fds {
                open: 10,
                limit: Some(1024),
                classes: FdClasses::default(),
                sockets: Vec::new(),
                stdio: [None, None, None],
                scanned_at: self.now,
            }),
            connections: Some(Arc::new(Connections::default())),
            waits: None,
            children: None,
            netns: Some(NETNS),
            accepting: Some(Vec::new()),
            cgroup: None,
            cgroup_use: None,
            arg_start: Some(ARGUMENTS),
            heartbeat: None,
            python: None,
        };
        self.processes.insert(pid, process);
        self.processes.get_mut(&pid).unwrap()
    }

    /// The process with this pid.
    pub fn p(&mut self, pid: u32) -> &mut Process {
        self.processes.get_mut(&pid).unwrap()
    }

    /// From now on the process uses so many percent of a core.
    pub fn burns(&mut self, pid: u32, percent: f64) {
        self.burning.insert(pid, percent);
    }

    /// From now on its stacks cannot be read any more; the last ones stay.
    pub fn cannot_read(&mut self, pid: u32) {
        let now = self.now;
        let python = self.p(pid).python.as_mut().unwrap();
        Arc::make_mut(python.stacks.as_mut().unwrap()).at = now;
        python.stacks_true_at = Some(now);
        self.unread.insert(pid);
    }

    /// The process ends, and is reaped.
    pub fn end(&mut self, pid: u32, how: End) {
        let process = self.processes.remove(&pid).unwrap();
        self.burning.remove(&pid);
        self.exits.push(Exit {
            key: process.key,
            ppid: process.ppid,
            at: self.now,
            lived_ns: Some(self.now.0 - process.started.0),
            code: if let End::Code(code) = how {
                Some(code)
            } else {
                None
            },
            signal: if let End::Signal(signal) = how {
                Some(signal)
            } else {
                None
            },
            last_stack: process
                .main_stack()
                .map(|s| s.frames.clone())
                .unwrap_or_default(),
            python: process.is_python(),
            cmdline: process.cmdline,
        });
    }

    /// The process ends, and nobody reaps it.
    pub fn leave_zombie(&mut self, pid: u32, status: i32) {
        let process = self.p(pid);
        process.state = ProcessState::Zombie;
        process.thread_count = 1;
        process.exit_status = Some(status);
        process.cmdline.clear();
        process.fds = None;
        process.connections = None;
        process.accepting = None;
        process.python.as_mut().unwrap().stacks = None;
    }

    /// A TCP port on 127.0.0.1, bound and not listening.
    pub fn bind(&mut self, inode: u64, port: u16) -> &mut Listener {
        let socket = Listener {
            inode,
            family: Family::Tcp4,
            address: Some(LOOPBACK),
            port,
            path: None,
            state: ListenerState::Bound,
            accept_queue: None,
            backlog: None,
            drops: Some(0),
            syn_queue: None,
            v6only: None,
            uid: 1000,
        };
        self.listeners.insert(inode, socket);
        self.socket(inode)
    }

    /// A TCP port on 127.0.0.1 that listens with a backlog of 128.
    pub fn listen(&mut self, inode: u64, port: u16) -> &mut Listener {
        let socket = self.bind(inode, port);
        socket.state = ListenerState::Listening;
        socket.accept_queue = Some(0);
        socket.backlog = Some(128);
        socket.syn_queue = Some(0);
        socket
    }

    /// A unix socket that listens.
    pub fn listen_unix(&mut self, inode: u64, path: &str) -> &mut Listener {
        let socket = self.listen(inode, 0);
        socket.family = Family::Unix;
        socket.address = None;
        socket.path = Some(path.to_owned());
        socket.drops = None;
        socket.syn_queue = None;
        socket
    }

    /// The socket with this inode.
    pub fn socket(&mut self, inode: u64) -> &mut Listener {
        self.listeners.get_mut(&inode).unwrap()
    }

    /// So many connections wait on a socket.
    pub fn waiting(&mut self, inode: u64, depth: u32) {
        self.socket(inode).accept_queue = Some(depth);
    }

    /// A socket is closed by everybody.
    pub fn close(&mut self, inode: u64) {
        self.listeners.remove(&inode);
        for process in self.processes.values_mut() {
            process.drops(inode);
        }
    }

    /// Time passes, unseen.
    pub fn pass(&mut self, seconds: f64) {
        self.now = self.now.plus_seconds(seconds);
        for (pid, percent) in &self.burning {
            if let Some(process) = self.processes.get_mut(pid) {
                process.cpu_ns += (seconds * percent * 1e7) as u64;
            }
        }
    }

    /// True if there is such a process.
    pub fn has(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// The numbers of a socket change, if there is one; or they may not be seen.
    pub fn disturb(&mut self, inode: u64, depth: u32, drops: u32, unseen: bool) {
        if let Some(socket) = self.listeners.get_mut(&inode) {
            let listens = socket.state == ListenerState::Listening;
            socket.accept_queue = (listens && !unseen).then_some(depth);
            socket.drops = (!unseen).then_some(drops);
        }
    }

    /// One look.
    pub fn look(&mut self) -> Diagnosis {
        self.look_and_keep().0
    }

    /// One look, with what was seen.
    pub fn look_and_keep(&mut self) -> (Diagnosis, Snapshot) {
        let snapshot = self.snapshot();
        let seen = self.analyst.observe(&snapshot);
        hold(&seen, snapshot.at);
        for finding in seen.servers.iter().flat_map(|s| &s.findings) {
            let worst = self.ever.entry(finding.code).or_insert(finding.severity);
            *worst = finding.severity.max(*worst);
        }
        (seen, snapshot)
    }

    /// Looks ten times a second for so long; the last diagnosis.
    pub fn watch(&mut self, seconds: f64) -> Diagnosis {
        self.watch_while(seconds, |_, _| {})
    }

    /// The same, while something changes before each look.
    pub fn watch_while(
        &mut self,
        seconds: f64,
        mut change: impl FnMut(&mut World, usize),
    ) -> Diagnosis {
        let mut last = Diagnosis::default();
        for turn in 0..(seconds * 10.0).round() as usize {
            self.pass(0.1);
            change(self, turn);
            last = self.look();
        }
        last
    }

    /// The world at this moment. Exits are told once.
    pub fn snapshot(&mut self) -> Snapshot {
        let now = self.now;
        let processes = self.processes.values().map(|p| {
            let read = !self.unread.contains(&p.key.pid);
            Arc::new(fresh(p, now, read))
        });
        Snapshot {
            host: "web-1".into(),
            at: now,
            wall_ms: 1_760_000_000_000 + (now.0 / 1_000_000) as i64,
            processes: processes.collect(),
            netns: vec![Arc::new(NetNs {
                sampled_at: now,
                listeners: self.listeners.values().cloned().collect(),
                ..self.netns.clone()
            })],
            socket_files: self.socket_files.clone(),
            exits: std::mem::take(&mut self.exits),
            events: EventSource::Connector,
            inquiries: self.inquiries.clone(),
            gaps: Vec::new(),
            own: OwnCost::default(),
        }
    }
}

/// What holds of every diagnosis, whatever the world.
fn hold(seen: &Diagnosis, at: Moment) {
    let roots: Vec<_> = seen
        .servers
        .iter()
        .map(|s| (s.root.start_time, s.root.pid))
        .collect();
    assert!(
        roots.is_sorted_by(|a, b| a < b),
        "servers out of order or twice: {roots:?}"
    );
    assert!(seen.attention.len() <= 64);
    for outsider in &seen.outsiders {
        let told = [
            Phase::NotAServer,
            Phase::Stopped,
            Phase::Exited,
            Phase::Unseen,
        ];
        assert!(
            told.contains(&outsider.phase),
            "{}: {:?}",
            outsider.name,
            outsider.phase
        );
    }
    for server in &seen.servers {
        hold_server(server, at);
    }
}

fn hold_server(server: &Server, at: Moment) {
    let name = &server.name;
    let line = &server.timeline;
    assert!(!server.why.is_empty(), "{name} has no why");
    assert!(
        (1..=64).contains(&line.len()),
        "{name}: timeline of {}",
        line.len()
    );
    assert!(
        line.is_sorted_by(|a, b| a.at <= b.at && a.phase != b.phase),
        "{name}: {line:?}"
    );
    let last = line.last().unwrap();
    assert_eq!(
        (last.phase, last.at),
        (server.phase, server.since),
        "{name}: {line:?}"
    );
    assert!(server.since <= at, "{name} is in a phase that begins later");
    assert!(
        !server.since_is_bound || line.len() == 1,
        "{name}: seen to enter its phase, yet a bound"
    );
    assert!(server.exits.len() <= 64 && server.exits_total >= server.exits.len() as u64);
    for member in &server.members {
        assert!(member.since <= at, "{name}: {}", member.process.key.pid);
    }
    for listener in &server.listeners {
        assert!(listener.depth_history.len() <= 64);
    }
    hold_findings(server);
}

fn hold_findings(server: &Server) {
    let name = &server.name;
    let found = codes(server);
    for (at, finding) in server.findings.iter().enumerate() {
        let code = finding.code.word();
        assert!(!found[..at].contains(&code), "{name}: {code} twice");
        assert!(
            finding.summary.contains(|c: char| c.is_ascii_digit()),
            "{code} has no number: {}",
            finding.summary
        );
        assert!(
            !finding.summary.contains('\n') && !finding.summary.ends_with('.'),
            "{code}: {}",
            finding.summary
        );
        assert!(
            !finding.evidence.is_empty()
                && !finding.remedy.is_empty()
                && !finding.confirm.is_empty(),
            "{code} is not complete: {finding:?}"
        );
        for fact in &finding.evidence {
            assert!(
                fact.contains('(') && fact.ends_with(')') || fact.starts_with("it has been so"),
                "{code}: a fact without source: {fact}"
            );
        }
    }
    if server.phase == Phase::Serving {
        assert!(
            server
                .findings
                .is_sorted_by(|a, b| a.severity >= b.severity),
            "{name}: {found:?}"
        );
    }
    assert!(server.finding_log.len() <= 64);
    let open = left_open(server);
    let mut now = server.findings.iter().map(|f| f.code).collect::<Vec<_>>();
    now.sort();
    if server.finding_log.len() < 64 {
        assert_eq!(
            open, now,
            "{name}: its log does not add up to what is wrong now"
        );
    }
}

/// Codes that the log of a server leaves open.
fn left_open(server: &Server) -> Vec<Code> {
    let mut open = BTreeSet::new();
    let whole = server.finding_log.len() < 64;
    for change in &server.finding_log {
        let news = if change.began {
            open.insert(change.code)
        } else {
            open.remove(&change.code)
        };
        assert!(news || !whole, "{:?} begins or ends twice", change.code);
    }
    open.into_iter().collect()
}

/// A process as it is read now.
fn fresh(process: &Process, now: Moment, stacks_read: bool) -> Process {
    let mut process = process.clone();
    process.sampled_at = now;
    if let Some(fds) = &mut process.fds {
        fds.scanned_at = now;
    }
    if let Some(tasks) = process.python.as_mut().and_then(|p| p.tasks.as_mut()) {
        Arc::make_mut(tasks).at = now;
    }
    if let Some(python) = &mut process.python
        && let Some(stacks) = &mut python.stacks
        && stacks_read
        && !stacks.list.is_empty()
    {
        Arc::make_mut(stacks).at = now;
        python.stacks_true_at = Some(now);
    }
    process
}

/// What a process is made to do, word by word.
pub trait Build {
    /// Its parent.
    fn parent(&mut self, pid: u32) -> &mut Self;
    /// It runs another program from now on, which has opened nothing yet.
    fn execs(&mut self, cmdline: &str) -> &mut Self;
    /// What its main thread runs; it sleeps in a system call there.
    fn main(&mut self, stack: &str) -> &mut Self;
    /// The main thread waits in its poll.
    fn at_rest(&mut self) -> &mut Self;
    /// What the main thread does.
    fn doing(&mut self, activity: Activity) -> &mut Self;
    /// Another thread, or the same anew.
    fn thread(&mut self, tid: u32, name: &str, stack: &str, activity: Activity) -> &mut Self;
    /// This thread ends.
    fn ends_thread(&mut self, tid: u32) -> &mut Self;
    /// So many of its stacks cannot be read.
    fn torn(&mut self, stacks: u32) -> &mut Self;
    /// It has this socket open.
    fn holds(&mut self, inode: u64) -> &mut Self;
    /// It closes this socket.
    fn drops(&mut self, inode: u64) -> &mut Self;
    /// Its main thread waits for this socket.
    fn accepts(&mut self, inode: u64) -> &mut Self;
    /// Another thread of it waits for this socket.
    fn accepts_on(&mut self, inode: u64, tid: u32) -> &mut Self;
    /// The socket is in one of its epoll sets, and no thread waits there.
    fn armed(&mut self, inode: u64) -> &mut Self;
    /// It waits for no socket.
    fn accepts_nothing(&mut self) -> &mut Self;
    /// Established connections: inodes from `first` on, their local port.
    fn clients(&mut self, first: u64, count: u64, port: u16) -> &mut Self;
}

impl Build for Process {
    fn parent(&mut self, pid: u32) -> &mut Self {
        self.ppid = pid;
        self
    }

    fn execs(&mut self, cmdline: &str) -> &mut Self {
        self.cmdline = cmdline.split(' ').map(str::to_owned).collect();
        self.arg_start = self.arg_start.map(|at| at + 4096);
        self.accepting = Some(Vec::new());
        self.connections = Some(Arc::new(Connections::default()));
        self.fds.as_mut().unwrap().sockets.clear();
        stacks_of(self).list.clear();
        self
    }

    fn main(&mut self, stack: &str) -> &mut Self {
        let tid = self.key.pid;
        self.thread(
            tid,
            "MainThread",
            stack,
            Activity::Syscall(libc::SYS_clock_nanosleep),
        )
    }

    fn at_rest(&mut self) -> &mut Self {
        self.doing(Activity::Selector)
    }

    fn doing(&mut self, activity: Activity) -> &mut Self {
        let tid = self.key.pid;
        let stacks = stacks_of(self);
        let main = stacks.list.iter_mut().find(|s| s.tid == Some(tid)).unwrap();
        main.activity = activity;
        self
    }

    fn thread(&mut self, tid: u32, name: &str, stack: &str, activity: Activity) -> &mut Self {
        let list = &mut stacks_of(self).list;
        list.retain(|s| s.tid != Some(tid));
        list.push(Stack {
            tid: Some(tid),
            name: Some(name.to_owned()),
            daemon: None,
            activity,
            holds_gil: false,
            frames: frames(stack),
        });
        list.sort_by_key(|s| s.tid);
        self.thread_count = list.len() as u32;
        self
    }

    fn ends_thread(&mut self, tid: u32) -> &mut Self {
        let list = &mut stacks_of(self).list;
        list.retain(|s| s.tid != Some(tid));
        self.thread_count = list.len() as u32;
        self
    }

    fn torn(&mut self, stacks: u32) -> &mut Self {
        stacks_of(self).torn = stacks;
        self
    }

    fn holds(&mut self, inode: u64) -> &mut Self {
        let fds = self.fds.as_mut().unwrap();
        if let Err(at) = fds.sockets.binary_search(&inode) {
            fds.sockets.insert(at, inode);
            fds.open += 1;
        }
        self
    }

    fn drops(&mut self, inode: u64) -> &mut Self {
        if let Some(accepting) = &mut self.accepting {
            accepting.retain(|a| a.inode != inode);
        }
        if let Some(fds) = &mut self.fds
            && let Ok(at) = fds.sockets.binary_search(&inode)
        {
            fds.sockets.remove(at);
            fds.open -= 1;
        }
        self
    }

    fn accepts(&mut self, inode: u64) -> &mut Self {
        let tid = self.key.pid;
        self.accepts_on(inode, tid)
    }

    fn accepts_on(&mut self, inode: u64, tid: u32) -> &mut Self {
        let list = self.accepting.get_or_insert_default();
        list.retain(|a| a.inode != inode);
        list.push(Accepting {
            inode,
            tid: Some(tid),
        });
        list.sort();
        self
    }

    fn armed(&mut self, inode: u64) -> &mut Self {
        let list = self.accepting.get_or_insert_default();
        list.retain(|a| a.inode != inode);
        list.push(Accepting { inode, tid: None });
        list.sort();
        self
    }

    fn accepts_nothing(&mut self) -> &mut Self {
        self.accepting = Some(Vec::new());
        self
    }

    fn clients(&mut self, first: u64, count: u64, port: u16) -> &mut Self {
        let connection = |at: u64| Connection {
            inode: first + at,
            state: TcpState::Established,
            local: (LOOPBACK, port),
            peer: (LOOPBACK, 40_000 + at as u16),
            recv_q: 0,
            send_q: 0,
            retransmits: 0,
        };
        self.connections = Some(Arc::new(Connections {
            total: count,
            by_state: vec![(TcpState::Established, count)],
            list: (0..count.min(256)).map(connection).collect(),
        }));
        self
    }
}

fn stacks_of(process: &mut Process) -> &mut Stacks {
    let python = process.python.as_mut().unwrap();
    Arc::make_mut(python.stacks.as_mut().unwrap())
}

/// The only server there is.
pub fn only(diagnosis: &Diagnosis) -> &Server {
    let names: Vec<_> = diagnosis
        .servers
        .iter()
        .map(|s| (s.root.pid, &s.name))
        .collect();
    assert_eq!(names.len(), 1, "not one server: {names:?}");
    &diagnosis.servers[0]
}

/// Codes of its findings, first the one to act on.
pub fn codes(server: &Server) -> Vec<&'static str> {
    server.findings.iter().map(|f| f.code.word()).collect()
}

/// A finding that must be there.
pub fn find(server: &Server, code: Code) -> &Finding {
    let found = server.findings.iter().find(|f| f.code == code);
    found.unwrap_or_else(|| {
        panic!(
            "no {} in {:?}; {} because {}",
            code.word(),
            codes(server),
            server.phase.word(),
            server.why
        )
    })
}

/// A member that must be there.
pub fn member(server: &Server, pid: u32) -> &Member {
    let found = server.members.iter().find(|m| m.process.key.pid == pid);
    found.unwrap_or_else(|| panic!("pid {pid} is not in {}", server.name))
}
