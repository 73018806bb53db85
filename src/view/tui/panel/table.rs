//! The table: a row for each server, below it its processes where they are unfolded, other Python apart and never red.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use crate::diagnosis::Diagnosis;
use crate::view::tui::cell;
use crate::view::tui::column::{self, Column};
use crate::view::tui::facts::{self, Facts};
use crate::view::tui::layout::Focus;
use crate::view::tui::state::{Place, State, cursor::RowId};
use crate::view::tui::{text, theme};

/// Cells before the first column: cursor, glyph, space.
const LEAD: usize = 3;

/// The titles of the columns.
pub fn heading(state: &State, width: usize) -> Line<'static> {
    let sort = state.choice.sort;
    let outside = state.place == Place::All;
    let mut spans = vec![Span::raw(" ".repeat(LEAD))];
    for (column, cells) in column::fit(width.saturating_sub(LEAD + 1)) {
        let sorted = (outside && sort.column == Some(column)).then_some(sort.inverted);
        let mut words = column.heading(cells, sorted);
        if column == Column::Server && !outside {
            words = text::left("PROCESS", cells);
        }
        let style = if sorted.is_some() {
            theme::BOLD.add_modifier(Modifier::UNDERLINED)
        } else {
            theme::BOLD
        };
        spans.push(Span::styled(words, style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

/// The rows that are on screen.
pub fn lines(state: &State, width: usize, height: usize) -> Vec<Line<'static>> {
    if state.rows.is_empty() {
        return vec![Line::from(Span::styled(nothing(state), theme::DIM))];
    }
    let cursor = state.cursor();
    let columns = column::fit(width.saturating_sub(LEAD + 1));
    let visible = state.rows.iter().skip(cursor.top()).take(height);
    visible
        .map(|row| line(state, *row, &columns, width, cursor.row() == Some(*row)))
        .collect()
}

/// Why there is no row: nobody has looked yet, there is no Python, or it has been filtered away.
fn nothing(state: &State) -> String {
    let shown = state.shown();
    let python = shown.diagnosis.servers.len() + shown.diagnosis.outsiders.len();
    match &shown.snapshot {
        None => "   looking…".to_owned(),
        Some(_) if python > 0 && state.choice.only_failing => {
            "   no server fails (! shows all)".to_owned()
        }
        Some(_) if python > 0 => format!("   nothing matches \"{}\" (Esc clears)", state.typed()),
        Some(s) if s.gaps.is_empty() => {
            "   no Python process on this machine; a server shows up here as it starts".to_owned()
        }
        Some(_) => "   no Python process that this user can see; steth doctor says what is hidden"
            .to_owned(),
    }
}

fn line(
    state: &State,
    row: RowId,
    columns: &[(Column, usize)],
    width: usize,
    selected: bool,
) -> Line<'static> {
    let cursor = if selected { "▸" } else { " " };
    let mut line = match facts_of(state, row) {
        Some(facts) => cells(cursor, &facts, columns),
        None => others(
            cursor,
            &state.shown().diagnosis,
            state.choice.others_unfolded,
            width,
        ),
    };
    if selected {
        let reversed = state.focus == Focus::Table;
        let style = if reversed {
            theme::SELECTED
        } else {
            theme::BOLD
        };
        line.push_span(Span::raw(" ".repeat(width.saturating_sub(line.width()))));
        for span in &mut line.spans {
            let style = if reversed {
                style.add_modifier(Modifier::BOLD)
            } else {
                style
            };
            span.style = span.style.remove_modifier(Modifier::DIM).patch(style);
        }
    }
    line
}

fn facts_of(state: &State, row: RowId) -> Option<Facts> {
    let diagnosis = &state.shown().diagnosis;
    let now = state.now();
    match row {
        RowId::Others => None,
        RowId::Server(root) => Some(facts::of_server(facts::server(diagnosis, root)?, now)),
        RowId::Outsider(key) => {
            let mut facts = facts::of_outsider(facts::outsider(diagnosis, key)?, now);
            facts.name = format!("  {}", facts.name);
            Some(facts)
        }
        RowId::Member { server, process } => {
            let server = facts::server(diagnosis, server)?;
            let member = facts::member(server, process)?;
            let mut facts = facts::of_member(server, member, now);
            let is_last = server
                .members
                .last()
                .is_some_and(|m| m.process.key == process);
            facts.name = match (state.place, process == server.root) {
                (Place::All, _) => format!("{} {}", if is_last { "└" } else { "├" }, facts.name),
                (_, true) => facts.name,
                (_, false) => format!("{} {}", if is_last { "└" } else { "├" }, facts.name),
            };
            Some(facts)
        }
    }
}

fn cells(cursor: &'static str, facts: &Facts, columns: &[(Column, usize)]) -> Line<'static> {
    let mut spans = vec![
        Span::raw(cursor),
        Span::styled(facts.mark.glyph(), facts.mark.style()),
        Span::raw(" "),
    ];
    for (column, cells) in columns {
        spans.extend(cell::cell(*column, facts, *cells));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

/// `other Python: 5 (celery -A app worker, …)`.
fn others(
    cursor: &'static str,
    diagnosis: &Diagnosis,
    unfolded: bool,
    width: usize,
) -> Line<'static> {
    let fold = if unfolded { "▾" } else { "▸" };
    let names: Vec<&str> = diagnosis
        .outsiders
        .iter()
        .map(|o| o.name.as_str())
        .take(20)
        .collect();
    let words = format!(
        "other Python: {} ({})",
        diagnosis.outsiders.len(),
        names.join(", ")
    );
    let words = text::cut(&words, width.saturating_sub(LEAD + 1));
    Line::from(vec![
        Span::raw(cursor),
        Span::styled(format!("{fold} {words}"), theme::DIM),
    ])
}
