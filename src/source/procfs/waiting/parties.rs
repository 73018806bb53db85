//! Who are the other processes that a wait is about: children, and those who have the other end of a pipe open?

use std::os::unix::fs::MetadataExt;

use super::super::{file, identity, stat, threads, waits};
use crate::snapshot::{Child, ChildSleep, Moment, Party, PipeEnd, ProcessState};
use crate::source::text;

/// Characters of a command line for a sentence.
const COMMAND_LIMIT: usize = 200;
/// Others that are named.
const NAMED: usize = 4;
/// Generations below a process that are followed.
const DEPTH: usize = 4;
/// Children of one process that are looked at.
const CHILDREN: usize = 64;
/// Descriptors that one search for the other end of a pipe may look at: some 20 ms.
const SEARCHED: usize = 8192;

/// Who a process is.
pub(super) fn party(pid: u32) -> Party {
    let cmdline = identity::read_cmdline(pid).unwrap_or_default();
    let command = if cmdline.is_empty() {
        let name = file::read_text(&format!("/proc/{pid}/comm")).unwrap_or_default();
        text::clean(name.trim_end(), COMMAND_LIMIT)
    } else {
        // Escaped already: only the length is left to see to.
        text::clean(&cmdline.join(" "), COMMAND_LIMIT)
    };
    Party { pid, command }
}

/// The children that a thread may wait for: the one with this pid, by whatever pid namespace its parent calls it, or any.
pub(super) fn children(pid: u32, wanted: Option<u32>) -> Vec<Child> {
    let all = child_pids(pid);
    let matching: Vec<u32> = match wanted {
        Some(wanted) => all
            .into_iter()
            .filter(|child| is_called(*child, wanted))
            .collect(),
        None => all,
    };
    matching
        .into_iter()
        .take(NAMED)
        .map(|child| describe(child, DEPTH))
        .collect()
}

/// The child behind a descriptor of pidfd_open(2), as `Pid:` in its fdinfo tells.
pub(super) fn child_behind(pid: u32, fd: u32) -> Option<Child> {
    let text = file::read_text(&format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let child = parse_pidfd(&text)?;
    Some(describe(child, DEPTH))
}

/// -1: it has ended, 0: it is in no pid namespace of ours.
fn parse_pidfd(fdinfo: &str) -> Option<u32> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 0)
}

fn describe(pid: u32, depth: usize) -> Child {
    let sleeps = sleep_of(pid);
    let waits = sleeps
        .as_ref()
        .is_some_and(|s| matches!(s.call, libc::SYS_wait4 | libc::SYS_waitid));
    let child = (waits && depth > 1)
        .then(|| child_pids(pid).first().copied())
        .flatten();
    let line = stat_of(pid);
    Child {
        party: party(pid),
        started: line.as_ref().map(|(_, started)| *started),
        state: line.map_or(ProcessState::Unknown, |(line, _)| line.state),
        sleeps,
        child: child.map(|pid| Box::new(describe(pid, depth - 1))),
    }
}

fn stat_of(pid: u32) -> Option<(stat::StatLine, Moment)> {
    let units = stat::Units::of_this_machine();
    let mut room = [0u8; file::SMALL];
    let line = file::read_small(&format!("/proc/{pid}/stat"), &mut room).ok()?;
    let line = stat::parse_stat(line, units)?;
    let started = units.started(line.start_time);
    Some((line, started))
}

fn sleep_of(pid: u32) -> Option<ChildSleep> {
    let mut room = [0u8; file::SMALL];
    let line = file::read_small(&format!("/proc/{pid}/syscall"), &mut room).ok()?;
    let call = threads::parse_syscall(line)?;
    let fd = waits::descriptor_of(call);
    let link = fd.and_then(|fd| file::read_link(&format!("/proc/{pid}/fd/{fd}")).ok());
    Some(ChildSleep {
        call: call.number,
        fd,
        on: link.map(|link| text::clean(&link, threads::PATH_LIMIT)),
    })
}

/// `/proc/PID/task/TID/children` of all threads where the kernel has it (CONFIG_PROC_CHILDREN), else by everybody's parent.
fn child_pids(pid: u32) -> Vec<u32> {
    let tids = file::numbers_in(&format!("/proc/{pid}/task"), CHILDREN).unwrap_or_default();
    let mut found: Vec<u32> = Vec::new();
    for tid in &tids {
        match file::read_text(&format!("/proc/{pid}/task/{tid}/children")) {
            Ok(text) => found.extend(numbers(&text)),
            Err(_) => return children_by_parent(pid),
        }
    }
    found.truncate(CHILDREN);
    found
}

