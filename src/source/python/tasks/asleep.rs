//! Whether anybody has run since a process was looked at: while all its threads sleep, nothing that lies in its memory moves.

use crate::snapshot::{ProcessState, Thread};

/// Of more threads nobody asks: to read the memory twice is cheaper.
const MOST_THREADS: usize = 64;

/// The threads of a process that all slept when they were looked at.
#[derive(Debug, Default)]
pub struct Asleep {
    pid: u32,
    /// Thread id, time on a CPU in ns, times put on one. Empty if somebody ran, or it is not known.
    marks: Vec<(u32, u64, u64)>,
}

impl Asleep {
    /// By what was seen of all threads; of each its marks were read before its state, so that who woke in between has others by now.
    pub fn of(pid: u32, threads: &[Thread]) -> Self {
        // A kernel without schedstat counts no switches.
        let sleeps = |t: &Thread| t.state != ProcessState::Running && t.switches > 0;
        let all = threads.len() <= MOST_THREADS && threads.iter().all(sleeps);
        let mark = |t: &Thread| (t.tid, t.run_ns, t.switches);
        Self {
            pid,
            marks: threads.iter().filter(|_| all).map(mark).collect(),
        }
    }

    /// True if none of them has been on a CPU since: a thread that has come meanwhile was started by one that has.
    pub fn still(&self) -> bool {
        !self.marks.is_empty()
            && self.marks.iter().all(|(tid, run_ns, switches)| {
                let text =
                    std::fs::read_to_string(format!("/proc/{}/task/{tid}/schedstat", self.pid));
                text.is_ok_and(|text| parse(&text) == Some((*run_ns, *switches)))
            })
    }
}

/// `schedstat`: nanoseconds on a CPU, nanoseconds in wait of one, times put on one (Documentation/scheduler/sched-stats.rst).
fn parse(text: &str) -> Option<(u64, u64)> {
    let mut fields = text
        .split_ascii_whitespace()
        .map(|field| field.parse().ok());
    let (run_ns, _waited, switches) = (fields.next()??, fields.next()?, fields.next()??);
    Some((run_ns, switches))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    fn thread(tid: u32, state: ProcessState, marks: (u64, u64)) -> Thread {
        Thread {
            tid,
            name: "t".into(),
            state,
            syscall: None,
            syscall_seen: true,
            run_ns: marks.0,
            waited_ns: 0,
            switches: marks.1,
            waits_on: None,
        }
    }

    fn wait_until(what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !so() {
            assert!(Instant::now() < deadline, "in vain: {what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn who_sleeps_on_is_still_asleep_and_who_has_run_is_not() {
        let mut child = Command::new("sh")
            .args(["-c", "read line; read line"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let marks = || {
            let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat"));
            parse(&text.unwrap()).unwrap()
        };
        // It sleeps on its way there, too: until it stands in read(2), and was not put on a CPU between two readings.
        let reads = libc::SYS_read.to_string();
        let rests = || {
            let before = marks();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
            let mut words = call.split(' ');
            let in_read = words.next() == Some(&reads) && words.next() == Some("0x0");
            stat.contains(") S ") && in_read && marks() == before
        };
        wait_until("it rests", rests);
        let seen = marks();
        let asleep = Asleep::of(pid, &[thread(pid, ProcessState::Sleeping, seen)]);
        let ran = Asleep::of(pid, &[thread(pid, ProcessState::Running, seen)]);
        let stayed = asleep.still();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"x\n").unwrap();
        wait_until("it has run", || marks() != seen);
        let woke = !asleep.still();
        drop(stdin);
        child.wait().unwrap();
        assert!(stayed && woke && !ran.still());
        assert!(!asleep.still(), "it is gone");
        assert!(!Asleep::default().still());
    }
}
