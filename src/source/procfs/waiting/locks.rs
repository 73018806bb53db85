//! Who holds the lock on a file that somebody waits for? `/proc/locks`, which anybody may read.
//!
//! A waiting request stands behind the lock that it waits for, has its number and an arrow. SQLite never waits in the kernel
//! but asks again and again; its locks are told by the bytes that they are on.

use super::super::file;
use super::parties;
use crate::snapshot::{LockKind, Party};

/// Bytes of `/proc/locks` that are read: some 10,000 locks.
const LIMIT: u64 = 1 << 20;
/// Holders that are named.
const NAMED: usize = 4;
/// PENDING_BYTE and the 512 bytes that SQLite's locks are on (sqlite3's os.h); of a write-ahead log, WAL_LOCK bytes of its
/// `-shm` file (wal.c).
const SQLITE_BYTES: std::ops::Range<u64> = 0x4000_0000..0x4000_0200;
const SQLITE_WAL_BYTES: std::ops::Range<u64> = 120..128;
/// Open files of a process that are compared with locks.
const FILES: usize = 256;

/// A line of `/proc/locks`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    id: u64,
    /// It waits for the lock with the same number.
    waits: bool,
    flock: bool,
    write: bool,
    /// `None` for open file description locks, and owners in other pid namespaces.
    pid: Option<u32>,
    inode: u64,
    start: u64,
}

/// Who holds what this process waits for by this kind of call on this descriptor; empty if that is not told.
pub(super) fn holders(pid: u32, fd: u32, kind: LockKind) -> Vec<Party> {
    let rows = read_rows();
    let inode = inode_behind(pid, fd);
    let holding = holding(&rows, pid, inode, kind == LockKind::Flock);
    let mut pids: Vec<u32> = holding.iter().filter_map(|row| row.pid).collect();
    pids.dedup();
    pids.into_iter().take(NAMED).map(parties::party).collect()
}

fn holding(rows: &[Row], pid: u32, inode: Option<u64>, flock: bool) -> Vec<&Row> {
    let of_kind = || rows.iter().filter(|row| row.flock == flock);
    let mine = of_kind()
        .find(|row| row.waits && row.pid == Some(pid) && inode.is_none_or(|i| i == row.inode))
        .or_else(|| of_kind().find(|row| row.waits && Some(row.inode) == inode));
    let Some(mine) = mine else { return Vec::new() };
    let holds = |row: &&Row| !row.waits && row.inode == mine.inode && row.id == mine.id;
    of_kind().filter(holds).collect()
}

/// A database that this process has open and that another one keeps from it: its path and who.
pub(super) fn sqlite(pid: u32) -> Option<(String, Vec<Party>)> {
    let rows = read_rows();
    let others: Vec<&Row> = rows.iter().filter(|row| is_sqlite(row, pid)).collect();
    if others.is_empty() {
        return None;
    }
    let base = format!("/proc/{pid}/fd");
    for fd in file::numbers_in(&base, FILES).ok()? {
        let link = file::read_link(&format!("{base}/{fd}")).ok();
        let Some(path) = link.filter(|link| link.starts_with('/')) else {
            continue;
        };
        let inode = inode_behind(pid, fd);
        let log = path.strip_suffix("-shm");
        let here = |row: &&&Row| {
            Some(row.inode) == inode && SQLITE_WAL_BYTES.contains(&row.start) == log.is_some()
        };
        if let Some(row) = others.iter().find(here) {
            let holders = row.pid.map(parties::party).into_iter().collect();
            return Some((log.unwrap_or(&path).to_owned(), holders));
        }
    }
    None
}

fn is_sqlite(row: &Row, pid: u32) -> bool {
    let bytes = SQLITE_BYTES.contains(&row.start) || SQLITE_WAL_BYTES.contains(&row.start);
    !row.flock && !row.waits && row.write && row.pid != Some(pid) && bytes
}

fn read_rows() -> Vec<Row> {
    let mut bytes = Vec::new();
    match file::read_bounded("/proc/locks", &mut bytes, LIMIT) {
        Ok(()) => parse_locks(&String::from_utf8_lossy(&bytes)),
        Err(_) => Vec::new(),
    }
}

