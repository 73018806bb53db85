//! What is behind the descriptor, path or address that a call names? Links and tables are read, never the files themselves:
//! one on a dead mount would not let go of us.

use ::procfs::process::MountInfo;

use super::super::{fds, file, threads};
use super::call::{self, Address, PathAt, Subject, Until};
use super::{Asked, Found, Kept, locks, parties};
use crate::snapshot::{
    Connection, LockKind, Moment, Mount, PipeEnd, TcpState, TcpWait, Thread, WaitTarget,
};
use crate::source::{clock, text};

/// Bytes of a mountinfo that are read.
const MOUNTS_LIMIT: u64 = 1 << 20;
/// Two readings of one moment that differ by less are the same: clocks tick, and the kernel rounds.
const SAME_S: f64 = 0.2;
/// SQLite sleeps for at most a tenth of a second before it asks again (sqlite3's sqliteDefaultBusyCallback).
const SQLITE_SLEEP_NS: u64 = 150_000_000;
/// A thread that has slept in short steps for so long may be waiting for a database.
const STEPS_S: f64 = 1.0;

/// How long a target is believed, in seconds, at first and at most. What others do to it does not wake the thread: a
/// retransmit, a child that waits for something else, another holder.
pub(super) fn believed_s(on: Option<&WaitTarget>) -> (f64, f64) {
    match on {
        Some(WaitTarget::Tcp(_) | WaitTarget::Children(_)) => (1.0, 5.0),
        Some(WaitTarget::FileLock { .. }) => (2.0, 10.0),
        Some(WaitTarget::Sleep { .. }) | None => (2.0, 60.0),
        Some(WaitTarget::Pipe { .. }) => (10.0, 60.0),
        Some(_) => (5.0, 60.0),
    }
}

/// What this thread waits for.
pub(super) fn find(
    thread: &Thread,
    kept: &Kept,
    may_read_memory: bool,
    asked: &mut Asked<'_>,
) -> Found {
    let at = asked.now;
    let memory = asked.memory;
    let read = |address: u64, into: &mut [u8]| may_read_memory && memory(address, into);
    let mut finder = Finder {
        pid: asked.process.key.pid,
        tid: thread.tid,
        before: kept.found.as_ref().and_then(|f| f.on.as_ref()),
        slept_s: at.seconds_since(kept.entered),
        asked,
    };
    let (fd, on) = match call::subject(kept.call, &read) {
        Some(subject) => finder.behind(subject),
        None => (None, None),
    };
    Found { at, fd, on }
}

struct Finder<'a, 'b> {
    pid: u32,
    tid: u32,
    before: Option<&'a WaitTarget>,
    /// Seconds in this call, however often it has run in between.
    slept_s: f64,
    asked: &'a mut Asked<'b>,
}

impl Finder<'_, '_> {
    fn behind(&mut self, subject: Subject) -> (Option<u32>, Option<WaitTarget>) {
        match subject {
            // select(2) of nothing is a sleep.
            Subject::Descriptors(fds) if fds.is_empty() => {
                (None, Some(WaitTarget::Sleep { until: None }))
            }
            Subject::Descriptors(fds) => self.first_of(fds),
            Subject::Connect(fd, address) => (Some(fd), self.connecting(fd, address)),
            Subject::Epoll(fd) => self.epoll(fd),
            Subject::File(fd) => (Some(fd), self.link(fd).map(|path| self.file(path))),
            Subject::Path(path) => (None, Some(self.path(path))),
            Subject::Flock(fd) => (Some(fd), self.lock(fd, LockKind::Flock)),
            Subject::Record(fd) => (Some(fd), self.lock(fd, LockKind::Record)),
            Subject::Child(child) => (
                None,
                Some(WaitTarget::Children(parties::children(self.pid, child))),
            ),
            Subject::Futex(futex) => (
                None,
                Some(WaitTarget::Futex {
                    address: futex.address,
                    private: futex.private,
                    timed: futex.timed,
                }),
            ),
            Subject::Sleep(until) => (None, Some(self.sleep(until))),
        }
    }

    fn first_of(&mut self, fds: Vec<(u32, PipeEnd)>) -> (Option<u32>, Option<WaitTarget>) {
        let found = fds
            .iter()
            .find_map(|(fd, end)| Some((*fd, self.descriptor(*fd, *end)?)));
        match found {
            Some((fd, on)) => (Some(fd), Some(on)),
            None => (fds.first().map(|(fd, _)| *fd), None),
        }
    }

    fn link(&self, fd: u32) -> Option<String> {
        let link = file::read_link(&format!("/proc/{}/fd/{fd}", self.pid)).ok()?;
        Some(text::clean(&link, threads::PATH_LIMIT))
    }

