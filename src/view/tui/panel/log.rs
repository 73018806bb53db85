//! Panel 6: what do its processes write? The newest lines at the bottom, and between them what was seen at that time, whatever the
//! log says: a phase that was entered, a finding that began or ended.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::diagnosis::{FindingChange, PhaseChange, frames, log};
use crate::snapshot::{Level, LogLine, LogTail, Moment, ProcessKey, Sink, Traceback};
use crate::view::format;
use crate::view::tui::standing;
use crate::view::tui::text;
use crate::view::tui::theme::{self, Mark};

use super::{Room, Subject};

/// The lines, newest last.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let tails = tails(subject);
    if tails.is_empty() {
        return unread(subject);
    }
    let mut rows: Vec<Row> = tails.iter().flat_map(|tail| of_log(tail, room)).collect();
    let first = rows.iter().map(|row| row.at).min();
    rows.extend(phases(subject, first));
    rows.extend(findings(subject, first));
    rows.sort_by_key(|row| row.at);
    let excess = rows.len().saturating_sub(room.most() - 1);
    let shown = rows.iter().skip(excess);
    let lines = shown.flat_map(|row| row.lines(subject, room));
    [heading(&tails, room)].into_iter().chain(lines).collect()
}

/// One line of the panel.
struct Row<'a> {
    at: Moment,
    what: What<'a>,
}

enum What<'a> {
    Line(&'a LogLine),
    /// A traceback, as one line.
    Folded(&'a Traceback),
    Phase(PhaseChange),
    Finding(&'a FindingChange),
}

fn tails<'a>(subject: &Subject<'a>) -> Vec<&'a LogTail> {
    let keys: Vec<ProcessKey> = subject.people.iter().map(|p| p.process.key).collect();
    let of_server = |server| log::tails(server, subject.snapshot);
    match subject.server.filter(|_| !subject.narrowed) {
        Some(server) => of_server(server).into_iter().map(AsRef::as_ref).collect(),
        None => {
            let all = subject.snapshot.inquiries.logs.iter();
            all.filter(|tail| tail.is_written_by(&keys))
                .map(AsRef::as_ref)
                .collect()
        }
    }
}

fn unread(subject: &Subject<'_>) -> Vec<Line<'static>> {
    let first = subject.people.iter().find(|p| p.process.is_python());
    match first {
        Some(person) => vec![subject.why_unseen(person.process.key.pid, "log", &["log"])],
        None => vec![Line::from(Span::styled(" – no Python process", theme::DIM))],
    }
}

/// ` /var/log/shop.log and 1 more`.
fn heading(tails: &[&LogTail], room: Room) -> Line<'static> {
    let name = |tail: &LogTail| match &tail.sink {
        Sink::File { path } => path.clone(),
        Sink::Container { path } => format!("container log {path}"),
        Sink::Journal { cgroup } => format!("journal of {cgroup}"),
    };
    let names: Vec<String> = tails.iter().map(|tail| name(tail)).collect();
    let skipped: u64 = tails.iter().map(|tail| tail.skipped).sum();
    let missing = match skipped {
        0 => String::new(),
        bytes => format!("  ({} came faster than it is read)", format::bytes(bytes)),
    };
    let words = text::cut_middle(
        &names.join(", "),
        room.width.saturating_sub(missing.width() + 1),
    );
    Line::from(Span::styled(format!(" {words}{missing}"), theme::DIM))
}

/// Lines of one log; tracebacks folded to what they end in, unless the user looks.
fn of_log(tail: &LogTail, room: Room) -> Vec<Row<'_>> {
    let folded: Vec<&Traceback> = match room.focused {
        true => Vec::new(),
        false => tail.tracebacks.iter().map(AsRef::as_ref).collect(),
    };
    let within = |line: &LogLine| {
        let holds = |t: &&&Traceback| (t.first..=t.last).contains(&line.number);
        folded.iter().find(holds).copied()
    };
    tail.lines
        .iter()
        .filter_map(|line| match within(line) {
            None => Some(Row {
                at: line.at,
                what: What::Line(line),
            }),
            Some(traceback) if traceback.last == line.number => Some(Row {
                at: line.at,
                what: What::Folded(traceback),
            }),
            Some(_) => None,
        })
        .collect()
}

/// Phases that were entered since the first line; the one that was in force then, too.
fn phases<'a>(subject: &Subject<'_>, first: Option<Moment>) -> Vec<Row<'a>> {
    let changes = subject.server.map(|s| s.timeline.as_slice());
    let changes = changes.unwrap_or_default();
    let first = first.unwrap_or_default();
    let in_force = changes.iter().rposition(|c| c.at <= first).unwrap_or(0);
    let shown = changes.iter().skip(in_force);
    shown
        .map(|change| Row {
            at: change.at,
            what: What::Phase(*change),
        })
        .collect()
}