fn parse_locks(text: &str) -> Vec<Row> {
    text.lines().filter_map(parse_line).collect()
}

/// `1: -> FLOCK  ADVISORY  WRITE 32426 fe:00:10044630 0 EOF`
fn parse_line(line: &str) -> Option<Row> {
    let (id, rest) = line.split_once(':')?;
    let rest = rest.trim_start();
    let waits = rest.starts_with("->");
    let mut fields = rest.trim_start_matches("->").split_ascii_whitespace();
    let kind = fields.next()?;
    let write = fields.nth(1)? == "WRITE";
    let pid: i64 = fields.next()?.parse().ok()?;
    let inode = fields.next()?.rsplit(':').next()?.parse().ok()?;
    let start = fields.next()?.parse().ok()?;
    // The last field: without it the line is cut off.
    fields.next()?;
    matches!(kind, "FLOCK" | "POSIX" | "OFDLCK").then(|| Row {
        id: id.trim().parse().unwrap_or(0),
        waits,
        flock: kind == "FLOCK",
        write,
        pid: u32::try_from(pid).ok().filter(|pid| *pid > 0),
        inode,
        start,
    })
}

/// `ino:` of its fdinfo (Linux 5.14): stat(2) would ask the file system, which may not answer.
fn inode_behind(pid: u32, fd: u32) -> Option<u64> {
    let text = file::read_text(&format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    parse_inode(&text)
}

fn parse_inode(fdinfo: &str) -> Option<u64> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("ino:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "1: FLOCK  ADVISORY  WRITE 99 fe:00:501 0 EOF\n\
        1: -> FLOCK  ADVISORY  WRITE 10 fe:00:501 0 EOF\n\
        1:  -> FLOCK  ADVISORY  WRITE 11 fe:00:501 0 EOF\n\
        2: POSIX  ADVISORY  WRITE 98 fe:00:502 1073741824 1073742335\n\
        3: POSIX  ADVISORY  READ  97 fe:00:502 1073741826 1073742335\n\
        4: OFDLCK ADVISORY  WRITE -1 fe:00:503 0 99\n\
        4: -> OFDLCK ADVISORY  WRITE -1 fe:00:503 0 0\n\
        5: LEASE  ACTIVE    READ  96 fe:00:504 0 EOF\n\
        6: POSIX  ADVISORY  WRITE 95 fe:00:505 0 EOF\n\
        7: FLOCK  ADVISORY  WRITE 94 fe:00:5";

    fn pids(rows: &[&Row]) -> Vec<Option<u32>> {
        rows.iter().map(|row| row.pid).collect()
    }

    #[test]
    fn a_waiter_is_led_to_who_holds_its_lock() {
        let rows = parse_locks(LOCKS);
        assert_eq!(rows.len(), 8, "neither the lease nor the line cut off");
        assert_eq!(pids(&holding(&rows, 10, Some(501), true)), [Some(99)]);
        assert_eq!(pids(&holding(&rows, 11, None, true)), [Some(99)]);
        assert_eq!(
            pids(&holding(&rows, 10, Some(503), false)),
            [None],
            "by the file, where the lock has no owner"
        );
        assert!(holding(&rows, 10, Some(501), false).is_empty());
        assert!(holding(&rows, 12, Some(505), false).is_empty(), "no waiter");
    }

    #[test]
    fn locks_of_databases_are_told_by_their_bytes() {
        let rows = parse_locks(LOCKS);
        let found: Vec<&Row> = rows.iter().filter(|row| is_sqlite(row, 10)).collect();
        assert_eq!(pids(&found), [Some(98)], "the reader keeps nobody");
        assert!(!rows.iter().any(|row| is_sqlite(row, 98)), "its own");
    }

    #[test]
    fn lines_cut_anywhere_cost_themselves() {
        for length in 0..LOCKS.len() {
            assert!(parse_locks(&LOCKS[..length]).len() <= 8);
        }
        assert_eq!(parse_inode("pos:\t0\nino:\t501\n"), Some(501));
        assert_eq!(parse_inode("pos:\t0\n"), None);
    }
}