fn numbers(text: &str) -> impl Iterator<Item = u32> {
    text.split_ascii_whitespace().filter_map(|n| n.parse().ok())
}

fn children_by_parent(pid: u32) -> Vec<u32> {
    let all = file::numbers_in("/proc", usize::MAX).unwrap_or_default();
    let is_child = |child: &u32| stat_of(*child).is_some_and(|(line, _)| line.ppid == pid);
    all.into_iter().filter(is_child).take(CHILDREN).collect()
}

/// True if a process has this pid in any of the pid namespaces that it is in.
fn is_called(pid: u32, wanted: u32) -> bool {
    let status = file::read_text(&format!("/proc/{pid}/status")).unwrap_or_default();
    pid == wanted || parse_nspid(&status).contains(&wanted)
}

fn parse_nspid(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.map(|line| numbers(line).collect()).unwrap_or_default()
}

/// Who has the other end of a pipe open, by the link that all of its descriptors have: descendants first, then everybody.
/// `None` if the search was cut short and found nobody, or if some may not be looked at.
pub(super) fn other_ends(pid: u32, link: &str, end: PipeEnd) -> Option<Vec<Party>> {
    let mut near = vec![pid];
    let mut at = 0;
    while let Some(parent) = near.get(at).copied().filter(|_| near.len() < CHILDREN) {
        near.extend(child_pids(parent));
        at += 1;
    }
    let everybody = file::numbers_in("/proc", usize::MAX).unwrap_or_default();
    let far = everybody.into_iter().filter(|p| !near.contains(p));
    let order: Vec<u32> = near
        .iter()
        .copied()
        .skip(1)
        .chain(far)
        .chain([pid])
        .collect();
    let mut search = Search {
        link,
        end,
        left: SEARCHED,
        complete: true,
    };
    let mut found = Vec::new();
    for candidate in order {
        if found.len() == NAMED || search.left == 0 {
            break;
        }
        if search.has_other_end(candidate) {
            found.push(party(candidate));
        }
    }
    (!found.is_empty() || search.complete && search.left > 0).then_some(found)
}

struct Search<'a> {
    link: &'a str,
    end: PipeEnd,
    /// Descriptors that may still be looked at.
    left: usize,
    /// False once a process was met whose descriptors may not be seen.
    complete: bool,
}

impl Search<'_> {
    fn has_other_end(&mut self, pid: u32) -> bool {
        let base = format!("/proc/{pid}/fd");
        let fds = match file::numbers_in(&base, self.left) {
            Ok(fds) => fds,
            Err(error) => {
                self.complete &= !file::is_denied(&error);
                return false;
            }
        };
        self.left = self.left.saturating_sub(fds.len());
        fds.into_iter().any(|fd| {
            let path = format!("{base}/{fd}");
            file::read_link(&path).is_ok_and(|link| link == self.link)
                && opened_for(&path).is_some_and(|ends| ends.contains(&self.end.other()))
        })
    }
}

/// What a descriptor is open for: the permissions of its link in /proc (proc(5), /proc/PID/fd). The link itself is looked
/// at, never what is behind it.
fn opened_for(path: &str) -> Option<Vec<PipeEnd>> {
    let mode = std::fs::symlink_metadata(path).ok()?.mode();
    let ends = [(0o400, PipeEnd::Reads), (0o200, PipeEnd::Writes)];
    let open = ends.iter().filter(|(bit, _)| mode & bit != 0);
    Some(open.map(|(_, end)| *end).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_in_other_namespaces() {
        assert_eq!(
            parse_nspid("Name:\tsh\nNSpid:\t4130\t17\t3\nPPid:\t1\n"),
            [4130, 17, 3]
        );
        assert_eq!(parse_nspid("Name:\tsh\n"), Vec::<u32>::new());
        assert_eq!(parse_pidfd("pos:\t0\nPid:\t77\nNSpid:\t77\n"), Some(77));
        assert_eq!(parse_pidfd("Pid:\t-1\n"), None, "it has ended");
    }
}
