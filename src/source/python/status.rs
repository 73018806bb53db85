//! What the reader of stacks must know of a process or thread at the very moment of a read: is it the same one, does it end,
//! has it run meanwhile?

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::snapshot::ProcessKey;
use crate::source::sock_diag::sys;

/// Fields of `/proc/PID/stat`, proc(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Field 3.
    pub state: char,
    /// Field 9: PF_* of the kernel.
    pub flags: u64,
    /// Field 22, in ticks since boot.
    pub start_time: u64,
}

impl Status {
    /// `None` if there is no such process.
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The same of one thread.
    pub fn of_thread(pid: u32, tid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/task/{tid}/stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name in parentheses may hold anything, parentheses and spaces too: the last one ends it.
        let end = stat.iter().rposition(|&b| b == b')')?;
        let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            flags: fields.nth(5)?.parse().ok()?,
            start_time: fields.nth(12)?.parse().ok()?,
        })
    }

    /// True once the process is dead or on its way: PF_EXITING (include/linux/sched.h).
    pub fn ends(self) -> bool {
        const PF_EXITING: u64 = 0x4;
        matches!(self.state, 'Z' | 'X' | 'x') || self.flags & PF_EXITING != 0
    }
}

/// True while this very process lives: a pid number alone is reused.
pub fn is_alive(key: ProcessKey) -> bool {
    Status::read(key.pid).is_some_and(|s| s.start_time == key.start_time && !s.ends())
}

/// Tells cheaply whether a process still lives: a descriptor of it, where the kernel has one to give.
#[derive(Debug)]
pub struct Lifeline {
    key: ProcessKey,
    pidfd: Option<OwnedFd>,
}

impl Lifeline {
    /// To this very process; `None` if it is gone. With `is_cheap` unset no descriptor is spent on it.
    pub fn new(key: ProcessKey, is_cheap: bool) -> Option<Self> {
        let pidfd = is_cheap.then(|| sys::pidfd_open(key.pid).ok()).flatten();
        // In this order: the descriptor is of whoever had the pid, and it is the right one if it still has it.
        is_alive(key).then_some(Self { key, pidfd })
    }

    /// True while it lives.
    pub fn holds(&self) -> bool {
        let ended = self.pidfd.as_ref().and_then(|pidfd| {
            let polled = sys::poll_readable(&[pidfd.as_fd()], Some(Duration::ZERO));
            polled.ok()?.first().copied()
        });
        ended.map_or_else(|| is_alive(self.key), |ended| !ended)
    }
}

/// How often a thread has been on a CPU, and whether it is off it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// `schedstat`, field 3: counted when it is put on a CPU.
    pub switches: u64,
    /// False in state R.
    pub is_asleep: bool,
}

impl Turns {
    /// `None` if there is no such thread, or a kernel without `schedstat`.
    pub fn read(pid: u32, tid: u32) -> Option<Self> {
        // In this order: if it wakes between the two, the count is too old and a later one will differ.
        let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).ok()?;
        let status = Status::of_thread(pid, tid)?;
        Some(Self {
            switches: text.split_ascii_whitespace().nth(2)?.parse().ok()?,
            is_asleep: status.state != 'R',
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name_holds() {
        let tail = "S 1 7 7 0 -1 4194304 9 9 0 0 1 1 0 0 20 0 3 0 88213 1000 10 0";
        let want = Status {
            state: 'S',
            flags: 4_194_304,
            start_time: 88213,
        };
        for name in ["python", "a b", "x) S 1 (", ")))"] {
            let stat = format!("42 ({name}) {tail}");
            assert_eq!(Status::parse(stat.as_bytes()), Some(want), "{name}");
        }
        assert_eq!(Status::parse(b"42 (cut) S 1"), None);
        assert_eq!(Status::parse(b""), None);
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_another_process() {
        let pid = std::process::id();
        let start_time = Status::read(pid).unwrap().start_time;
        assert!(is_alive(ProcessKey { pid, start_time }));
        let reused = ProcessKey {
            pid,
            start_time: start_time + 1,
        };
        assert!(!is_alive(reused));
        for is_cheap in [true, false] {
            assert!(Lifeline::new(reused, is_cheap).is_none());
            let own = Lifeline::new(ProcessKey { pid, start_time }, is_cheap).unwrap();
            assert!(own.holds());
            assert_eq!(
                own.pidfd.is_some(),
                is_cheap,
                "pidfd_open(2) is there since 5.3"
            );
        }
        assert!(Turns::read(pid, pid).is_some());
    }

    #[test]
    fn a_lifeline_ends_with_its_process() {
        for is_cheap in [true, false] {
            let mut child = std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .unwrap();
            let start_time = Status::read(child.id()).unwrap().start_time;
            let pid = child.id();
            let lifeline = Lifeline::new(ProcessKey { pid, start_time }, is_cheap).unwrap();
            assert!(lifeline.holds());
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!lifeline.holds());
        }
    }
}
