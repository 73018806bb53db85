//! Whether the kernel's own account is read right: real sockets, namespaces and processes of this test, looked at by
//! sock_diag, setns and the proc connector. Tests that need a right say so when they skip; with `CI=true` they fail instead.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a panic is the failure"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use steth::snapshot::{ExitStatus, Family, Listener, ListenerState, Moment, TcpState};
use steth::source::clock;
use steth::source::events::{self, ExitWatch, Listening, ProcEvent};
use steth::source::netns::Namespaces;
use steth::source::sock_diag::{Diag, ListenerDump};

fn look() -> ListenerDump {
    Diag::open()
        .expect("a sock_diag socket")
        .listeners()
        .expect("a dump")
}

fn row(dump: &ListenerDump, socket: &impl AsRawFd) -> Listener {
    let inode = inode(socket);
    let found = dump.listeners.iter().find(|l| l.inode == inode);
    found
        .unwrap_or_else(|| panic!("socket {inode} is listed"))
        .clone()
}

fn inode(socket: &impl AsRawFd) -> u64 {
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    fs::metadata(path).expect("an open descriptor").ino()
}

/// Options of a TCP socket that std has no word for.
#[derive(Clone, Copy, PartialEq)]
enum Special {
    Plain,
    V6Only,
    DeferAccept,
}

/// A bound TCP socket, on any port of this address; it does not listen.
fn bound(address: SocketAddr, option: Special) -> OwnedFd {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: socket(2) takes no pointers, and the descriptor is new and nobody else's.
    let socket = unsafe {
        OwnedFd::from_raw_fd(libc::socket(
            family,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
        ))
    };
    let set = |level, name, value: i32| {
        // SAFETY: `value` lives through the call and has the size that is given.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                4,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    };
    match option {
        Special::Plain => {}
        Special::V6Only => set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
        Special::DeferAccept => set(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 10),
    }
    bind(&socket, address);
    socket
}

fn bind(socket: &OwnedFd, address: SocketAddr) {
    // SAFETY: sockaddr structures are plain numbers, for which zero is a value.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { std::mem::zeroed() };
    let (pointer, length) = match address {
        SocketAddr::V4(address) => {
            v4.sin_family = libc::AF_INET as u16;
            v4.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            ((&raw const v4).cast(), size_of_val(&v4))
        }
        SocketAddr::V6(address) => {
            v6.sin6_family = libc::AF_INET6 as u16;
            v6.sin6_addr.s6_addr = address.ip().octets();
            ((&raw const v6).cast(), size_of_val(&v6))
        }
    };
    // SAFETY: `pointer` is to a sockaddr of `length` bytes that lives through the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), pointer, length as u32) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

fn listening(address: SocketAddr, backlog: i32, option: Special) -> TcpListener {
    let socket = bound(address, option);
    // SAFETY: listen(2) takes no pointers.
    assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), backlog) }, 0);
    TcpListener::from(socket)
}

fn v4() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// False, and said aloud, where a right is missing. In CI it is there.
fn may<T, E: std::fmt::Display>(what: &str, tried: Result<T, E>) -> Option<T> {
    match tried {
        Ok(tried) => Some(tried),
        Err(error) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "{what}: {error}"
            );
            aloud(&format!("skipped, no right to {what}: {error}"));
            None
        }
    }
}

/// Past the test harness, which keeps what a passing test prints with macros to itself.
fn aloud(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}

#[test]
fn tcp_listeners_of_both_families_are_seen() {
    let plain = TcpListener::bind(v4()).unwrap();
    let dual = listening((Ipv6Addr::UNSPECIFIED, 0).into(), 7, Special::Plain);
    let v6only = listening((Ipv6Addr::UNSPECIFIED, 0).into(), 9, Special::V6Only);
    let dump = look();
    assert_eq!(dump.malformed, 0);
    assert!(dump.missing.is_empty(), "{:?}", dump.missing);
    assert!(dump.listeners.is_sorted_by_key(|l| l.inode));
    for (socket, family, backlog, only) in [
        (&plain, Family::Tcp4, None, None),
        (&dual, Family::Tcp6, Some(7), Some(false)),
        (&v6only, Family::Tcp6, Some(9), Some(true)),
    ] {
        let row = row(&dump, socket);
        let address = socket.local_addr().unwrap();
        assert_eq!(
            (row.address, row.port),
            (Some(address.ip()), address.port())
        );
        assert_eq!(
            (row.family, row.state, row.v6only),
            (family, ListenerState::Listening, only)
        );
        assert_eq!(
            (row.accept_queue, row.drops, row.syn_queue),
            (Some(0), Some(0), Some(0))
        );
        assert!(backlog.is_none() || row.backlog == backlog, "{row:?}");
    }
}

