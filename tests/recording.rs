//! Recordings as the real program makes them: of real servers, killed, on a full disk, and old ones that have to keep opening.
#![cfg(test)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use steth::diagnosis::{Analyst, Diagnosis, Phase};
use steth::recording::{
    Decoder, Encoder, FrameKind, Frames, Header, Limits, LineDecoder, Recording, SCHEMA, Writer,
};
use steth::snapshot::Snapshot;
use steth::source::sampler::{Sampler, Wishes};
use support::python::{any, is_root};
use support::server::Server;
use support::{PATIENCE, eventually};
use tempfile::TempDir;

const STETH: &str = env!("CARGO_BIN_EXE_steth");

/// A healthy server of the standard library.
fn server() -> Result<Server, String> {
    let args = ["-m", "http.server", "{port}", "--bind", "127.0.0.1"];
    let server = Server::start(&any()?, &args);
    server.wait_listens();
    Ok(server)
}

/// `steth record`, while it records. Dropping it kills it.
struct Recorder(Child);

impl Recorder {
    fn start(file: &Path, args: &[&str]) -> Self {
        Self::start_with(file, args, libc::SIG_DFL)
    }

    /// With these dispositions of SIGINT and SIGHUP, whatever those of the tests are.
    fn start_with(file: &Path, args: &[&str], disposition: libc::sighandler_t) -> Self {
        let mut command = Command::new(STETH);
        command
            .arg("record")
            .arg(file)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // SAFETY: signal(2) may be called between fork and exec, and takes plain numbers.
        let command = unsafe {
            command.pre_exec(move || {
                libc::signal(libc::SIGINT, disposition);
                libc::signal(libc::SIGHUP, disposition);
                Ok(())
            })
        };
        Self(command.spawn().unwrap())
    }

    /// Waits until the file has so many whole frames.
    fn has_recorded(&self, file: &Path, frames: usize) {
        let seen = || Recording::open(file).is_ok_and(|recording| recording.count() >= frames);
        assert!(eventually(PATIENCE, seen), "never {frames} frames");
    }

