//! CPU time of processes: of one that is run to its end, of one that lives, of this one; and its memory.

use std::process::{Command, Stdio};

/// User and system CPU seconds of a command and of the children that it waited for. Nothing else may be waited for at
/// the same time: it is the difference of what this process's children have cost (getrusage(2), RUSAGE_CHILDREN).
/// An exit code that is not `accepted` ends the bench: a tool that fails is cheap.
pub fn cpu_to_run(command: &mut Command, accepted: &[i32]) -> f64 {
    let before = cpu_of_children();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the command can be run");
    let expected = status.code().is_some_and(|code| accepted.contains(&code));
    assert!(
        expected,
        "{command:?} ended with {status}: its cost says nothing"
    );
    cpu_of_children() - before
}

fn cpu_of_children() -> f64 {
    // SAFETY: rusage is plain data for which zeroes are valid and which getrusage fills in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// User and system CPU seconds of a living process so far (fields 14 and 15 of its stat, in clock ticks).
pub fn cpu_of_pid(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a stat line");
    let tick = |at: usize| -> f64 {
        let field = fields.split_whitespace().nth(at);
        field.and_then(|n| n.parse().ok()).expect("a number")
    };
    // SAFETY: sysconf takes and returns a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    (tick(11) + tick(12)) / per_second
}

/// Seconds of CPU time of this process that one round takes.
pub fn cpu_of(rounds: u32, round: &mut dyn FnMut()) -> f64 {
    let before = own_cpu();
    for _ in 0..rounds {
        round();
    }
    (own_cpu() - before) / f64::from(rounds)
}

fn own_cpu() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a live timespec that the call writes and does not keep.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes of this process that are in memory.
pub fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("readable");
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse().ok());
    4096.0 * pages.unwrap_or(0.0_f64)
}

/// The median of some measurements.
pub fn median_of(times: usize, mut measure: impl FnMut() -> f64) -> f64 {
    median((0..times).map(|_| measure()).collect())
}

/// The one in the middle.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
