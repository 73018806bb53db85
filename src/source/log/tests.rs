use super::*;
use crate::snapshot::Sink;
use crate::source::procfs::ProcReader;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// A shell that stands in for a server; it ends when the test does.
struct Server(Child);

impl Server {
    fn start(script: &str, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        let child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self(child)
    }

    fn record(&self) -> Arc<Process> {
        let pid = self.0.id();
        let mut process = crate::testing::process(pid, "sh");
        process.key = ProcReader::new().stat(pid).unwrap().key();
        process.ppid = std::process::id();
        Arc::new(process)
    }

    fn say(&mut self, line: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads until it is so.
fn until(reader: &mut LogReader, processes: &[Arc<Process>], so: impl Fn(&Told) -> bool) -> Told {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        reader.request(processes);
        let told = reader.told();
        if so(&told) {
            return told;
        }
        assert!(Instant::now() < deadline, "not in time: {told:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn texts(told: &Told) -> Vec<&str> {
    let lines = told.tails.iter().flat_map(|t| t.lines.iter());
    lines.map(|line| line.text.as_str()).collect()
}

const ECHO: &str = "while read -r line; do echo \"$line\"; done";

#[test]
fn lines_of_a_file_are_read_as_they_come_and_stay_when_the_writer_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.txt");
    std::fs::write(&path, "an old line\n").unwrap();
    let open = || {
        let mut options = std::fs::OpenOptions::new();
        options.append(true).open(&path).unwrap()
    };
    let mut server = Server::start(ECHO, open(), open());
    let process = server.record();
    let mut reader = LogReader::default();
    let told = until(&mut reader, std::slice::from_ref(&process), |t| {
        !t.tails.is_empty()
    });
    assert_eq!(texts(&told), ["an old line"]);
    assert!(!told.tails[0].lines[0].is_new);
    assert_eq!(told.tails[0].writers, [process.key]);
    assert_eq!(
        told.tails[0].sink,
        Sink::File {
            path: path.to_str().unwrap().to_owned()
        }
    );
    server.say("Traceback (most recent call last):");
    server.say("KeyError: password=hunter2");
    let told = until(&mut reader, std::slice::from_ref(&process), |t| {
        t.tails[0].tracebacks.len() == 1
    });
    assert_eq!(texts(&told).last(), Some(&"KeyError: password=•••"));
    assert!(told.tails[0].tracebacks[0].is_new);
    assert!(told.gaps.is_empty());
    drop(server);
    let told = until(&mut reader, &[], |t| t.gaps.is_empty());
    assert_eq!(texts(&told).len(), 3);
}

#[test]
fn what_cannot_be_read_is_said_once() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let start = || Server::start(ECHO, writer.try_clone().unwrap(), Stdio::null());
    let (master, worker) = (start(), start());
    let stranger = Server::start(ECHO, Stdio::null(), Stdio::null());
    let master = master.record();
    let child = |process: Arc<Process>| {
        let mut process = Process::clone(&process);
        process.ppid = master.key.pid;
        Arc::new(process)
    };
    let (worker, stranger) = (child(worker.record()), child(stranger.record()));
    let all = [master.clone(), worker, stranger.clone()];
    let told = until(&mut LogReader::default(), &all, |t| t.gaps.len() > 1);
    let own = std::process::id();
    let words: Vec<(Option<u32>, &str)> = told
        .gaps
        .iter()
        .map(|gap| (gap.pid, gap.cause.as_str()))
        .collect();
    assert_eq!(words.len(), 2, "the worker's is the master's: {words:?}");
    let [(of, cause), other] = words[..] else {
        unreachable!()
    };
    assert_eq!(of, Some(master.key.pid));
    assert!(cause.starts_with(&format!("stdout is a pipe read by pid {own} (")));
    assert!(cause.ends_with("stderr is /dev/null"), "{cause}");
    let want = (Some(stranger.key.pid), "stdout and stderr are /dev/null");
    assert_eq!(other, want);
    assert!(told.tails.is_empty());
}

#[test]
fn a_thread_that_hangs_is_left_alone_and_the_process_with_it() {
    let server = Server::start(ECHO, Stdio::null(), Stdio::null());
    let process = server.record();
    let mut reader = LogReader::default();
    until(&mut reader, std::slice::from_ref(&process), |t| {
        !t.gaps.is_empty()
    });
    // As if the file behind it lay on a dead mount.
    let shared = reader.shared.clone().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while shared.state().wanted.is_some() || shared.state().busy.is_some() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let long_ago = Instant::now().checked_sub(2 * PATIENCE).unwrap();
    shared.state().busy = Some((long_ago, process.key));
    reader.request(std::slice::from_ref(&process));
    assert!(shared.state().is_closed);
    let words = &reader.told().gaps[0].cause;
    assert!(words.contains("does not answer"), "{words}");
    // Another thread reads for the others, and the process is forgotten once it is gone.
    assert!(reader.shared.is_some());
    reader.request(&[]);
    assert!(reader.hanging.is_empty());
}
