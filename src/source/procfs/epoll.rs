//! Which files does an epoll set watch for input? `/proc/PID/fdinfo/FD` of the set, one `tfd:` line for each.
//!
//! The kernel holds the set's mutex while it writes these lines, so a large one is read seldom.

use std::io;

use super::file;
use crate::snapshot::Moment;

/// Bytes of one fdinfo that are read: some 80,000 entries.
const FDINFO_LIMIT: u64 = 6 << 20;

/// Sets with more entries are large.
const LARGE: usize = 2000;

/// How long a large set is believed, and how long any while its process sleeps.
const BELIEVED_SECONDS: f64 = 5.0;

/// EPOLLIN and EPOLLRDNORM.
const READABLE: u32 = 0x1 | 0x40;

/// What one epoll set watches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EpollSet {
    /// Inodes of the files that it watches for input, sorted.
    pub armed: Vec<u64>,
    /// How many files it watches in all.
    pub entries: usize,
    /// When it was read.
    pub read_at: Moment,
}

impl EpollSet {
    /// True if this reading has to do for now.
    pub(super) fn is_fresh(&self, now: Moment) -> bool {
        self.entries > LARGE && self.is_believed(now)
    }

    /// True if this reading does while the process sleeps.
    pub(super) fn is_believed(&self, now: Moment) -> bool {
        self.read_at != Moment::default() && now.seconds_since(self.read_at) < BELIEVED_SECONDS
    }
}

/// Reads the set behind a descriptor. `buffer` is used and left as it is.
pub(super) fn read_set(
    pid: u32,
    fd: u32,
    now: Moment,
    buffer: &mut Vec<u8>,
) -> io::Result<EpollSet> {
    file::read_bounded(&format!("/proc/{pid}/fdinfo/{fd}"), buffer, FDINFO_LIMIT)?;
    let set = parse_fdinfo(buffer, now);
    buffer.shrink_to(1 << 18);
    Ok(set)
}

fn parse_fdinfo(text: &[u8], now: Moment) -> EpollSet {
    let mut set = EpollSet {
        read_at: now,
        ..EpollSet::default()
    };
    for entry in text.split(|b| *b == b'\n').filter_map(parse_entry) {
        set.entries = set.entries.saturating_add(1);
        if entry.events & READABLE != 0 {
            set.armed.push(entry.inode);
        }
    }
    set.armed.sort_unstable();
    set.armed.dedup();
    set
}

struct Entry {
    events: u32,
    inode: u64,
}

/// `tfd:        3 events:       19 data:                3  pos:0 ino:8756 sdev:9`: all numbers but tfd and pos are
/// hexadecimal. EPOLLONESHOT leaves no event bits of a file that has fired. Linux before 3.19 has no `ino`.
fn parse_entry(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line.strip_prefix(b"tfd:")?).ok()?;
    let after = |key: &str| line.split_once(key)?.1.split_ascii_whitespace().next();
    // The last field: without it the line is cut off, and so may be the inode.
    after("sdev:")?;
    Some(Entry {
        events: u32::from_str_radix(after("events:")?, 16).ok()?,
        inode: u64::from_str_radix(after(" ino:")?, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1039\n\
tfd:        3 events:       19 data:                3  pos:0 ino:8756 sdev:9\n\
tfd:        8 events: 40000000 data:                8  pos:0 ino:8757 sdev:9\n\
tfd:        9 events:       1c data: ffffffffffffffff  pos:0 ino:8758 sdev:9\n\
tfd:       12 events: 80000041 data:        c  pos:12 ino:1f sdev:10\n";

    #[test]
    fn fdinfo_of_linux_6_18() {
        let set = parse_fdinfo(TEXT, Moment(7));
        assert_eq!(set.armed, [0x1f, 0x8756], "EPOLLIN only, hexadecimal");
        assert_eq!((set.entries, set.read_at), (4, Moment(7)));
    }

    #[test]
    fn a_cut_line_does_not_count() {
        for len in 0..TEXT.len() {
            let set = parse_fdinfo(&TEXT[..len], Moment(0));
            assert!(
                set.armed.iter().all(|ino| [0x1f, 0x8756].contains(ino)),
                "{len}"
            );
        }
        let old = b"tfd:        5 events:       19 data:                5\n";
        assert_eq!(parse_fdinfo(old, Moment(0)), EpollSet::default());
    }

    #[test]
    fn only_large_sets_are_believed_while_their_process_runs() {
        let mut set = EpollSet {
            entries: 2001,
            read_at: Moment(1),
            ..EpollSet::default()
        };
        assert!(set.is_fresh(Moment(4_000_000_000)));
        assert!(!set.is_fresh(Moment(6_000_000_000)));
        set.entries = 2000;
        assert!(!set.is_fresh(Moment(2)) && set.is_believed(Moment(2)));
        assert!(!EpollSet::default().is_believed(Moment(2)), "never read");
    }
}
