//! What do the limits of a cgroup do to the processes in it? Read about once a second for all processes of a cgroup together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Mount, Mounts, Paths};
use crate::snapshot::{CgroupUse, CpuQuota, MemoryUse, Moment};
use crate::source::procfs::file;
use crate::source::text;

/// Counters are as old as this at most, while a process of the cgroup runs.
const EVERY_S: f64 = 0.9;
/// A quota is set by hand, or with the container.
const QUOTA_EVERY_S: f64 = 15.0;
/// Cgroups that nobody has asked for so long are forgotten.
const FORGET_S: f64 = 120.0;
const CGROUPS_MOST: usize = 512;
/// Levels above a cgroup that may have a quota of their own.
const LEVELS: usize = 12;
const PATH_LIMIT: usize = 1024;

/// Reads usage, each cgroup at most about once a second.
#[derive(Debug, Default)]
pub(in crate::source::procfs) struct Meter {
    known: HashMap<Paths, Known>,
}

#[derive(Debug, Default)]
struct Known {
    asked_at: Moment,
    quotas: Option<(Moment, Vec<Quota>)>,
    last: Option<(Moment, Option<Arc<CgroupUse>>)>,
}

/// A level that has a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Quota {
    directory: PathBuf,
    quota_us: u64,
    period_us: u64,
}

impl Meter {
    /// The usage of a process's cgroups; `None` if nothing of it can be seen.
    pub(in crate::source::procfs) fn read(
        &mut self,
        mounts: &Mounts,
        paths: &Paths,
        now: Moment,
    ) -> Option<Arc<CgroupUse>> {
        if self.known.len() >= CGROUPS_MOST && !self.known.contains_key(paths) {
            self.known
                .retain(|_, known| now.seconds_since(known.asked_at) < FORGET_S);
            if self.known.len() >= CGROUPS_MOST {
                return None;
            }
        }
        let known = self.known.entry(paths.clone()).or_default();
        known.asked_at = now;
        if let Some((at, last)) = &known.last
            && now.seconds_since(*at) < EVERY_S
        {
            return last.clone();
        }
        let fresh = |(at, _): &&(Moment, _)| now.seconds_since(*at) < QUOTA_EVERY_S;
        let quotas = match known.quotas.as_ref().filter(fresh) {
            Some((_, quotas)) => quotas,
            None => &known.quotas.insert((now, quotas(mounts, paths))).1,
        };
        let cpu = quotas.iter().filter_map(cpu_of);
        let cpu = cpu.min_by(|a, b| a.percent().total_cmp(&b.percent()));
        let memory = memory_of(mounts, paths);
        let seen = cpu.is_some() || memory.is_some();
        let read = seen.then(|| {
            Arc::new(CgroupUse {
                read_at: now,
                cpu,
                memory,
            })
        });
        known.last = Some((now, read.clone()));
        read
    }
}

/// Every level from the cgroup up to the mount's root that has a quota.
fn quotas(mounts: &Mounts, paths: &Paths) -> Vec<Quota> {
    let v1 = levels(mounts.cpu.as_ref(), paths.cpu.as_deref());
    let v1 = v1.into_iter().filter_map(|directory| {
        let quota = number(&directory.join("cpu.cfs_quota_us"))?;
        let period = number(&directory.join("cpu.cfs_period_us"))?;
        quota_of(directory, quota, period)
    });
    let v2 = levels(mounts.unified.as_ref(), paths.unified.as_deref());
    let v2 = v2.into_iter().filter_map(|directory| {
        let (quota, period) = parse_max(&read(&directory.join("cpu.max"))?)?;
        quota_of(directory, quota, period)
    });
    v1.chain(v2).collect()
}

/// -1 is no quota.
fn quota_of(directory: PathBuf, quota: i64, period: i64) -> Option<Quota> {
    let (quota_us, period_us) = (u64::try_from(quota).ok()?, u64::try_from(period).ok()?);
    (period_us > 0).then_some(Quota {
        directory,
        quota_us,
        period_us,
    })
}

/// The directories of a cgroup and those above it, as far as they are mounted.
fn levels(mount: Option<&Mount>, path: Option<&str>) -> Vec<PathBuf> {
    let (Some(mount), Some(path)) = (mount, path) else {
        return Vec::new();
    };
    let ancestors = Path::new(path).ancestors();
    ancestors
        .filter_map(|path| mount.directory_of(path))
        .take(LEVELS)
        .collect()
}

fn cpu_of(quota: &Quota) -> Option<CpuQuota> {
    let counters = parse_stat(&read(&quota.directory.join("cpu.stat"))?)?;
    Some(CpuQuota {
        path: shown(&quota.directory),
        quota_us: quota.quota_us,
        period_us: quota.period_us,
        periods: counters.periods,
        throttled: counters.throttled,
        throttled_ns: counters.throttled_ns,
    })
}