    fn descriptor(&mut self, fd: u32, end: PipeEnd) -> Option<WaitTarget> {
        let link = self.link(fd)?;
        if let Some(inode) = fds::inode_of(&link, "socket:") {
            return self.socket(inode);
        }
        if fds::inode_of(&link, "pipe:").is_some() {
            return Some(self.pipe(None, &link, end));
        }
        if link == "anon_inode:[pidfd]" {
            return parties::child_behind(self.pid, fd)
                .map(|child| WaitTarget::Children(vec![child]));
        }
        if link.starts_with("/dev/pts/") || link.starts_with("/dev/tty") || link == "/dev/console" {
            return Some(WaitTarget::Terminal { path: link });
        }
        if !link.starts_with('/') {
            return None;
        }
        // A FIFO is a path like any other; where the kernel sleeps tells it apart.
        if self.sleeps_in(&["pipe_read", "pipe_write", "pipe_wait"]) {
            return Some(self.pipe(Some(link.clone()), &link, end));
        }
        Some(self.file(link))
    }

    fn socket(&mut self, inode: u64) -> Option<WaitTarget> {
        if let Some(connection) = self.asked.sockets.connection(inode) {
            return Some(WaitTarget::Tcp(self.tcp(&connection)));
        }
        if let Some(unix) = self.asked.sockets.unix_peer(inode) {
            return Some(WaitTarget::Unix {
                path: unix.path,
                pending: unix.pending,
            });
        }
        let udp = self.asked.sockets.udp(inode)?;
        Some(WaitTarget::Udp { peer: udp.peer })
    }

    fn tcp(&mut self, listed: &Connection) -> TcpWait {
        // The list may be some time old, and a connection that is being made moves without anybody running.
        let now = self.asked.sockets.now(listed);
        let connection = now.as_ref().map_or(listed, |now| &now.connection);
        let made = connection.state != TcpState::SynSent;
        let times = now.as_ref().and_then(|now| now.times).filter(|_| made);
        let before = match self.before {
            Some(WaitTarget::Tcp(before)) if before.peer == connection.peer => Some(before),
            _ => None,
        };
        let now = self.asked.now;
        let moment = |ms: Option<u32>, before: Option<Moment>| {
            let told = Moment(now.0.saturating_sub(u64::from(ms?) * 1_000_000));
            Some(same_or(before, told))
        };
        TcpWait {
            state: connection.state,
            local: Some(connection.local),
            peer: connection.peer,
            retransmits: connection.retransmits,
            recv_q: connection.recv_q,
            send_q: connection.send_q,
            heard: moment(times.map(|t| t.heard_ms), before.and_then(|b| b.heard)),
            sent: moment(times.map(|t| t.sent_ms), before.and_then(|b| b.sent)),
        }
    }

    fn connecting(&mut self, fd: u32, address: Option<Address>) -> Option<WaitTarget> {
        let inode = self.link(fd).and_then(|l| fds::inode_of(&l, "socket:"));
        let known = inode.and_then(|inode| self.asked.sockets.connection(inode));
        match (known, address?) {
            (Some(connection), _) => Some(WaitTarget::Tcp(self.tcp(&connection))),
            (None, Address::Inet(address, port)) => Some(WaitTarget::Tcp(TcpWait {
                state: TcpState::Unknown,
                local: None,
                peer: (address, port),
                retransmits: 0,
                recv_q: 0,
                send_q: 0,
                heard: None,
                sent: None,
            })),
            (None, Address::Unix(path)) => Some(WaitTarget::Unix {
                path: Some(path),
                pending: true,
            }),
        }
    }

    /// A set of one file stands for that file: some drivers of databases wait so. Any other is a loop.
    fn epoll(&mut self, fd: u32) -> (Option<u32>, Option<WaitTarget>) {
        let text = file::read_text(&format!("/proc/{}/fdinfo/{fd}", self.pid)).unwrap_or_default();
        let Some((only, end)) = parse_single(&text) else {
            return (Some(fd), None);
        };
        (Some(only), self.descriptor(only, end))
    }

    fn pipe(&self, path: Option<String>, link: &str, end: PipeEnd) -> WaitTarget {
        WaitTarget::Pipe {
            path,
            end,
            others: parties::other_ends(self.pid, link, end),
        }
    }

    fn path(&self, at: PathAt) -> WaitTarget {
        let path = self.absolute(&at);
        match at.end {
            Some(end) if self.sleeps_in(&["wait_for_partner", "fifo_open"]) => {
                WaitTarget::FifoOpen { path, end }
            }
            _ => self.file(path),
        }
    }

    fn absolute(&self, at: &PathAt) -> String {
        if at.path.starts_with('/') {
            return at.path.clone();
        }
        let base = match at.directory {
            Some(fd) => self.link(fd),
            None => self.asked.process.cwd.clone(),
        };
        match base {
            Some(base) if at.path.is_empty() => base,
            Some(base) => format!("{}/{}", base.trim_end_matches('/'), at.path),
            None => at.path.clone(),
        }
    }

    fn file(&self, path: String) -> WaitTarget {
        let mut bytes = Vec::new();
        let mounts = format!("/proc/{}/mountinfo", self.pid);
        let read = file::read_bounded(&mounts, &mut bytes, MOUNTS_LIMIT);
        let mount = read
            .ok()
            .and_then(|()| mount_of(&String::from_utf8_lossy(&bytes), &path));
        WaitTarget::File { path, mount }
    }

