//! The quota of a cgroup, not the program, sets the pace.

use super::{Case, Verdict, duration, finding, shell_word};
use crate::diagnosis::history::Throttling;
use crate::diagnosis::{Code, Finding, Member, Phase, Severity};
use crate::snapshot::CpuQuota;

/// Of the periods in which somebody wanted to run, so many must have been cut short, and of the time so much.
const PERIODS_SHARE: f64 = 0.5;
const TIME_SHARE: f64 = 0.2;
/// Fewer periods than this say nothing.
const PERIODS: u64 = 8;

pub(super) fn examine(case: &Case) -> Verdict {
    if matches!(
        case.server.phase,
        Phase::CrashLooping | Phase::Exited | Phase::Stopped
    ) {
        return Verdict::Clear;
    }
    let mut waits = false;
    for member in case.server.own_members().filter(|m| m.exit.is_none()) {
        let Some((quota, throttling)) = throttling(case, member) else {
            continue;
        };
        if throttling.seconds < case.thresholds.observed_s || throttling.periods < PERIODS {
            waits |= throttling.throttled > 0;
            continue;
        }
        if is_held_back(&throttling) {
            return Verdict::Found(Box::new(found(case, member, quota, &throttling)));
        }
    }
    if waits {
        Verdict::NotYet
    } else {
        Verdict::Clear
    }
}

fn throttling<'a>(case: &Case<'a>, member: &'a Member) -> Option<(&'a CpuQuota, Throttling)> {
    let quota = member.process.cgroup_use.as_ref()?.cpu.as_ref()?;
    let track = case.history.cgroup(&quota.path)?;
    Some((quota, track.throttling()?))
}

fn is_held_back(throttling: &Throttling) -> bool {
    throttling.throttled as f64 >= throttling.periods as f64 * PERIODS_SHARE
        && throttling.waited_s >= throttling.seconds * TIME_SHARE
}

fn found(case: &Case, member: &Member, quota: &CpuQuota, seen: &Throttling) -> Finding {
    let pid = member.process.key.pid;
    let slow = match case.server.phase {
        Phase::Importing => format!(
            "; the import is slow for that reason (process is {} old)",
            duration(case.age_s(member))
        ),
        Phase::Starting | Phase::Bound | Phase::Listening => format!(
            "; the start is slow for that reason (process is {} old)",
            duration(case.age_s(member))
        ),
        _ => String::new(),
    };
    let mut found = finding(
        Code::CpuThrottled,
        severity(case, member),
        format!(
            "the cgroup's CPU quota of {} holds it back: throttled in {} of the last {} periods, {} of {}{slow}",
            cores(quota),
            seen.throttled,
            seen.periods,
            duration(seen.waited_s),
            duration(seen.seconds),
        ),
    );
    found.evidence.push(format!(
        "the quota is {} µs in every {} µs ({}/{})",
        quota.quota_us,
        quota.period_us,
        quota.path,
        if is_v1(&quota.path) {
            "cpu.cfs_quota_us"
        } else {
            "cpu.max"
        }
    ));
    found.evidence.push(format!(
        "nr_throttled rose by {} and nr_periods by {} in {} ({}/cpu.stat)",
        seen.throttled,
        seen.periods,
        duration(seen.seconds),
        quota.path
    ));
    if let Some(cpu) = member.cpu_percent {
        found.evidence.push(format!(
            "pid {pid} uses {cpu:.0} % of a core (/proc/{pid}/stat)"
        ));
    }
    let workers = case.workers().count();
    if workers > 1 {
        found.evidence.push(format!(
            "{workers} workers of this server share the quota (/proc/{pid}/cgroup)"
        ));
    }
    found.remedy = "raise the quota (docker --cpus, resources.limits.cpu, CPUQuota=) or take it away while the server starts; set the number of workers and threads by the quota, not by the machine's cores".into();
    found.confirm = format!(
        "grep -H . {0}/cpu.stat; sleep 2; grep -H . {0}/cpu.stat",
        shell_word(&quota.path)
    );
    found
}

/// As bad as what it leads to. A server that serves all it is asked for under a quota is well sized.
fn severity(case: &Case, member: &Member) -> Severity {
    match case.server.phase {
        Phase::Serving | Phase::Stalled => {
            let rules = [
                super::loop_blocked::examine,
                super::accept_queue::examine_full,
                super::accept_queue::examine_growing,
                super::no_worker_accepting::examine,
            ];
            let worst = rules.iter().filter_map(|rule| match rule(case) {
                Verdict::Found(finding) => Some(finding.severity),
                Verdict::Clear | Verdict::NotYet => None,
            });
            worst.max().unwrap_or(Severity::Info)
        }
        _ => case.severity_of_delay(case.age_s(member)),
    }
}

fn is_v1(path: &str) -> bool {
    !std::path::Path::new(path).starts_with("/sys/fs/cgroup/unified")
        && path
            .split('/')
            .any(|part| part.split(',').any(|c| c == "cpu"))
}

/// `2 % of a core`, `1.5 cores`.
fn cores(quota: &CpuQuota) -> String {
    let percent = quota.percent();
    if percent < 100.0 {
        format!("{percent:.0} % of a core")
    } else {
        format!("{:.1} cores", percent / 100.0)
    }
}
