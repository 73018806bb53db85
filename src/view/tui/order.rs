//! In which order do servers stand? Failing first, but no row jumps about under the eye: a server takes its new place only when
//! its group has stayed changed for two seconds, and within a group the order is that of age.

use std::collections::HashMap;

use crate::diagnosis::Server;
use crate::snapshot::{Moment, ProcessKey};

use super::column::Column;
use super::facts::{self, Facts};
use super::standing::{self, Group};

/// How long a change must last before a row moves, in seconds.
const SETTLED_S: f64 = 2.0;

/// What the user asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sort {
    /// By this column; by urgency and age without.
    pub column: Option<Column>,
    /// The other way round.
    pub inverted: bool,
}

/// Places of the servers, kept from look to look.
#[derive(Debug, Default)]
pub struct Order {
    groups: HashMap<ProcessKey, Settling>,
    /// The order by a column as last made; it is made anew only now and then.
    by_column: Vec<ProcessKey>,
    made: Option<(Moment, Sort)>,
}

#[derive(Debug, Clone, Copy)]
struct Settling {
    /// The group that its place is in.
    settled: Group,
    /// The group that it seems to be in now, and since when.
    seeming: (Group, Moment),
}

impl Order {
    /// Takes note of a look.
    pub fn note(&mut self, servers: &[&Server], now: Moment) {
        self.groups
            .retain(|key, _| servers.iter().any(|s| s.root == *key));
        for server in servers {
            let group = standing::group(server);
            let fresh = Settling {
                settled: group,
                seeming: (group, now),
            };
            let kept = self.groups.entry(server.root).or_insert(fresh);
            if kept.seeming.0 != group {
                kept.seeming = (group, now);
            }
            if now.seconds_since(kept.seeming.1) >= SETTLED_S {
                kept.settled = group;
            }
        }
    }

    /// The group that a server's place is in.
    pub fn group(&self, root: ProcessKey) -> Option<Group> {
        self.groups.get(&root).map(|s| s.settled)
    }

    /// The servers in their order.
    pub fn sort(&mut self, servers: &mut Vec<&Server>, sort: Sort, now: Moment) {
        servers.sort_by_key(|s| {
            (
                self.group(s.root).unwrap_or(Group::Gone),
                s.root.start_time,
                s.root.pid,
            )
        });
        if let Some(column) = sort.column {
            self.sort_by(column, servers, sort, now);
        }
        if sort.inverted {
            servers.reverse();
        }
    }

    /// Values change all the time; places by them are made anew every two seconds, or when another order is asked for.
    fn sort_by(&mut self, column: Column, servers: &mut Vec<&Server>, sort: Sort, now: Moment) {
        let fresh = matches!(self.made, Some((at, by)) if by == sort && now.seconds_since(at) < SETTLED_S && at <= now);
        if !fresh {
            let mut rows: Vec<(Facts, ProcessKey)> = servers
                .iter()
                .map(|s| (facts::of_server(s, now), s.root))
                .collect();
            rows.sort_by(|a, b| column.compare(&a.0, &b.0));
            self.by_column = rows.into_iter().map(|(_, key)| key).collect();
            self.made = Some((now, sort));
        }
        let place = |s: &&Server| {
            self.by_column
                .iter()
                .position(|key| *key == s.root)
                .unwrap_or(usize::MAX)
        };
        servers.sort_by_key(place);
    }
}
