//! The one sentence that says why a server is in its phase, where no finding says it already.

use super::words::{count, duration};
use super::{Member, Phase, Server, frames, phase, sockets};
use crate::snapshot::{ListenerState, Moment, signal_name};

/// The sentence.
pub fn sentence(server: &Server, at: Moment) -> String {
    if let Some(first) = server.findings.first() {
        return first.summary.clone();
    }
    let age = duration(at.seconds_since(server.since));
    let ended = server.phase == Phase::Exited;
    if !ended && server.listeners.is_empty() && !server.sockets_seen() {
        return format!(
            "whether it listens cannot be seen: the open files of pid {} may not be read",
            server.pid
        );
    }
    match server.phase {
        Phase::Serving => serving(server),
        Phase::Importing => format!("the application is being imported ({age}){}", place(server)),
        Phase::Starting => format!("startup runs ({age}){}", place(server)),
        Phase::Bound => format!(
            "{} is bound, not yet listening ({age})",
            addresses(server, ListenerState::Bound)
        ),
        Phase::Listening => format!(
            "{} listens, no process has begun to accept ({age})",
            addresses(server, ListenerState::Listening)
        ),
        Phase::Stalled => format!("it could serve and does not now ({age}){}", place(server)),
        Phase::Draining => format!("it has stopped accepting and is shutting down ({age})"),
        Phase::CrashLooping => "processes die and are started again".to_owned(),
        Phase::Stopped => format!("stopped from outside ({age})"),
        Phase::Exited => exited(server),
        Phase::Unseen => {
            "neither its sockets nor its stacks may be seen by this user: it cannot be judged"
                .to_owned()
        }
        Phase::NotAServer => "nothing says that it means to listen".to_owned(),
    }
}

fn serving(server: &Server) -> String {
    let own = || {
        server
            .listeners
            .iter()
            .filter(|l| !l.side && l.socket.state == ListenerState::Listening)
    };
    let ready: std::collections::BTreeSet<u32> = own()
        .flat_map(|l| l.accepting.iter().flatten().copied())
        .collect();
    let waiting: u32 = own().filter_map(|l| l.socket.accept_queue).sum();
    let who = match ready.len() {
        0 => "busy workers take turns".to_owned(),
        1 => "1 process is ready to accept".to_owned(),
        n => format!("{n} processes are ready to accept"),
    };
    let queue = if waiting == 0 {
        "nobody waits in its queue".to_owned()
    } else {
        format!("{} in the queue", count(waiting as usize, "connection"))
    };
    format!(
        "it accepts on {}: {who}, {queue}",
        addresses(server, ListenerState::Listening)
    )
}

fn addresses(server: &Server, state: ListenerState) -> String {
    let mut all: Vec<String> = server
        .listeners
        .iter()
        .filter(|l| !l.side && l.socket.state == state)
        .map(|l| sockets::address(&l.socket))
        .collect();
    all.dedup();
    match all.len() {
        0 => "its socket".to_owned(),
        1..=3 => all.join(", "),
        n => format!(
            "{} and {} more",
            all.first().map_or("", String::as_str),
            n - 1
        ),
    }
}

fn place(server: &Server) -> String {
    let boots = |m: &&Member| phase::works(m.role) && m.exit.is_none();
    let main = server
        .members
        .iter()
        .find(boots)
        .and_then(|m| m.process.main_stack());
    let frame = main
        .and_then(frames::application_frame)
        .map(|(_, f)| frames::place(f));
    frame.map(|p| format!(", in {p}")).unwrap_or_default()
}

fn exited(server: &Server) -> String {
    match server.exits.front().map(|e| (e.exit.signal, e.exit.code)) {
        Some((Some(signal), _)) => format!("killed by {}", signal_name(signal)),
        Some((None, Some(code))) => format!("exited with code {code}"),
        _ => "gone; its exit code could not be seen".to_owned(),
    }
}
