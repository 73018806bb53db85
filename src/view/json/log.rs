//! `log` of a server: its last lines, oldest first; null where none of its logs can be read, and then there is a gap.

use serde_json::{Value, json};

use crate::diagnosis::{Server, log};
use crate::snapshot::{LogLine, ProcessKey, Snapshot};
use crate::view::format;

/// Lines that are told.
const LINES: usize = 20;

/// Of a server: the last lines of all that its processes write to.
pub(super) fn of_server(server: &Server, snapshot: &Snapshot) -> Value {
    let has = !log::tails(server, snapshot).is_empty();
    let lines = log::lines(server, snapshot);
    value(&lines, has, snapshot)
}

/// Of a process that is no server.
pub(super) fn of_process(key: ProcessKey, snapshot: &Snapshot) -> Value {
    let tails = snapshot.inquiries.logs.iter();
    let mut tails = tails.filter(|tail| tail.is_written_by(&[key])).peekable();
    let has = tails.peek().is_some();
    let lines: Vec<&LogLine> = tails
        .flat_map(|t| t.lines.iter().map(AsRef::as_ref))
        .collect();
    value(&lines, has, snapshot)
}

fn value(lines: &[&LogLine], has: bool, snapshot: &Snapshot) -> Value {
    let skip = lines.len().saturating_sub(LINES);
    let told = lines.iter().skip(skip).map(|line| {
        let wall_ms = line.told_ms.unwrap_or_else(|| snapshot.wall_ms_of(line.at));
        json!({
            "text": line.text,
            "level": line.level.map(|level| level.word()),
            "at": format::rfc3339(wall_ms),
        })
    });
    let told: Vec<Value> = told.collect();
    has.then_some(told).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Level;
    use crate::testing::{self, diagnosis, outsider, scene, server};
    use crate::view::json::document;

    #[test]
    fn the_last_lines_are_told_and_their_absence_is_null() {
        let server = server(10, 8000);
        let of = server.members[0].process.key;
        let diagnosis = diagnosis(vec![server], vec![outsider(50, "batch")]);
        let without = document(&scene(diagnosis.clone(), vec![]));
        assert_eq!(without.pointer("/servers/0/log"), Some(&Value::Null));

        let mut lines = vec![(None, "dropped"); 9];
        lines.extend(vec![(Some(Level::Info), "tick"); 19]);
        lines.push((Some(Level::Critical), "boom"));
        let log = testing::log(&[of], &lines);
        let value = document(&testing::with_log(scene(diagnosis, vec![]), log));
        let told = value.pointer("/servers/0/log").unwrap().as_array().unwrap();
        assert_eq!(told.len(), LINES);
        let last = json!({ "text": "boom", "level": "critical", "at": "2025-11-20T14:01:39.120Z" });
        assert_eq!((told[0]["text"].as_str(), &told[19]), (Some("tick"), &last));
        // A log of the one is none of the other's.
        assert_eq!(value.pointer("/servers/1/log"), Some(&Value::Null));
    }
}
