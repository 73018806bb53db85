//! One cgroup over time: how often its CPU quota has held it back lately, and whom the kernel has killed in it.

use std::collections::VecDeque;

use crate::snapshot::{CpuQuota, MemoryUse, Moment};

const CPU_WINDOW_S: f64 = 5.0;
const KILLS_WINDOW_S: f64 = 60.0;

/// What is remembered of one cgroup, by the path of its directory.
#[derive(Debug, Default, Clone)]
pub struct CgroupTrack {
    cpu: VecDeque<(Moment, CpuQuota)>,
    /// Readings at which the number of kills was another than before, the first one that was seen among them.
    kills: VecDeque<(Moment, u64)>,
    pub(super) seen: Moment,
}

/// What a quota has done over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttling {
    /// Seconds between the readings that are compared.
    pub seconds: f64,
    /// Periods in which somebody wanted to run.
    pub periods: u64,
    /// Of those, how many in which somebody had to wait.
    pub throttled: u64,
    /// For how long, in seconds; on several CPUs at once it may be more than has passed.
    pub waited_s: f64,
}

impl CgroupTrack {
    pub(super) fn observe_cpu(&mut self, quota: &CpuQuota, at: Moment) {
        self.seen = self.seen.max(at);
        let last = self.cpu.back();
        if last.is_some_and(|(when, _)| *when >= at) {
            return;
        }
        // Another limit, or a cgroup that was made anew under the same name: nothing to compare with.
        let differs = |(_, before): &(Moment, CpuQuota)| {
            (before.quota_us, before.period_us) != (quota.quota_us, quota.period_us)
                || before.periods > quota.periods
        };
        if last.is_some_and(differs) {
            self.cpu.clear();
        }
        self.cpu.push_back((at, quota.clone()));
        while self
            .cpu
            .get(1)
            .is_some_and(|(when, _)| at.seconds_since(*when) > CPU_WINDOW_S)
        {
            self.cpu.pop_front();
        }
    }

    pub(super) fn observe_memory(&mut self, memory: &MemoryUse, at: Moment) {
        self.seen = self.seen.max(at);
        let last = self.kills.back().map(|(_, kills)| *kills);
        if last.is_some_and(|kills| kills > memory.oom_kills) {
            self.kills.clear();
        }
        if last != Some(memory.oom_kills) {
            self.kills.push_back((at, memory.oom_kills));
        }
        while self
            .kills
            .get(1)
            .is_some_and(|(when, _)| at.seconds_since(*when) > KILLS_WINDOW_S)
        {
            self.kills.pop_front();
        }
    }

    /// What the quota has done over the last five seconds; `None` until two readings.
    pub fn throttling(&self) -> Option<Throttling> {
        let (first_at, first) = self.cpu.front()?;
        let (last_at, last) = self.cpu.back()?;
        let waited_ns = last.throttled_ns.checked_sub(first.throttled_ns)?;
        let seconds = last_at.seconds_since(*first_at);
        (seconds > 0.0).then_some(Throttling {
            seconds,
            periods: last.periods.checked_sub(first.periods)?,
            throttled: last.throttled.checked_sub(first.throttled)?,
            waited_s: waited_ns as f64 / 1e9,
        })
    }

    /// Processes that the kernel has killed for want of memory in the last minute, while somebody looked, and when it last did.
    pub fn oom_kills(&self) -> Option<(u64, Moment)> {
        let (_, first) = self.kills.front()?;
        let (at, last) = self.kills.back()?;
        let new = last.checked_sub(*first).filter(|n| *n > 0)?;
        Some((new, *at))
    }
}
