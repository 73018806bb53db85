//! How does a server stand: which group is it in, and which glyph says so?

use crate::diagnosis::{Phase, Server, Severity};

use super::theme::Mark;

/// How urgent a row is: the default order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Clients are not served, and something is wrong.
    Failing,
    /// On its way up or down.
    Moving,
    /// Serves.
    Fine,
    /// Ended.
    Gone,
}

/// How urgent a server is.
pub fn group(server: &Server) -> Group {
    let critical = server
        .findings
        .iter()
        .any(|f| f.severity == Severity::Critical);
    match server.phase {
        _ if critical => Group::Failing,
        Phase::CrashLooping | Phase::Stalled | Phase::Stopped => Group::Failing,
        Phase::Exited => Group::Gone,
        Phase::Serving => Group::Fine,
        _ => Group::Moving,
    }
}

/// The glyph of a server.
pub fn mark(server: &Server) -> Mark {
    match (group(server), server.phase) {
        (_, Phase::CrashLooping) => Mark::CrashLooping,
        (_, Phase::Stopped) => Mark::Stopped,
        (Group::Failing, _) => Mark::Failing,
        (Group::Gone, _) => Mark::Gone,
        _ if server
            .findings
            .iter()
            .any(|f| f.severity == Severity::Warning) =>
        {
            Mark::Warning
        }
        (Group::Fine, _) => Mark::Serving,
        (Group::Moving, _) => Mark::Starting,
    }
}

/// The glyph of a process in this phase.
pub fn mark_of_phase(phase: Phase) -> Mark {
    match phase {
        Phase::Serving => Mark::Serving,
        Phase::Stalled => Mark::Failing,
        Phase::CrashLooping => Mark::CrashLooping,
        Phase::Stopped => Mark::Stopped,
        Phase::Exited => Mark::Gone,
        Phase::NotAServer | Phase::Unseen => Mark::Outside,
        _ => Mark::Starting,
    }
}