    fn lock(&self, fd: u32, kind: LockKind) -> Option<WaitTarget> {
        Some(WaitTarget::FileLock {
            path: self.link(fd)?,
            kind,
            holders: locks::holders(self.pid, fd, kind),
        })
    }

    fn sleep(&self, until: Option<Until>) -> WaitTarget {
        let short = matches!(until, Some(Until::FromStart(ns)) if ns <= SQLITE_SLEEP_NS);
        let database = (short && self.slept_s >= STEPS_S)
            .then(|| locks::sqlite(self.pid))
            .flatten();
        if let Some((path, holders)) = database {
            return WaitTarget::FileLock {
                path: text::clean(&path, threads::PATH_LIMIT),
                kind: LockKind::Sqlite,
                holders,
            };
        }
        let until = match until {
            Some(Until::Clock(clock, ns)) => clock::moment_of(clock, ns),
            Some(Until::FromStart(_)) | None => None,
        };
        let before = match self.before {
            Some(WaitTarget::Sleep { until }) => *until,
            _ => None,
        };
        WaitTarget::Sleep {
            until: until.map(|told| same_or(before, told)),
        }
    }

    /// True if one of these functions of the kernel is what the thread sleeps in. Without the right to see that it is `0`.
    fn sleeps_in(&self, functions: &[&str]) -> bool {
        let wchan = file::read_text(&format!("/proc/{}/task/{}/wchan", self.pid, self.tid));
        wchan.is_ok_and(|name| functions.iter().any(|f| name.contains(f)))
    }
}

/// The moment as it was told before, if it is the same.
fn same_or(before: Option<Moment>, told: Moment) -> Moment {
    let same = |b: &Moment| b.seconds_since(told).max(told.seconds_since(*b)) < SAME_S;
    before.filter(same).unwrap_or(told)
}

/// The only file of an epoll set, and what is waited for: `tfd: 5 events: 19 …`, of which events is hexadecimal.
fn parse_single(fdinfo: &str) -> Option<(u32, PipeEnd)> {
    let mut entries = fdinfo.lines().filter_map(|line| line.strip_prefix("tfd:"));
    let only = entries.next().filter(|_| entries.next().is_none())?;
    let fd = only.split_ascii_whitespace().next()?.parse().ok()?;
    let events = only.split_once("events:")?.1;
    let events = u32::from_str_radix(events.split_ascii_whitespace().next()?, 16).ok()?;
    match events {
        events if events & 1 != 0 => Some((fd, PipeEnd::Reads)),
        events if events & 4 != 0 => Some((fd, PipeEnd::Writes)),
        _ => None,
    }
}

/// The mount that a path is on: the longest mount point that it begins with, the last of several at one place.
fn mount_of(mountinfo: &str, path: &str) -> Option<Mount> {
    let beneath = |mount: &MountInfo| {
        let rest = mount.mount_point.to_str().and_then(|at| {
            let at = at.trim_end_matches('/');
            path.strip_prefix(at)
        });
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mounts = mountinfo
        .lines()
        .filter_map(|line| MountInfo::from_line(line).ok())
        .filter(beneath);
    let mount = mounts.max_by_key(|mount| mount.mount_point.as_os_str().len())?;
    let clean = |text: &str| text::clean(text, 200);
    Some(Mount {
        at: clean(&mount.mount_point.to_string_lossy()),
        fs: clean(&mount.fs_type),
        source: clean(mount.mount_source.as_deref().unwrap_or("none")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_one_file_stand_for_it() {
        let one =
            "pos:\t0\nflags:\t02\ntfd:        7 events:       19 data:  7  pos:0 ino:8756 sdev:9\n";
        assert_eq!(parse_single(one), Some((7, PipeEnd::Reads)));
        assert_eq!(
            parse_single(&one.replace("      19", "      1c")),
            Some((7, PipeEnd::Writes))
        );
        assert_eq!(parse_single(&format!("{one}{one}")), None, "a loop");
        for length in 0..one.len() {
            let _ = parse_single(&one[..length]);
        }
    }

    #[test]
    fn the_longest_mount_point_is_the_mount() {
        let text = "22 1 0:21 / / rw - ext4 /dev/vda rw\n\
            30 22 0:30 / /mnt rw - tmpfs none rw\n\
            31 30 0:31 / /mnt/data rw - nfs4 nas:/export rw,hard\n";
        let of = |path| mount_of(text, path).map(|m| m.fs);
        assert_eq!(of("/mnt/data/model.bin").as_deref(), Some("nfs4"));
        assert_eq!(of("/mnt/database").as_deref(), Some("tmpfs"));
        assert_eq!(of("/etc/x").as_deref(), Some("ext4"));
        assert_eq!(of("relative"), None);
        let nas = mount_of(text, "/mnt/data").unwrap();
        assert_eq!(
            (nas.at.as_str(), nas.source.as_str()),
            ("/mnt/data", "nas:/export")
        );
    }
}
