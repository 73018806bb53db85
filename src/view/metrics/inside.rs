//! Families about what the processes of a server have inside: threads, open files, tasks, pools.
//!
//! They are told for the server as a whole. A sum is told only where all of its living processes could be seen.

use std::collections::BTreeMap;

use super::label::clip;
use super::page::{Family, Page};
use super::told::Told;
use crate::diagnosis::Member;
use crate::snapshot::{Pool, PoolKind, TaskState, Tasks};

const PROCESSES: Family = Family::gauge("steth_server_processes", "Living processes, by role.");
const THREADS: Family = Family::gauge("steth_server_threads", "Threads of all its processes.");
const OPEN_FDS: Family = Family::gauge(
    "steth_server_open_fds",
    "Open file descriptors of that process of it which is nearest to its limit.",
);
const MAX_FDS: Family = Family::gauge(
    "steth_server_max_fds",
    "Limit of open file descriptors (soft RLIMIT_NOFILE) of the same process.",
);
const TASKS: Family = Family::gauge("steth_server_tasks", "asyncio tasks, by what they do.");
const POOL_SIZE: Family = Family::gauge(
    "steth_server_pool_size",
    "Threads, or tokens of a limiter, that a pool may have.",
);
const POOL_BUSY: Family = Family::gauge("steth_server_pool_busy", "Those that are taken.");
const POOL_QUEUED: Family = Family::gauge(
    "steth_server_pool_queued",
    "Jobs that wait for one of them.",
);

/// Pools of one server that are told of.
pub const POOLS: usize = 8;

/// Writes them; says how many pools were left out.
pub fn write(page: &mut Page, servers: &[Told]) -> usize {
    page.family(&PROCESSES, |samples| {
        for told in servers {
            let mut roles = BTreeMap::new();
            for member in told.living() {
                *roles.entry(member.role).or_insert(0_u32) += 1;
            }
            for (role, number) in roles {
                samples.add(&told.labels, &[("role", role.word())], number.into());
            }
        }
    });
    page.family(&THREADS, |samples| {
        for told in servers {
            let living = told.living();
            let sum: f64 = living
                .iter()
                .map(|m| f64::from(m.process.thread_count))
                .sum();
            samples.add_seen(&told.labels, (!living.is_empty()).then_some(sum));
        }
    });
    files(page, servers);
    tasks(page, servers);
    pools(page, servers)
}

fn files(page: &mut Page, servers: &[Told]) {
    let nearest: Vec<Option<(u64, u64)>> = servers.iter().map(nearest_to_limit).collect();
    page.family(&OPEN_FDS, |samples| {
        for (told, nearest) in servers.iter().zip(&nearest) {
            samples.add_seen(&told.labels, nearest.map(|(open, _)| open as f64));
        }
    });
    page.family(&MAX_FDS, |samples| {
        for (told, nearest) in servers.iter().zip(&nearest) {
            samples.add_seen(&told.labels, nearest.map(|(_, limit)| limit as f64));
        }
    });
}

/// Open files and limit of the process that is nearest to its limit; `None` if those of one could not be seen.
fn nearest_to_limit(told: &Told) -> Option<(u64, u64)> {
    let of = |m: &&Member| {
        let fds = m.process.fds.as_ref()?;
        Some((fds.open, fds.limit?))
    };
    let all: Option<Vec<(u64, u64)>> = told.living().iter().map(of).collect();
    let share = |(open, limit): &(u64, u64)| *open as f64 / (*limit).max(1) as f64;
    all?.into_iter()
        .max_by(|a, b| share(a).total_cmp(&share(b)))
}

/// The tasks of each living Python process; `None` if those of one could not be seen, or there is none.
fn tasks_of<'a>(told: &Told<'a>) -> Option<Vec<&'a Tasks>> {
    let living = told.living();
    let pythons = living.iter().filter_map(|m| m.process.python.as_ref());
    let all: Option<Vec<&Tasks>> = pythons.map(|python| python.tasks.as_deref()).collect();
    all.filter(|all| !all.is_empty())
}

const STATES: [(TaskState, &str); 4] = [
    (TaskState::Running, "running"),
    (TaskState::Waiting, "waiting"),
    (TaskState::Runnable, "runnable"),
    (TaskState::NotStarted, "not-started"),
];

fn tasks(page: &mut Page, servers: &[Told]) {
    page.family(&TASKS, |samples| {
        for told in servers {
            let Some(all) = tasks_of(told) else { continue };
            let listed = all.iter().flat_map(|tasks| &tasks.list);
            for (state, word) in STATES {
                let number = listed.clone().filter(|t| t.state == state).count();
                samples.add(&told.labels, &[("state", word)], number as f64);
            }
            let beyond: u32 = all.iter().map(|tasks| tasks.torn + tasks.left_out).sum();
            if beyond > 0 {
                samples.add(&told.labels, &[("state", "not-read")], beyond.into());
            }
        }
    });
}

/// Size, busy and queued of all pools of one name.
type Sums = BTreeMap<String, [u64; 3]>;

fn pools(page: &mut Page, servers: &[Told]) -> usize {
    let mut left_out = 0;
    let mut all: Vec<Sums> = servers.iter().map(pools_of).collect();
    for sums in &mut all {
        left_out += sums.len().saturating_sub(POOLS);
        while sums.len() > POOLS {
            sums.pop_last();
        }
    }
    for (at, family) in [&POOL_SIZE, &POOL_BUSY, &POOL_QUEUED]
        .into_iter()
        .enumerate()
    {
        page.family(family, |samples| {
            for (told, sums) in servers.iter().zip(&all) {
                for (pool, numbers) in sums {
                    let value = numbers.get(at).copied().unwrap_or_default();
                    samples.add(&told.labels, &[("pool", pool)], value as f64);
                }
            }
        });
    }
    left_out
}

fn pools_of(told: &Told) -> Sums {
    let mut sums = Sums::new();
    for pool in tasks_of(told).iter().flatten().flat_map(|t| &t.pools) {
        let sum = sums.entry(pool_name(pool)).or_default();
        for (sum, more) in sum.iter_mut().zip([pool.size, pool.busy, pool.queued]) {
            *sum += u64::from(more);
        }
    }
    sums
}

/// What a pool is called, without the number that an executor without a name of its own gets (`ThreadPoolExecutor-7`): it is
/// another one after a restart.
fn pool_name(pool: &Pool) -> String {
    let prefix = pool.prefix.as_deref().filter(|p| !p.is_empty());
    let Some(prefix) = prefix else {
        return match pool.kind {
            PoolKind::Executor => "executor".to_owned(),
            PoolKind::Limiter => "limiter".to_owned(),
        };
    };
    match prefix.rsplit_once(['-', '_']) {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => clip(name),
        _ => clip(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ObjectId;

    #[test]
    fn names_of_pools_have_no_number_that_a_restart_changes() {
        for (prefix, kind, want) in [
            (
                Some("ThreadPoolExecutor-17"),
                PoolKind::Executor,
                "ThreadPoolExecutor",
            ),
            (Some("asyncio"), PoolKind::Executor, "asyncio"),
            (Some("db-reader"), PoolKind::Executor, "db-reader"),
            (Some(""), PoolKind::Executor, "executor"),
            (None, PoolKind::Limiter, "limiter"),
        ] {
            let pool = Pool {
                id: ObjectId(1),
                kind,
                prefix: prefix.map(str::to_owned),
                size: 1,
                busy: 0,
                queued: 0,
            };
            assert_eq!(pool_name(&pool), want);
        }
    }
}