#[test]
fn a_bound_socket_is_seen_before_it_listens() {
    let socket = bound(v4(), Special::Plain);
    let dump = look();
    if !dump.bound_visible {
        aloud("skipped: this kernel (before 6.8) does not list bound sockets");
        return;
    }
    let before = row(&dump, &socket);
    assert_eq!(
        (before.state, before.accept_queue, before.backlog),
        (ListenerState::Bound, None, None)
    );
    assert_ne!(before.port, 0);
    // SAFETY: listen(2) takes no pointers.
    assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 3) }, 0);
    let after = row(&look(), &socket);
    assert_eq!(
        (after.state, after.port, after.backlog),
        (ListenerState::Listening, before.port, Some(3))
    );
}

#[test]
fn depth_backlog_and_drops_are_each_socket_s_own() {
    let quiet = listening(v4(), 4, Special::Plain);
    let full = listening(v4(), 1, Special::Plain);
    let connect = |to: &TcpListener| {
        TcpStream::connect_timeout(&to.local_addr().unwrap(), Duration::from_millis(300))
    };
    let waiting: Vec<TcpStream> = (0..3).map(|_| connect(&quiet).unwrap()).collect();
    let let_in: Vec<TcpStream> = (0..2).map(|_| connect(&full).unwrap()).collect();
    let turned_away = connect(&full);
    let dump = look();
    let (quiet_row, full_row) = (row(&dump, &quiet), row(&dump, &full));
    assert_eq!(
        (quiet_row.accept_queue, quiet_row.backlog, quiet_row.drops),
        (Some(3), Some(4), Some(0))
    );
    // The queue admits one more than the backlog.
    assert_eq!(
        (full_row.accept_queue, full_row.backlog),
        (Some(2), Some(1))
    );
    assert!(turned_away.is_err());
    assert!(full_row.drops.is_some_and(|d| d > 0), "{full_row:?}");
    drop((waiting, let_in));
}

#[test]
fn half_open_connections_over_ipv4_count_for_a_dual_stack_listener() {
    let dual = listening((Ipv6Addr::UNSPECIFIED, 0).into(), 5, Special::DeferAccept);
    let other = listening((Ipv6Addr::UNSPECIFIED, 0).into(), 5, Special::Plain);
    let port = dual.local_addr().unwrap().port();
    let clients = [
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap(),
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap(),
    ];
    let dump = look();
    assert_eq!(
        (row(&dump, &dual).syn_queue, row(&dump, &dual).accept_queue),
        (Some(2), Some(0))
    );
    assert_eq!(row(&dump, &other).syn_queue, Some(0));
    drop(clients);
}

#[test]
fn unix_listeners_are_seen_by_path_and_by_abstract_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a\tserver.sock");
    let by_path = UnixListener::bind(&path).unwrap();
    let name = format!("steth-test-{}\0\x1b[2J", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let by_name = UnixListener::bind_addr(&address).unwrap();
    let clients: Vec<UnixStream> = (0..3)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    let dump = look();
    let (path_row, name_row) = (row(&dump, &by_path), row(&dump, &by_name));
    assert_eq!(
        path_row.path,
        Some(path.to_str().unwrap().replace('\t', "\\t"))
    );
    assert_eq!(
        (path_row.accept_queue, path_row.family, path_row.port),
        (Some(3), Family::Unix, 0)
    );
    let escaped = format!("@steth-test-{}\\u{{0}}\\u{{1b}}[2J", std::process::id());
    assert_eq!(
        (name_row.path, name_row.accept_queue),
        (Some(escaped), Some(0))
    );
    assert!(path_row.backlog.is_some_and(|b| b > 0));
    drop(clients);
}

