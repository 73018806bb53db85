//! Where in the past is one? One line: `14:02:11 ━━◆━━━▲━█──────── 14:12:11  431 of 600 · 14:05:40 loop-blocked began: uvicorn app:app`.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::feed::{Change, Past, What};
use crate::view::format;
use crate::view::tui::{standing, text, theme};

/// Cells of the bar, at least and at most.
const BAR: (usize, usize) = (10, 100);

/// The line.
pub fn line(past: &Past, now_ms: i64, utc_offset_s: i32, width: usize) -> Line<'static> {
    let clock = |ms| format::clock_or_date(ms, past.last_ms, utc_offset_s);
    let (from, to) = (clock(past.first_ms), clock(past.last_ms));
    let ends = from.width() + to.width() + 5;
    let bar = (width / 2).saturating_sub(ends).clamp(BAR.0, BAR.1);
    let mut spans = vec![Span::styled(format!(" {from} "), theme::DIM)];
    spans.extend(cells(past, now_ms, bar));
    spans.push(Span::styled(format!(" {to}  "), theme::DIM));
    spans.push(Span::raw(format!("{} of {}", past.at + 1, past.count)));
    if !past.damage.is_empty() {
        spans.push(Span::styled(format!(" · {}", past.damage), theme::WARN));
    }
    if let Some(last) = last_change(past, now_ms) {
        let used: usize = spans.iter().map(Span::width).sum();
        let words = format!(
            " · {} {}: {}",
            clock(last.wall_ms),
            last.what.words(),
            last.server
        );
        let style = style(last.what).1;
        spans.push(Span::styled(
            text::cut(&words, width.saturating_sub(used)),
            style,
        ));
    }
    Line::from(spans)
}

/// The newest change by then.
fn last_change(past: &Past, now_ms: i64) -> Option<&Change> {
    let by_then = past.changes.partition_point(|c| c.wall_ms <= now_ms);
    past.changes.get(by_then.checked_sub(1)?)
}

/// The bar: what has been gone through, what has not, changes, and where one is.
fn cells(past: &Past, now_ms: i64, cells: usize) -> Vec<Span<'static>> {
    let span = (past.last_ms - past.first_ms).max(1) as f64;
    let cell = |ms: i64| {
        let share = (ms - past.first_ms).max(0) as f64 / span;
        ((share * cells as f64) as usize).min(cells - 1)
    };
    let read = match past.count {
        0 => cells,
        count => (past.read * cells).div_ceil(count),
    };
    let mut bar: Vec<(u8, &'static str, Style)> = (0..cells)
        .map(|at| match at < read {
            true => (0, "━", theme::DIM),
            false => (0, "┄", theme::DIM),
        })
        .collect();
    for change in past.changes.iter() {
        let (weight, style, glyph) = {
            let (weight, style) = style(change.what);
            (weight, style, glyph(change.what))
        };
        if let Some(place) = bar.get_mut(cell(change.wall_ms)).filter(|p| p.0 <= weight) {
            *place = (weight, glyph, style);
        }
    }
    if let Some(place) = bar.get_mut(cell(now_ms)) {
        place.2 = theme::SELECTED;
    }
    bar.into_iter()
        .map(|(_, glyph, style)| Span::styled(glyph, style))
        .collect()
}

/// How much a change matters, and the colour that says so.
fn style(what: What) -> (u8, Style) {
    match what {
        What::Finding(_, true) => (3, theme::FAIL),
        What::Phase(_, phase) => (2, standing::mark_of_phase(phase).style()),
        What::Finding(_, false) => (1, theme::OK),
    }
}

fn glyph(what: What) -> &'static str {
    match what {
        What::Finding(_, true) => "▲",
        What::Finding(_, false) => "▼",
        What::Phase(_, phase) => standing::mark_of_phase(phase).glyph(),
    }
}
