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
mod held;
pub(crate) mod identity;
mod look;
mod pulse;
mod stat;
mod threads;
pub mod waiting;
mod waits;

use held::{Probe, Shelf};
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
    /// The same, and what the descriptors are.
    Files,
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
    meter: cgroup::Meter,
    rights: Rights,
    shelf: Shelf,
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
            meter: cgroup::Meter::default(),
            rights: Rights {
                euid: privileges.euid,
                ptrace: privileges.cap_sys_ptrace,
            },
            shelf: Shelf::of_this_program(),
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
        self.stat_through(&mut Probe::default(), pid, None)
    }

    fn stat_through(
        &self,
        probe: &mut Probe,
        pid: u32,
        shelf: Option<&Shelf>,
    ) -> Result<StatLine, ProcError> {
        let mut room = [0u8; file::SMALL];
        let line = probe
            .read(|| format!("/proc/{pid}/stat"), shelf, &mut room)
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
        self.forget_unseen(looking.now);
        let known = previous.and_then(|before| self.known.remove(&before.key));
        let mut known = known.unwrap_or_default();
        let mut probe = std::mem::take(&mut known.pulse.stat);
        let line = self.stat_through(&mut probe, pid, Some(&self.shelf))?;
        let key = line.key();
        if previous.is_none_or(|before| before.key != key) {
            known = self.known.remove(&key).unwrap_or_default();
        }
        let previous =
            previous.filter(|before| before.key == key && known.seen_at != Moment::default());
        known.seen_at = looking.now;
        known.pulse.stat = probe;
        let depth = match previous {
            // Another program is another executable.
            Some(before) if before.comm == line.comm && known.arg_start == line.arg_start => depth,
            _ => Depth::Full,
        };
        let mut look = Look {
            pid,
            depth,
            previous,
            looking,
            denied: known.still_denied(depth),
            known: &mut known,
            mounts: &self.mounts,
            meter: &mut self.meter,
            shelf: &self.shelf,
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

    /// True if none of the process's threads has run since this record was read. Costs a read of `stat`, and of `schedstat` for
    /// each thread.
    pub fn rests(&mut self, read: &Process, now: Moment) -> bool {
        self.known.get_mut(&read.key).is_some_and(|known| {
            known.seen_at = now;
            known.pulse.rests(read)
        })
    }

    /// True if a look at a process now would find what the last one found, which was this record: it rests, and nothing
    /// of it has an age. Costs what [`Self::rests`] does.
    pub fn is_still(&mut self, read: &Process, now: Moment) -> bool {
        let Some(known) = self.known.get_mut(&read.key) else {
            return false;
        };
        known.seen_at = now;
        known.still_holds(read, now, &mut self.buffer)
    }

    /// Inodes of its sockets that are TCP, or may be, at the last scan of its descriptors, sorted.
    pub fn tcp_sockets(&self, key: ProcessKey) -> &[u64] {
        let scanned = self.known.get(&key).and_then(|k| k.scan.as_ref());
        scanned.map_or(&[], |scanned| &scanned.scan.tcp)
    }

    /// True if it was ready to accept from one of these sockets, should that listen, when it was read last. They are sorted.
    pub fn waits_for_any(&self, key: ProcessKey, sockets: &[u64]) -> bool {
        let known = self.known.get(&key);
        known.is_some_and(|k| {
            k.waited_for()
                .any(|inode| sockets.binary_search(&inode).is_ok())
        })
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