#[test]
fn connections_are_those_that_are_wanted() {
    let listener = TcpListener::bind(v4()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mine = inode(&client);
    let found = Diag::open()
        .unwrap()
        .connections(&|inode| inode == mine)
        .unwrap();
    let [connection] = found.as_slice() else {
        panic!("one connection: {found:?}")
    };
    let address = |a: SocketAddr| (a.ip(), a.port());
    assert_eq!(connection.state, TcpState::Established);
    assert_eq!(connection.local, address(client.local_addr().unwrap()));
    assert_eq!(connection.peer, address(client.peer_addr().unwrap()));
    drop(other);
}

#[test]
fn one_socket_answers_again_and_again() {
    let mut diag = Diag::open().unwrap();
    let listener = TcpListener::bind(v4()).unwrap();
    for _ in 0..50 {
        assert_eq!(
            row(&diag.listeners().unwrap(), &listener).state,
            ListenerState::Listening
        );
        assert!(diag.connections(&|_| false).unwrap().is_empty());
    }
}

#[test]
fn what_begins_to_listen_between_two_walks_is_seen_at_once() {
    let mut namespaces = Namespaces::new();
    let own = namespaces.own_inode().unwrap();
    let members = BTreeMap::from([(own, vec![])]);
    let mut look = |tick, socket: &OwnedFd| {
        let (seen, _) = namespaces.read(&members, Moment(tick));
        let inode = inode(socket);
        let found = seen.first()?.listeners.iter().find(|l| l.inode == inode);
        found.map(|l| (l.state, l.backlog))
    };
    let early = bound(v4(), Special::Plain);
    let bound_state = look(0, &early);
    let late = bound(v4(), Special::Plain);
    assert_eq!(look(1, &late), None, "no walk within a nanosecond");
    assert_eq!(look(2, &early), bound_state);
    for socket in [&early, &late] {
        // SAFETY: listen(2) takes no pointers.
        assert_eq!(unsafe { libc::listen(socket.as_raw_fd(), 3) }, 0);
        assert_eq!(look(3, socket), Some((ListenerState::Listening, Some(3))));
    }
}

/// A thread in a new network namespace that listens there until it is told to end.
struct Elsewhere {
    tid: u32,
    netns: u64,
    listener: u64,
    port: u16,
    end: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Elsewhere {
    fn new() -> io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            // SAFETY: unshare(2) takes no pointers; it changes this thread only.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                tell.send(Err(io::Error::last_os_error())).unwrap();
                return;
            }
            let listener = listening((Ipv4Addr::UNSPECIFIED, 0).into(), 6, Special::Plain);
            let thread = fs::read_link("/proc/thread-self").unwrap();
            let tid: u32 = thread
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            let netns = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
            tell.send(Ok((
                tid,
                netns,
                inode(&listener),
                listener.local_addr().unwrap().port(),
            )))
            .unwrap();
            let _ = ended.recv();
        });
        let (tid, netns, listener, port) = told.recv().unwrap()?;
        Ok(Self {
            tid,
            netns,
            listener,
            port,
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A pid that nobody has: that of a child that was reaped.
fn dead_pid() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn another_namespace_is_read_by_a_socket_of_its_own() {
    let Some(elsewhere) = may("make a network namespace", Elsewhere::new()) else {
        return;
    };
    let here = TcpListener::bind(v4()).unwrap();
    let mut namespaces = Namespaces::new();
    let own = namespaces.own_inode().unwrap();
    let members = BTreeMap::from([
        (own, vec![std::process::id()]),
        (elsewhere.netns, vec![dead_pid(), elsewhere.tid]),
    ]);
    for tick in 0..3 {
        let (seen, gaps) = namespaces.read(&members, Moment(tick));
        assert_eq!(gaps, []);
        assert_eq!(
            seen.iter().map(|n| n.inode).collect::<Vec<_>>(),
            members.keys().copied().collect::<Vec<_>>()
        );
        let other = seen.iter().find(|n| n.inode == elsewhere.netns).unwrap();
        let [listener] = other.listeners.as_slice() else {
            panic!("one: {:?}", other.listeners)
        };
        assert_eq!(
            (listener.inode, listener.port, listener.backlog),
            (elsewhere.listener, elsewhere.port, Some(6))
        );
        assert_eq!(other.has_other_interface, Some(false));
        assert_eq!(other.counters, Some(Default::default()));
        let mine = seen.iter().find(|n| n.inode == own).unwrap();
        assert!(mine.listeners.iter().any(|l| l.inode == inode(&here)));
        assert!(!mine.listeners.iter().any(|l| l.inode == elsewhere.listener));
    }
    assert_eq!(
        namespaces.connections(elsewhere.netns, &|_| true),
        Some(Vec::new())
    );
    namespaces.read(&BTreeMap::from([(own, vec![])]), Moment(4));
    assert_eq!(
        namespaces.connections(elsewhere.netns, &|_| true),
        None,
        "it is forgotten"
    );
    let gone = BTreeMap::from([(elsewhere.netns, vec![dead_pid()])]);
    assert_eq!(namespaces.read(&gone, Moment(5)), (vec![], vec![]));
}

#[test]
fn without_the_right_to_enter_a_namespace_its_tables_are_read() {
    let Some(elsewhere) = may("make a network namespace", Elsewhere::new()) else {
        return;
    };
    let (netns, tid, listener) = (elsewhere.netns, elsewhere.tid, elsewhere.listener);
    let unprivileged = thread::spawn(move || {
        // The system call itself, not libc's function: that one changes every thread of the process.
        // SAFETY: setresuid(2) takes no pointers.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) };
        assert_eq!(result, 0);
        let mut namespaces = Namespaces::new();
        let members = BTreeMap::from([(netns, vec![tid])]);
        let first = namespaces.read(&members, Moment(0));
        let again = namespaces.read(&members, Moment(1));
        (first, again, namespaces.connections(netns, &|_| true))
    });
    let ((seen, gaps), again, connections) = unprivileged.join().unwrap();
    assert_eq!((seen.clone(), gaps.clone()), again);
    let [gap] = gaps.as_slice() else {
        panic!("one gap: {gaps:?}")
    };
    assert_eq!((gap.source.as_str(), gap.pid), ("sock_diag", Some(tid)));
    assert_eq!(gap.unlock.as_deref(), Some("sudo steth"));
    let [other] = seen.as_slice() else {
        panic!("one namespace: {seen:?}")
    };
    let [row] = other.listeners.as_slice() else {
        panic!("one listener: {:?}", other.listeners)
    };
    assert_eq!(
        (row.inode, row.accept_queue, row.backlog, row.drops),
        (listener, Some(0), None, None)
    );
    assert!(!other.bound_visible);
    assert_eq!(connections, Some(Vec::new()));
}

fn listen() -> Option<(Listening, Receiver<ProcEvent>)> {
    let (sender, receiver) = sync_channel(65_536);
    Some((
        may("listen to process events", events::listen(sender))?,
        receiver,
    ))
}

/// The events until the exit of this process, at most 5 s.
fn until_exit(events: &Receiver<ProcEvent>, pid: u32) -> Vec<ProcEvent> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut seen = Vec::new();
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        seen.push(event);
        if matches!(event, ProcEvent::Exit { pid: ended, .. } if ended == pid) {
            return seen;
        }
    }
    panic!("no exit of {pid} in {seen:?}");
}

