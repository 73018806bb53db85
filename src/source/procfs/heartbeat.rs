//! When did a gunicorn worker last beat? From the time stamps of an unlinked file that it shares with its master.
//!
//! ```text
//!  master  ── fork ──>  worker          the file is made by the master just before the fork; the worker closes those of
//!  fd 4: w1  fd 5: w2   fd 5: w2        its elder siblings, and keeps its own under the number that it has in the master
//! ```
//!
//! gunicorn/workers/workertmp.py: 22 and newer writes CLOCK_MONOTONIC into mtime and leaves the mode 0600 of mkstemp(3);
//! older ones chmod the file to 0 and 1 in turns, which touches its ctime.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use super::file;
use crate::snapshot::Heartbeat;
use crate::source::clock;

/// Children that are asked whether they share the file.
const CHILD_LIMIT: usize = 64;

/// True if a link looks like such a file: `/tmp/wgunicorn-5ac2dx7d (deleted)`, in any directory (`--worker-tmp-dir`).
pub(super) fn is_heartbeat(link: &str) -> bool {
    let name = link
        .strip_suffix(" (deleted)")
        .and_then(|path| path.rsplit('/').next());
    name.is_some_and(|name| name.starts_with("wgunicorn-"))
}

/// The descriptor of a worker's own file, out of those of its descriptors that look like one.
///
/// `None` for the master, which has those of all of its workers, and for children of a worker, which inherit its file.
/// Where a worker has several (it was seen before it closed its siblings'), its own is the newest.
pub(super) fn own_file(pid: u32, ppid: u32, candidates: &[u32]) -> Option<u32> {
    let shared = candidates
        .iter()
        .copied()
        .filter(|fd| is_workers(pid, ppid, *fd));
    shared.max_by_key(|fd| born(pid, *fd))
}

/// Reads the beat.
pub(super) fn read(pid: u32, fd: u32) -> Option<Heartbeat> {
    // This asks the file system, which a dead network mount would not answer; gunicorn's own beats would hang there too,
    // and its documentation asks for a tmpfs.
    let stamps = Stamps::of(&metadata(pid, fd)?);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(Heartbeat {
        age_ms: stamps.age_ms(i128::from(clock::monotonic_ns()), wall.as_nanos() as i128),
    })
}

/// A worker shares the file with its parent, and its parent with nobody above.
fn is_workers(pid: u32, ppid: u32, fd: u32) -> bool {
    let Some(mine) = identity(pid, fd) else {
        return false;
    };
    match std::fs::metadata(format!("/proc/{ppid}/fd/{fd}")) {
        Ok(parents) => {
            (parents.dev(), parents.ino()) == mine
                && parent_of(ppid).is_none_or(|above| identity(above, fd) != Some(mine))
        }
        // A worker that gave up the rights of its master: then it is one if none of its children has the file.
        Err(error) if file::is_denied(&error) => !children_of(pid)
            .into_iter()
            .any(|child| identity(child, fd) == Some(mine)),
        Err(_) => false,
    }
}

fn identity(pid: u32, fd: u32) -> Option<(u64, u64)> {
    metadata(pid, fd).map(|file| (file.dev(), file.ino()))
}

fn metadata(pid: u32, fd: u32) -> Option<Metadata> {
    std::fs::metadata(format!("/proc/{pid}/fd/{fd}")).ok()
}

/// When the file was made, and its number where the file system does not tell.
fn born(pid: u32, fd: u32) -> (Option<SystemTime>, u32) {
    (metadata(pid, fd).and_then(|file| file.created().ok()), fd)
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = file::read_text(&format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

fn children_of(pid: u32) -> Vec<u32> {
    let children = file::read_text(&format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok());
    pids.take(CHILD_LIMIT).collect()
}

/// What the file says of itself; times in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Stamps {
    mode: u32,
    modified: i128,
    changed: i128,
}

impl Stamps {
    fn of(file: &Metadata) -> Self {
        let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            mode: file.mode() & 0o7777,
            modified: nanoseconds(file.mtime(), file.mtime_nsec()),
            changed: nanoseconds(file.ctime(), file.ctime_nsec()),
        }
    }

    /// Milliseconds since the last beat; `None` before the first.
    fn age_ms(self, monotonic: i128, wall: i128) -> Option<u64> {
        const SLACK: i128 = 1_000_000_000;
        let age = if self.mode <= 1 {
            wall - self.changed
        } else if self.modified <= monotonic + SLACK {
            monotonic - self.modified
        } else {
            // Still the wall clock of its making.
            return None;
        };
        u64::try_from(age.max(0) / 1_000_000).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: i128 = 1_795_254_070_000_000_000;
    const MONOTONIC: i128 = 985_000_000_000;

    #[test]
    fn names() {
        for (link, want) in [
            ("/tmp/wgunicorn-thotdjy8 (deleted)", true),
            ("/dev/shm/wgunicorn-x (deleted)", true),
            ("/tmp/wgunicorn-thotdjy8", false),
            ("/tmp/wgunicorn-x/log (deleted)", false),
            ("socket:[5]", false),
        ] {
            assert_eq!(is_heartbeat(link), want, "{link}");
        }
    }

    #[test]
    fn beats_of_old_and_new_versions() {
        let stamps = |mode, modified, changed| Stamps {
            mode,
            modified,
            changed,
        };
        let made = WALL - 60_000_000_000;
        let cases = [
            (
                "27, beaten",
                stamps(0o600, 981_499_178_757, made),
                Some(3500),
            ),
            ("27, never", stamps(0o600, made, made), None),
            (
                "27, in the future",
                stamps(0o600, MONOTONIC + 5, made),
                Some(0),
            ),
            (
                "20, mode 0",
                stamps(0, made, WALL - 2_000_000_000),
                Some(2000),
            ),
            ("20, mode 1", stamps(1, made, WALL - 1_000_000), Some(1)),
            ("20, never", stamps(0o600, made, made), None),
        ];
        for (name, stamps, want) in cases {
            assert_eq!(stamps.age_ms(MONOTONIC, WALL), want, "{name}");
        }
    }
}
