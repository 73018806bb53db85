//! What does each thread do? State, system call, and whether it ran since the last look.
//!
//! A thread that did not run costs one read of `schedstat`. That file is read before the others, so a thread that runs in
//! between is read again the next time.

use std::io;

use ::procfs::FromRead;
use ::procfs::process::{Schedstat, Syscall as Line};

use super::held::Shelf;
use super::pulse::Pulse;
use super::{file, stat, waits};
use crate::snapshot::{ProcessState, Syscall, Thread};
use crate::source::text;

/// Threads of one process that are looked at; `thread_count` tells that there are more.
pub(super) const LIMIT: usize = 4096;

/// Characters of a path that are kept.
pub(super) const PATH_LIMIT: usize = 1024;

/// What all threads together have run so far: equal readings mean that none of them ran in between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Activity {
    run_ns: u64,
    switches: u64,
    threads: usize,
}

impl Activity {
    pub(super) fn of(threads: &[Thread]) -> Self {
        threads.iter().fold(Self::default(), |sum, thread| Self {
            run_ns: sum.run_ns.wrapping_add(thread.run_ns),
            switches: sum.switches.wrapping_add(thread.switches),
            threads: sum.threads.saturating_add(1),
        })
    }

    /// True if nothing ran between the two readings. A kernel without schedstat (all 0) never says so.
    pub(super) fn is_quiet_since(self, earlier: Self) -> bool {
        self == earlier && self.switches > 0
    }
}

/// The threads of a process, sorted by id; those of `previous` that did not run are kept as they were.
pub(super) fn read_threads(
    pid: u32,
    count: u32,
    previous: Option<&[Thread]>,
    pulse: &mut Pulse,
    shelf: &Shelf,
) -> io::Result<Vec<Thread>> {
    let mut reader = Reader { pid, pulse, shelf };
    let threads = reader.threads(count, previous.unwrap_or(&[]))?;
    pulse.keep(&threads);
    Ok(threads)
}

/// What reading the threads of one process needs.
struct Reader<'a> {
    pid: u32,
    pulse: &'a mut Pulse,
    shelf: &'a Shelf,
}

impl Reader<'_> {
    fn threads(&mut self, count: u32, known: &[Thread]) -> io::Result<Vec<Thread>> {
        let expected = usize::try_from(count).unwrap_or(LIMIT).min(LIMIT);
        // The same number of threads, and each of them still there: they are the same, without listing the directory.
        if !known.is_empty()
            && known.len() == expected
            && let Some(same) = self.reread(known)
        {
            return Ok(same);
        }
        let tids = file::numbers_in(&format!("/proc/{}/task", self.pid), LIMIT)?;
        let threads = tids.into_iter().filter_map(|tid| {
            let before = known.binary_search_by_key(&tid, |thread| thread.tid);
            let before = before.ok().and_then(|at| known.get(at));
            self.thread(tid, before).ok()
        });
        Ok(threads.collect())
    }

    fn reread(&mut self, known: &[Thread]) -> Option<Vec<Thread>> {
        let threads = known.iter().map(|t| self.thread(t.tid, Some(t)));
        threads.collect::<io::Result<Vec<_>>>().ok()
    }

    fn thread(&mut self, tid: u32, before: Option<&Thread>) -> io::Result<Thread> {
        let mut room = [0u8; file::SMALL];
        let (run_ns, waited_ns, switches) = self.schedstat(tid, &mut room)?;
        if let Some(same) = before.filter(|before| {
            switches > 0
                && (before.run_ns, before.switches) == (run_ns, switches)
                && before.state != ProcessState::Running
        }) {
            return Ok(same.clone());
        }
        let base = format!("/proc/{}/task/{tid}", self.pid);
        let line = file::read_small(&format!("{base}/stat"), &mut room)?;
        let (name, state) = stat::parse_thread_stat(line).ok_or(io::ErrorKind::InvalidData)?;
        let (syscall, syscall_seen) = read_syscall(&base, &mut room)?;
        let syscall = syscall.map(|now| resumed(now, before));
        Ok(Thread {
            tid,
            name,
            state,
            syscall,
            syscall_seen,
            run_ns,
            waited_ns,
            switches,
            waits_on: syscall.and_then(|call| waited_for(self.pid, call)),
        })
    }

    /// (nanoseconds on a CPU, nanoseconds of waiting for one, times put on one); zeros on a kernel without CONFIG_SCHED_INFO.
    fn schedstat(&mut self, tid: u32, room: &mut [u8]) -> io::Result<(u64, u64, u64)> {
        let path = || format!("/proc/{}/task/{tid}/schedstat", self.pid);
        let (probe, shelf) = self.pulse.of_thread(tid, self.shelf);
        match probe.read(path, shelf, room) {
            Ok(line) => Ok(parse_schedstat(line).unwrap_or_default()),
            // Gone, or a kernel without it: the read of `stat` that follows tells which.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0, 0)),
            Err(error) => Err(error),
        }
    }
}

