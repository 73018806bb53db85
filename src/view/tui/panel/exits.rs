//! Panel 4: which of its processes have ended, when, after how long, how, and where did they stand?

use ratatui::text::{Line, Span};

use crate::diagnosis::{MemberExit, Server};
use crate::snapshot::EventSource;
use crate::view::format;
use crate::view::tui::{text, theme};

use super::{Room, Subject};

/// Frames of the last stack that are shown while the panel is not in focus.
const FEW: usize = 1;

/// The lines, newest death first.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let Some(server) = subject.server else {
        return vec![dim(" – deaths are kept for servers only".to_owned())];
    };
    let exits: Vec<&MemberExit> = kept(server, subject);
    let mut lines = vec![summary(server, exits.len(), subject)];
    for exit in exits {
        lines.push(line(exit, subject));
        let most = if room.focused { 40 } else { FEW };
        let cwd = subject
            .people
            .first()
            .and_then(|p| p.process.cwd.as_deref());
        for frame in exit.exit.last_stack.iter().rev().take(most) {
            let words = format!(
                "      last in {} ({})",
                frame.function,
                format::place(frame, cwd)
            );
            let style = if !frame.is_library() {
                theme::OWN
            } else {
                theme::DIM
            };
            lines.push(Line::from(Span::styled(
                text::cut(&words, room.width),
                style,
            )));
        }
    }
    if subject.snapshot.events == EventSource::Polling {
        lines.push(dim(" ? processes that live shorter than a look are not seen: process events need CAP_NET_ADMIN (sudo steth)".to_owned()));
    }
    lines
}

fn kept<'a>(server: &'a Server, subject: &Subject<'_>) -> Vec<&'a MemberExit> {
    let only = subject
        .people
        .first()
        .filter(|_| subject.narrowed)
        .map(|p| p.process.key);
    let concerns =
        |e: &&MemberExit| only.is_none_or(|key| e.exit.key == key || (key == server.root));
    server.exits.iter().filter(concerns).collect()
}

fn summary(server: &Server, shown: usize, subject: &Subject<'_>) -> Line<'static> {
    let words = match (server.exits_total, subject.narrowed && shown == 0) {
        (0, _) => return dim(" – none has ended since we look".to_owned()),
        (_, true) => return dim(" – this process lives".to_owned()),
        (1, _) => " 1 process has ended since we look".to_owned(),
        (n, _) => format!(" {n} processes have ended since we look"),
    };
    Line::from(Span::styled(words, theme::BOLD))
}

/// `  14:02:09  worker 4126  lived 0.8 s  code 3`.
fn line(exit: &MemberExit, subject: &Subject<'_>) -> Line<'static> {
    let e = &exit.exit;
    let at = format::clock_or_date(
        subject.snapshot.wall_ms_of(e.at),
        subject.snapshot.wall_ms,
        subject.utc_offset_s,
    );
    let lived = e
        .lived_ns
        .map_or_else(|| "?".to_owned(), |ns| format::duration(ns as f64 / 1e9));
    let who = text::left(&format!("{} {}", exit.role.word(), e.key.pid), 18);
    let ended_well = e.code == Some(0) && e.signal.is_none();
    let style = if ended_well {
        theme::PLAIN
    } else {
        theme::FAIL
    };
    Line::from(vec![
        Span::raw(format!("  {at}  {who}  lived {}  ", text::left(&lived, 11))),
        Span::styled(format::ending(e), style),
    ])
}

fn dim(words: String) -> Line<'static> {
    Line::from(Span::styled(words, theme::DIM))
}