/// Findings that have begun or ended since the first line.
fn findings<'a>(subject: &Subject<'a>, first: Option<Moment>) -> impl Iterator<Item = Row<'a>> {
    let first = first.unwrap_or_default();
    let changes = subject.server.into_iter().flat_map(|s| &s.finding_log);
    changes
        .filter(move |change| change.at >= first)
        .map(|change| Row {
            at: change.at,
            what: What::Finding(change),
        })
}

impl Row<'_> {
    fn lines(&self, subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
        let snapshot = subject.snapshot;
        let clock = format::clock_or_date(
            snapshot.wall_ms_of(self.at),
            snapshot.wall_ms,
            subject.utc_offset_s,
        );
        let clock = Span::styled(format!(" {clock} "), theme::DIM);
        match &self.what {
            What::Line(line) => said(clock, line, room),
            What::Folded(traceback) => vec![folded(clock, traceback)],
            What::Phase(change) => {
                let style = standing::mark_of_phase(change.phase).style();
                let words = (change.phase.word().to_owned(), "as the kernel shows");
                vec![seen(clock, words, style, room)]
            }
            What::Finding(change) => {
                let (word, style) = match change.began {
                    true => ("began", theme::WARN),
                    false => ("ended", theme::OK),
                };
                let words = (format!("{} {word}", change.code.word()), "a finding");
                vec![seen(clock, words, style, room)]
            }
        }
    }
}

/// `14:02:03 ── serving ──────── as the kernel shows`.
fn seen(
    clock: Span<'static>,
    (words, by): (String, &str),
    style: Style,
    room: Room,
) -> Line<'static> {
    let words = format!("── {words} ");
    let used = clock.width() + words.width();
    let rule = "─".repeat(room.width.saturating_sub(used + 20).min(24));
    Line::from(vec![
        clock,
        Span::styled(words, style),
        Span::styled(format!("{rule} {by}"), theme::DIM),
    ])
}

/// `14:02:03 ✖ text`; what does not fit goes on below it where the user looks, and is cut off where not.
fn said(clock: Span<'static>, line: &LogLine, room: Room) -> Vec<Line<'static>> {
    let (sign, sign_style) = sign(line.level);
    let style = text_style(line.level);
    let indent = clock.width() + 2;
    let width = room.width.saturating_sub(indent);
    let pieces = match room.focused {
        true => text::pieces(&line.text, width),
        false => vec![line.text.as_str()],
    };
    let mut lines: Vec<Line<'static>> = pieces
        .into_iter()
        .map(|piece| {
            let piece = Span::styled(piece.to_owned(), style);
            Line::from(vec![Span::raw(" ".repeat(indent)), piece])
        })
        .collect();
    if let Some(first) = lines.first_mut() {
        let lead = [clock, Span::styled(format!("{sign} "), sign_style)];
        first.spans.splice(0..1, lead);
    }
    lines
}

/// `✖ KeyError: 'x'  in read_secret (shop/main.py:8)  … 14 lines`.
fn folded(clock: Span<'static>, traceback: &Traceback) -> Line<'static> {
    let (sign, style) = sign(Some(Level::Error));
    let place = traceback.culprit.as_ref().map(frames::place);
    let place = place.map_or_else(String::new, |p| format!("  in {p}"));
    let hidden = traceback.last - traceback.first.min(traceback.last);
    Line::from(vec![
        clock,
        Span::styled(format!("{sign} "), style),
        Span::styled(log::quoted(&traceback.sentence()), theme::BOLD),
        Span::styled(place, theme::OWN),
        Span::styled(format!("  … {hidden} lines"), theme::DIM),
    ])
}

/// A sign, since a colour may not be seen.
fn sign(level: Option<Level>) -> (&'static str, Style) {
    let mark = match level {
        Some(Level::Error | Level::Critical) => Mark::Failing,
        Some(Level::Warning) => Mark::Warning,
        Some(Level::Info) => Mark::Outside,
        Some(Level::Debug) | None => return (" ", theme::DIM),
    };
    (mark.glyph(), mark.style())
}

fn text_style(level: Option<Level>) -> Style {
    match level {
        Some(Level::Error | Level::Critical) => theme::BOLD,
        Some(Level::Debug) => theme::DIM,
        _ => theme::PLAIN,
    }
}
