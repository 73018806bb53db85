//! Families about the sockets that servers accept from, side ports left aside. Several sockets with one address (SO_REUSEPORT) are told as one.

use std::collections::{BTreeMap, BTreeSet};

use super::label;
use super::page::{Family, Labels, Page};
use super::told::Told;
use crate::diagnosis::{Phase, ServerListener};

const ACCEPT_QUEUE: Family = Family::gauge(
    "steth_listener_accept_queue",
    "Connections that wait to be accepted.",
);
const BACKLOG: Family = Family::gauge(
    "steth_listener_backlog",
    "The effective backlog: so many connections may wait, and one more.",
);
const FILL: Family = Family::gauge(
    "steth_listener_accept_queue_fill_ratio",
    "Depth of the accept queue against its limit, of the fullest of the sockets.",
)
.in_unit("ratio");
const SYN_QUEUE: Family = Family::gauge("steth_listener_syn_queue", "Half-open connections.");
const ACCEPTING: Family = Family::gauge(
    "steth_listener_accepting_processes",
    "Processes that are ready to accept.",
);
const DROPS: Family = Family::counter(
    "steth_listener_drops",
    "Connections that the kernel has dropped at these sockets.",
);

/// Addresses of one server that are told of.
pub const ADDRESSES: usize = 8;

/// What the sockets with one address have in common; `None` where one of them could not be seen.
#[derive(Debug)]
struct Sum {
    labels: Labels,
    accept_queue: Option<u64>,
    backlog: Option<u64>,
    syn_queue: Option<u64>,
    fill: Option<f64>,
    accepting: Option<u64>,
    drops: Option<u64>,
}

/// Writes them; says how many addresses were left out.
pub fn write(page: &mut Page, servers: &[Told]) -> usize {
    let mut left_out = 0;
    let mut sums = Vec::new();
    let mut known = BTreeSet::new();
    for told in servers {
        let (own, more) = sums_of(told);
        left_out += more;
        for sum in own {
            // Two servers of one name may share one of several addresses, each in a network namespace of its own.
            if known.insert(sum.labels.clone()) {
                sums.push(sum);
            } else {
                left_out += 1;
            }
        }
    }
    let mut gauge = |family: &Family, value: fn(&Sum) -> Option<f64>| {
        page.family(family, |samples| {
            for sum in &sums {
                samples.add_seen(&sum.labels, value(sum));
            }
        });
    };
    gauge(&ACCEPT_QUEUE, |s| s.accept_queue.map(|n| n as f64));
    gauge(&BACKLOG, |s| s.backlog.map(|n| n as f64));
    gauge(&FILL, |s| s.fill);
    gauge(&SYN_QUEUE, |s| s.syn_queue.map(|n| n as f64));
    gauge(&ACCEPTING, |s| s.accepting.map(|n| n as f64));
    gauge(&DROPS, |s| s.drops.map(|n| n as f64));
    left_out
}

fn sums_of(told: &Told) -> (Vec<Sum>, usize) {
    let server = told.server.filter(|s| s.phase != Phase::Exited);
    let mut by_address: BTreeMap<String, Vec<&ServerListener>> = BTreeMap::new();
    let own = server.iter().flat_map(|s| &s.listeners).filter(|l| !l.side);
    for listener in own {
        let at = by_address.entry(label::address(listener));
        at.or_default().push(listener);
    }
    let left_out = by_address.len().saturating_sub(ADDRESSES);
    // Its own address first: it is the one that is never left out.
    let mut addresses: Vec<(String, Vec<&ServerListener>)> = by_address.into_iter().collect();
    addresses.sort_by_key(|(address, _)| *address != told.slot.identity.address);
    let sums = addresses.iter().take(ADDRESSES);
    let sums = sums.map(|(address, sockets)| sum(told, address, sockets));
    (sums.collect(), left_out)
}

fn sum(told: &Told, address: &str, sockets: &[&ServerListener]) -> Sum {
    let all = |of: fn(&ServerListener) -> Option<u32>| {
        let values = sockets.iter().map(|l| of(l).map(u64::from));
        values.sum::<Option<u64>>()
    };
    let fill = |l: &&ServerListener| {
        let limit = f64::from(l.socket.backlog?) + 1.0;
        Some(f64::from(l.socket.accept_queue?) / limit)
    };
    let fills: Option<Vec<f64>> = sockets.iter().map(fill).collect();
    let accepting = sockets.iter().map(|l| l.accepting.as_ref());
    let pids: Option<Vec<&Vec<u32>>> = accepting.collect();
    let mut pids: Option<Vec<u32>> = pids.map(|all| all.into_iter().flatten().copied().collect());
    if let Some(pids) = &mut pids {
        pids.sort_unstable();
        pids.dedup();
    }
    let accept_queue = all(|l| l.socket.accept_queue);
    let drops = all(|l| l.socket.drops).and(accept_queue);
    let counted = told.slot.counts.drops.get(address).copied();
    Sum {
        labels: told.slot.identity.labels_at(address, told.slot.ordinal),
        accept_queue,
        backlog: all(|l| l.socket.backlog),
        syn_queue: all(|l| l.socket.syn_queue),
        fill: fills.map(|all| all.into_iter().fold(0.0, f64::max)),
        accepting: pids.map(|pids| pids.len() as u64),
        drops: drops.and(counted),
    }
}
