//! What are the open descriptors? Counted without listing them, classed by where their links point.
//!
//! Only links are read, never the files behind them: a file on a dead network mount would not let go of us.

use std::io;
use std::os::unix::fs::MetadataExt;

use super::{file, heartbeat, threads::PATH_LIMIT};
use crate::snapshot::FdClasses;
use crate::source::sock_diag::sys;
use crate::source::text;

/// Descriptors that one scan looks at; `open` tells that there are more.
const SCAN_LIMIT: usize = 131_072;

/// Sockets whose inodes are kept.
const SOCKET_LIMIT: usize = 65_536;

/// Epoll descriptors that are kept.
const EPOLL_LIMIT: usize = 64;

/// The highest descriptors, with their links: where most changes show.
const TOP: usize = 8;

/// What a descriptor is, by its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Socket(u64),
    File,
    Pipe,
    Epoll,
    Anon,
    Terminal,
    Other,
}

/// What one scan found.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    pub classes: FdClasses,
    /// Inodes, sorted.
    pub sockets: Vec<u64>,
    /// Those of them that are TCP, or may be.
    pub tcp: Vec<u64>,
    pub stdio: [Option<String>; 3],
    /// Descriptors that are epoll sets.
    pub epolls: Vec<u32>,
    /// Descriptors whose links look like gunicorn's heartbeat.
    pub heartbeats: Vec<u32>,
    /// The highest descriptors and their links.
    pub top: Vec<(u32, String)>,
}

/// How many descriptors are open. Linux 6.2 and newer tell by the size of the directory, to everybody.
pub(super) fn open_count(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/fd");
    let size = std::fs::metadata(&path)?.size();
    if size > 0 {
        return Ok(size);
    }
    Ok(std::fs::read_dir(path)?.count() as u64)
}

/// Reads the link of every descriptor. What a socket is does not change: the last scan is asked first.
pub(super) fn scan(pid: u32, before: Option<&Scan>) -> io::Result<Scan> {
    let base = format!("/proc/{pid}/fd");
    let fds = file::numbers_in(&base, SCAN_LIMIT)?;
    let mut scan = Scan::default();
    let high = fds.len().saturating_sub(TOP);
    for (position, fd) in fds.iter().enumerate() {
        // Closed since it was listed, or a path longer than a page: it is not counted in any class.
        if let Ok(link) = file::read_link(&format!("{base}/{fd}")) {
            scan.add(*fd, &link);
            let socket = inode_of(&link, "socket:").filter(|_| scan.tcp.len() < SOCKET_LIMIT);
            let is_tcp = |inode: &u64| match before {
                Some(before) => before.is_tcp(pid, *fd, *inode),
                None => is_tcp(pid, *fd),
            };
            scan.tcp.extend(socket.filter(is_tcp));
            if position >= high {
                scan.top.push((*fd, link));
            }
        }
    }
    scan.sockets.sort_unstable();
    scan.tcp.sort_unstable();
    Ok(scan)
}

/// True if the descriptor is a TCP socket, or what it is cannot be told.
fn is_tcp(pid: u32, fd: u32) -> bool {
    let mut room = [0u8; 32];
    let name = sys::socket_protocol(&format!("/proc/{pid}/fd/{fd}"), &mut room);
    // `TCP`, `TCPv6`; `UNIX-STREAM`, `UDP`, `NETLINK`, …
    name.is_none_or(|name| name.starts_with(b"TCP"))
}

/// True if the highest descriptors are what they were in the scan.
pub(super) fn top_is_same(pid: u32, top: &[(u32, String)]) -> bool {
    !top.is_empty()
        && top.iter().all(|(fd, was)| {
            file::read_link(&format!("/proc/{pid}/fd/{fd}")).is_ok_and(|now| now == *was)
        })
}

/// The inode of the socket behind a descriptor; `None` if it is no socket, or closed.
pub(super) fn socket_behind(pid: u32, fd: u32) -> Option<u64> {
    let link = file::read_link(&format!("/proc/{pid}/fd/{fd}")).ok()?;
    inode_of(&link, "socket:")
}

impl Scan {
    fn is_tcp(&self, pid: u32, fd: u32, inode: u64) -> bool {
        let known = self.sockets.binary_search(&inode).is_ok();
        if known {
            self.tcp.binary_search(&inode).is_ok()
        } else {
            is_tcp(pid, fd)
        }
    }

