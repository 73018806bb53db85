//! Who has a socket: a Python process of the snapshot, or whoever a search among all processes has found.

use crate::diagnosis::words::duration;
use crate::snapshot::{Listener, Moment, Process, ProcessKey, Snapshot};

/// A process that has a socket open.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub key: ProcessKey,
    pub ppid: u32,
    pub started: Moment,
    pub cmdline: Vec<String>,
}

/// Those who have it, the eldest first.
pub(super) fn of(snapshot: &Snapshot, listener: &Listener) -> Vec<Holder> {
    let mut holders: Vec<Holder> = of_snapshot(snapshot, listener)
        .map(|process| Holder {
            key: process.key,
            ppid: process.ppid,
            started: process.started,
            cmdline: process.cmdline.clone(),
        })
        .collect();
    let searched = snapshot.inquiries.holders.iter();
    let searched = searched.filter(|h| h.inode == listener.inode);
    holders.extend(searched.map(|h| Holder {
        key: h.key,
        ppid: h.ppid,
        started: h.started,
        cmdline: h.cmdline.clone(),
    }));
    holders.sort_by_key(|h| (h.started, h.key));
    holders.dedup_by_key(|h| h.key);
    holders
}

/// A process of the snapshot that has it.
pub(super) fn python<'a>(snapshot: &'a Snapshot, listener: &Listener) -> Option<&'a Process> {
    of_snapshot(snapshot, listener).next()
}

fn of_snapshot<'a>(
    snapshot: &'a Snapshot,
    listener: &Listener,
) -> impl Iterator<Item = &'a Process> {
    let inode = listener.inode;
    let has = move |p: &&Process| {
        let fds = p.fds.as_ref();
        fds.is_some_and(|f| f.sockets.binary_search(&inode).is_ok())
    };
    snapshot.processes.iter().map(AsRef::as_ref).filter(has)
}

impl Holder {
    /// `pid 77 (nginx: master process) has had it for 12 min, nobody's child`.
    pub(super) fn sentence(&self, now: Moment) -> String {
        const MOST: usize = 60;
        let words = self.cmdline.join(" ");
        let short: String = words.chars().take(MOST).collect();
        let more = if short.len() < words.len() { "…" } else { "" };
        let age = duration(now.seconds_since(self.started));
        let orphan = if self.ppid == 1 {
            ", its parent is pid 1"
        } else {
            ""
        };
        format!(
            "pid {} ({short}{more}), {age} old{orphan}, has it",
            self.key.pid
        )
    }
}
