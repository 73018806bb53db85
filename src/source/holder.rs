//! Who has this open? A search through the descriptors of all processes: dear, so it is done for few links at a time, and
//! seldom.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::procfs::{ProcReader, StatLine};
use super::{secret, text};
use crate::snapshot::{Holder, Moment};

/// Processes that one search looks at, and descriptors of each.
const PROCESSES: usize = 32_768;
const DESCRIPTORS: usize = 4096;

/// Processes by what they have open: link (`socket:[5]`, `pipe:[6]`) → pid and descriptor, by pid.
pub(super) type Holders = BTreeMap<String, Vec<(u32, u32)>>;

/// Between two searches for the same sockets: whoever holds them may end, and another take its place.
const AGAIN: Duration = Duration::from_secs(5);

/// Finds out who holds sockets, on a thread of its own.
#[derive(Debug, Default)]
pub(super) struct HolderReader {
    searcher: Option<Searcher>,
    asked: BTreeSet<u64>,
    asked_at: Option<Instant>,
    known: Vec<Holder>,
}

impl HolderReader {
    /// Asks who holds the sockets with these inodes. Never blocks; what is not asked for any more is forgotten.
    pub(super) fn ask(&mut self, inodes: &BTreeSet<u64>) {
        if let Some((_, found)) = &self.searcher
            && let Some(newest) = found.try_iter().last()
        {
            self.known = newest;
        }
        self.known.retain(|h| inodes.contains(&h.inode));
        let is_old = self.asked_at.is_none_or(|at| at.elapsed() > AGAIN);
        if inodes.is_empty() || (self.asked == *inodes && !is_old) {
            return;
        }
        if self.searcher.is_none() {
            self.searcher = start().ok();
        }
        let sent = self
            .searcher
            .as_ref()
            .is_some_and(|(sender, _)| sender.try_send(inodes.clone()).is_ok());
        if sent {
            self.asked.clone_from(inodes);
            self.asked_at = Some(Instant::now());
        }
    }

    /// What is known by now.
    pub(super) fn known(&self) -> Vec<Holder> {
        self.known.clone()
    }
}

type Searcher = (SyncSender<BTreeSet<u64>>, Receiver<Vec<Holder>>);

fn start() -> std::io::Result<Searcher> {
    let (sender, questions) = sync_channel::<BTreeSet<u64>>(1);
    let (answers, found) = sync_channel(4);
    std::thread::Builder::new()
        .name("steth-holder".to_owned())
        .spawn(move || {
            let reader = ProcReader::new();
            for inodes in questions {
                if answers.send(holders(&inodes, &reader)).is_err() {
                    return;
                }
            }
        })?;
    Ok((sender, found))
}

fn holders(inodes: &BTreeSet<u64>, reader: &ProcReader) -> Vec<Holder> {
    /// Workers that share one socket are many, and the first of them tell who they are.
    const OF_ONE: usize = 16;
    let links: Vec<String> = inodes.iter().map(|i| format!("socket:[{i}]")).collect();
    let mut found = search(&links, everybody());
    let mut holders = Vec::new();
    for (inode, link) in inodes.iter().zip(&links) {
        let mut pids: Vec<u32> = found
            .remove(link)
            .iter()
            .flatten()
            .map(|(pid, _)| *pid)
            .collect();
        pids.dedup();
        let lines = pids
            .iter()
            .take(OF_ONE)
            .filter_map(|pid| reader.stat(*pid).ok());
        holders.extend(lines.map(|line| describe(*inode, &line)));
    }
    holders
}

fn describe(inode: u64, line: &StatLine) -> Holder {
    let tick_ns = 1_000_000_000 / ::procfs::ticks_per_second().max(1);
    let words = read_cmdline(line.pid);
    let cmdline = if words.is_empty() {
        vec![format!("[{}]", line.comm)]
    } else {
        secret::masked_arguments(&words)
    };
    Holder {
        inode,
        key: line.key(),
        ppid: line.ppid,
        started: Moment(line.start_time.saturating_mul(tick_ns)),
        cmdline,
    }
}

fn read_cmdline(pid: u32) -> Vec<String> {
    const ARGUMENTS: usize = 64;
    const BYTES: u64 = 4096;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(BYTES).read_to_end(&mut bytes));
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let words = bytes.get(..end).unwrap_or_default().split(|b| *b == 0);
    match read {
        Ok(_) if end > 0 => words
            .take(ARGUMENTS)
            .map(|word| text::clean_bytes(word, 512))
            .collect(),
        _ => Vec::new(),
    }
}

/// Looks for these links among the descriptors of these processes; what may not be seen is left out.
pub(super) fn search(links: &[String], pids: impl IntoIterator<Item = u32>) -> Holders {
    let mut found = Holders::new();
    for pid in pids.into_iter().take(PROCESSES) {
        for (fd, link) in links_of(pid) {
            if links.contains(&link) {
                found.entry(link).or_default().push((pid, fd));
            }
        }
    }
    found
}

/// What a process has open: descriptors and links; none if they may not be seen.
pub(super) fn links_of(pid: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let mut links = Vec::new();
    for entry in entries.into_iter().flatten().flatten().take(DESCRIPTORS) {
        match std::fs::read_link(entry.path()) {
            Ok(target) => {
                let fd = entry.file_name().to_str().and_then(|n| n.parse().ok());
                links.extend(fd.zip(target.into_os_string().into_string().ok()));
            }
            // Rights are those of the whole process (proc(5)).
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => break,
            Err(_) => {}
        }
    }
    links
}

/// All pids that are visible, sorted.
pub(super) fn everybody() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

/// How a descriptor was opened (open(2)), by `/proc/PID/fdinfo`.
pub(super) fn flags_of(pid: u32, fd: u32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    parse_flags(&text)
}

fn parse_flags(text: &str) -> Option<i32> {
    let octal = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(octal.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn both_ends_of_a_pipe_are_found_and_told_apart() {
        let (reader, writer) = std::io::pipe().unwrap();
        let own = std::process::id();
        let link = std::fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap().to_owned();
        let found = search(&[link.clone(), "pipe:[1]".into()], everybody());
        let of_own: Vec<u32> = found[&link]
            .iter()
            .filter(|(pid, _)| *pid == own)
            .map(|(_, fd)| *fd)
            .collect();
        assert_eq!(of_own.len(), 2);
        assert!(!found.contains_key("pipe:[1]"));
        let mode = |fd: i32| flags_of(own, fd as u32).unwrap() & libc::O_ACCMODE;
        assert_eq!(mode(reader.as_raw_fd()), libc::O_RDONLY);
        assert_eq!(mode(writer.as_raw_fd()), libc::O_WRONLY);
    }

    #[test]
    fn flags_are_octal() {
        let text = "pos:\t0\nflags:\t0102001\nmnt_id:\t5\n";
        let flags = parse_flags(text).unwrap();
        assert_eq!(flags & libc::O_ACCMODE, libc::O_WRONLY);
        assert_ne!(flags & libc::O_APPEND, 0);
        assert_eq!(parse_flags("flags:\tx"), None);
        assert_eq!(parse_flags(""), None);
    }
}
