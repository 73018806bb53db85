//! What a server's log adds to what the kernel shows: the exception before a death, an address that bind() has refused, a
//! thread that has ended. It never decides a phase, and what it claims is held against the kernel.

use std::sync::Arc;

use super::{Member, Server};
use crate::snapshot::{LogLine, LogTail, Process, ProcessKey, Snapshot};

pub mod claim;
pub mod in_use;
pub mod last_words;

/// Logs that the processes of a server write to, or have written to before they ended.
pub fn tails<'a>(server: &Server, snapshot: &'a Snapshot) -> Vec<&'a Arc<LogTail>> {
    // What a launcher says need not be about this server.
    let python = |m: &&Member| m.process.is_python() && !server.is_launcher(m);
    let members = server.members.iter().filter(python).map(|m| m.process.key);
    let dead = server.exits.iter().map(|e| e.exit.key);
    let keys: Vec<ProcessKey> = members.chain(dead).collect();
    let logs = snapshot.inquiries.logs.iter();
    logs.filter(|tail| tail.is_written_by(&keys)).collect()
}

/// The lines of all logs of a server, in the order in which they came.
pub fn lines<'a>(server: &Server, snapshot: &'a Snapshot) -> Vec<&'a LogLine> {
    let tails = tails(server, snapshot);
    let mut lines: Vec<(usize, &LogLine)> = tails
        .iter()
        .enumerate()
        .flat_map(|(log, tail)| tail.lines.iter().map(move |line| (log, line.as_ref())))
        .collect();
    if tails.len() > 1 {
        lines.sort_by_key(|(log, line)| (line.at, *log, line.number));
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// True if a line was written after a process had started: the log began with it, or the line says when it was written, or
/// came while the program looked, or stands behind one that names the process.
pub fn is_since(line: &LogLine, tail: &LogTail, process: &Process) -> bool {
    /// uvicorn says where it runs before it says who it is.
    const AHEAD: u64 = 3;
    if tail.is_fresh {
        return true;
    }
    if line.is_new || line.told_ms.is_some() {
        // Stamps may have whole seconds.
        return line.at.plus_seconds(1.0) >= process.started;
    }
    let named = format!("[{}]", process.key.pid);
    tail.lines
        .iter()
        .take_while(|other| other.number <= line.number + AHEAD)
        .any(|other| other.text.contains(&named))
}

/// A line or a sentence of a log, short enough to stand in a sentence.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 160;
    let text = text.trim();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_short() {
        assert_eq!(quoted("  up "), "up");
        assert_eq!(quoted(&"ü".repeat(500)).chars().count(), 161);
    }
}