fn memory_of(mounts: &Mounts, paths: &Paths) -> Option<MemoryUse> {
    let v1 = || {
        let directory = mounts
            .memory
            .as_ref()?
            .directory_of(Path::new(paths.memory.as_deref()?))?;
        let oom_kills = field(&read(&directory.join("memory.oom_control"))?, "oom_kill")?;
        let limit = number(&directory.join("memory.limit_in_bytes"));
        // Without a limit the file has the largest number of whole pages.
        let limit = limit.filter(|bytes| *bytes < i64::MAX / 2);
        Some((directory, oom_kills, limit))
    };
    let v2 = || {
        let directory = mounts
            .unified
            .as_ref()?
            .directory_of(Path::new(paths.unified.as_deref()?))?;
        let oom_kills = field(&read(&directory.join("memory.events"))?, "oom_kill")?;
        let limit = number(&directory.join("memory.max"));
        Some((directory, oom_kills, limit))
    };
    let (directory, oom_kills, limit) = v1().or_else(v2)?;
    Some(MemoryUse {
        path: shown(&directory),
        oom_kills,
        limit: limit.and_then(|bytes| u64::try_from(bytes).ok()),
    })
}

fn shown(directory: &Path) -> String {
    text::clean(&directory.to_string_lossy(), PATH_LIMIT)
}

fn read(path: &Path) -> Option<String> {
    file::read_text(path.to_str()?).ok()
}

fn number(path: &Path) -> Option<i64> {
    read(path)?.trim().parse().ok()
}

/// `max 100000`, or `2000 100000`.
fn parse_max(text: &str) -> Option<(i64, i64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some((quota.parse().ok()?, period.parse().ok()?))
}

#[derive(Debug, PartialEq, Eq)]
struct Counters {
    periods: u64,
    throttled: u64,
    throttled_ns: u64,
}

/// `cpu.stat`: version 1 counts nanoseconds in `throttled_time`, version 2 microseconds in `throttled_usec`.
fn parse_stat(text: &str) -> Option<Counters> {
    let in_us = || field(text, "throttled_usec").map(|us| us.saturating_mul(1000));
    Some(Counters {
        periods: field(text, "nr_periods")?,
        throttled: field(text, "nr_throttled")?,
        throttled_ns: field(text, "throttled_time").or_else(in_us)?,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_versions() {
        let want = Some(Counters {
            periods: 40,
            throttled: 39,
            throttled_ns: 3_800_000_000,
        });
        let v1 = "nr_periods 40\nnr_throttled 39\nthrottled_time 3800000000\n";
        let v2 =
            "usage_usec 90\nnr_periods 40\nnr_throttled 39\nthrottled_usec 3800000\nnr_bursts 0\n";
        assert_eq!(parse_stat(v1), want);
        assert_eq!(parse_stat(v2), want);
        assert_eq!(parse_stat("usage_usec 90\n"), None, "no cpu controller");
        assert_eq!(parse_max("2000 100000\n"), Some((2000, 100_000)));
        assert_eq!(parse_max("max 100000\n"), None);
        assert_eq!(quota_of("/x".into(), -1, 100_000), None);
        assert_eq!(quota_of("/x".into(), 5, 0), None);
        assert_eq!(field("oom 3\noom_kill 2\n", "oom_kill"), Some(2));
    }

    #[test]
    fn the_tightest_quota_on_the_way_up_holds() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("pod/app");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |directory: &Path, name: &str, text: &str| {
            std::fs::write(directory.join(name), text).unwrap();
        };
        let pod = root.path().join("pod");
        write(&inner, "cpu.max", "200000 100000\n");
        write(
            &inner,
            "cpu.stat",
            "nr_periods 9\nnr_throttled 0\nthrottled_usec 0\n",
        );
        write(&pod, "cpu.max", "5000 100000\n");
        write(
            &pod,
            "cpu.stat",
            "nr_periods 9\nnr_throttled 8\nthrottled_usec 7\n",
        );
        write(&inner, "memory.events", "low 0\noom 2\noom_kill 1\n");
        write(&inner, "memory.max", "1048576\n");
        let mounts = Mounts {
            unified: Some(Mount {
                root: "/".into(),
                at: root.path().to_owned(),
            }),
            ..Mounts::default()
        };
        let paths = Paths {
            unified: Some("/pod/app".into()),
            ..Paths::default()
        };
        let at = |s| Moment::default().plus_seconds(s);
        let mut meter = Meter::default();
        let first = meter.read(&mounts, &paths, at(100.0)).unwrap();
        let cpu = first.cpu.clone().unwrap();
        assert_eq!((cpu.throttled, cpu.throttled_ns), (8, 7000));
        assert!((cpu.percent() - 5.0).abs() < 1e-9);
        let memory = first.memory.clone().unwrap();
        assert_eq!((memory.oom_kills, memory.limit), (1, Some(1 << 20)));
        write(&inner, "memory.events", "oom_kill 4\n");
        let soon = meter.read(&mounts, &paths, at(100.5)).unwrap();
        assert!(Arc::ptr_eq(&first, &soon), "not read again within a second");
        let later = meter.read(&mounts, &paths, at(101.0)).unwrap();
        assert_eq!(later.memory.as_ref().unwrap().oom_kills, 4);
        assert!(
            meter
                .read(&Mounts::default(), &Paths::default(), at(101.0))
                .is_none()
        );
    }
}
