//! What of one process is read in this look, and what is taken over from the last one?

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use super::accepting::Waits;
use super::epoll::{self, EpollSet};
use super::fds::{self, Scan};
use super::held::Shelf;
use super::pulse::Pulse;
use super::threads::{self, Activity};
use super::{Depth, Looking, ProcError, StatLine, cgroup, file, heartbeat, identity, stat};
use crate::snapshot::{Fds, Moment, Process, ProcessState, Thread};

/// Descriptors from which on a table is not scanned at every look.
const LARGE_TABLE: u64 = 4096;

/// How long a scan is believed: of a large table that looks the same, and of a process that did not run.
const LARGE_TABLE_SECONDS: f64 = 10.0;
const QUIET_TABLE_SECONDS: f64 = 60.0;

/// Of a large table that changes all the time, a scan may take one part in this many of the time.
const SCAN_SHARE: u32 = 20;

/// What is remembered of one process between looks.
#[derive(Default)]
pub(super) struct Known {
    pub(super) seen_at: Moment,
    pub(super) pulse: Pulse,
    pub(super) arg_start: u64,
    pub(super) cgroup: cgroup::Paths,
    pub(super) scan: Option<Scanned>,
    pub(super) epolls: BTreeMap<u32, EpollSet>,
    /// Sockets that threads waited for in accept, poll and select, when they last ran.
    pub(super) waits: Waits,
    pub(super) heartbeat: Option<u32>,
    pub(super) denied: Vec<&'static str>,
}

pub(super) struct Scanned {
    pub(super) scan: Scan,
    pub(super) open: u64,
    pub(super) at: Moment,
    pub(super) took: Duration,
    pub(super) activity: Activity,
}

impl Known {
    /// True if a look at this process now would find what the last one found. A heartbeat has an age, which never holds.
    pub(super) fn still_holds(&mut self, read: &Process, now: Moment, room: &mut Vec<u8>) -> bool {
        self.heartbeat.is_none()
            && (self.waits.complete || !self.denied.is_empty())
            && self.pulse.rests(read)
            && self.epolls_hold(read.key.pid, now, room)
    }

    /// An epoll set that is shared with another process may change while this one sleeps: it is not believed for long.
    fn epolls_hold(&mut self, pid: u32, now: Moment, room: &mut Vec<u8>) -> bool {
        let denied = self.denied.contains(&"fdinfo");
        let mut sets = self.epolls.iter_mut();
        sets.all(|(fd, set)| {
            set.is_believed(now)
                || match epoll::read_set(pid, *fd, now, room) {
                    Ok(read) => {
                        let same = read.armed == set.armed;
                        set.read_at = if same { now } else { set.read_at };
                        same
                    }
                    Err(error) => denied && file::is_denied(&error),
                }
        })
    }

    /// What this look does not ask for again was refused in one before it.
    pub(super) fn still_denied(&self, depth: Depth) -> Vec<&'static str> {
        let not_asked: &[&str] = match depth {
            Depth::Light => &["fd", "exe", "cwd", "ns/net"],
            Depth::Files => &["exe", "cwd", "ns/net"],
            Depth::Full => &[],
        };
        let denied = self.denied.iter().copied();
        denied.filter(|what| not_asked.contains(what)).collect()
    }
}

/// One look at one process.
pub(super) struct Look<'a> {
    pub(super) pid: u32,
    pub(super) depth: Depth,
    pub(super) previous: Option<&'a Process>,
    pub(super) looking: &'a Looking<'a>,
    pub(super) known: &'a mut Known,
    pub(super) mounts: &'a cgroup::Mounts,
    pub(super) meter: &'a mut cgroup::Meter,
    pub(super) shelf: &'a Shelf,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) denied: Vec<&'static str>,
}

