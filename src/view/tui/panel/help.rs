//! Which keys are there? Made from the table of keys, so that it cannot be wrong; then what the words and glyphs mean.

use ratatui::text::{Line, Span};

use crate::view::tui::keymap::{Binding, KEYS, Section};
use crate::view::tui::text;
use crate::view::tui::theme::{self, Mark};

/// Cells for the keys.
const KEY_CELLS: usize = 18;

/// The lines: two columns where there is room.
pub fn lines(width: usize) -> Vec<Line<'static>> {
    let columns = if width >= 140 { 2 } else { 1 };
    let cells = width / columns;
    let mut blocks: Vec<Vec<Line<'static>>> =
        Section::ALL.iter().map(|s| section(*s, cells)).collect();
    blocks.push(glyphs(cells));
    if columns == 1 {
        return blocks.into_iter().flatten().collect();
    }
    let right = blocks.split_off(2);
    beside(
        blocks.into_iter().flatten().collect(),
        right.into_iter().flatten().collect(),
        cells,
    )
}

fn section(section: Section, width: usize) -> Vec<Line<'static>> {
    let bindings = KEYS.iter().filter(|b| b.section == section);
    let mut lines = vec![Line::from(Span::styled(
        format!(" {}", section.title()),
        theme::BOLD,
    ))];
    lines.extend(bindings.flat_map(|b| binding(b, width)));
    lines
}

fn binding(binding: &Binding, width: usize) -> Vec<Line<'static>> {
    let keys: Vec<String> = binding.keys.iter().map(|k| k.label()).collect();
    let keys = text::left(&format!("   {}", keys.join(" ")), KEY_CELLS);
    text::hanging(
        Span::styled(keys, theme::OWN),
        KEY_CELLS,
        binding.help,
        theme::PLAIN,
        width,
    )
}

fn glyphs(width: usize) -> Vec<Line<'static>> {
    let meanings = [
        (Mark::Failing, "failing: clients are not served"),
        (
            Mark::CrashLooping,
            "its processes die and are started again",
        ),
        (Mark::Starting, "on its way up or down"),
        (Mark::Serving, "serving"),
        (Mark::Warning, "serving, with a warning"),
        (
            Mark::Stopped,
            "stopped by a signal, a debugger or the freezer",
        ),
        (Mark::Gone, "has ended; stays for a while"),
        (Mark::Outside, "other Python: never counted as failing"),
    ];
    let mut lines = vec![Line::from(Span::styled(" Signs", theme::BOLD))];
    for (mark, meaning) in meanings {
        let glyph = text::left(&format!("   {}", mark.glyph()), KEY_CELLS);
        lines.extend(text::hanging(
            Span::styled(glyph, mark.style()),
            KEY_CELLS,
            meaning,
            theme::PLAIN,
            width,
        ));
    }
    for (sign, meaning) in [
        ("?", "could not be seen; WHY says which right is missing"),
        ("–", "there is none"),
        ("▸", "a frame of the application's own code"),
        ("*", "a frame that has changed since the look before"),
        (
            "▶ · » ○",
            "a task runs, waits, could go on, has not started",
        ),
        ("▲", "among tasks: the one to look at first"),
    ] {
        let sign = text::left(&format!("   {sign}"), KEY_CELLS);
        lines.extend(text::hanging(
            Span::styled(sign, theme::DIM),
            KEY_CELLS,
            meaning,
            theme::PLAIN,
            width,
        ));
    }
    lines
}

fn beside(left: Vec<Line<'static>>, right: Vec<Line<'static>>, cells: usize) -> Vec<Line<'static>> {
    let rows = left.len().max(right.len());
    let mut left = left.into_iter();
    let mut right = right.into_iter();
    (0..rows)
        .map(|_| {
            let mut line = left.next().unwrap_or_default();
            line.push_span(Span::raw(" ".repeat(cells.saturating_sub(line.width()))));
            line.spans.extend(right.next().unwrap_or_default().spans);
            line
        })
        .collect()
}
