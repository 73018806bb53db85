//! What does `/proc/PID/stat` say? Identity, state, CPU time, memory: the one small read that every look begins with.

use ::procfs::FromRead;
use ::procfs::process::Stat;

use crate::snapshot::{Moment, ProcessKey, ProcessState};
use crate::source::text;

/// Characters of a `comm` that are kept; the kernel has at most 63 bytes (kernel threads), 15 for others.
pub(super) const COMM_LIMIT: usize = 64;

/// The fields of `/proc/PID/stat` that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatLine {
    /// Pid.
    pub pid: u32,
    /// Parent pid; 0 for none.
    pub ppid: u32,
    /// `comm`, control characters escaped.
    pub comm: String,
    /// State of the main thread.
    pub state: ProcessState,
    /// Field 22: clock ticks since boot.
    pub start_time: u64,
    /// User and system time of all threads, in nanoseconds (steps of a clock tick, 10 ms).
    pub cpu_ns: u64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Number of threads.
    pub threads: u32,
    /// Field 52 of a zombie, as wait(2) encodes it; `None` for the living and where the kernel hides it.
    pub exit_status: Option<i32>,
    /// Field 48, where the arguments lie: another value means exec(2) (or PR_SET_MM). 0 where the kernel hides it.
    pub arg_start: u64,
}

impl StatLine {
    /// Identity of the process.
    pub fn key(&self) -> ProcessKey {
        ProcessKey {
            pid: self.pid,
            start_time: self.start_time,
        }
    }
}

/// Units of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    /// Nanoseconds per clock tick.
    pub tick_ns: u64,
    /// Bytes per page.
    pub page: u64,
}

impl Units {
    pub(super) fn of_this_machine() -> Self {
        Self {
            tick_ns: 1_000_000_000 / ::procfs::ticks_per_second().max(1),
            page: ::procfs::page_size(),
        }
    }

    /// When a process with this field 22 started.
    pub(super) fn started(self, start_time: u64) -> Moment {
        Moment(start_time.saturating_mul(self.tick_ns))
    }
}

/// `/proc/PID/stat`; `None` for what is not such a line, or is cut off. `exit_status` is that of the line, seen or not.
pub(super) fn parse_stat(line: &[u8], units: Units) -> Option<StatLine> {
    // procfs slices around the parentheses: they have to be there, with something behind them.
    split_comm(line)?;
    let stat = Stat::from_read(line).ok()?;
    let state = ProcessState::from_letter(stat.state);
    let ticks = stat.utime.saturating_add(stat.stime);
    Some(StatLine {
        pid: u32::try_from(stat.pid).ok()?,
        ppid: u32::try_from(stat.ppid).unwrap_or(0),
        comm: text::clean(&stat.comm, COMM_LIMIT),
        state,
        start_time: stat.starttime,
        cpu_ns: ticks.saturating_mul(units.tick_ns),
        rss: stat.rss.saturating_mul(units.page),
        threads: u32::try_from(stat.num_threads).unwrap_or(0),
        exit_status: stat.exit_code.filter(|_| state == ProcessState::Zombie),
        arg_start: stat.arg_start.unwrap_or(0),
    })
}

/// Name and state of a thread from `/proc/PID/task/TID/stat`: the rest of that line is of no use here.
pub(super) fn parse_thread_stat(line: &[u8]) -> Option<(String, ProcessState)> {
    let (comm, rest) = split_comm(line)?;
    let letter = char::from(*rest.first()?);
    Some((
        text::clean_bytes(comm, COMM_LIMIT),
        ProcessState::from_letter(letter),
    ))
}

/// `comm`, which may itself hold parentheses and spaces, and what follows it from the state letter on.
fn split_comm(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let open = line.iter().position(|b| *b == b'(')?;
    let close = line.iter().rposition(|b| *b == b')')?;
    let pid = line.get(..open)?.strip_suffix(b" ")?;
    let comm = line.get(open.checked_add(1)?..close)?;
    let rest = line.get(close.checked_add(1)?..)?.strip_prefix(b" ")?;
    (!pid.is_empty() && !rest.is_empty()).then_some((comm, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units {
        tick_ns: 10_000_000,
        page: 4096,
    };
    const LINE: &[u8] = b"9722 (python3) S 9720 9720 5875 0 -1 4194304 2975 6536 14 2 3 1 4 1 20 0 2 0 125216 92827648 3538 18446744073709551615 94818811641856 94818811642197 140737466128336 0 0 0 0 16781318 0 1 0 0 17 1 0 0 0 0 0 94818811653552 94818811654168 94819629973504 140737466136828 140737466136871 140737466136871 140737466138575 0\n";

    #[test]
    fn a_line_of_linux_6_18() {
        let stat = parse_stat(LINE, UNITS).unwrap();
        assert_eq!((stat.pid, stat.ppid, stat.threads), (9722, 9720, 2));
        assert_eq!(stat.comm, "python3");
        assert_eq!(stat.state, ProcessState::Sleeping);
        assert_eq!(stat.start_time, 125_216);
        assert_eq!(stat.cpu_ns, 40_000_000);
        assert_eq!(stat.rss, 3538 * 4096);
        assert_eq!(stat.exit_status, None, "only a zombie has one");
        assert_eq!(stat.arg_start, 140_737_466_136_828);
        assert_eq!(UNITS.started(stat.start_time), Moment(1_252_160_000_000));
    }

    #[test]
    fn a_zombie_has_its_exit_status() {
        let line = String::from_utf8_lossy(LINE)
            .replace(") S ", ") Z ")
            .replace("138575 0\n", "138575 768\n");
        let stat = parse_stat(line.as_bytes(), UNITS).unwrap();
        assert_eq!(stat.exit_status, Some(768));
    }

    #[test]
    fn names_may_hold_anything() {
        for (comm, want) in [
            (&b"a) R 1 (b"[..], "a) R 1 (b"),
            (b"", ""),
            (b"x\x1b[2J", "x\\u{1b}[2J"),
            (b"\xff(", "\u{fffd}("),
            (b" ) ", " ) "),
        ] {
            let mut line = b"7 (".to_vec();
            line.extend_from_slice(comm);
            line.extend_from_slice(LINE.strip_prefix(b"9722 (python3").unwrap());
            assert_eq!(parse_stat(&line, UNITS).unwrap().comm, want);
            let thread = parse_thread_stat(&line).unwrap();
            assert_eq!(thread, (want.to_owned(), ProcessState::Sleeping));
        }
    }

    #[test]
    fn a_cut_line_is_no_panic() {
        for len in 0..LINE.len() {
            let cut = &LINE[..len];
            let _ = parse_stat(cut, UNITS);
            let _ = parse_thread_stat(cut);
        }
        for odd in [&b")("[..], b"(", b")", b"1 ()", b"1 () ", b"() S", b"1() S"] {
            assert_eq!(parse_stat(odd, UNITS), None, "{odd:?}");
        }
        assert_eq!(parse_stat(&LINE[..60], UNITS), None);
    }
}
