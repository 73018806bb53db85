//! Which rows has the table? Servers in their order, their processes where they are unfolded, other Python below.

use crate::diagnosis::{Diagnosis, Server};
use crate::snapshot::{Moment, ProcessKey};
use crate::view::tui::filter::Filter;
use crate::view::tui::order::{Order, Sort};
use crate::view::tui::standing::{self, Group};

use super::cursor::RowId;

/// What the user wants to see of all rows.
#[derive(Debug, Default)]
pub struct Choice {
    /// What was typed after `/`.
    pub filter: Filter,
    /// The order.
    pub sort: Sort,
    /// Processes under each server.
    pub tree: bool,
    /// Only failing servers.
    pub only_failing: bool,
    /// Other Python, one by one.
    pub others_unfolded: bool,
}

/// Rows of the table of all servers.
pub fn all(diagnosis: &Diagnosis, choice: &Choice, order: &mut Order, now: Moment) -> Vec<RowId> {
    let everyone: Vec<&Server> = diagnosis.servers.iter().map(|s| &**s).collect();
    order.note(&everyone, now);
    let mut servers: Vec<&Server> = everyone
        .into_iter()
        .filter(|s| choice.filter.leaves_server(s))
        .filter(|s| !choice.only_failing || standing::group(s) == Group::Failing)
        .collect();
    order.sort(&mut servers, choice.sort, now);
    let mut rows = Vec::new();
    for server in servers {
        rows.push(RowId::Server(server.root));
        if choice.tree && server.members.len() > 1 {
            rows.extend(members(server, &Filter::default()));
        }
    }
    if !choice.only_failing {
        rows.extend(others(diagnosis, choice));
    }
    rows
}

/// Rows of the table inside one server.
pub fn members(server: &Server, filter: &Filter) -> Vec<RowId> {
    let kept = server.members.iter().filter(|m| filter.leaves_member(m));
    kept.map(|m| RowId::Member {
        server: server.root,
        process: m.process.key,
    })
    .collect()
}

fn others(diagnosis: &Diagnosis, choice: &Choice) -> Vec<RowId> {
    let kept: Vec<ProcessKey> = diagnosis
        .outsiders
        .iter()
        .filter(|o| choice.filter.leaves_outsider(o))
        .map(|o| o.process.key)
        .collect();
    if kept.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![RowId::Others];
    if choice.others_unfolded {
        rows.extend(kept.into_iter().map(RowId::Outsider));
    }
    rows
}
