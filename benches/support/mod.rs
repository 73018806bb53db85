//! What the benches share: how cost is measured, and the table that it is printed in.
#![allow(dead_code, reason = "each bench uses its own part of it")]

pub mod cost;

/// The names on the command line; nothing asked for is everything.
pub fn wanted(name: &str) -> bool {
    let mut asked = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .peekable();
    asked.peek().is_none() || asked.any(|one| one == name)
}

/// The first line of a table: who stands beside steth.
pub fn heading(peer: &str) {
    println!("{:<58} {:>13} {peer:>13} {:>9}", "", "steth", "ratio");
}

/// A measurement, and that of the peer.
pub fn row(what: &str, ours: f64, peer: Option<f64>, unit: &str) {
    let cell = |value: f64| format!("{value:.2} {unit}");
    let (theirs, ratio) = match peer {
        Some(peer) => (cell(peer), format!("1 : {:.2}", peer / ours.max(1e-9))),
        None => ("-".to_owned(), "-".to_owned()),
    };
    println!("{what:<58} {:>13} {theirs:>13} {ratio:>9}", cell(ours));
}