impl Look<'_> {
    pub(super) fn process(
        &mut self,
        line: StatLine,
        units: stat::Units,
    ) -> Result<Process, ProcError> {
        let zombie = line.state == ProcessState::Zombie;
        let threads = self.threads(&line)?;
        let activity = Activity::of(&threads);
        let fds = if zombie {
            None
        } else {
            self.fds(activity, line.ppid)
        };
        let accepting = fds
            .as_ref()
            .and_then(|_| self.accepting(&threads, activity));
        let (uid, tracer) = self.owner_and_tracer(line.state)?;
        let frozen = self.frozen(activity);
        Ok(Process {
            key: line.key(),
            ppid: line.ppid,
            started: units.started(line.start_time),
            sampled_at: self.looking.now,
            arg_start: Some(line.arg_start).filter(|at| *at != 0),
            cmdline: self.cmdline(&line),
            cwd: self.link("cwd", |before| before.cwd.clone()),
            exe: self.link("exe", |before| before.exe.clone()),
            comm: line.comm,
            uid,
            state: line.state,
            exit_status: line.exit_status,
            tracer,
            frozen,
            cpu_ns: line.cpu_ns,
            rss: line.rss,
            thread_count: line.threads,
            threads: (!threads.is_empty()).then_some(threads),
            heartbeat: fds
                .as_ref()
                .and_then(|_| heartbeat::read(self.pid, self.known.heartbeat?)),
            fds,
            connections: None,
            waits: None,
            children: None,
            netns: self.netns(),
            accepting,
            cgroup: self.known.cgroup.shown(),
            cgroup_use: self
                .meter
                .read(self.mounts, &self.known.cgroup, self.looking.now),
            python: None,
        })
    }

    fn threads(&mut self, line: &StatLine) -> Result<Vec<Thread>, ProcError> {
        let before = self.previous.and_then(|process| process.threads.as_deref());
        let pulse = &mut self.known.pulse;
        let threads = threads::read_threads(self.pid, line.threads, before, pulse, self.shelf)
            .map_err(|error| file::error_of("task", error))?;
        if threads.iter().any(|thread| !thread.syscall_seen) {
            self.deny("syscall");
        }
        Ok(threads)
    }

    /// Set-user-id and PR_SET_MM aside, none of this changes but by exec(2), which keeps pid and start time but moves the
    /// arguments; where the kernel hides their address, and for titles written over them, a full look reads them again.
    fn cmdline(&mut self, line: &StatLine) -> Vec<String> {
        let moved = std::mem::replace(&mut self.known.arg_start, line.arg_start) != line.arg_start;
        let before = self.previous.filter(|before| {
            let same = !moved && before.comm == line.comm;
            // Reading it needs the memory map of the process, which one in D may hold.
            let stuck = line.state == ProcessState::DiskSleep;
            same && (self.depth != Depth::Full || stuck)
        });
        match before {
            _ if line.state == ProcessState::Zombie => Vec::new(),
            Some(before) => before.cmdline.clone(),
            None => identity::read_cmdline(self.pid).unwrap_or_default(),
        }
    }

    fn link(
        &mut self,
        name: &'static str,
        of: impl Fn(&Process) -> Option<String>,
    ) -> Option<String> {
        match self.carried() {
            Some(before) => of(before),
            None => {
                let link = identity::read_path(self.pid, name);
                self.seen(name, link)
            }
        }
    }

    fn netns(&mut self) -> Option<u64> {
        match self.carried() {
            Some(before) => before.netns,
            None => {
                let inode = identity::read_netns(self.pid);
                self.seen("ns/net", inode)
            }
        }
    }

    fn owner_and_tracer(&mut self, state: ProcessState) -> Result<(u32, Option<u32>), ProcError> {
        if let Some(before) = self.carried().filter(|_| state != ProcessState::Tracing) {
            return Ok((before.uid, before.tracer));
        }
        let status = identity::read_status(self.pid).map_err(|e| file::error_of("status", e))?;
        Ok((status.euid, status.tracer))
    }

    fn frozen(&mut self, activity: Activity) -> Option<bool> {
        // To be frozen and thawed, each thread has to run.
        if let Some(before) = self.carried()
            && activity.is_quiet_since(activity_of(before))
        {
            return before.frozen;
        }
        if self.depth == Depth::Full {
            let text = file::read_text(&format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
            self.known.cgroup = cgroup::parse_cgroup(&text);
        }
        self.mounts.frozen(&self.known.cgroup)
    }

    fn fds(&mut self, activity: Activity, ppid: u32) -> Option<Fds> {
        let before = self.previous.and_then(|process| process.fds.as_ref());
        let open = fds::open_count(self.pid);
        let open = self.seen("fd", open)?;
        if self.depth == Depth::Light {
            return before.map(|before| Fds {
                open,
                ..before.clone()
            });
        }
        let limit = match self.carried() {
            Some(_) => before.and_then(|fds| fds.limit),
            None => identity::read_limit(self.pid),
        };
        if let Some(before) = before.filter(|_| self.scan_still_holds(open, activity)) {
            return Some(Fds {
                open,
                limit,
                ..before.clone()
            });
        }
        let scanned = self.scan(open, activity)?;
        let fds = Fds {
            open,
            limit,
            classes: scanned.scan.classes,
            sockets: scanned.scan.sockets.clone(),
            stdio: scanned.scan.stdio.clone(),
            scanned_at: scanned.at,
        };
        self.known.heartbeat = heartbeat::own_file(self.pid, ppid, &scanned.scan.heartbeats);
        self.known
            .epolls
            .retain(|fd, _| scanned.scan.epolls.contains(fd));
        for fd in &scanned.scan.epolls {
            self.known.epolls.entry(*fd).or_default();
        }
        self.known.scan = Some(scanned);
        Some(fds)
    }

    fn scan(&mut self, open: u64, activity: Activity) -> Option<Scanned> {
        let began = Instant::now();
        let before = self.known.scan.as_ref().map(|scanned| &scanned.scan);
        let scan = fds::scan(self.pid, before);
        let scan = self.seen("fd", scan)?;
        Some(Scanned {
            scan,
            open,
            at: self.looking.now,
            took: began.elapsed(),
            activity,
        })
    }

    fn scan_still_holds(&self, open: u64, activity: Activity) -> bool {
        let Some(last) = &self.known.scan else {
            return false;
        };
        let age = self.looking.now.seconds_since(last.at);
        if last.open == open && activity.is_quiet_since(last.activity) {
            return age < QUIET_TABLE_SECONDS;
        }
        let affordable = last.took.saturating_mul(SCAN_SHARE).as_secs_f64();
        open > LARGE_TABLE
            && (age < affordable
                || last.open == open
                    && age < LARGE_TABLE_SECONDS
                    && fds::top_is_same(self.pid, &last.scan.top))
    }

    /// The previous record, if this look takes over what seldom changes.
    fn carried(&self) -> Option<&'_ Process> {
        self.previous.filter(|_| self.depth != Depth::Full)
    }

    fn seen<T>(&mut self, what: &'static str, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if file::is_denied(&error) {
                    self.deny(what);
                }
                None
            }
        }
    }

    pub(super) fn deny(&mut self, what: &'static str) {
        if !self.denied.contains(&what) {
            self.denied.push(what);
        }
    }
}

fn activity_of(process: &Process) -> Activity {
    Activity::of(process.threads.as_deref().unwrap_or(&[]))
}
