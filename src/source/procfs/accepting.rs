//! Which listeners would wake this process at this moment? Those in its epoll sets, and those that its threads sleep on.

use super::look::{Known, Look};
use super::threads::Activity;
use super::{Depth, epoll, fds, file, waits};
use crate::snapshot::{Accepting, Thread};

/// Sockets that threads wait for in accept, poll and select.
#[derive(Default)]
pub(super) struct Waits {
    sockets: Vec<Accepting>,
    /// False if a thread's system call or the arrays that it names could not be read.
    pub(super) complete: bool,
    activity: Activity,
}

impl Known {
    /// Inodes of all files that epoll sets and sleeping threads wait for.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = u64> + '_ {
        let armed = self.epolls.values().flat_map(|set| set.armed.iter());
        let waits = self.waits.sockets.iter().map(|wait| wait.inode);
        armed.copied().chain(waits)
    }
}

impl Look<'_> {
    /// The wanted sockets among those that epoll sets and sleeping threads wait for. Without a right to see all of them,
    /// what was found is still true; that nothing was found is not.
    pub(super) fn accepting(
        &mut self,
        threads: &[Thread],
        activity: Activity,
    ) -> Option<Vec<Accepting>> {
        let sets_seen = self.read_epolls(threads, activity);
        self.read_waits(threads, activity);
        let waiter = |set: u32| {
            threads
                .iter()
                .find(|t| t.syscall.and_then(waits::epoll_of) == Some(set))
                .map(|t| t.tid)
        };
        let armed = self.known.epolls.iter().flat_map(|(fd, set)| {
            let tid = waiter(*fd);
            set.armed
                .iter()
                .map(move |inode| Accepting { inode: *inode, tid })
        });
        let mut accepting: Vec<Accepting> = armed
            .chain(self.known.waits.sockets.iter().copied())
            .filter(|a| (self.looking.wanted_listeners)(a.inode))
            .collect();
        accepting.sort_unstable();
        accepting.dedup();
        (sets_seen && self.known.waits.complete || !accepting.is_empty()).then_some(accepting)
    }

    /// Reads the epoll sets again that may have changed. False if one may not be read.
    fn read_epolls(&mut self, threads: &[Thread], activity: Activity) -> bool {
        for fd in threads
            .iter()
            .filter_map(|thread| waits::epoll_of(thread.syscall?))
        {
            self.known.epolls.entry(fd).or_default();
        }
        // A set that a process shares with another may change while it sleeps itself: a full look does not trust that.
        let quiet = self.depth != Depth::Full && activity.is_quiet_since(self.known.waits.activity);
        let now = self.looking.now;
        let mut denied = false;
        let (pid, buffer) = (self.pid, &mut *self.buffer);
        self.known.epolls.retain(|fd, set| {
            if set.is_fresh(now) || quiet && set.is_believed(now) {
                return true;
            }
            match epoll::read_set(pid, *fd, now, buffer) {
                Ok(read) => *set = read,
                Err(error) if file::is_denied(&error) => denied = true,
                // It was closed.
                Err(_) => return false,
            }
            true
        });
        if denied {
            self.deny("fdinfo");
        }
        !denied
    }

    fn read_waits(&mut self, threads: &[Thread], activity: Activity) {
        if self.known.waits.complete && activity.is_quiet_since(self.known.waits.activity) {
            return;
        }
        let mut waits = Waits {
            sockets: Vec::new(),
            complete: threads.iter().all(|thread| thread.syscall_seen),
            activity,
        };
        for (tid, call) in threads.iter().filter_map(|t| Some((t.tid, t.syscall?))) {
            match waits::readable_fds(call, self.looking.memory) {
                Some(fds) => {
                    let sockets = fds
                        .into_iter()
                        .filter_map(|fd| fds::socket_behind(self.pid, fd));
                    waits.sockets.extend(sockets.map(|inode| Accepting {
                        inode,
                        tid: Some(tid),
                    }));
                }
                None => {
                    waits.complete = false;
                    self.deny("memory");
                }
            }
        }
        self.known.waits = waits;
    }
}
