//! Families about this program itself, and about what it could not see.

use std::collections::BTreeMap;

use super::page::{Family, Labels, Page, Type};
use crate::snapshot::Snapshot;
use crate::view::{Scene, json};

const BUILD: Family = Family::of(Type::Info, "steth_build", "Which version of steth this is.");
const LOOK_AGE: Family = Family::gauge(
    "steth_look_age_seconds",
    "Since the end of the newest look; everything else is as it was then.",
)
.in_unit("seconds");
const LOOK_TIME: Family = Family::gauge(
    "steth_look_duration_seconds",
    "How long the newest look took.",
)
.in_unit("seconds");
const LOOKS: Family = Family::counter("steth_looks", "Looks at the machine so far.");
const CPU: Family = Family::counter(
    "process_cpu_seconds",
    "CPU time that steth itself has used.",
)
.in_unit("seconds");
const MEMORY: Family = Family::gauge(
    "process_resident_memory_bytes",
    "Resident memory of steth itself.",
)
.in_unit("bytes");
const SERVERS: Family = Family::gauge(
    "steth_servers",
    "Servers on this machine, told of or not, without those that have ended.",
);
const LEFT_OUT: Family = Family::gauge(
    "steth_left_out",
    "What there is and is not told of, since there is too much of it.",
);
const GAPS: Family = Family::gauge(
    "steth_gaps",
    "What could not be seen at the newest look, by source; steth doctor tells what would unlock it.",
);

/// How many things there were no room for.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeftOut {
    /// Servers.
    pub servers: usize,
    /// Addresses that servers listen on.
    pub listeners: usize,
    /// Pools of threads.
    pub pools: usize,
}

/// Sources of gaps that are told apart; they are the program's own words.
const SOURCES: usize = 32;

/// Writes what is known before the first look.
pub fn write_first(page: &mut Page) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.family(&BUILD, |samples| {
        samples.add(&Labels::default(), &version, 1.0);
    });
}

/// Writes the rest.
pub fn write(page: &mut Page, scene: &Scene, looks: u64, age_s: f64, left_out: LeftOut) {
    let none = Labels::default();
    let Some(snapshot) = &scene.snapshot else {
        return;
    };
    let own = &snapshot.own;
    page.family(&SERVERS, |samples| {
        let servers = scene.diagnosis.servers.iter();
        let alive = servers.filter(|s| s.phase != crate::diagnosis::Phase::Exited);
        samples.add(&none, &[], alive.count() as f64);
    });
    page.family(&LEFT_OUT, |samples| {
        for (what, number) in [
            ("servers", left_out.servers),
            ("listeners", left_out.listeners),
            ("pools", left_out.pools),
        ] {
            samples.add(&none, &[("what", what)], number as f64);
        }
    });
    gaps(page, scene, snapshot);
    page.family(&LOOKS, |samples| samples.add(&none, &[], looks as f64));
    page.family(&LOOK_AGE, |samples| samples.add(&none, &[], age_s));
    page.family(&LOOK_TIME, |samples| {
        samples.add(&none, &[], own.look_ns as f64 / 1e9);
    });
    page.family(&CPU, |samples| {
        samples.add(&none, &[], own.cpu_ns as f64 / 1e9);
    });
    page.family(&MEMORY, |samples| samples.add(&none, &[], own.rss as f64));
}

fn gaps(page: &mut Page, scene: &Scene, snapshot: &Snapshot) {
    let mut sources: BTreeMap<&str, u32> = BTreeMap::new();
    for gap in json::gaps_of(snapshot, &scene.diagnosis) {
        *sources.entry(&gap.source).or_default() += 1;
    }
    page.family(&GAPS, |samples| {
        for (source, number) in sources.into_iter().take(SOURCES) {
            samples.add(&Labels::default(), &[("source", source)], number.into());
        }
    });
}
