//! Clocks, the machine's name, and what this program itself has used.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::sock_diag::sys;
use crate::snapshot::{Moment, OwnCost};

/// The time now, on the clock of `/proc/PID/stat` start times.
pub fn now() -> Moment {
    Moment(sys::clock_ns(libc::CLOCK_BOOTTIME))
}

/// Nanoseconds of CLOCK_MONOTONIC: std has it only as differences, and gunicorn writes it into files.
pub fn monotonic_ns() -> u64 {
    sys::clock_ns(libc::CLOCK_MONOTONIC)
}

/// The moment at which this clock shows so many nanoseconds, if it is not set meanwhile; `None` for a clock that is not there.
pub fn moment_of(clock: libc::clockid_t, ns: u64) -> Option<Moment> {
    let shown = sys::clock_ns(clock);
    let boot = now().0;
    (shown > 0).then(|| Moment(boot.saturating_add(ns).saturating_sub(shown)))
}

/// Milliseconds since the Unix epoch.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A moment in clock ticks since boot, the unit of start times (`/proc/PID/stat`, field 22).
pub fn ticks(moment: Moment) -> u64 {
    moment.0 / (1_000_000_000 / procfs::ticks_per_second().max(1))
}

/// The host's name, as uname(2) gives it; cleaned, since whoever names hosts may be anybody.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    super::text::clean(name.trim(), 64)
}

/// The kernel's release, as uname(2) gives it.
pub fn kernel_release() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(super::text::clean(text.trim(), 64))
}

/// What this boot of the machine is called: moments of another one cannot be compared with those of this one.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(super::text::clean(text.trim(), 64))
}

/// CPU time and memory of this process, as /proc/self tells them.
pub fn own_cost(look: Duration) -> OwnCost {
    let run = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = run.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |at: usize| {
        fields
            .get(at)
            .and_then(|f| f.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let tick_ns = 1_000_000_000 / procfs::ticks_per_second().max(1);
    OwnCost {
        cpu_ns: (number(11) + number(12)).saturating_mul(tick_ns),
        rss: number(21).saturating_mul(procfs::page_size()),
        look_ns: u64::try_from(look.as_nanos()).unwrap_or(u64::MAX),
    }
}

/// Seconds east of UTC that the machine's local time is at now.
pub fn utc_offset_s() -> i32 {
    // SAFETY: an all-zero tm is a valid value of that plain C struct; localtime_r only writes to it.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    let seconds = wall_ms() / 1000;
    // SAFETY: both pointers are to live variables of the types that localtime_r(3) asks for.
    let done = unsafe { libc::localtime_r(&raw const seconds, &raw mut local) };
    if done.is_null() {
        0
    } else {
        i32::try_from(local.tm_gmtoff).unwrap_or(0)
    }
}
