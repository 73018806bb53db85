//! What does /proc say of one process? Everything in [`Process`] but its interpreter and its connections.
//!
//! A look costs what has happened since the last one: threads that did not run, descriptors of a process that did not run
//! and large tables that look unchanged are taken over from the previous record. Nothing is ever written, traced or
//! stopped. What may not be read is `None` and is named in [`ReadOut::denied`].
//!
//! ```text
//!   stat ─ same start time? ─> threads (schedstat) ─ did any run? ─> descriptors ─> epoll sets ─> accepting
//!     │                                                                  └─> heartbeat
//!     └─ Depth::Full: cmdline exe cwd status ns/net limits cgroup
//! ```

use std::collections::HashMap;
use std::io;

use crate::snapshot::{Moment, Process, ProcessKey};
use crate::source::privilege;

mod accepting;
mod cgroup;
mod epoll;
mod fds;
mod file;
mod heartbeat;
pub(crate) mod identity;
mod look;
mod stat;
mod threads;
pub mod waiting;
mod waits;

use look::{Known, Look};
pub use stat::StatLine;

/// Why a process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// It has ended, or another process has its pid by now.
    #[error("process is gone")]
    Gone,
    /// The kernel refused.
    #[error("{what}: permission denied")]
    Denied {
        /// The file beneath `/proc/PID`, or `/proc` itself.
        what: &'static str,
    },
    /// Anything else.
    #[error("{what}: {source}")]
    Io {
        /// The file beneath `/proc/PID`.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How much of a process is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// State, CPU time, threads, the number of descriptors, who accepts, the heartbeat; the rest is taken over.
    Light,
    /// Everything.
    Full,
}

/// What a look at a process depends on.
pub struct Looking<'a> {
    /// The moment of this look.
    pub now: Moment,
    /// Reads memory of the process at an address into the whole slice; false if that failed.
    pub memory: &'a dyn Fn(u64, &mut [u8]) -> bool,
    /// True for inodes of sockets that listen: [`Process::accepting`] holds only these.
    pub wanted_listeners: &'a dyn Fn(u64) -> bool,
}

/// A process, and what of it may not be read.
#[derive(Debug)]
pub struct ReadOut {
    /// The record; `python` and `connections` are left `None`.
    pub process: Process,
    /// Files beneath `/proc/PID` that the kernel refused in this look, each once: `fd`, `fdinfo`, `syscall`, `exe`, `cwd`,
    /// `ns/net`, `memory`.
    pub denied: Vec<&'static str>,
}

/// What is remembered of a process that was not looked at for this long is forgotten.
const FORGET_SECONDS: f64 = 60.0;

/// Reads processes; remembers of each what makes the next look cheap.
pub struct ProcReader {
    units: stat::Units,
    mounts: cgroup::Mounts,
    rights: Rights,
    known: HashMap<ProcessKey, Known>,
    swept_at: Moment,
    buffer: Vec<u8>,
}

/// Whose exit codes the kernel shows: `/proc/PID/stat` has 0 for those that it hides.
struct Rights {
    euid: u32,
    ptrace: bool,
}

impl Default for ProcReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcReader {
    /// A reader that knows nothing yet. Where cgroups are mounted is read here, once.
    pub fn new() -> Self {
        let privileges = privilege::read();
        Self {
            units: stat::Units::of_this_machine(),
            mounts: cgroup::Mounts::read(),
            rights: Rights {
                euid: privileges.euid,
                ptrace: privileges.cap_sys_ptrace,
            },
            known: HashMap::new(),
            swept_at: Moment::default(),
            buffer: Vec::new(),
        }
    }

    /// The pids that are visible, sorted: with hidepid, those of this user.
    pub fn pids(&self) -> Result<Vec<u32>, ProcError> {
        file::numbers_in("/proc", usize::MAX).map_err(|error| file::error_of("/proc", error))
    }

    /// Reads `/proc/PID/stat` only.
    pub fn stat(&self, pid: u32) -> Result<StatLine, ProcError> {
        let mut room = [0u8; file::SMALL];
        let line = file::read_small(&format!("/proc/{pid}/stat"), &mut room)
            .map_err(|error| file::error_of("stat", error))?;
        let mut line = stat::parse_stat(line, self.units).ok_or_else(|| ProcError::Io {
            what: "stat",
            source: io::ErrorKind::InvalidData.into(),
        })?;
        if line.exit_status == Some(0) && !self.rights.show_exit_of(pid) {
            line.exit_status = None;
        }
        Ok(line)
    }

    /// True if its name or the program on its command line says Python. A script that is run by its own name
    /// (`/venv/bin/uvicorn`) is called that, and only its first argument is the interpreter (execve(2), "Interpreter
    /// scripts"). Anybody may read both.
    pub fn is_called_python(&self, pid: u32) -> bool {
        let named = |name: &str| name.starts_with("python") || name.starts_with("pypy");
        let comm = self.stat(pid).map(|s| s.comm).unwrap_or_default();
        let cmdline = identity::read_cmdline(pid).unwrap_or_default();
        let program = cmdline.first().map_or("", String::as_str);
        named(&comm)
            || named(program.rsplit('/').next().unwrap_or(program))
            || program.starts_with("gunicorn: ")
    }

    /// Reads a process. `previous` is the record of the last look at it; one of another process that had this pid is
    /// no harm. Without it everything is read.
    ///
    /// # Errors
    /// [`ProcError::Gone`] if it ended before all of it was read, [`ProcError::Denied`] if not even `stat` may be read.
    pub fn read(
        &mut self,
        pid: u32,
        depth: Depth,
        previous: Option<&Process>,
        looking: &Looking<'_>,
    ) -> Result<ReadOut, ProcError> {
        let line = self.stat(pid)?;
        let key = line.key();
        self.forget_unseen(looking.now);
        let known = self.known.remove(&key);
        let previous = previous.filter(|before| before.key == key && known.is_some());
        let mut known = known.unwrap_or_default();
        known.seen_at = looking.now;
        let depth = if previous.is_some() {
            depth
        } else {
            Depth::Full
        };
        let mut look = Look {
            pid,
            depth,
            previous,
            looking,
            denied: known.still_denied(depth),
            known: &mut known,
            mounts: &self.mounts,
            buffer: &mut self.buffer,
        };
        let process = look.process(line, self.units)?;
        let denied = look.denied;
        // Whatever was read may be another process's if this one ended meanwhile.
        if depth == Depth::Full && self.stat(pid)?.start_time != key.start_time {
            return Err(ProcError::Gone);
        }
        known.denied.clone_from(&denied);
        self.known.insert(key, known);
        Ok(ReadOut { process, denied })
    }

    /// True if the freezer of any cgroup can be looked at.
    pub fn sees_freezer(&self) -> bool {
        self.mounts.has_freezer()
    }

    fn forget_unseen(&mut self, now: Moment) {
        if now.seconds_since(self.swept_at) > FORGET_SECONDS {
            self.swept_at = now;
            self.known
                .retain(|_, known| now.seconds_since(known.seen_at) <= FORGET_SECONDS);
        }
    }
}

impl Rights {
    /// PTRACE_MODE_READ_FSCREDS, as far as it matters for a zombie: the owner of `/proc/PID` is its effective user.
    fn show_exit_of(&self, pid: u32) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.ptrace
            || std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|dir| dir.uid() == self.euid)
    }
}
