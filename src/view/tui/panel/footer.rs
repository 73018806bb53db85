//! The last line: what is being typed, or what is filtered, or the few keys that one needs first.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::view::tui::keymap::{Action, Chord, KEYS};
use crate::view::tui::layout::Focus;
use crate::view::tui::state::cursor::RowId;
use crate::view::tui::state::{Mode, Place, State};
use crate::view::tui::{text, theme};

use super::header;

/// Cells that are kept for what this program costs, and the width from which there is room for that.
const COST: (usize, usize) = (15, 70);

/// The line.
pub fn line(state: &State, width: usize) -> Line<'static> {
    if let Some(notice) = &state.notice {
        let words = text::cut(&format!(" {notice}"), width);
        return Line::from(Span::styled(words, theme::BOLD));
    }
    let left = match state.mode {
        Mode::Filter => typing(state),
        Mode::Normal | Mode::Help { .. } => {
            let mut spans = in_force(state);
            let used: usize = spans.iter().map(Span::width).sum();
            let kept = if width >= COST.1 { COST.0 } else { 0 };
            spans.extend(hints(state, width.saturating_sub(used + kept)));
            spans
        }
    };
    let used: usize = left.iter().map(Span::width).sum();
    let full = header::own_cost(state).filter(|_| width < 110);
    let short = full.as_ref().map(|c| {
        c.replace("own cost ", "own ")
            .replace(" % cpu, ", "% ")
            .replace(" MB", "M")
    });
    let cost = [full, short]
        .into_iter()
        .flatten()
        .find(|c| used + c.width() + 1 < width);
    let right = cost
        .map(|c| vec![Span::styled(format!("{c} "), theme::DIM)])
        .unwrap_or_default();
    text::ends(left, right, width)
}

fn typing(state: &State) -> Vec<Span<'static>> {
    let left = state
        .rows
        .iter()
        .filter(|row| **row != RowId::Others)
        .count();
    vec![
        Span::styled(" /", theme::BOLD),
        Span::raw(state.typed().to_owned()),
        Span::styled(" ", theme::SELECTED),
        Span::styled(
            format!("  {left} shown · Enter keeps · Esc clears"),
            theme::DIM,
        ),
    ]
}

/// What hides or orders rows: nobody shall forget it.
fn in_force(state: &State) -> Vec<Span<'static>> {
    let mut words = Vec::new();
    if !state.typed().is_empty() {
        words.push(format!("filter \"{}\"", state.typed()));
    }
    if state.choice.only_failing && state.place == Place::All {
        words.push("only failing".to_owned());
    }
    if state.choice.sort.inverted && state.choice.sort.column.is_none() {
        words.push("order inverted".to_owned());
    }
    words
        .into_iter()
        .map(|word| Span::styled(format!(" {word} "), theme::SELECTED))
        .collect()
}

/// Where not all fit, those in the middle go: help and quit stay.
fn hints(state: &State, width: usize) -> Vec<Span<'static>> {
    let may_go_back =
        state.place != Place::All || state.focus != Focus::Table || !state.typed().is_empty();
    let fits = |action: Action| match action {
        Action::Back => may_go_back,
        Action::Pause => {
            state.past().is_some() || state.place == Place::All && state.focus == Focus::Table
        }
        Action::Travel(_) => state.past().is_some(),
        Action::Present => state.past().is_some() && !state.is_replay(),
        Action::Filter | Action::NextPanel | Action::ShowWhy => state.past().is_none(),
        _ => true,
    };
    let bindings = KEYS.iter().filter(|b| fits(b.action));
    let mut hints: Vec<(String, String)> = bindings
        .filter_map(|b| {
            let hint = match (b.action, state.past()) {
                (Action::Pause, Some(past)) if past.playing => "stop",
                (Action::Pause, Some(_)) => "play",
                _ => b.hint?,
            };
            Some((Chord::label(*b.keys.first()?), format!(" {hint}  ")))
        })
        .collect();
    let cells = |hints: &[(String, String)]| {
        hints
            .iter()
            .map(|(key, word)| key.width() + word.width())
            .sum::<usize>()
    };
    while hints.len() > 2 && cells(&hints) > width + 1 {
        hints.remove(hints.len() - 3);
    }
    let mut spans = vec![Span::raw(" ")];
    for (key, word) in hints {
        spans.push(Span::styled(key, theme::OWN));
        spans.push(Span::styled(word, theme::DIM));
    }
    spans
}
