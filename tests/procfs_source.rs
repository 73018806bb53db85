//! Does the reader of /proc see real processes as they are? Every process is started here and ended here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may fail anywhere, and clippy only knows those functions that are marked as tests"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use steth::snapshot::{Heartbeat, Moment, Process, ProcessState};
use steth::source::procfs::{Depth, Looking, ProcError, ProcReader, ReadOut};

/// A Python process that runs a script, prints one line when it is ready, and ends with this value.
struct Python {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// What it printed when it was ready.
    said: String,
}

impl Python {
    fn start(script: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need python3 in PATH");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut python = Self {
            child,
            stdin,
            stdout,
            said: String::new(),
        };
        python.said = python.line();
        python
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Lets a script that waits in `input()` go on.
    fn go_on(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// The pid that the script printed.
    fn pid(&self) -> u32 {
        self.number(0)
    }

    fn number(&self, at: usize) -> u32 {
        let words: Vec<&str> = self.said.split(' ').collect();
        words[at].parse().unwrap()
    }

    fn signal(&self, signal: i32) {
        let kill = Command::new("kill")
            .args([format!("-{signal}"), self.pid().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reader, and the moment of its looks.
struct Eye {
    reader: ProcReader,
    now: Moment,
    /// The only listener that there is; any socket counts as one if this is `None`.
    listener: Option<u64>,
}

impl Eye {
    fn new() -> Self {
        Self {
            reader: ProcReader::new(),
            now: Moment(1_000_000_000_000),
            listener: None,
        }
    }

    fn look(
        &mut self,
        pid: u32,
        depth: Depth,
        previous: Option<&Process>,
    ) -> Result<ReadOut, ProcError> {
        self.now = self.now.plus_seconds(0.25);
        let memory = std::fs::File::open(format!("/proc/{pid}/mem"));
        let read = |address: u64, out: &mut [u8]| {
            memory
                .as_ref()
                .is_ok_and(|m| m.read_exact_at(out, address).is_ok())
        };
        let looking = Looking {
            now: self.now,
            memory: &read,
            wanted_listeners: &|inode| self.listener.is_none_or(|only| only == inode),
        };
        self.reader.read(pid, depth, previous, &looking)
    }

    fn full(&mut self, pid: u32) -> Process {
        self.look(pid, Depth::Full, None).unwrap().process
    }

    fn light(&mut self, previous: &Process) -> Process {
        let out = self.look(previous.key.pid, Depth::Light, Some(previous));
        out.unwrap().process
    }

    /// Looks again and again until a process is as wanted, or ten seconds have passed.
    fn until(&mut self, pid: u32, wanted: impl Fn(&Process) -> bool) -> Process {
        let began = Instant::now();
        loop {
            let process = self.full(pid);
            if wanted(&process) {
                return process;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{process:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The same with light looks, each given the one before it.
    fn until_light(&mut self, first: Process, wanted: impl Fn(&Process) -> bool) -> Process {
        let began = Instant::now();
        let mut process = first;
        while !wanted(&process) {
            assert!(began.elapsed() < Duration::from_secs(60), "{process:#?}");
            process = self.light(&process);
        }
        process
    }
}

fn main_state(process: &Process) -> ProcessState {
    process.threads.as_ref().unwrap()[0].state
}

/// A script with a listener `s`; `ready()` prints the pid and the inode of the listener.
fn listening(then: &str) -> Python {
    Python::start(&format!(
        "import os,socket,select,time,threading
s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(5)
i=os.fstat(s.fileno()).st_ino
def ready(): print(os.getpid(), i)
{then}"
    ))
}

#[test]
fn descriptors_are_counted_by_class() {
    let python = Python::start(
        "import os,socket,select,tempfile
keep=[socket.socketpair(), os.pipe(), select.epoll(), tempfile.TemporaryFile(), open('/dev/zero'), os.openpty()]
keep.append(os.eventfd(0) if hasattr(os,'eventfd') else None)
print(os.getpid(), len(os.listdir('/proc/self/fd')) - 1, int(keep[-1] is not None)); input()",
    );
    let process = Eye::new().full(python.pid());
    let fds = process.fds.unwrap();
    assert_eq!(fds.open, u64::from(python.number(1)));
    assert_eq!((fds.classes.sockets, fds.sockets.len()), (2, 2));
    assert!(
        fds.classes.pipes >= 4,
        "its own two, stdin, stdout: {fds:?}"
    );
    assert_eq!(fds.classes.epolls, 1);
    assert_eq!(fds.classes.anon, u64::from(python.number(2)));
    assert!(fds.classes.files >= 1 && fds.classes.others >= 1, "{fds:?}");
    assert!(fds.classes.terminals >= 1, "{fds:?}");
    assert!(fds.limit.unwrap() > 0);
    let stdin = fds.stdio[0].as_deref().unwrap();
    assert!(stdin.starts_with("pipe:["), "{stdin}");
    assert_eq!(inodes(&process.accepting), Some(vec![]));
    assert_eq!(process.cmdline[1], "-u");
    assert!(process.cwd.is_some() && process.exe.unwrap().contains("python"));
}

#[test]
fn every_way_to_wait_for_a_connection_is_seen() {
    let ways = [
        ("accept", "ready(); s.accept()"),
        ("select", "ready(); select.select([s],[],[])"),
        ("poll", "p=select.poll(); p.register(s); ready(); p.poll()"),
        (
            "epoll",
            "p=select.epoll(); p.register(s, select.EPOLLIN); ready(); p.poll()",
        ),
        (
            "an epoll set while busy",
            "p=select.epoll(); p.register(s, select.EPOLLIN); ready(); time.sleep(99)",
        ),
        (
            "a thread",
            "threading.Thread(target=s.accept,daemon=True).start(); ready(); time.sleep(99)",
        ),
        (
            "asyncio",
            "import asyncio
async def main():
 await asyncio.start_server(lambda r,w: None,sock=s); ready(); await asyncio.sleep(99)
asyncio.run(main())",
        ),
    ];
    for (way, script) in ways {
        let python = listening(script);
        let inode = u64::from(python.number(1));
        let mut eye = Eye::new();
        eye.listener = Some(inode);
        let first = eye.until(python.pid(), |p| inodes(&p.accepting) == Some(vec![inode]));
        let light = eye.look(python.pid(), Depth::Light, Some(&first)).unwrap();
        assert_eq!(inodes(&light.process.accepting), Some(vec![inode]), "{way}");
        assert_eq!(light.denied, Vec::<&str>::new(), "{way}");
    }
}

#[test]
fn a_listener_that_nobody_waits_for_is_not_accepted_from() {
    let ways = [
        ("asleep", "ready(); time.sleep(99)"),
        (
            "polled for output",
            "p=select.poll(); p.register(s, select.POLLOUT); p.register(os.pipe()[0]); ready(); p.poll()",
        ),
        (
            "epoll without input",
            "p=select.epoll(); p.register(s, select.EPOLLOUT); ready(); time.sleep(99)",
        ),
        (
            "another is selected",
            "t=os.pipe(); ready(); select.select([t[0]],[s],[s])",
        ),
    ];
    for (way, script) in ways {
        let python = listening(script);
        let mut eye = Eye::new();
        let process = eye.until(python.pid(), |p| main_state(p) == ProcessState::Sleeping);
        assert_eq!(inodes(&process.accepting), Some(vec![]), "{way}");
    }
}

#[test]
fn a_light_look_notices_that_a_process_begins_to_accept() {
    let mut python =
        listening("ready(); input(); p=select.epoll(); p.register(s, select.EPOLLIN); p.poll()");
    let mut eye = Eye::new();
    let before = eye.full(python.pid());
    assert_eq!(inodes(&before.accepting), Some(vec![]));
    python.go_on();
    let inode = u64::from(python.number(1));
    eye.until_light(before, |p| inodes(&p.accepting) == Some(vec![inode]));
}

#[test]
fn only_wanted_listeners_are_named() {
    let python = listening("p=select.epoll(); p.register(s, select.EPOLLIN); ready(); p.poll()");
    let looking = Looking {
        now: Moment(5),
        memory: &|_, _| false,
        wanted_listeners: &|_| false,
    };
    let out = ProcReader::new().read(python.pid(), Depth::Full, None, &looking);
    assert_eq!(inodes(&out.unwrap().process.accepting), Some(vec![]));
}

#[test]
fn a_select_whose_arguments_cannot_be_read_is_not_nothing() {
    let python = listening("ready(); select.select([s],[],[])");
    let inode = u64::from(python.number(1));
    Eye::new().until(python.pid(), |p| inodes(&p.accepting) == Some(vec![inode]));
    let looking = Looking {
        now: Moment(5),
        memory: &|_, _| false,
        wanted_listeners: &|_| true,
    };
    let out = ProcReader::new().read(python.pid(), Depth::Full, None, &looking);
    let out = out.unwrap();
    assert_eq!(
        (inodes(&out.process.accepting), out.denied),
        (None, vec!["memory"])
    );
}

#[test]
fn a_zombie_has_its_exit_status_and_little_else() {
    let python = Python::start(
        "import os
p=os.fork()
if not p: os._exit(3)
os.waitid(os.P_PID,p,os.WEXITED|os.WNOWAIT); print(p); input()",
    );
    let mut eye = Eye::new();
    let zombie = eye.full(python.pid());
    assert_eq!(zombie.state, ProcessState::Zombie);
    assert_eq!(zombie.exit_status, Some(3 << 8));
    assert_eq!((&zombie.fds, &zombie.accepting), (&None, &None));
    assert!(zombie.cmdline.is_empty());
    assert_eq!(eye.full(zombie.ppid).exit_status, None);
}

#[test]
fn a_stopped_process_is_told_apart_and_goes_on() {
    let python = listening("p=select.poll(); p.register(s, select.POLLIN); ready(); p.poll(99000)");
    let inode = u64::from(python.number(1));
    let mut eye = Eye::new();
    let before = eye.until(python.pid(), |p| inodes(&p.accepting) == Some(vec![inode]));
    python.signal(19);
    let stopped = eye.until_light(before, |p| p.state == ProcessState::Stopped);
    let stopped = eye.until_light(stopped, |p| main_state(p) == ProcessState::Stopped);
    python.signal(18);
    let resumed = eye.until_light(stopped, |p| main_state(p) == ProcessState::Sleeping);
    // The kernel goes on with poll as restart_syscall.
    assert_eq!(inodes(&resumed.accepting), Some(vec![inode]));
}

#[test]
fn exec_keeps_the_key_and_changes_the_command_line() {
    let mut python = Python::start(
        "import os,sys
print(os.getpid()); input()
os.execv(sys.executable,[sys.executable,'-u','-c','import os;print(os.getpid());input()','again'])",
    );
    let mut eye = Eye::new();
    let before = eye.full(python.pid());
    assert_ne!(before.cmdline.last().unwrap(), "again");
    python.go_on();
    assert_eq!(python.line(), python.said);
    let light = eye.light(&before);
    assert_eq!((light.key, &light.comm), (before.key, &before.comm));
    assert_eq!(light.cmdline.last().unwrap(), "again");
}

#[test]
fn a_process_that_is_gone_says_so() {
    let mut python = Python::start("import os; print(os.getpid()); input()");
    let mut eye = Eye::new();
    let pid = python.pid();
    let before = eye.full(pid);
    assert!(eye.reader.pids().unwrap().contains(&pid));
    python.go_on();
    python.child.wait().unwrap();
    for depth in [Depth::Light, Depth::Full] {
        let error = eye.look(pid, depth, Some(&before)).unwrap_err();
        assert!(matches!(error, ProcError::Gone), "{error}");
    }
    assert!(!eye.reader.pids().unwrap().contains(&pid));
}

#[test]
fn two_thousand_descriptors() {
    let mut python = Python::start(
        "import os,socket,resource
resource.setrlimit(resource.RLIMIT_NOFILE,(3000,resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
keep=[socket.socket() for _ in range(2000)]
print(os.getpid()); input()
del keep[1000:]; print('less'); input()",
    );
    let mut eye = Eye::new();
    let before = eye.full(python.pid());
    let fds = before.fds.clone().unwrap();
    assert_eq!((fds.classes.sockets, fds.limit), (2000, Some(3000)));
    assert!(fds.open > 2000 && fds.sockets.is_sorted());
    python.go_on();
    assert_eq!(python.line(), "less");
    let light = eye.light(&before);
    let counted = light.fds.clone().unwrap();
    assert_eq!(counted.open, fds.open - 1000);
    assert_eq!(counted.scanned_at, fds.scanned_at);
    let full = eye.look(python.pid(), Depth::Full, Some(&light)).unwrap();
    assert_eq!(full.process.fds.unwrap().classes.sockets, 1000);
}

#[test]
fn threads_have_names_calls_and_counters() {
    let python = listening(
        "def named():
 open('/proc/thread-self/comm','w').write('waits\\x1b[2J'); s.accept()
threading.Thread(target=named,daemon=True).start(); ready(); time.sleep(99)",
    );
    let socket = format!("socket:[{}]", python.number(1));
    let mut eye = Eye::new();
    let process = eye.until(python.pid(), |p| {
        let threads = p.threads.as_deref().unwrap();
        threads.len() == 2 && threads[1].waits_on.as_ref() == Some(&socket)
    });
    let thread = &process.threads.as_ref().unwrap()[1];
    assert_eq!(
        thread.name, "waits\\u{1b}[2J",
        "control characters never pass"
    );
    assert!(thread.syscall_seen && thread.run_ns > 0 && thread.switches > 0);
    assert_eq!(process.thread_count, 2);
    let again = eye.light(&process);
    assert_eq!(again.thread(thread.tid), Some(thread), "it did not run");
}

/// As gunicorn does it: the master makes a file and forks; the worker beats, and a helper that it forks beats not.
const GUNICORN: &str = "import os,tempfile,time
def made():
 fd,name=tempfile.mkstemp(prefix='wgunicorn-'); os.unlink(name); return fd
fds=[made()]
r,w=os.pipe()
def worker(fd,elder):
 for e in elder: os.close(e)
 BEAT
 if os.fork(): os.write(w,b'.'); time.sleep(99)
 os.write(w,b'.'); time.sleep(99)
a=os.fork()
if not a: worker(fds[0],[])
fds.append(made())
b=os.fork()
if not b: worker(fds[1],fds[:1])
n=0
while n<4: n+=len(os.read(r,9))
c=[int(open(f'/proc/{p}/task/{p}/children').read()) for p in (a,b)]
print(os.getpid(),a,b,*c); input(); [os.kill(p,9) for p in (a,b,*c)]";

fn heartbeats(beat: &str) -> [Option<Heartbeat>; 5] {
    let mut python = Python::start(&GUNICORN.replace("BEAT", beat));
    let mut eye = Eye::new();
    let seen = [0, 1, 2, 3, 4].map(|at| {
        let full = eye.full(python.number(at));
        let light = eye.light(&full);
        assert_eq!(light.heartbeat.is_some(), full.heartbeat.is_some());
        full.heartbeat
    });
    python.go_on();
    let _ = python.child.wait();
    seen
}

#[test]
fn heartbeats_of_workers_only() {
    let new = "t=time.monotonic()-5; os.utime(fd,(t,t))";
    let old = "os.fchmod(fd,1)";
    for (beat, at_least, at_most) in [(new, 5000, 15_000), (old, 0, 10_000)] {
        let [master, first, second, helper, other] = heartbeats(beat);
        assert_eq!((master, helper, other), (None, None, None), "{beat}");
        for worker in [first, second] {
            let age = worker.unwrap().age_ms.unwrap();
            assert!((at_least..at_most).contains(&age), "{beat}: {age}");
        }
    }
    let never = heartbeats("pass");
    assert_eq!(never[1], Some(Heartbeat { age_ms: None }));
}

/// A cgroup of our own with a process in it; thawed and removed at the end.
struct Cgroup {
    at: std::path::PathBuf,
    freeze: (&'static str, &'static str, &'static str),
}

impl Cgroup {
    fn new(
        root: &str,
        freeze: (&'static str, &'static str, &'static str),
        pid: u32,
    ) -> Option<Self> {
        let at = std::path::Path::new(root).join(format!("steth-test-{}", std::process::id()));
        std::fs::create_dir(&at).ok()?;
        let cgroup = Self { at, freeze };
        let joined = std::fs::write(cgroup.at.join("cgroup.procs"), pid.to_string());
        (joined.is_ok() && cgroup.at.join(freeze.0).exists()).then_some(cgroup)
    }

    fn freeze(&self, frozen: bool) {
        let (file, on, off) = self.freeze;
        let _ = std::fs::write(self.at.join(file), if frozen { on } else { off });
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.freeze(false);
        if let (Some(root), Ok(pids)) = (
            self.at.parent(),
            std::fs::read_to_string(self.at.join("cgroup.procs")),
        ) {
            for pid in pids.lines() {
                let _ = std::fs::write(root.join("cgroup.procs"), pid);
            }
        }
        let _ = std::fs::remove_dir(&self.at);
    }
}

#[test]
fn a_frozen_cgroup_is_told() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut tried = 0;
    for line in mounts.lines() {
        let freeze = match line.split_once(" - ").unwrap().1 {
            kind if kind.starts_with("cgroup2 ") => ("cgroup.freeze", "1", "0"),
            kind if kind.contains("freezer") => ("freezer.state", "FROZEN", "THAWED"),
            _ => continue,
        };
        let python = Python::start("import os; print(os.getpid()); input()");
        let root = line.split(' ').nth(4).unwrap();
        let Some(cgroup) = Cgroup::new(root, freeze, python.pid()) else {
            continue;
        };
        tried += 1;
        let mut eye = Eye::new();
        let thawed = eye.full(python.pid());
        assert_eq!(thawed.frozen, Some(false), "{root}");
        cgroup.freeze(true);
        let frozen = eye.until(python.pid(), |p| p.frozen == Some(true));
        cgroup.freeze(false);
        eye.until(python.pid(), |p| p.frozen == Some(false));
        eye.until_light(frozen, |p| p.frozen == Some(false));
        println!("froze and thawed a process in {root}");
    }
    if tried == 0 {
        eprintln!("skipped: no cgroup with a freezer can be made here");
    }
}

#[test]
fn a_user_without_rights_is_told_what_is_denied() {
    let python = listening("p=select.epoll(); p.register(s, select.EPOLLIN); ready(); p.poll()");
    let status = Command::new("setpriv")
        .args([
            "--reuid",
            "65534",
            "--clear-groups",
            "--bounding-set",
            "-all",
            "--inh-caps",
            "-all",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "seen_by_nobody", "--ignored", "--nocapture"])
        .env("STETH_TEST_PID", python.pid().to_string())
        .output();
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    match status {
        Ok(out) if root => {
            let said = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success() && said.contains("1 passed"), "{out:?}");
        }
        _ => eprintln!("skipped: needs root and setpriv, to give rights up"),
    }
}

/// The other half of the test above, run by it as user 65534.
#[test]
#[ignore = "started by a_user_without_rights_is_told_what_is_denied"]
fn seen_by_nobody() {
    let Ok(pid) = std::env::var("STETH_TEST_PID") else {
        return;
    };
    let pid = pid.parse().unwrap();
    let rights = steth::source::privilege::read();
    assert_eq!((rights.euid, rights.cap_sys_ptrace), (65534, false));
    let mut eye = Eye::new();
    let full = eye.look(pid, Depth::Full, None).unwrap();
    let mut denied = full.denied.clone();
    denied.sort_unstable();
    assert_eq!(denied, ["cwd", "exe", "fd", "ns/net", "syscall"]);
    let process = full.process;
    assert_eq!((&process.fds, &process.accepting), (&None, &None));
    assert_eq!(
        (&process.exe, &process.cwd, process.netns),
        (&None, &None, None)
    );
    assert!(process.cmdline.len() > 2 && process.uid == 0);
    let thread = &process.threads.as_ref().unwrap()[0];
    assert_eq!((thread.syscall_seen, thread.syscall), (false, None));
    assert!(thread.run_ns > 0);
    let light = eye.look(pid, Depth::Light, Some(&process)).unwrap();
    let mut still = light.denied;
    still.sort_unstable();
    assert_eq!(still, denied, "a light look does not forget");
    let own = eye.full(std::process::id());
    assert!(own.fds.is_some() && own.exe.is_some());
}

/// Prints what is seen of the processes in STETH_PIDS, for a look by hand.
#[test]
#[ignore = "for a look by hand"]
fn look() {
    let mut eye = Eye::new();
    for pid in std::env::var("STETH_PIDS")
        .unwrap_or_default()
        .split_whitespace()
    {
        println!("{:#?}", eye.look(pid.parse().unwrap(), Depth::Full, None));
    }
}

/// Prints what looks cost: `cargo test --release --test procfs_source -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    for (sockets, times) in [(6, 2000), (9000, 20)] {
        cost_with(sockets, times);
    }
}

fn cost_with(sockets: u32, times: u32) {
    let python = listening(&format!(
        "for _ in range(2): threading.Thread(target=time.sleep,args=(99,),daemon=True).start()
import resource; resource.setrlimit(resource.RLIMIT_NOFILE,(10000,10000))
keep=[open('/dev/zero') for _ in range(8)]+[socket.socket(type=socket.SOCK_DGRAM) for _ in range({sockets})]
p=select.epoll(); p.register(s, select.EPOLLIN)
for k in keep[8:]: p.register(k, 0)
ready(); p.poll()"
    ));
    let inode = u64::from(python.number(1));
    let mut eye = Eye::new();
    eye.listener = Some(inode);
    let before = eye.until(python.pid(), |p| {
        inodes(&p.accepting) == Some(vec![inode])
            && p.threads
                .iter()
                .flatten()
                .all(|t| t.state == ProcessState::Sleeping)
    });
    let fds = before.fds.as_ref().unwrap().open;
    let looking = Looking {
        now: eye.now,
        memory: &|_, _| false,
        wanted_listeners: &|_| true,
    };
    for (name, depth, previous) in [
        ("light, quiet", Depth::Light, Some(&before)),
        ("full, quiet", Depth::Full, Some(&before)),
        ("full, first", Depth::Full, None),
    ] {
        let began = Instant::now();
        for _ in 0..times {
            let out = eye.reader.read(python.pid(), depth, previous, &looking);
            out.unwrap();
        }
        let each = began.elapsed() / times;
        println!(
            "{name}: {each:?} ({} threads, {fds} descriptors)",
            before.thread_count
        );
    }
    let began = Instant::now();
    for _ in 0..times {
        eye.reader.stat(python.pid()).unwrap();
    }
    println!("stat: {:?}", began.elapsed() / times);
}

/// The sockets only: which thread waits is told apart elsewhere.
fn inodes(accepting: &Option<Vec<steth::snapshot::Accepting>>) -> Option<Vec<u64>> {
    accepting
        .as_ref()
        .map(|all| all.iter().map(|a| a.inode).collect())
}
