//! When a process ends, for those who may not listen to the proc connector: a pidfd becomes readable at that moment
//! (pidfd_open(2), Linux 5.3). How it ended stays unknown.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::source::sock_diag::sys;

/// Processes that are watched at once: each costs a descriptor.
const MAX_WATCHED: usize = 256;

/// Watches processes for their end.
#[derive(Debug, Default)]
pub struct ExitWatch {
    watched: BTreeMap<u32, OwnedFd>,
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
        match sys::pidfd_open(pid) {
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

    /// Those that ended since the last call (zombies are among them), sorted; they are watched no longer.
    pub fn ended(&mut self) -> Vec<u32> {
        let fds: Vec<BorrowedFd<'_>> = self.watched.values().map(OwnedFd::as_fd).collect();
        let ready = sys::poll_readable(&fds, Some(Duration::ZERO)).unwrap_or_default();
        let mut ended = std::mem::take(&mut self.gone);
        ended.extend(
            self.watched
                .keys()
                .zip(ready)
                .filter(|(_, ready)| *ready)
                .map(|(pid, _)| *pid),
        );
        self.watched.retain(|pid, _| !ended.contains(pid));
        ended.sort_unstable();
        ended.dedup();
        ended
    }
}
