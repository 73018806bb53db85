//! Why is it in this phase? The sentence first, then its evidence, what to do and how to check it; then whatever else is wrong, and
//! what could not be seen.

use std::collections::BTreeMap;
use std::ops::Range;

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::diagnosis::{Finding, Phase, Server, Severity};
use crate::snapshot::Gap;
use crate::view::format;
use crate::view::tui::standing;
use crate::view::tui::text;
use crate::view::tui::theme::{self, Mark};

use super::{Room, Subject};

/// Cells that evidence is indented by.
const INDENT: usize = 6;

/// Facts of one finding that are shown.
const FACTS_MOST: usize = 24;

/// Gaps and further findings that are shown while WHY is not in focus.
const FEW: usize = 2;

/// The lines.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let mut lines = match (subject.server, subject.outsider) {
        (Some(server), _) => of_server(server, subject.chosen, room),
        (None, Some(outsider)) => {
            let sentence = match outsider.phase {
                Phase::Stopped => {
                    "is stopped; nothing says that it means to listen, so it is never counted as failing"
                }
                Phase::Exited => "has ended; nothing said that it meant to listen",
                _ => "nothing says that it means to listen: never counted as failing",
            };
            lead(Mark::Outside, sentence, room.width)
        }
        (None, None) => Vec::new(),
    };
    lines.extend(unseen(subject, room));
    if let (Some(server), true) = (subject.server, room.focused) {
        lines.extend(history(server, subject));
    }
    lines
}

fn of_server(server: &Server, chosen: Option<usize>, room: Room) -> Vec<Line<'static>> {
    let Some((first, rest)) = server.findings.split_first() else {
        let sentence = if server.why.is_empty() {
            server.phase.word()
        } else {
            &server.why
        };
        return lead(standing::mark(server), sentence, room.width);
    };
    if room.focused {
        let whole = |(at, f)| labelled(finding(server, f, room.width), at, chosen);
        return server.findings.iter().enumerate().flat_map(whole).collect();
    }
    let mut lines = finding(server, first, room.width);
    lines.extend(rest.iter().take(FEW).map(one_line));
    if rest.len() > FEW {
        lines.push(dim(format!(
            "      and {} more findings (w shows all)",
            rest.len() - FEW
        )));
    }
    lines
}

/// Where each finding stands among the lines of WHY in focus.
pub fn places(server: &Server, room: Room) -> Vec<Range<usize>> {
    let mut start = 0;
    let lengths = server
        .findings
        .iter()
        .map(|f| finding(server, f, room.width).len());
    lengths
        .map(|length| {
            let place = start..start + length;
            start = place.end;
            place
        })
        .collect()
}

fn finding(server: &Server, finding: &Finding, width: usize) -> Vec<Line<'static>> {
    let mut lines = lead(mark(server, finding), &finding.summary, width);
    lines.extend(evidence(&finding.evidence, width));
    lines.extend(advice(finding, width));
    lines
}

/// How bad it is, as a glyph.
pub fn mark(server: &Server, finding: &Finding) -> Mark {
    let is_first = server
        .findings
        .first()
        .is_some_and(|f| f.code == finding.code);
    match finding.severity {
        Severity::Critical if server.phase == Phase::CrashLooping && is_first => Mark::CrashLooping,
        Severity::Critical => Mark::Failing,
        Severity::Warning => Mark::Warning,
        Severity::Info => Mark::Outside,
    }
}

/// ` WHY  ✖ sentence`.
fn lead(mark: Mark, sentence: &str, width: usize) -> Vec<Line<'static>> {
    let mut lines = text::hanging(Span::raw(""), INDENT + 2, sentence, theme::BOLD, width);
    if let Some(first) = lines.first_mut() {
        first.spans.splice(
            0..1,
            [
                Span::styled(" WHY  ", theme::BOLD),
                Span::styled(format!("{} ", mark.glyph()), mark.style()),
            ],
        );
    }
    lines
}

/// The lines of the finding at this place: only the first is called WHY, and the chosen one has the cursor.
fn labelled(mut lines: Vec<Line<'static>>, at: usize, chosen: Option<usize>) -> Vec<Line<'static>> {
    let label = lines.first_mut().and_then(|line| line.spans.first_mut());
    if let Some(label) = label {
        let cursor = if chosen == Some(at) { '▸' } else { ' ' };
        let word = if at == 0 { "WHY" } else { "" };
        label.content = format!("{cursor}{word:<5}").into();
    }
    lines
}

/// `▲ warning: sentence`, cut where the line ends.
fn one_line(finding: &Finding) -> Line<'static> {
    let mark = if finding.severity == Severity::Critical {
        Mark::Failing
    } else {
        Mark::Warning
    };
    Line::from(vec![
        Span::styled(format!("      {} ", mark.glyph()), mark.style()),
        Span::raw(finding.summary.clone()),
    ])
}

