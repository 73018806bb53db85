//! When a process ends, for those who may not listen to the proc connector: a pidfd becomes readable at that moment
//! (pidfd_open(2), Linux 5.3). How it ended stays unknown.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::source::sock_diag::sys;

/// Processes that are watched at once: each costs a descriptor.
const MAX_WATCHED: usize = 256;

/// Watches processes for their end.
#[derive(Debug, Default)]
pub struct ExitWatch {
    watched: BTreeMap<u32, OwnedFd>,
    /// The epoll set of all pidfds: to ask it costs the same for one and for many.
    set: Option<OwnedFd>,
    /// Gone before they could be watched.
    gone: Vec<u32>,
}

impl ExitWatch {
    /// Watches nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches this process too. One that is gone already is told by the next [`Self::ended`]; one that cannot be watched (no
    /// descriptors left, more than 256, a kernel before 5.3) is never told.
    pub fn watch(&mut self, pid: u32) {
        if self.watched.contains_key(&pid) || self.watched.len() >= MAX_WATCHED {
            return;
        }
        match self.open(pid) {
            Ok(pidfd) => {
                self.watched.insert(pid, pidfd);
            }
            Err(error)
                if error.raw_os_error() == Some(libc::ESRCH) && !self.gone.contains(&pid) =>
            {
                self.gone.push(pid);
            }
            Err(_) => {}
        }
    }

    fn open(&mut self, pid: u32) -> io::Result<OwnedFd> {
        let set = match self.set.take() {
            Some(set) => set,
            None => sys::epoll()?,
        };
        let pidfd = sys::pidfd_open(pid);
        let added = pidfd.and_then(|pidfd| {
            sys::epoll_add(set.as_fd(), pidfd.as_fd(), u64::from(pid))?;
            Ok(pidfd)
        });
        self.set = Some(set);
        added
    }

    /// Those that ended since the last call (zombies are among them), sorted; they are watched no longer. Waits for one, at most
    /// so long.
    pub fn ended(&mut self, longest: Duration) -> Vec<u32> {
        let mut ended = std::mem::take(&mut self.gone);
        let longest = if ended.is_empty() {
            longest
        } else {
            Duration::ZERO
        };
        match &self.set {
            Some(set) => {
                let ready = sys::epoll_wait(set.as_fd(), longest).unwrap_or_default();
                ended.extend(ready.into_iter().filter_map(|pid| u32::try_from(pid).ok()));
            }
            None => std::thread::sleep(longest),
        }
        // To close a pidfd takes it out of the set.
        self.watched.retain(|pid, _| !ended.contains(pid));
        ended.sort_unstable();
        ended.dedup();
        ended
    }
}
