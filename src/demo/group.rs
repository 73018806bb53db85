//! How does a process group that this program started end, and nothing else with it?
//!
//! The leader is not reaped before the last signal is sent: as long as it is at least a zombie, the kernel gives its
//! number to no other process or group (fork(2) skips pids that are in use as a group's number).

use std::process::Child;
use std::time::{Duration, Instant};

/// How long SIGTERM may take before SIGKILL follows.
const GRACE: Duration = Duration::from_millis(800);

/// A child that leads a process group of its own. Dropping this ends the group.
#[derive(Debug)]
pub(super) struct Group {
    /// Never waited for, except at the end of `drop`: see the head of this file.
    pub(super) leader: Child,
}

impl Group {
    /// Takes a child that was started with `process_group(0)`.
    pub(super) fn new(leader: Child) -> Group {
        Group { leader }
    }

    /// False if nobody is left to signal.
    fn signal(&self, signal: libc::c_int) -> bool {
        let Ok(group) = libc::pid_t::try_from(self.leader.id()) else {
            return false;
        };
        // SAFETY: kill takes plain numbers. A signal that does harm is sent only before the leader is reaped: until then the
        // group's number is its own.
        unsafe { libc::kill(-group, signal) == 0 }
    }

    /// True once the leader has ended; leaves it a zombie.
    fn leader_ended(&self) -> bool {
        // SAFETY: siginfo_t is plain data for which zeroes are valid; waitid writes it, and does not reap with WNOWAIT.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            let result = libc::waitid(libc::P_PID, self.leader.id(), &raw mut info, flags);
            result != 0 || info.si_pid() != 0
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while !self.leader_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(libc::SIGKILL);
        // The leader is dead or about to die; that it cannot be waited for has no remedy here.
        let _ = self.leader.wait();
        // Those whom the leader has left behind are reaped by init, a moment later.
        let deadline = Instant::now() + GRACE;
        while self.signal(0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