    /// Sends it a signal; what it returns, and what it has told.
    fn end(mut self, signal: i32) -> (std::process::ExitStatus, String) {
        let pid = i32::try_from(self.0.id()).unwrap();
        // SAFETY: kill takes plain numbers; the child is not reaped yet.
        unsafe { libc::kill(pid, signal) };
        let mut told = String::new();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        (self.0.wait().unwrap(), told)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn record(file: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(STETH);
    command
        .arg("record")
        .arg(file)
        .args(args)
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// All snapshots of a recording.
fn snapshots(frames: &impl Frames) -> Vec<Arc<Snapshot>> {
    let mut decoder = Decoder::new().unwrap();
    (0..frames.count())
        .map(|i| decoder.decode(&frames.frame(i).unwrap()).unwrap())
        .collect()
}

/// What is to be said after the last of them.
fn judged(snapshots: &[Arc<Snapshot>]) -> Diagnosis {
    let mut analyst = Analyst::default();
    let mut last = None;
    for snapshot in snapshots {
        last = Some(analyst.observe(snapshot));
    }
    last.expect("there is a snapshot")
}

/// Phase and codes of a server that has this process.
fn verdict(diagnosis: &Diagnosis, pid: u32) -> (Phase, Vec<&'static str>) {
    let server = diagnosis.servers.iter().find(|s| s.pid == pid);
    let server = server.unwrap_or_else(|| panic!("no server {pid}: {diagnosis:#?}"));
    let codes = server.findings.iter().map(|f| f.code.word()).collect();
    (server.phase, codes)
}

#[test]
fn a_recording_is_judged_as_what_it_was_made_of() {
    let (well, held) = (need!(server()), need!(server()));
    let pid = i32::try_from(held.pid).unwrap();
    // SAFETY: kill takes plain numbers; the server is not reaped yet.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.steth");
    let mut sampler = Sampler::new();
    let wishes = Wishes {
        interval_s: 0.1,
        patience: Duration::from_millis(300),
        ..Wishes::default()
    };
    let mut writer = Writer::open(&file, header(), Limits::default()).unwrap();
    let mut encoder = Encoder::new().unwrap();
    let (mut live, mut seen) = (Analyst::default(), Vec::new());
    let is_judged = || {
        let snapshot = Arc::new(sampler.look(&wishes));
        writer.write(&encoder.encode(&snapshot).unwrap()).unwrap();
        let diagnosis = live.observe(&snapshot);
        let of = |pid| diagnosis.servers.iter().find(|s| s.pid == pid);
        let done = of(well.pid).is_some_and(|s| s.phase == Phase::Serving)
            && of(held.pid).is_some_and(|s| s.phase == Phase::Stopped && !s.findings.is_empty());
        seen.push((snapshot, format!("{diagnosis:?}")));
        done && seen.len() >= 5
    };
    let was_judged = eventually(PATIENCE, is_judged);
    let last = seen.last().map(|(_, said)| said);
    assert!(was_judged, "after {} looks: {last:?}", seen.len());
    let recording = Recording::open(&file).unwrap();
    let stored = snapshots(&recording);
    assert_eq!(stored.len(), seen.len());
    let mut again = Analyst::default();
    for (snapshot, (original, said)) in stored.iter().zip(&seen) {
        assert!(snapshot == original);
        assert_eq!(&format!("{:?}", again.observe(snapshot)), said);
    }
    let (phase, codes) = verdict(&judged(&stored), held.pid);
    assert_eq!((phase, codes), (Phase::Stopped, vec!["worker-stopped"]));
}

fn header() -> Header {
    Header {
        schema: SCHEMA.into(),
        steth: "0".into(),
        host: "test".into(),
        kernel: None,
        boot_id: None,
        wall_ms: 0,
        interval_s: 0.1,
        masked: None,
    }
}

#[test]
fn the_program_records_a_server_and_goes_on_another_time() {
    let server = need!(server());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.steth");
    let target = server.pid.to_string();
    let recorder = Recorder::start(&file, &[&target, "--interval", "200ms"]);
    recorder.has_recorded(&file, 2);
    let is_serving = || {
        let stored = snapshots(&Recording::open(&file).unwrap());
        verdict(&judged(&stored), server.pid) == (Phase::Serving, vec![])
    };
    assert!(eventually(PATIENCE, is_serving));
    let (_, told) = recorder.end(libc::SIGTERM);
    let lines: Vec<&str> = told.lines().collect();
    let [begin, end] = lines[..] else {
        panic!("{told}");
    };
    assert!(
        begin.contains("recording every 0.2 s to") && begin.contains("a.steth"),
        "{begin}"
    );
    assert!(
        end.contains(" frames in ") && end.contains("a.steth has "),
        "{end}"
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let recording = Recording::open(&file).unwrap();
    assert_eq!(recording.header().masked, Some(true));
    assert!(recording.header().boot_id.is_some());
    let first = snapshots(&recording);

    let output = record(&file, &["--for", "0s"]);
    assert_eq!(output.status.code(), Some(0));
    let recording = Recording::open(&file).unwrap();
    let all = snapshots(&recording);
    assert!(all.len() > first.len() && all[..first.len()] == first[..]);
    let [session] = recording.sessions() else {
        panic!("{:?}", recording.sessions());
    };
    let meta = recording.meta(first.len()).unwrap();
    assert_eq!((session.first, meta.kind), (first.len(), FrameKind::Key));
}

#[test]
fn killed_in_the_middle_it_has_what_was_whole() {
    let _server = need!(server());
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.steth");
    let recorder = Recorder::start(&file, &["--interval", "100ms"]);
    recorder.has_recorded(&file, 3);
    let (status, _) = recorder.end(libc::SIGKILL);
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    let count = snapshots(&Recording::open(&file).unwrap()).len();
    assert!(count >= 3, "{count}");
    let recorder = Recorder::start(&file, &["--interval", "100ms"]);
    recorder.has_recorded(&file, count + 2);
    recorder.end(libc::SIGKILL);
    snapshots(&Recording::open(&file).unwrap());
}

#[test]
fn signals_end_it_with_last_words() {
    let folder = TempDir::new().unwrap();
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let file = folder.path().join(code.to_string());
        let recorder = Recorder::start(&file, &[]);
        recorder.has_recorded(&file, 1);
        let (status, told) = recorder.end(signal);
        assert_eq!(status.code(), Some(code), "{told}");
        assert!(
            told.contains(" frames in ") || told.contains("1 frame in "),
            "{told}"
        );
        assert_eq!(Recording::open(&file).unwrap().torn_bytes(), 0);
    }
}

#[test]
fn what_nohup_ignores_does_not_end_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.steth");
    let recorder = Recorder::start_with(&file, &["--interval", "100ms"], libc::SIG_IGN);
    recorder.has_recorded(&file, 1);
    let pid = i32::try_from(recorder.0.id()).unwrap();
    for signal in [libc::SIGHUP, libc::SIGINT] {
        // SAFETY: kill takes plain numbers; the child is not reaped yet.
        unsafe { libc::kill(pid, signal) };
    }
    let before = Recording::open(&file).unwrap().count();
    recorder.has_recorded(&file, before + 5);
    let (status, told) = recorder.end(libc::SIGTERM);
    assert_eq!(status.code(), Some(143), "{told}");
}

/// Records onto a file system of 1 MiB, fills that up meanwhile, and takes out what is there then.
const FULL: &str = r#"
mount -t tmpfs -o size=1m tmpfs "$1" || exit 77
"$2" record "$1/a.steth" --interval 100ms & recorder=$!
until [ "$(stat -c %s "$1/a.steth" 2>/dev/null || echo 0)" -gt 1000 ]; do
    kill -0 $recorder || exit 78
    sleep 0.05
done
head -c 2000000 /dev/zero > "$1/filler" 2>/dev/null
wait $recorder; code=$?
cat "$1/a.steth" > "$3"
exit $code
"#;

#[test]
fn on_a_full_disk_it_says_so_and_the_file_stays_valid() {
    need!(is_root());
    let (_server, folder) = (need!(server()), TempDir::new().unwrap());
    let (disk, copy) = (folder.path().join("disk"), folder.path().join("copy"));
    std::fs::create_dir(&disk).unwrap();
    let output = Command::new("timeout")
        .args(["120", "unshare", "-m", "sh", "-c", FULL, "sh"])
        .args([&disk, Path::new(STETH), &copy])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        return support::skip(&format!("no tmpfs may be mounted: {told}"));
    }
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("a.steth: no room is left"), "{told}");
    let recording = Recording::open(&copy).unwrap();
    assert_eq!(recording.damages(), []);
    assert!(!snapshots(&recording).is_empty());
}

