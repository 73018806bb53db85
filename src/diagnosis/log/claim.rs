//! Where the log claims more than the kernel confirms: it says that the server runs, and nothing listens.

use super::{is_since, quoted, tails};
use crate::diagnosis::words::duration;
use crate::diagnosis::{Phase, Server};
use crate::snapshot::{ListenerState, LogLine, Moment, Snapshot};

/// What servers say when they have got there, or believe so. uvicorn with workers and granian say it after bind() and before
/// anything listens.
const CLAIMS: [&str; 12] = [
    "Uvicorn running on ",
    "Listening at: ",
    "Running on http",
    "Running on https",
    "Serving on http",
    "Serving HTTP on ",
    "Starting development server at http",
    "Listening on TCP address ",
    "Goin' Fast @ http",
    "Application startup complete",
    "Server started at http",
    "Server running on http",
];

/// One sentence on what the log claims while the kernel shows that nothing listens; `None` if it claims nothing, or if it may
/// be true.
pub fn contradicted(server: &Server, snapshot: &Snapshot) -> Option<String> {
    if !is_silent(server) {
        return None;
    }
    let line = newest(server, snapshot)?;
    let ago = duration(snapshot.at.seconds_since(line.at));
    let bound = server
        .listeners
        .iter()
        .any(|l| !l.side && l.socket.state == ListenerState::Bound);
    let truth = if bound {
        "but listen() has not been called"
    } else {
        "but nothing listens"
    };
    let claim = quoted(&claim(&line.text));
    Some(format!(
        "its log said \"{claim}\" {ago} ago, {truth} (log, sock_diag)"
    ))
}

/// True if it is seen that the server does not listen, though it lives.
fn is_silent(server: &Server) -> bool {
    let may_boot = matches!(
        server.phase,
        Phase::Importing | Phase::Starting | Phase::Bound | Phase::Stalled
    );
    let listens = server
        .listeners
        .iter()
        .any(|l| l.socket.state == ListenerState::Listening);
    may_boot && server.sockets_seen() && !listens
}

/// The newest claim of a process that lives.
fn newest<'a>(server: &Server, snapshot: &'a Snapshot) -> Option<&'a LogLine> {
    let alive = server.own_members().filter(|m| m.exit.is_none());
    let alive: Vec<_> = alive
        .map(|m| &m.process)
        .filter(|p| p.is_python())
        .collect();
    let claims = tails(server, snapshot).into_iter().flat_map(|tail| {
        let mut said = tail.lines.iter().rev().filter(|line| claims(&line.text));
        said.find(|line| alive.iter().any(|p| is_since(line, tail, p)))
    });
    let settled = |line: &&LogLine| has_settled(line, snapshot.at);
    claims
        .map(AsRef::as_ref)
        .filter(settled)
        .max_by_key(|line| (line.at, line.number))
}

/// A claim may come a moment before it is true.
fn has_settled(line: &LogLine, now: Moment) -> bool {
    const MOMENT_S: f64 = 1.0;
    now.seconds_since(line.at) >= MOMENT_S
}

fn claims(text: &str) -> bool {
    CLAIMS.iter().any(|words| text.contains(words))
}

/// The claim without what stands before it, and without what one may press.
fn claim(text: &str) -> String {
    let start = CLAIMS.iter().filter_map(|words| text.find(words)).min();
    let text = start.and_then(|at| text.get(at..)).unwrap_or(text);
    let end = text.find(" (Press").or_else(|| text.find(" (CTRL"));
    let text = end.and_then(|at| text.get(..at)).unwrap_or(text);
    text.trim_end_matches([' ', '=']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_known_and_quoted_without_their_trimmings() {
        for (text, want) in [
            (
                "INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)",
                "Uvicorn running on http://127.0.0.1:8000",
            ),
            (
                "[2026-11-20 19:35:17 +0000] [342] [INFO] Listening at: http://127.0.0.1:80 (342)",
                "Listening at: http://127.0.0.1:80 (342)",
            ),
            (
                "======== Running on http://0.0.0.0:8080 ========",
                "Running on http://0.0.0.0:8080",
            ),
            (
                " * Running on http://127.0.0.1:5000",
                "Running on http://127.0.0.1:5000",
            ),
        ] {
            assert!(claims(text), "{text}");
            assert_eq!(claim(text), want);
        }
        assert!(!claims("INFO:     Waiting for application startup."));
        assert!(!claims("the job is running on http2"));
    }
}
