//! What a thread or a connection waits for while the event loop idles and startup awaits it: the specific finding comes first,
//! the general one after it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use steth::diagnosis::{Code, Diagnosis};
use steth::snapshot::{
    Activity, Child, ChildSleep, Connection, Connections, JobState, Moment, Party, PipeEnd,
    Process, ProcessState, Task, TcpState, ThreadWait, WaitOn, WaitTarget,
};

use super::coroutines::{HasTasks, task};
use super::tasks::{Doing, children, event};
use super::world::{Build, World, codes, only};

/// The thread of a pool, above what its job runs.
const POOL: &str = "@thread | _worker std+concurrent/futures/thread.py:83 | run std+concurrent/futures/thread.py:58";

fn startup(w: &mut World, on: WaitOn) -> &mut Process {
    let own = "@uvicorn-lifespan | lifespan /srv/shop/main.py:10 | discover /srv/shop/db.py:31";
    let lifespan: Task = task(2, "Task-2", own).on(on);
    let server = task(1, "Task-1", "@uvicorn-startup")
        .on(event(1))
        .object(40);
    w.old(10, 40.0, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main("@uvicorn | @poll")
        .at_rest()
        .tasks(vec![server, lifespan])
}

fn job(state: JobState) -> WaitOn {
    WaitOn::Job { state }
}

/// The thread of its pool, in these functions and waiting for this.
fn worker(process: &mut Process, runs: &str, call: i64, on: WaitTarget) {
    let activity = Activity::Syscall(call);
    process.thread(21, "asyncio_0", &format!("{POOL} | {runs}"), activity);
    process.waits = Some(Arc::new(vec![ThreadWait {
        tid: 21,
        since: process.sampled_at,
        call,
        fd: Some(7),
        on,
    }]));
}

fn name_server() -> WaitTarget {
    WaitTarget::Udp {
        peer: Some((IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 53)),
    }
}

/// Connections that are being made: the last part of the peer's address, retransmits.
fn connects(process: &mut Process, all: &[(u8, u8)]) {
    let connection = |(last, retransmits): &(u8, u8)| Connection {
        inode: 700 + u64::from(*last),
        state: TcpState::SynSent,
        local: (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 41_000),
        peer: (IpAddr::V4(Ipv4Addr::new(10, 0, 0, *last)), 5432),
        recv_q: 0,
        send_q: 1,
        retransmits: *retransmits,
    };
    process.connections = Some(Arc::new(Connections {
        total: all.len() as u64,
        by_state: vec![(TcpState::SynSent, all.len() as u64)],
        list: all.iter().map(connection).collect(),
    }));
}

fn connecting(address: Option<&str>) -> WaitOn {
    WaitOn::Connect {
        address: address.map(str::to_owned),
    }
}

fn first_is(seen: &Diagnosis, code: Code, culprit: &str, says: &[&str]) {
    let server = only(seen);
    let first = &server.findings[0];
    assert_eq!(first.code, code, "{:?}", codes(server));
    assert_eq!(first.culprit.as_ref().unwrap().function, culprit);
    let text = format!("{} {}", first.summary, first.evidence.join(" "));
    for words in says {
        assert!(text.contains(words), "no {words:?} in {text:?}");
    }
    assert!(codes(server).contains(&"startup-await"), "the symptom");
}

#[test]
fn a_name_that_the_loops_pool_resolves() {
    let mut w = World::new();
    let process = startup(&mut w, job(JobState::Running));
    let runs = "getaddrinfo std+socket.py:962";
    worker(process, runs, libc::SYS_poll, name_server());
    let says = [
        "startup in discover (shop/db.py:31) has waited",
        "for a name to resolve, asking 10.0.0.2:53",
        "the event loop idles",
    ];
    first_is(&w.watch(3.0), Code::DnsHang, "discover", &says);
}

#[test]
fn a_command_that_a_thread_of_the_pool_waits_for() {
    let mut w = World::new();
    let process = startup(&mut w, job(JobState::Running));
    let runs = "migrate /srv/shop/db.py:50 | wait std+subprocess.py:1264";
    let children = WaitTarget::Children(Vec::new());
    worker(process, runs, libc::SYS_wait4, children);
    let says = ["startup in migrate (shop/db.py:50) on thread asyncio_0"];
    first_is(&w.watch(3.0), Code::SubprocessWait, "migrate", &says);
}

/// `open` and `input` are C: nothing of the application's is on the thread.
#[test]
fn a_job_without_frames_of_its_own() {
    let mut w = World::new();
    let process = startup(&mut w, job(JobState::Running));
    let fifo = WaitTarget::FifoOpen {
        path: "/run/shop/token".into(),
        end: PipeEnd::Reads,
    };
    worker(process, "", libc::SYS_openat, fifo);
    let says = [
        "startup in discover (shop/db.py:31) has waited",
        "in openat() on /run/shop/token, a FIFO that nobody writes",
    ];
    first_is(&w.watch(3.0), Code::FileWait, "discover", &says);
}

#[test]
fn two_jobs_that_stand_in_one_place() {
    let mut w = World::new();
    let process = startup(&mut w, job(JobState::Running));
    let runs = "migrate /srv/shop/db.py:50 | wait std+subprocess.py:1264";
    let command = WaitTarget::Children(Vec::new());
    worker(process, runs, libc::SYS_wait4, command);
    let activity = Activity::Syscall(libc::SYS_wait4);
    process.thread(22, "asyncio_1", &format!("{POOL} | {runs}"), activity);
    let waits = Arc::make_mut(process.waits.as_mut().unwrap());
    let mut other = waits[0].clone();
    other.tid = 22;
    waits.push(other);
    let says = ["startup in migrate (shop/db.py:50) on thread asyncio_"];
    first_is(&w.watch(3.0), Code::SubprocessWait, "migrate", &says);
}

fn child(command: &str, started: Moment) -> Child {
    Child {
        party: Party {
            pid: 77,
            command: command.into(),
        },
        started: Some(started),
        state: ProcessState::Sleeping,
        sleeps: Some(ChildSleep {
            call: libc::SYS_read,
            fd: Some(0),
            on: Some("pipe:[9]".into()),
        }),
        child: None,
    }
}

/// Startup in `communicate()` of a child process, which has this one.
fn communicates(w: &mut World, child: Child) -> &mut Process {
    let process = startup(w, children("gather", &[3], Some(2)));
    let own = "@uvicorn-lifespan | discover /srv/shop/db.py:31 | communicate std+asyncio/subprocess.py:201";
    let reads =
        "_read_stream std+asyncio/subprocess.py:181 | _wait_for_data std+asyncio/streams.py:539";
    let server = task(1, "Task-1", "@uvicorn-startup")
        .on(event(1))
        .object(40);
    let lifespan = task(2, "Task-2", own).on(children("gather", &[3], Some(2)));
    process.children = Some(Arc::new(vec![child]));
    process.tasks(vec![
        server,
        lifespan,
        task(3, "Task-3", reads).on(WaitOn::Read),
    ])
}

#[test]
fn a_child_that_a_coroutine_waits_for() {
    let mut w = World::new();
    let began = w.now;
    communicates(&mut w, child("sh migrate.sh", began));
    let says = [
        "startup in discover (shop/db.py:31) has awaited its child `sh migrate.sh` (pid 77)",
        "the child, pid 77, sleeps in read on pipe:[9], its standard input",
    ];
    let seen = w.watch(3.0);
    first_is(&seen, Code::SubprocessWait, "discover", &says);
    let first = &only(&seen).findings[0];
    assert!(first.remedy.contains("DEVNULL"), "{}", first.remedy);
}

/// Startup reads a stream of its own, with so many pipes, and has this child.
fn reads(w: &mut World, pipes: u64, child: Child) -> &mut Process {
    let process = startup(w, WaitOn::Read);
    let own = "@uvicorn-lifespan | discover /srv/shop/db.py:31 | read std+asyncio/streams.py:730 | _wait_for_data std+asyncio/streams.py:539";
    let server = task(1, "Task-1", "@uvicorn-startup")
        .on(event(1))
        .object(40);
    process.children = Some(Arc::new(vec![child]));
    process.connections = Some(Arc::new(Connections {
        total: 0,
        by_state: Vec::new(),
        list: Vec::new(),
    }));
    process.fds.as_mut().unwrap().classes.pipes = pipes;
    process.tasks(vec![server, task(2, "Task-2", own).on(WaitOn::Read)])
}

#[test]
fn a_child_whose_output_startup_reads_by_itself() {
    let mut w = World::new();
    let began = w.now;
    reads(&mut w, 1, child("tail -f /var/log/shop.log", began));
    let seen = w.watch(3.0);
    let found = codes(only(&seen));
    assert_eq!(found.first(), Some(&"subprocess-wait"), "{found:?}");
}

#[test]
fn children_that_have_no_pipe_that_startup_reads() {
    const TRACKER: &str =
        "/usr/bin/python3 -c from multiprocessing.resource_tracker import main;main(5)";
    let looks: [fn(&mut World); 4] = [
        |w| {
            let began = w.now;
            reads(w, 1, child(TRACKER, began));
        },
        |w| {
            // What it reads is its standard input.
            let began = w.now;
            let process = reads(w, 2, child("sidecar --port 9000", began));
            let stdio = [0, 1].map(|at| Some(format!("pipe:[{at}]")));
            let [input, output] = stdio;
            process.fds.as_mut().unwrap().stdio = [input, output.clone(), output];
            process.fds.as_mut().unwrap().classes.pipes = 3;
        },
        |w| {
            // Another process that is seen: its standard streams are those of its parent.
            let began = w.now;
            reads(w, 2, child("python sidecar.py", began));
            w.old(77, 40.0, "python sidecar.py").ppid = 10;
        },
        |w| {
            // A pipe of its own (os.pipe), and a child that is heard by nobody.
            let began = w.now;
            reads(w, 1, child("python sidecar.py", began));
            let sidecar = w.old(77, 40.0, "python sidecar.py").parent(10);
            let null = || Some("/dev/null".to_owned());
            sidecar.fds.as_mut().unwrap().stdio = [null(), null(), null()];
        },
    ];
    for look in looks {
        let mut w = World::new();
        look(&mut w);
        let seen = w.watch(4.0);
        assert!(!w.ever.contains_key(&Code::SubprocessWait));
        let any = seen.servers.iter().flat_map(|s| &s.findings);
        let codes: Vec<Code> = any.map(|f| f.code).collect();
        assert!(codes.contains(&Code::StartupAwait), "{codes:?}");
    }
}

#[test]
fn of_one_child_after_the_other_none_is_to_blame() {
    let mut w = World::new();
    w.watch_while(6.0, |w, _| {
        let now = w.now;
        communicates(w, child("sleep 0.1", now));
    });
    assert!(!w.ever.contains_key(&Code::SubprocessWait));
}

#[test]
fn threads_whose_wait_says_nothing_of_startup() {
    let looks: [fn(&mut World); 3] = [
        |w| {
            let process = startup(w, event(1));
            let runs = "getaddrinfo std+socket.py:962";
            worker(process, runs, libc::SYS_poll, name_server());
        },
        |w| {
            let process = startup(w, job(JobState::Queued));
            let runs = "getaddrinfo std+socket.py:962";
            worker(process, runs, libc::SYS_poll, name_server());
        },
        |w| {
            // Which of two has the job cannot be told.
            let process = startup(w, job(JobState::Running));
            let runs = "getaddrinfo std+socket.py:962";
            worker(process, runs, libc::SYS_poll, name_server());
            let other = format!("{POOL} | load /srv/shop/model.py:4");
            process.thread(22, "asyncio_1", &other, Activity::Running);
        },
    ];
    for look in looks {
        let mut w = World::new();
        look(&mut w);
        w.watch(4.0);
        assert!(!w.ever.contains_key(&Code::DnsHang));
    }
}

#[test]
fn a_connection_that_is_awaited() {
    for (address, all) in [
        (Some("10.0.0.5:5432"), &[(4, 3), (5, 4)][..]),
        (Some("db.shop:5432"), &[(5, 4)]),
        (None, &[(5, 4)]),
    ] {
        let mut w = World::new();
        connects(startup(&mut w, connecting(address)), all);
        let says = [
            "a connection to 10.0.0.5:5432 in discover (shop/db.py:31) for at least 4.0 s",
            "SYN-SENT, 4 retransmits",
        ];
        first_is(&w.watch(3.0), Code::ConnectHang, "discover", &says);
    }
}

#[test]
fn connections_that_are_not_known_to_hang() {
    let cases: [(WaitOn, &[(u8, u8)]); 4] = [
        (connecting(Some("10.0.0.5:5432")), &[(5, 0)]),
        (connecting(Some("db.shop:5432")), &[(4, 3), (5, 3)]),
        (connecting(None), &[]),
        (event(1), &[(5, 4)]),
    ];
    for (on, all) in cases {
        let mut w = World::new();
        connects(startup(&mut w, on), all);
        let seen = w.watch(4.0);
        assert!(!w.ever.contains_key(&Code::ConnectHang), "{all:?}");
        assert_eq!(only(&seen).findings[0].code, Code::StartupAwait);
    }
}