    fn add(&mut self, fd: u32, link: &str) {
        let classes = &mut self.classes;
        let class = class_of(link);
        let counter = match class {
            Class::Socket(_) => &mut classes.sockets,
            Class::File => &mut classes.files,
            Class::Pipe => &mut classes.pipes,
            Class::Epoll => &mut classes.epolls,
            Class::Anon => &mut classes.anon,
            Class::Terminal => &mut classes.terminals,
            Class::Other => &mut classes.others,
        };
        *counter = counter.saturating_add(1);
        match class {
            Class::Socket(inode) if self.sockets.len() < SOCKET_LIMIT => self.sockets.push(inode),
            Class::Epoll if self.epolls.len() < EPOLL_LIMIT => self.epolls.push(fd),
            Class::File if heartbeat::is_heartbeat(link) => self.heartbeats.push(fd),
            _ => {}
        }
        if let Some(slot) = self.stdio.get_mut(fd as usize) {
            *slot = Some(text::clean(link, PATH_LIMIT));
        }
    }
}

fn class_of(link: &str) -> Class {
    if let Some(inode) = inode_of(link, "socket:") {
        return Class::Socket(inode);
    }
    if inode_of(link, "pipe:").is_some() {
        return Class::Pipe;
    }
    if let Some(kind) = link.strip_prefix("anon_inode:") {
        return if kind == "[eventpoll]" {
            Class::Epoll
        } else {
            Class::Anon
        };
    }
    let beneath = |root: &str| {
        link.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_terminal = beneath("/dev/pts") || link.starts_with("/dev/tty") || link == "/dev/console";
    match () {
        () if is_terminal => Class::Terminal,
        // Shared memory is a file system like any other.
        () if beneath("/dev/shm") => Class::File,
        () if beneath("/dev") || beneath("/proc") || beneath("/sys") => Class::Other,
        () if link.starts_with('/') || link.starts_with("(unreachable)") => Class::File,
        () => Class::Other,
    }
}

/// `socket:[123]` → 123.
pub(super) fn inode_of(link: &str, kind: &str) -> Option<u64> {
    let number = link
        .strip_prefix(kind)?
        .strip_prefix('[')?
        .strip_suffix(']')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_classes() {
        let cases = [
            ("socket:[8756]", Class::Socket(8756)),
            ("socket:[99999999999999999999999]", Class::Other),
            ("socket:[", Class::Other),
            ("pipe:[34646]", Class::Pipe),
            ("anon_inode:[eventpoll]", Class::Epoll),
            ("anon_inode:[eventfd]", Class::Anon),
            ("anon_inode:inotify", Class::Anon),
            ("anon_inode:[io_uring]", Class::Anon),
            ("/dev/pts/3", Class::Terminal),
            ("/dev/tty", Class::Terminal),
            ("/dev/ttyS0", Class::Terminal),
            ("/dev/null", Class::Other),
            ("/dev/shm/x (deleted)", Class::File),
            ("/devices", Class::File),
            ("/proc/1/status", Class::Other),
            ("/process/file", Class::File),
            ("/sys/fs/cgroup", Class::Other),
            ("/tmp/a (deleted)", Class::File),
            ("/memfd:x (deleted)", Class::File),
            ("/tmp/socket:[5]", Class::File),
            ("net:[4026531840]", Class::Other),
            ("", Class::Other),
        ];
        for (link, want) in cases {
            assert_eq!(class_of(link), want, "{link}");
        }
    }

    #[test]
    fn a_scan_keeps_what_is_asked_for() {
        let mut scan = Scan::default();
        for (fd, link) in [
            (0, "/dev/pts/3"),
            (2, "/var/log/\x1b[2Jx"),
            (5, "socket:[9]"),
            (6, "anon_inode:[eventpoll]"),
            (7, "/tmp/wgunicorn-5ac2dx7d (deleted)"),
        ] {
            scan.add(fd, link);
        }
        assert_eq!(scan.stdio[0].as_deref(), Some("/dev/pts/3"));
        assert_eq!(scan.stdio[1], None);
        assert_eq!(scan.stdio[2].as_deref(), Some("/var/log/\\u{1b}[2Jx"));
        assert_eq!(
            (scan.sockets, scan.epolls, scan.heartbeats),
            (vec![9], vec![6], vec![7])
        );
        assert_eq!((scan.classes.files, scan.classes.terminals), (2, 1));
    }
}