#[test]
fn a_process_that_lives_50_ms_is_seen_with_its_exit_code() {
    let Some((_listening, events)) = listen() else {
        return;
    };
    let before = clock::now();
    let mut child = Command::new("sh")
        .args(["-c", "sleep 0.05; exit 7"])
        .spawn()
        .unwrap();
    let pid = child.id();
    let seen = until_exit(&events, pid);
    let after = clock::now();
    child.wait().unwrap();
    let me = std::process::id();
    let born = seen.iter().find_map(|e| match e {
        ProcEvent::Fork { parent, child, at } if *child == pid && *parent == me => Some(*at),
        _ => None,
    });
    let ran = seen
        .iter()
        .any(|e| matches!(e, ProcEvent::Exec { pid: ran, .. } if *ran == pid));
    let Some(ProcEvent::Exit {
        parent, status, at, ..
    }) = seen.last()
    else {
        panic!("an exit")
    };
    assert!(ran, "{seen:?}");
    assert_eq!(
        (*parent, *status),
        (
            Some(me),
            ExitStatus {
                code: Some(7),
                signal: None
            }
        )
    );
    let born = born.expect("its fork");
    assert!(at.seconds_since(born) >= 0.05, "{seen:?}");
    assert!(
        before <= born && *at <= after,
        "{before:?} {born:?} {at:?} {after:?}"
    );
}

#[test]
fn a_killed_process_is_seen_with_its_signal() {
    let Some((_listening, events)) = listen() else {
        return;
    };
    let mut child = Command::new("sleep").arg("30").spawn().unwrap();
    child.kill().unwrap();
    let seen = until_exit(&events, child.id());
    child.wait().unwrap();
    let Some(ProcEvent::Exit { status, .. }) = seen.last() else {
        panic!("an exit")
    };
    assert_eq!(
        *status,
        ExitStatus {
            code: None,
            signal: Some(libc::SIGKILL)
        }
    );
}