/// `· fact   · fact`, as many on a line as fit.
fn evidence(facts: &[String], width: usize) -> Vec<Line<'static>> {
    let room = width.saturating_sub(INDENT);
    let mut rows: Vec<String> = Vec::new();
    for fact in facts.iter().take(FACTS_MOST) {
        let item = format!("· {fact}");
        match rows.last_mut() {
            Some(row) if row.width() + 3 + item.width() <= room => {
                row.push_str("   ");
                row.push_str(&item);
            }
            _ if item.width() <= room => rows.push(item),
            _ => {
                let parts = text::wrap(fact, room.saturating_sub(2));
                let indented = parts
                    .iter()
                    .enumerate()
                    .map(|(at, part)| format!("{} {part}", if at == 0 { "·" } else { " " }));
                rows.extend(indented);
            }
        }
    }
    rows.into_iter()
        .map(|row| Line::raw(format!("{}{row}", " ".repeat(INDENT))))
        .collect()
}

/// `→ what to do          check it: command`, on one line where both fit.
fn advice(finding: &Finding, width: usize) -> Vec<Line<'static>> {
    let remedy = format!("→ {}", finding.remedy);
    let check = format!("check it: {}", finding.confirm);
    let has = (!finding.remedy.is_empty(), !finding.confirm.is_empty());
    if has == (true, true) && INDENT + remedy.width() + 3 + check.width() <= width {
        let gap = " ".repeat(3);
        return vec![Line::from(vec![
            Span::raw(" ".repeat(INDENT)),
            Span::raw(remedy),
            Span::raw(gap),
            Span::styled("check it: ", theme::DIM),
            Span::styled(finding.confirm.clone(), theme::OWN),
        ])];
    }
    let mut lines = Vec::new();
    if has.0 {
        lines.extend(indented("→ ", &finding.remedy, theme::PLAIN, width));
    }
    if has.1 {
        lines.extend(indented("check it: ", &finding.confirm, theme::OWN, width));
    }
    lines
}

fn indented(first: &'static str, words: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let lead = Span::raw(format!("{}{first}", " ".repeat(INDENT)));
    let rest = lead.width();
    text::hanging(lead, rest, words, style, width)
}

/// `? not seen: python-stack of 4127 (ptrace access denied) → sudo steth`, alike gaps on one line.
fn unseen(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let mut alike: BTreeMap<(&str, &str, Option<&str>), Vec<u32>> = BTreeMap::new();
    // The panel of the log says why it is empty.
    let shown = |gap: &&Gap| room.focused || gap.source != "log";
    for gap in subject.gaps().filter(shown) {
        let pids = alike
            .entry((&gap.source, &gap.cause, gap.unlock.as_deref()))
            .or_default();
        pids.extend(gap.pid);
    }
    let shown = if room.focused {
        alike.len()
    } else {
        FEW.min(alike.len())
    };
    let mut lines: Vec<Line<'static>> = alike
        .iter()
        .take(shown)
        .map(|((source, cause, unlock), pids)| {
            let of = match pids.as_slice() {
                [] => String::new(),
                [one] => format!(" of {one}"),
                many => format!(" of {} processes", many.len()),
            };
            let unlock = unlock.map_or(String::new(), |u| format!(" → {u}"));
            dim(format!("      ? not seen: {source}{of} ({cause}){unlock}"))
        })
        .collect();
    if alike.len() > shown {
        lines.push(dim(format!(
            "      ? and {} more that cannot be seen (w shows all)",
            alike.len() - shown
        )));
    }
    lines
}

/// Findings that have begun and ended, newest first.
fn history(server: &Server, subject: &Subject<'_>) -> Vec<Line<'static>> {
    let clock = |at| {
        format::clock_or_date(
            subject.snapshot.wall_ms_of(at),
            subject.snapshot.wall_ms,
            subject.utc_offset_s,
        )
    };
    let changes = server.finding_log.iter().rev().map(|change| {
        let word = if change.began { "began" } else { "ended" };
        Line::raw(format!(
            "      {} {word} {}",
            clock(change.at),
            change.code.word()
        ))
    });
    let mut lines: Vec<Line<'static>> = changes.collect();
    if !lines.is_empty() {
        lines.insert(
            0,
            Line::from(Span::styled("      Findings so far", theme::BOLD)),
        );
    }
    lines
}

fn dim(words: String) -> Line<'static> {
    Line::from(Span::styled(words, theme::DIM))
}
