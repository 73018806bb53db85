//! Deaths at boot: which of a server's exits mean that it crashes, and whether it is a loop.

use super::history::History;
use super::{MemberExit, Phase, Role, Server};
use crate::snapshot::Moment;

/// Deaths are counted for this long.
const WINDOW_S: f64 = 60.0;
/// Who lived longer than this did not die at boot.
const BOOT_S: f64 = 120.0;

/// Deaths at boot within the last minute, newest first: of processes that never accepted, and that nobody ended politely.
pub fn at_boot<'a>(server: &'a Server, history: &History, at: Moment) -> Vec<&'a MemberExit> {
    let recent = |d: &&MemberExit| at.seconds_since(d.exit.at) < WINDOW_S;
    let died_at_boot = |d: &&MemberExit| {
        let served = history
            .tracks
            .get(&d.exit.key)
            .is_some_and(|t| t.has_accepted);
        let young = d.exit.lived_ns.is_none_or(|ns| (ns as f64) < BOOT_S * 1e9);
        let asked = matches!(
            d.exit.signal,
            Some(libc::SIGTERM | libc::SIGINT | libc::SIGHUP)
        );
        // A worker that ends without an error beside others that serve has done what it was told (`--max-requests`).
        let recycled = d.exit.code == Some(0) && server.phase == Phase::Serving;
        d.role != Role::Helper && !served && young && !asked && !recycled
    };
    server
        .exits
        .iter()
        .filter(recent)
        .filter(died_at_boot)
        .collect()
}

/// True if deaths repeat: a later one was born after an earlier one had died, or somebody is alive who was.
pub fn is_loop(server: &Server, deaths: &[&MemberExit]) -> bool {
    let Some(first) = deaths.iter().map(|d| d.exit.at).min() else {
        return false;
    };
    let reborn = |lived_ns: Option<u64>, at: Moment| {
        lived_ns.is_some_and(|ns| at.0.saturating_sub(ns) >= first.0)
    };
    let died_again = deaths
        .iter()
        .any(|d| d.exit.at > first && reborn(d.exit.lived_ns, d.exit.at));
    let lives_again = server.members.iter().any(|m| {
        m.exit.is_none()
            && m.process.python.is_some()
            && m.role != Role::Helper
            && m.process.started.0 >= first.0
    });
    deaths.len() >= 2 && (died_again || lives_again)
}
