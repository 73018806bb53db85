//! Why the stacks of a process could not be read, in words for a person, and what would unlock them.

use std::io;

use super::status::Status;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StackError {
    /// The kernel does not let this user read that process.
    #[error("{0}")]
    NoPermission(Denial),
    /// Not a Python process.
    #[error("not a python process")]
    NotPython,
    /// Python, but its interpreter has not been set up yet (or is already torn down).
    #[error("the interpreter is not initialised")]
    NotReady,
    /// A Python that the reader does not know; holds which.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The process has ended, or is about to.
    #[error("the process has ended")]
    Gone,
    /// No consistent reading in a bounded number of tries: the target was too busy.
    #[error("the stacks changed faster than they could be read")]
    Torn,
    /// The kernel has not answered a read of its memory for more than a second.
    #[error("a read of its memory hangs")]
    Hanging,
    /// Something else failed; holds what.
    #[error("{0}")]
    Failed(String),
}

/// Which check of ptrace(2), "Ptrace access mode checking", refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// It belongs to another user.
    #[error("its memory belongs to uid {owner}")]
    OtherUser {
        /// Effective user id of the target.
        owner: u32,
    },
    /// Yama's ptrace_scope (1 to 3) forbids it.
    #[error("kernel.yama.ptrace_scope is {scope}")]
    Yama {
        /// Value of `/proc/sys/kernel/yama/ptrace_scope`.
        scope: u8,
    },
    /// Same user, no Yama: the target has more rights than this program, is not dumpable, or a sandbox forbids the call.
    #[error("the kernel refuses to show its memory")]
    Capability,
}

impl StackError {
    /// What would make the stacks visible; `None` where no right would.
    pub fn unlock(&self) -> Option<String> {
        let Self::NoPermission(denial) = self else {
            return None;
        };
        Some(match denial {
            Denial::OtherUser { .. } | Denial::Capability => {
                "sudo steth (or the capability CAP_SYS_PTRACE)".to_owned()
            }
            Denial::Yama { scope: 3.. } => {
                "kernel.yama.ptrace_scope below 3, which needs a reboot".to_owned()
            }
            Denial::Yama { .. } => {
                "sudo steth (or CAP_SYS_PTRACE, or sysctl kernel.yama.ptrace_scope=0)".to_owned()
            }
        })
    }

    /// What an error of a file below `/proc/PID`, or of a read of its memory, means for that process.
    pub(super) fn from_io(pid: u32, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => Self::Gone,
            Some(libc::EPERM | libc::EACCES) => Self::refused(pid),
            _ => Self::Failed(error.to_string()),
        }
    }

    /// A refusal also comes from a process that is exiting: its memory, and with it its owner, is already gone.
    fn refused(pid: u32) -> Self {
        if Status::read(pid).is_none_or(|status| status.ends()) {
            return Self::Gone;
        }
        Self::NoPermission(Denial::of(pid))
    }
}

impl Denial {
    fn of(pid: u32) -> Self {
        let (theirs, ours) = (
            effective_uid(&pid.to_string()),
            effective_uid("thread-self"),
        );
        let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        match theirs {
            _ if scope == 3 => Self::Yama { scope },
            Some(owner) if Some(owner) != ours => Self::OtherUser { owner },
            _ if scope > 0 => Self::Yama { scope },
            _ => Self::Capability,
        }
    }
}

/// The second number of `Uid` in `/proc/PID/status`, proc(5).
fn effective_uid(who: &str) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{who}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permissions_can_be_unlocked() {
        let denied = StackError::NoPermission(Denial::OtherUser { owner: 33 });
        assert_eq!(denied.to_string(), "its memory belongs to uid 33");
        assert!(denied.unlock().unwrap().contains("sudo steth"));
        let scope = |scope| {
            StackError::NoPermission(Denial::Yama { scope })
                .unlock()
                .unwrap()
        };
        assert!(scope(1).contains("ptrace_scope=0"));
        assert!(scope(3).contains("reboot"));
        assert_eq!(StackError::Gone.unlock(), None);
    }

    #[test]
    fn a_process_that_is_gone_is_no_matter_of_rights() {
        let gone = 4_194_305; // above the kernel's largest pid
        let error = io::Error::from_raw_os_error(libc::EPERM);
        assert_eq!(StackError::from_io(gone, &error), StackError::Gone);
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let here = StackError::from_io(std::process::id(), &error);
        assert!(matches!(here, StackError::NoPermission(_)), "{here:?}");
    }
}
