//! The application waits in a call on a path: a FIFO without another end, a mount that does not answer, output that nobody
//! takes.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::stuck::{self, Reason};
use crate::diagnosis::{Code, waits};
use crate::snapshot::{PipeEnd, ProcessState, ThreadWait, WaitTarget, syscall_name};

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::File) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let Some(wait) = stuck.wait else {
        return Verdict::Clear;
    };
    let pid = stuck.member.process.key.pid;
    let tid = wait.tid;
    let mut found = finding(
        Code::FileWait,
        stuck.severity,
        format!(
            "{}{} has waited at least {} in {}() {}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.stood_s),
            syscall_name(wait.call),
            on(wait, pid),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    let state = stuck.member.process.thread(tid).map(|t| t.state);
    if state == Some(ProcessState::DiskSleep) {
        found.evidence.push(format!(
            "thread {tid} is in state D: no signal ends it before the file system answers (/proc/{pid}/task/{tid}/stat)"
        ));
    }
    found.remedy = remedy(wait);
    found.confirm = format!(
        "cat /proc/{pid}/task/{tid}/wchan /proc/{pid}/task/{tid}/syscall; ls -l /proc/{pid}/fd"
    );
    Verdict::Found(Box::new(found))
}

fn on(wait: &ThreadWait, mine: u32) -> String {
    match &wait.on {
        WaitTarget::FifoOpen { path, end } => {
            format!("on {path}, a FIFO that nobody {}", other(*end))
        }
        WaitTarget::Pipe { path, end, others } => {
            let what = match (path, wait.fd) {
                (Some(path), _) => format!("on FIFO {path}"),
                (None, Some(fd @ 1..=2)) => format!("on its {}, a pipe", output(fd)),
                (None, _) => "on a pipe".into(),
            };
            match others.as_deref() {
                Some([only]) if only.pid == mine => {
                    format!("{what} that only the process itself has open")
                }
                Some(all @ [_, ..]) => format!(
                    "{what} that {} has open and does not {}",
                    waits::parties(all),
                    verb(*end)
                ),
                _ => format!("{what} that nobody {}", other(*end)),
            }
        }
        WaitTarget::File { path, mount } => match mount {
            Some(mount) if waits::is_remote(mount) => {
                format!(
                    "on {path} ({} mount {} at {})",
                    mount.fs, mount.source, mount.at
                )
            }
            _ => format!("on {path}"),
        },
        WaitTarget::Terminal { path } => format!("on terminal {path}, whose output is stopped"),
        _ => String::new(),
    }
}

/// What would have to be done with the other end.
fn other(end: PipeEnd) -> &'static str {
    match end {
        PipeEnd::Reads => "writes",
        PipeEnd::Writes => "reads",
    }
}

fn verb(end: PipeEnd) -> &'static str {
    match end {
        PipeEnd::Reads => "write to",
        PipeEnd::Writes => "read from",
    }
}

fn output(fd: u32) -> &'static str {
    if fd == 1 {
        "standard output"
    } else {
        "standard error"
    }
}

fn remedy(wait: &ThreadWait) -> String {
    match &wait.on {
        WaitTarget::FifoOpen { end, .. } => format!(
            "start what {} the FIFO, or open it with os.O_NONBLOCK and give up after a while",
            other(*end)
        ),
        WaitTarget::Pipe { end: PipeEnd::Writes, .. } => {
            "let the process at the other end read again, or end it: whoever takes the log must not stop reading it".into()
        }
        WaitTarget::Pipe { .. } => "let the process at the other end write or close it, and read with a time-out".into(),
        WaitTarget::Terminal { .. } => "press Ctrl-Q in that terminal: its output was stopped by Ctrl-S".into(),
        WaitTarget::File { mount: Some(mount), .. } if waits::is_remote(mount) => format!(
            "bring back {} or unmount {} (umount -f, umount -l); mount it soft or with a time-out, and keep startup off it",
            mount.source, mount.at
        ),
        _ => "look at the disk or file system beneath the path (dmesg, iostat -x 1), and keep startup off it".into(),
    }
}