fn parse_schedstat(line: &[u8]) -> Option<(u64, u64, u64)> {
    let schedstat = Schedstat::from_read(line).ok()?;
    Some((
        schedstat.sum_exec_runtime,
        schedstat.run_delay,
        schedstat.pcount,
    ))
}

/// The system call, and whether it may be read at all (PTRACE_MODE_ATTACH_FSCREDS, so Yama has a say).
fn read_syscall(base: &str, room: &mut [u8]) -> io::Result<(Option<Syscall>, bool)> {
    match file::read_small(&format!("{base}/syscall"), room) {
        Ok(line) => Ok((parse_syscall(line), true)),
        Err(error) if file::is_denied(&error) => Ok((None, false)),
        // A kernel without CONFIG_HAVE_ARCH_TRACEHOOK has no such file; of a thread that is gone, `stat` told first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((None, false)),
        Err(error) => Err(error),
    }
}

/// `/proc/PID/syscall`: `None` for `running` and for a thread that sleeps outside of a system call (`-1 …`).
pub(super) fn parse_syscall(line: &[u8]) -> Option<Syscall> {
    match Line::from_read(line).ok()? {
        Line::Blocked {
            syscall_number,
            argument_registers,
            ..
        } if syscall_number >= 0 => Some(Syscall {
            number: syscall_number,
            args: argument_registers,
        }),
        _ => None,
    }
}

/// After SIGSTOP and SIGCONT poll(2) goes on as restart_syscall(2), with the registers as they were: then the call is
/// the one that it was before.
fn resumed(now: Syscall, before: Option<&Thread>) -> Syscall {
    let earlier = before.and_then(|thread| thread.syscall);
    earlier
        .filter(|was| now.number == libc::SYS_restart_syscall && was.args == now.args)
        .unwrap_or(now)
}

fn waited_for(pid: u32, call: Syscall) -> Option<String> {
    let fd = waits::descriptor_of(call)?;
    let link = file::read_link(&format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some(text::clean(&link, PATH_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_lines() {
        assert_eq!(
            parse_schedstat(b"47460583 803442 66\n"),
            Some((47_460_583, 803_442, 66))
        );
        assert_eq!(parse_schedstat(b"0 0 0\n"), Some((0, 0, 0)));
        assert_eq!(parse_schedstat(b"47460583"), None);
        assert_eq!(parse_schedstat(b""), None);
    }

    #[test]
    fn syscall_lines() {
        let select =
            b"270 0x4 0x7ffffeac1020 0x0 0x0 0x7ffffeac0f50 0x0 0x7ffffeac0f40 0x7f9a6ab1c9ec\n";
        let call = parse_syscall(select).unwrap();
        assert_eq!(call.number, 270);
        assert_eq!(
            call.args,
            [4, 0x7fff_feac_1020, 0, 0, 0x7fff_feac_0f50, 0],
            "arguments are hexadecimal"
        );
        assert_eq!(parse_syscall(b"running\n"), None);
        assert_eq!(parse_syscall(b"-1 0x7ffffeac0f40 0x7f9a6ab1c9ec\n"), None);
        for len in 0..select.len() {
            let _ = parse_syscall(&select[..len]);
        }
        assert_eq!(parse_syscall(&select[..40]), None);
    }

    fn thread(run_ns: u64, switches: u64) -> Thread {
        Thread {
            tid: 1,
            name: String::new(),
            state: ProcessState::Sleeping,
            syscall: None,
            syscall_seen: true,
            run_ns,
            waited_ns: 0,
            switches,
            waits_on: None,
        }
    }

    #[test]
    fn a_kernel_without_schedstat_never_says_quiet() {
        let (ran, none) = (
            Activity::of(&[thread(5, 1), thread(6, 2)]),
            Activity::of(&[thread(0, 0)]),
        );
        assert!(ran.is_quiet_since(Activity::of(&[thread(5, 1), thread(6, 2)])));
        assert!(!ran.is_quiet_since(Activity::of(&[thread(5, 1), thread(6, 3)])));
        assert!(!ran.is_quiet_since(Activity::of(&[thread(11, 3)])));
        assert!(!none.is_quiet_since(none));
    }

    #[test]
    fn a_restarted_call_is_the_one_it_was() {
        let call = |number, first| Syscall {
            number,
            args: [first, 0, 0, 0, 0, 0],
        };
        let before = Thread {
            syscall: Some(call(7, 0x1000)),
            ..thread(1, 1)
        };
        let restart = libc::SYS_restart_syscall;
        assert_eq!(resumed(call(restart, 0x1000), Some(&before)).number, 7);
        assert_eq!(
            resumed(call(restart, 0x2000), Some(&before)).number,
            restart
        );
        assert_eq!(resumed(call(restart, 0x1000), None).number, restart);
        assert_eq!(resumed(call(9, 0x1000), Some(&before)).number, 9);
    }
}
