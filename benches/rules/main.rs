//! How fast does the diagnosis read snapshots? A thousand looks at fifty processes, a tenth of a second apart.
//!
//!     cargo bench --bench rules
//!
//! `quiet`: five processes have moved since the look before, the others are shared with it, as the sampler shares them.
//! `busy`: all fifty have moved. Making the snapshots is not counted. Prints measurements; asserts nothing.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the worlds of the tests, which may stop where they are wrong"
)]

#[path = "../../tests/diagnosis/coroutines.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod coroutines;
#[path = "../../tests/diagnosis/stacks.rs"]
mod stacks;
#[path = "../../tests/support/tasks.rs"]
mod tasks;
#[path = "../../tests/diagnosis/world.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod world;

#[path = "../support/mod.rs"]
mod measure;

mod allocations;
mod town;

use std::sync::Arc;
use std::time::{Duration, Instant};

use measure::cost::cpu_of;
use measure::wanted;
use steth::diagnosis::Analyst;
use steth::snapshot::Snapshot;
use town::Town;

const LOOKS: usize = 1_000;
/// Looks that are made, then observed: all at once they would take gigabytes.
const BATCH: usize = 50;
/// Processes that have moved since the look before.
const MOVED: usize = 5;

fn main() {
    println!(
        "{:<8} {:>14} {:>14} {:>12} {:>16} {:>12}",
        "", "looks per s", "per s of CPU", "slowest", "allocations", "findings"
    );
    if wanted("quiet") {
        report("quiet", MOVED);
    }
    if wanted("busy") {
        report("busy", usize::MAX);
    }
}

/// What observing has cost.
#[derive(Default)]
struct Cost {
    time: Duration,
    /// Seconds of CPU: other programs may have had their share of the time.
    cpu: f64,
    slowest: Duration,
    allocations: u64,
    findings: usize,
}

fn report(name: &str, moved: usize) {
    let mut town = Town::new();
    let mut analyst = Analyst::default();
    let mut cost = Cost::default();
    let mut last: Option<Snapshot> = None;
    for _ in 0..LOOKS / BATCH {
        let mut batch: Vec<Snapshot> = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let mut now = town.look();
            if let Some(before) = batch.last().or(last.as_ref()) {
                share(before, &mut now, town.turn, moved);
            }
            batch.push(now);
        }
        let cpu = cpu_of(1, &mut || {
            for snapshot in &batch {
                observe(&mut analyst, snapshot, &mut cost);
            }
        });
        cost.cpu += cpu;
        last = batch.pop();
    }
    println!(
        "{name:<8} {:>14.0} {:>14.0} {:>12.2?} {:>11}/look {:>12}",
        LOOKS as f64 / cost.time.as_secs_f64(),
        LOOKS as f64 / cost.cpu,
        cost.slowest,
        cost.allocations / LOOKS as u64,
        cost.findings
    );
}

fn observe(analyst: &mut Analyst, snapshot: &Snapshot, cost: &mut Cost) {
    let allocated = allocations::so_far();
    let begun = Instant::now();
    let seen = analyst.observe(snapshot);
    let took = begun.elapsed();
    cost.allocations += allocations::so_far() - allocated;
    cost.time += took;
    cost.slowest = cost.slowest.max(took);
    cost.findings = seen.servers.iter().map(|s| s.findings.len()).sum();
}

/// Shares with the look before whatever has not moved since: all but so many, which take turns.
fn share(before: &Snapshot, now: &mut Snapshot, turn: usize, moved: usize) {
    let all = now.processes.len();
    for (at, process) in now.processes.iter_mut().enumerate() {
        let has_moved = (at + all - (turn * MOVED) % all) % all < moved;
        let same = before.processes.iter().find(|p| p.key == process.key);
        if let Some(same) = same.filter(|_| !has_moved) {
            *process = Arc::clone(same);
        }
    }
}
