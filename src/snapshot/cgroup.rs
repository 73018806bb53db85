//! What the cgroups of a process allow it, and what they have done to it.

use serde::{Deserialize, Serialize};

use super::Moment;

/// Limits and counters of the cgroups that a process is in, version 1 or 2. Processes of the same cgroups share one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupUse {
    /// When it was read.
    pub read_at: Moment,
    /// The tightest CPU quota that holds for it, its own or one above; `None` if there is none or it could not be seen.
    pub cpu: Option<CpuQuota>,
    /// Its memory; `None` if that could not be seen.
    pub memory: Option<MemoryUse>,
}

/// A CPU quota with its counters (`cpu.max` or `cpu.cfs_*`, and `cpu.stat`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuQuota {
    /// Directory of the cgroup, control characters escaped.
    pub path: String,
    /// CPU time that it may use in each period, in microseconds.
    pub quota_us: u64,
    /// Length of a period, in microseconds.
    pub period_us: u64,
    /// Periods so far in which somebody in it wanted to run.
    pub periods: u64,
    /// Periods so far in which somebody had to wait for the next one.
    pub throttled: u64,
    /// Time so far for which that was so, in nanoseconds, on all CPUs together.
    pub throttled_ns: u64,
}

impl CpuQuota {
    /// Percent of one core that it may use.
    pub fn percent(&self) -> f64 {
        self.quota_us as f64 * 100.0 / self.period_us.max(1) as f64
    }
}

/// Memory of a cgroup (`memory.events` and `memory.max`, or `memory.oom_control` and `memory.limit_in_bytes`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Directory of the cgroup, control characters escaped.
    pub path: String,
    /// Processes in it that the kernel has killed for want of memory so far.
    pub oom_kills: u64,
    /// Limit in bytes; `None` if it has none of its own.
    pub limit: Option<u64>,
}