#[test]
fn what_is_not_its_own_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("letter.txt");
    std::fs::write(&file, "Dear Ann\n").unwrap();
    let none = folder.path().join("none.steth");
    let away = folder.path().join("no/such/folder.steth");
    for (file, args, words) in [
        (&file, &[][..], "not a recording of steth"),
        (&folder.path().to_owned(), &[], "directory"),
        (&away, &[], "No such file"),
        (
            &none,
            &["no-such-server-anywhere"],
            "no-such-server-anywhere",
        ),
        (&none, &["--max-size", "3"], "64k"),
    ] {
        let output = record(file, &[args, &["--for", "0s"]].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "Dear Ann\n");
    assert!(!none.exists());
}

#[test]
fn a_password_on_a_command_line_is_stored_only_if_asked_for() {
    let wait = "import sys; sys.stdin.read()";
    let args = [
        "-c",
        wait,
        "--password",
        "hunter2",
        "url=postgres://app:hunter2@db/shop",
    ];
    let mut child = Command::new(need!(any()))
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let folder = TempDir::new().unwrap();
    for (flags, is_masked) in [(&[][..], true), (&["--no-mask"], false)] {
        let file: PathBuf = folder.path().join(is_masked.to_string());
        let output = record(&file, &[&["--for", "1s"], flags].concat());
        assert_eq!(output.status.code(), Some(0));
        let recording = Recording::open(&file).unwrap();
        assert_eq!(recording.header().masked, Some(is_masked));
        let stored = snapshots(&recording);
        let last = stored.last().unwrap();
        let process = last.process(child.id()).expect("it is Python");
        let words = process.cmdline.join(" ");
        assert_eq!(words.contains("hunter2"), !is_masked, "{words}");
        assert!(words.ends_with("@db/shop"), "{words}");
        if is_masked {
            assert!(!format!("{last:?}").contains("hunter2"));
        }
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// The lines of a stream.
fn lines(stdout: ChildStdout) -> impl Iterator<Item = Vec<u8>> {
    BufReader::new(stdout).split(b'\n').map(Result::unwrap)
}

#[test]
fn a_stream_can_be_read_and_ends_with_who_reads_it() {
    let server = need!(server());
    let start = || {
        Command::new(STETH)
            .args(["stream", "--interval", "100ms"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut stream = start();
    let mut lines = lines(stream.stdout.take().unwrap());
    let header = Header::parse(&lines.next().unwrap()).unwrap();
    assert_eq!(header.schema, SCHEMA);
    let mut decoder = LineDecoder::default();
    let mut analyst = Analyst::default();
    let is_serving = || {
        let snapshot = decoder.decode(&lines.next().unwrap()).unwrap();
        let diagnosis = analyst.observe(&snapshot);
        let server = diagnosis.servers.iter().find(|s| s.pid == server.pid);
        server.is_some_and(|server| server.phase == Phase::Serving)
    };
    assert!(eventually(PATIENCE, is_serving));
    // Whoever had started it has gone.
    drop(stream.stdin.take());
    lines.for_each(drop);
    let ended = stream.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), vec![]));

    let mut stream = start();
    drop(stream.stdout.take());
    let ended = stream.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), vec![]));
}

/// Of an earlier version: name, host, a server's pid, its phase and its findings at the end.
type Old = (
    &'static str,
    &'static str,
    u32,
    Phase,
    &'static [&'static str],
);

const OLD: &[Old] = &[(
    "0.1.0-stopped.steth",
    "web-3",
    7,
    Phase::Stopped,
    &["worker-stopped"],
)];

#[test]
fn old_recordings_keep_opening() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    for (name, host, pid, phase, codes) in OLD {
        let recording = Recording::open(&folder.join(name)).unwrap();
        assert_eq!(&recording.header().host, host);
        assert_eq!(recording.damages(), []);
        let stored = snapshots(&recording);
        assert!(stored.len() >= 5, "{name}: {}", stored.len());
        let said = verdict(&judged(&stored), *pid);
        assert_eq!(said, (*phase, codes.to_vec()), "{name}");
    }
}
