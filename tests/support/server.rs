//! A real server under test: started in a process group of its own, heard on stdout and stderr, ended on every way out.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::verdict::Verdict;
use super::{PATIENCE, eventually, kernel};

/// Log lines that are kept for the dump of a failed test.
const LOG_LINES: usize = 4000;

/// A server that runs. Dropping it kills its process group.
pub struct Server {
    /// Its root process.
    pub pid: u32,
    /// The port that `{port}` stood for.
    pub port: u16,
    started: Instant,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

/// Where the applications of the live tests lie.
pub fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/apps")
}

impl Server {
    /// Runs a command in the folder of the applications; `{port}` in an argument becomes a free port.
    pub fn start(program: &Path, args: &[&str]) -> Server {
        Server::start_in(&apps(), program, args)
    }

    /// The same in another folder.
    pub fn start_in(folder: &Path, program: &Path, args: &[&str]) -> Server {
        let port = kernel::free_port();
        let args = args
            .iter()
            .map(|arg| arg.replace("{port}", &port.to_string()));
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(folder)
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("PYTHONPATH")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // SAFETY: prctl is async-signal-safe and touches nothing of this process. The test's thread outlives the
        // server, so that the signal comes only if the whole test binary dies.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let log = Arc::new(Mutex::new(Vec::new()));
        hear(child.stdout.take().expect("stdout is piped"), &log);
        hear(child.stderr.take().expect("stderr is piped"), &log);
        Server {
            pid: child.id(),
            port,
            started: Instant::now(),
            child,
            log,
        }
    }

    /// Everything that it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics").join("\n")
    }

    /// Waits until its output holds `part` at least `times` times.
    pub fn wait_log(&self, part: &str, times: usize) -> &Server {
        self.wait_until(&format!("{part:?} in its log"), || {
            self.log().matches(part).count() >= times
        })
    }

    /// Waits until the kernel lists its port as listening.
    pub fn wait_listens(&self) -> &Server {
        self.wait_until("a listener on its port", || {
            kernel::accept_queue(self.pid, self.port).is_some()
        })
    }

    /// Waits until at least so many processes descend from its root.
    pub fn wait_children(&self, count: usize) -> &Server {
        self.wait_until(&format!("{count} descendants"), || {
            kernel::descendants(self.pid).len() >= count
        })
    }

    /// Waits until it was started so long ago.
    pub fn wait_age(&self, age: Duration) -> &Server {
        std::thread::sleep(age.saturating_sub(self.started.elapsed()));
        self
    }

    /// Waits for a condition; fails the test with the server's log when it does not come.
    pub fn wait_until(&self, what: &str, seen: impl FnMut() -> bool) -> &Server {
        assert!(
            eventually(PATIENCE, seen),
            "never saw {what}\n--- log of pid {}\n{}",
            self.pid,
            self.log()
        );
        self
    }

    /// What steth says about it.
    pub fn check(&self) -> Verdict {
        Verdict::of(self.pid, "3s", &self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = i32::try_from(self.pid).expect("a pid fits");
        // SAFETY: kill takes plain numbers; the leader is not reaped yet, so the number is still this group's.
        let _ = unsafe { libc::kill(-group, libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

fn hear(pipe: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut log = log.lock().expect("no reader panics");
            if log.len() < LOG_LINES {
                log.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
    });
}