#[test]
fn threads_are_no_processes() {
    let Some((_listening, events)) = listen() else {
        return;
    };
    let thread = thread::spawn(|| fs::read_link("/proc/thread-self").unwrap());
    let tid: u32 = thread
        .join()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    let seen = until_exit(&events, child.id());
    child.wait().unwrap();
    let of_thread = seen.iter().any(|e| match e {
        ProcEvent::Fork { child: pid, .. } | ProcEvent::Exit { pid, .. } => *pid == tid,
        ProcEvent::Exec { .. } | ProcEvent::Lost => false,
    });
    assert!(!of_thread, "{tid} in {seen:?}");
}

#[test]
fn a_receiver_that_does_not_keep_up_is_told_of_the_loss() {
    let (sender, events) = sync_channel(1);
    let Some(listening) = may("listen to process events", events::listen(sender)) else {
        return;
    };
    for _ in 0..5 {
        Command::new("true").status().unwrap();
    }
    thread::sleep(Duration::from_millis(50));
    assert_ne!(
        events.recv_timeout(Duration::from_secs(30)),
        Ok(ProcEvent::Lost),
        "the one that fitted"
    );
    assert_eq!(
        events.recv_timeout(Duration::from_secs(30)),
        Ok(ProcEvent::Lost)
    );
    // Returns only when the thread has ended; a thread that waits for room in the channel would never.
    drop(listening);
    while events.try_recv().is_ok() {}
    assert_eq!(events.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

#[test]
fn the_thread_ends_when_nobody_receives() {
    let Some((listening, events)) = listen() else {
        return;
    };
    drop(events);
    let deadline = Instant::now() + Duration::from_secs(30);
    while listening.is_alive() && Instant::now() < deadline {
        Command::new("true").status().unwrap();
    }
    assert!(!listening.is_alive());
}

#[test]
fn exits_are_noticed_without_any_right() {
    struct Reaped(Child);
    impl Drop for Reaped {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let mut child = Reaped(Command::new("sleep").arg("30").spawn().unwrap());
    let other = Reaped(Command::new("sleep").arg("30").spawn().unwrap());
    let gone = dead_pid();
    let mut watch = ExitWatch::new();
    for pid in [child.0.id(), child.0.id(), other.0.id(), gone] {
        watch.watch(pid);
    }
    assert_eq!(watch.ended(), [gone]);
    assert!(watch.ended().is_empty());
    child.0.kill().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut ended = Vec::new();
    while ended.is_empty() && Instant::now() < deadline {
        ended = watch.ended();
    }
    assert_eq!(ended, [child.0.id()]);
    assert!(watch.ended().is_empty());
}

/// What a look costs; prints, asserts nothing. `cargo test --test kernel_sources -- --ignored --nocapture cost`
#[test]
#[ignore = "prints the cost of a look, which is no yes or no"]
fn cost_of_a_look() {
    let listener = listening(v4(), 4096, Special::Plain);
    let address = listener.local_addr().unwrap();
    let mut diag = Diag::open().unwrap();
    let mut namespaces = Namespaces::new();
    let members = BTreeMap::from([(namespaces.own_inode().unwrap(), vec![])]);
    let (mut pairs, mut tick) = (Vec::new(), 0);
    for wanted in [0usize, 9_000, 20_000] {
        while pairs.len() * 2 < wanted {
            let Ok(client) = TcpStream::connect(address) else {
                break;
            };
            let Ok((server, _)) = listener.accept() else {
                break;
            };
            pairs.push((client, server));
        }
        eprintln!("{} connections", pairs.len() * 2);
        time("listening", || drop(diag.listening().unwrap()));
        time("listeners", || drop(diag.listeners().unwrap()));
        time("connections, none wanted", || {
            drop(diag.connections(&|_| false).unwrap())
        });
        time("connections, all wanted", || {
            drop(diag.connections(&|_| true).unwrap())
        });
        time("Namespaces::read between walks", || {
            drop(namespaces.read(&members, Moment(tick * 100_000_000)))
        });
        let start = Instant::now();
        let mut spent = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(3) {
            let begun = Instant::now();
            namespaces.read(&members, Moment(tick * 100_000_000));
            spent += begun.elapsed();
            tick += 1;
            thread::sleep(Duration::from_millis(100).saturating_sub(begun.elapsed()));
        }
        eprintln!(
            "  Namespaces::read at 10 Hz: {:.2} % of a core",
            spent.as_secs_f64() / 0.03
        );
    }
}

fn time(what: &str, mut work: impl FnMut()) {
    let best = (0..30).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_micros()
    });
    eprintln!("  {what}: {} µs", best.min().unwrap_or_default());
}
