//! What stands in a cell of the table? Exactly as many cells as the column has; `–` where there is nothing, `?` where nothing could
//! be seen.

use ratatui::style::Style;
use ratatui::text::Span;
use unicode_width::UnicodeWidthStr;

use crate::view::format;

use super::column::Column;
use super::facts::{Facts, Queue, Seen};
use super::{text, theme};

/// The cell, exactly `width` cells wide.
pub fn cell(column: Column, facts: &Facts, width: usize) -> Vec<Span<'static>> {
    match column {
        Column::Phase => vec![Span::styled(
            text::left(facts.phase.word(), width),
            facts.mark.style(),
        )],
        Column::For => {
            let bound = if facts.for_is_bound { "≥" } else { "" };
            let value = format!("{bound}{}", format::age(facts.for_s));
            vec![Span::raw(text::right(&value, width))]
        }
        Column::Server => vec![Span::raw(name(facts, width))],
        Column::Listens => listens(&facts.listens, width),
        Column::Queue => queue(&facts.queue, width),
        Column::Syn => number(&facts.syn, width, |n| {
            let style = if *n > 0 { theme::WARN } else { theme::DIM };
            (format::count(u64::from(*n)), style)
        }),
        Column::Threads => number(&facts.threads, width, |n| (format::count(*n), theme::PLAIN)),
        Column::Fds => number(&facts.fds, width, |(open, limit)| fds(*open, *limit)),
        Column::Cpu => number(&facts.cpu, width, |p| (format::percent(*p), theme::PLAIN)),
        Column::Memory => number(&facts.memory, width, |n| (format::bytes(*n), theme::PLAIN)),
        Column::Python => worded(&facts.python, width),
    }
}

/// The name, its pid and what else fits: `uvicorn app.main:app (4127), 4 workers`. The name gives way, the pid does not.
fn name(facts: &Facts, width: usize) -> String {
    let pid = format!(" ({})", facts.pid);
    let full = match facts.extra.as_str() {
        "" => pid.clone(),
        extra => format!("{pid}, {extra}"),
    };
    let suffix = if full.width() + facts.name.width().min(18) <= width {
        full
    } else {
        pid
    };
    if suffix.width() + 4 > width {
        return text::left(&facts.name, width);
    }
    let name = text::cut(&facts.name, width - suffix.width());
    text::left(&format!("{name}{suffix}"), width)
}

fn fds(open: u64, limit: Option<u64>) -> (String, Style) {
    match limit {
        None => (format!("{}/?", format::count(open)), theme::PLAIN),
        Some(limit) => {
            let style = if open + 1 >= limit {
                theme::FAIL
            } else if open * 10 >= limit.saturating_mul(9) {
                theme::WARN
            } else {
                theme::PLAIN
            };
            (
                format!("{}/{}", format::count(open), format::count(limit)),
                style,
            )
        }
    }
}

/// `▂▅█ 6/5 full`: history, depth and limit, then the drops or the word where there is room for them.
fn queue(queue: &Seen<Queue>, width: usize) -> Vec<Span<'static>> {
    let q = match queue {
        Seen::None => return vec![Span::styled(text::left("–", width), theme::DIM)],
        Seen::Unseen => return vec![Span::styled(text::left("?", width), theme::DIM)],
        Seen::Is(q) => q,
    };
    let limit = q
        .backlog
        .map_or_else(|| "?".to_owned(), |b| format::count(u64::from(b)));
    let depth = format!(" {}/{limit}", format::count(u64::from(q.depth)));
    let needed = depth.width() + if q.is_full() { " full".len() } else { 0 };
    let bars_cells = width
        .saturating_sub(needed)
        .clamp(1, if width >= 22 { 8 } else { 3 });
    let bars = format::bars(
        q.history.iter().copied(),
        q.backlog.map_or(0, |b| b.saturating_add(1)),
        bars_cells,
    );
    let limit = q
        .backlog
        .map_or_else(|| "?".to_owned(), |b| format::count(u64::from(b)));
    let depth = format!(" {}/{limit}", format::count(u64::from(q.depth)));
    let style = match (q.is_full(), q.depth) {
        (true, _) => theme::FAIL,
        (false, 0) => theme::PLAIN,
        (false, _) => theme::WARN,
    };
    let room = width.saturating_sub(bars_cells + depth.width());
    let drops = q.drops.map(|rate| match rate {
        r if r < 1.0 => " drops".to_owned(),
        r => format!(" {r:.0} drops/s"),
    });
    let words = [
        drops.filter(|d| d.width() <= room),
        q.is_full().then(|| " full".to_owned()),
    ];
    let word = words
        .into_iter()
        .flatten()
        .find(|w| w.width() <= room)
        .unwrap_or_default();
    vec![
        Span::styled(text::right(&bars, bars_cells), style),
        Span::styled(
            text::left(&format!("{depth}{word}"), width.saturating_sub(bars_cells)),
            style,
        ),
    ]
}

/// The address; where it is too long, a unix socket goes without the word, then without its middle.
fn listens(value: &Seen<String>, width: usize) -> Vec<Span<'static>> {
    match value {
        Seen::Is(address) if address.width() > width => {
            let path = address.strip_prefix("unix:").unwrap_or(address);
            worded(&Seen::Is(path.to_owned()), width)
        }
        other => worded(other, width),
    }
}

fn worded(value: &Seen<String>, width: usize) -> Vec<Span<'static>> {
    let (word, style) = match value {
        Seen::None => ("–", theme::DIM),
        Seen::Unseen => ("?", theme::DIM),
        Seen::Is(word) => (word.as_str(), theme::PLAIN),
    };
    let fitted = text::cut_middle(word, width);
    vec![Span::styled(text::left(&fitted, width), style)]
}

fn number<T>(
    value: &Seen<T>,
    width: usize,
    show: impl Fn(&T) -> (String, Style),
) -> Vec<Span<'static>> {
    let (word, style) = match value {
        Seen::None => ("–".to_owned(), theme::DIM),
        Seen::Unseen => ("?".to_owned(), theme::DIM),
        Seen::Is(value) => show(value),
    };
    vec![Span::styled(text::right(&word, width), style)]
}
