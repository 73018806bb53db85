//! One finding, whole: the sentence, where, every fact, what to do, the command that checks it and whether that was copied, when it
//! began and ended, and what the log says at its end.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::diagnosis::Server;
use crate::snapshot::{Moment, Snapshot};
use crate::view::check::log::last_lines;
use crate::view::format;
use crate::view::tui::clipboard::{Clipboard, Copied};
use crate::view::tui::facts;
use crate::view::tui::state::State;
use crate::view::tui::state::opened::Opened;
use crate::view::tui::text;
use crate::view::tui::theme::{self, Mark};

/// Cells that everything below a heading is indented by.
const INDENT: usize = 3;

/// `finding 1 of 3 · uvicorn app.main:app (4127)`.
pub fn title(opened: &Opened) -> String {
    let (rank, count) = opened.rank;
    match opened.ended {
        None => format!("finding {rank} of {count} · {}", opened.server),
        Some(_) => format!("finding · {}", opened.server),
    }
}

/// The keys that act here.
pub fn keys(opened: &Opened, width: usize) -> Line<'static> {
    let others = match opened.rank {
        (_, 0 | 1) => "",
        _ => "Tab next finding  ",
    };
    let words = format!(" Esc back  Enter copies the command  {others}↑↓ scroll");
    Line::from(Span::styled(text::cut(&words, width), theme::DIM))
}

/// The lines.
pub fn lines(state: &State, opened: &Opened, width: usize) -> Vec<Line<'static>> {
    let scene = state.shown();
    let server = facts::server(&scene.diagnosis, opened.root());
    let snapshot = scene.snapshot.as_deref();
    let clock = |at: Moment| {
        snapshot.map_or_else(String::new, |s| {
            format::clock_or_date(s.wall_ms_of(at), s.wall_ms, state.options.utc_offset_s)
        })
    };
    let finding = &opened.finding;
    let mut lines = vec![lead(opened, &clock)];
    lines.extend(indented("", &finding.summary, theme::BOLD, width));
    if let Some(culprit) = &finding.culprit {
        let place = match culprit.line {
            0 => format!("{} ({})", culprit.function, culprit.file),
            line => format!("{} ({}:{line})", culprit.function, culprit.file),
        };
        lines.push(heading("Where"));
        lines.extend(exact(&place, theme::OWN, width));
    }
    lines.push(heading("Evidence"));
    let facts = finding.evidence.iter();
    lines.extend(facts.flat_map(|fact| indented("· ", fact, theme::PLAIN, width)));
    lines.push(heading("What to do"));
    lines.extend(indented("→ ", &finding.remedy, theme::PLAIN, width));
    if !finding.confirm.is_empty() {
        lines.push(heading("Check it by hand"));
        lines.extend(exact(&finding.confirm, theme::OWN, width));
        lines.extend(opened.copied.iter().flat_map(|c| copied(*c, width)));
    }
    if let Some((server, snapshot)) = server.zip(snapshot) {
        lines.extend(history(opened, server, &clock));
        lines.extend(log(server, snapshot, width));
    }
    lines
}

/// ` ✖ critical: startup-await`.
fn lead(opened: &Opened, clock: &dyn Fn(Moment) -> String) -> Line<'static> {
    let finding = &opened.finding;
    let words = format!("{}: {}", finding.severity.word(), finding.code.word());
    let (mark, ended) = match opened.ended {
        None => (opened.mark, String::new()),
        Some(at) => (Mark::Gone, format!("  has ended, seen at {}", clock(at))),
    };
    Line::from(vec![
        Span::styled(format!(" {} ", mark.glyph()), mark.style()),
        Span::raw(words),
        Span::styled(ended, theme::OK),
    ])
}

fn heading(words: &'static str) -> Line<'static> {
    Line::from(Span::styled(format!(" {words}"), theme::BOLD))
}

fn indented(first: &'static str, words: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let lead = Span::raw(format!("{}{first}", " ".repeat(INDENT)));
    let rest = lead.width();
    text::hanging(lead, rest, words, style, width)
}

/// What is to be copied or opened: broken at any character, so that nothing is lost and nothing added.
fn exact(words: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let pieces = text::pieces(words, width.saturating_sub(INDENT));
    pieces
        .into_iter()
        .map(|piece| {
            let indent = Span::raw(" ".repeat(INDENT));
            Line::from(vec![indent, Span::styled(piece.to_owned(), style)])
        })
        .collect()
}

fn copied(copied: Copied, width: usize) -> Vec<Line<'static>> {
    let (words, style) = match copied {
        Copied::Sent(Clipboard::Tmux) => (
            "copied: sent to tmux by OSC 52, which takes it with set-clipboard on",
            theme::OK,
        ),
        Copied::Sent(_) => (
            "copied: sent to the terminal's clipboard by OSC 52",
            theme::OK,
        ),
        Copied::NoClipboard => (
            "not copied: this terminal has no clipboard that a program can reach",
            theme::WARN,
        ),
        Copied::NotSent => ("not copied: it is too long", theme::WARN),
    };
    indented("", words, style, width)
}

/// When findings of its code began and ended.
fn history(
    opened: &Opened,
    server: &Server,
    clock: &dyn Fn(Moment) -> String,
) -> Vec<Line<'static>> {
    let own = server
        .finding_log
        .iter()
        .filter(|c| c.code == opened.finding.code);
    let mut lines: Vec<Line<'static>> = own
        .map(|change| {
            let word = if change.began { "began" } else { "ended" };
            Line::raw(format!("{}{} {word}", " ".repeat(INDENT), clock(change.at)))
        })
        .collect();
    if !lines.is_empty() {
        lines.insert(0, heading("History"));
    }
    lines
}

fn log(server: &Server, snapshot: &Snapshot, width: usize) -> Vec<Line<'static>> {
    let last = last_lines(server, snapshot);
    let mut lines: Vec<Line<'static>> = last
        .iter()
        .flat_map(|line| indented("", line, theme::PLAIN, width))
        .collect();
    if !lines.is_empty() {
        lines.insert(0, heading("Log"));
    }
    lines
}
