//! What does the state look like? Writes the whole screen into a grid of cells; reads the state, changes nothing.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::layout::{Areas, Focus, LEAST};
use super::panel::{self, PanelId, Subject};
use super::state::{Mode, State};
use super::{text, theme};

/// Draws the state into the grid.
pub fn draw(state: &State, grid: &mut Buffer) {
    grid.reset();
    match (state.areas(), state.mode) {
        (None, _) => too_small(state, grid),
        (Some(_), Mode::Help { scroll }) => help(scroll, grid),
        (Some(areas), _) => screen(state, &areas, grid),
    }
    state.options.theme.apply(grid);
}

fn too_small(state: &State, grid: &mut Buffer) {
    let (columns, rows) = state.size;
    let words = format!(
        "The terminal is too small: {columns}x{rows}. steth needs {}x{}.",
        LEAST.0, LEAST.1
    );
    let lines: Vec<Line<'_>> = text::wrap(&words, usize::from(columns))
        .into_iter()
        .map(Line::raw)
        .collect();
    text::put_all(grid, grid.area, &lines, 0);
}

fn help(scroll: usize, grid: &mut Buffer) {
    let area = grid.area;
    let width = usize::from(area.width);
    let lines = panel::help::lines(width);
    let hidden = (lines.len() + 2).saturating_sub(usize::from(area.height) + scroll);
    let title = vec![Span::styled(" steth · help", theme::BOLD)];
    let more = if hidden > 0 {
        format!("{}: ↓ ", more_lines(hidden))
    } else {
        String::new()
    };
    text::put(
        grid,
        area,
        0,
        &text::ends(title, vec![Span::raw(more)], width),
    );
    let body = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(2),
        ..area
    };
    text::put_all(grid, body, &lines, scroll);
    let last = usize::from(area.height).saturating_sub(1);
    text::put(
        grid,
        area,
        last,
        &Line::from(Span::styled(" Esc closes the help", theme::DIM)),
    );
}

fn screen(state: &State, areas: &Areas, grid: &mut Buffer) {
    let width = usize::from(grid.area.width);
    text::put(grid, areas.header, 0, &panel::header::line(state, width));
    text::put(grid, areas.heading, 0, &panel::table::heading(state, width));
    let rows = panel::table::lines(state, width, usize::from(areas.table.height));
    text::put_all(grid, areas.table, &rows, 0);
    text::put(grid, areas.footer, 0, &panel::footer::line(state, width));
    let subject = state.subject();
    text::put(
        grid,
        areas.rule,
        0,
        &rule(state, areas, subject.as_ref(), width),
    );
    match subject {
        Some(subject) => lower(state, areas, &subject, grid),
        None => text::put(grid, areas.why, 0, &nothing_selected(state)),
    }
}

fn nothing_selected(state: &State) -> Line<'static> {
    let words = match &state.shown().snapshot {
        None => " looking for Python processes…",
        Some(_) if state.rows.is_empty() => "",
        Some(_) => {
            " Python that does not mean to listen: never counted as failing. Enter unfolds it"
        }
    };
    Line::from(Span::styled(words, theme::DIM))
}

/// WHY, timeline, tabs and panels: all that speaks of the selection.
fn lower(state: &State, areas: &Areas, subject: &Subject<'_>, grid: &mut Buffer) {
    let why = panel::why::lines(subject, state.why_room());
    let scroll = if state.focus == Focus::Why {
        state.scroll
    } else {
        0
    };
    text::put_all(grid, areas.why, &why, scroll);
    let width = usize::from(areas.timeline.width);
    text::put(
        grid,
        areas.timeline,
        0,
        &panel::timeline::line(subject, width),
    );
    text::put(
        grid,
        areas.tabs,
        0,
        &tabs(state, areas, usize::from(areas.tabs.width)),
    );
    panels(state, areas.panel, subject, grid);
}

/// One panel; two side by side where it is wide enough; all four where it is also high enough and none is in focus.
fn panels(state: &State, area: Rect, subject: &Subject<'_>, grid: &mut Buffer) {
    if !state.is_wide() {
        return one_panel(state, state.panel, area, subject, grid);
    }
    if !state.shows_all_panels(area.height) {
        return pair(state, state.panel.pair(), area, subject, grid);
    }
    let upper = Rect {
        height: area.height / 2,
        ..area
    };
    let lower = Rect {
        y: upper.bottom() + 1,
        height: area.height - upper.height - 1,
        ..area
    };
    pair(state, PanelId::Sockets.pair(), upper, subject, grid);
    let tabs = Rect {
        y: upper.bottom(),
        height: 1,
        ..area
    };
    let (left, right) = PanelId::Threads.pair();
    text::put(
        grid,
        tabs,
        0,
        &tabs_of(state, &[left, right], usize::from(area.width)),
    );
    pair(state, (left, right), lower, subject, grid);
}

fn pair(
    state: &State,
    (left, right): (PanelId, PanelId),
    area: Rect,
    subject: &Subject<'_>,
    grid: &mut Buffer,
) {
    let half = area.width / 2;
    let left_area = Rect {
        width: half.saturating_sub(1),
        ..area
    };
    let right_area = Rect {
        x: area.x + half + 1,
        width: area.width - half - 1,
        ..area
    };
    one_panel(state, left, left_area, subject, grid);
    one_panel(state, right, right_area, subject, grid);
    for row in 0..usize::from(area.height) {
        let bar = Rect {
            x: area.x + half,
            width: 1,
            ..area
        };
        text::put(grid, bar, row, &Line::from(Span::styled("│", theme::DIM)));
    }
}

fn one_panel(state: &State, id: PanelId, area: Rect, subject: &Subject<'_>, grid: &mut Buffer) {
    let room = state.panel_room(id);
    let lines = id.lines(subject, room);
    let height = usize::from(area.height);
    let scroll = if room.focused {
        state.scroll
    } else {
        id.at_rest(lines.len(), height)
    };
    text::put_all(grid, area, &lines, scroll);
    if lines.len() <= scroll + height || height < 2 {
        return;
    }
    let key = if room.focused { '↓' } else { id.digit() };
    let more = format!("… {}: {key} ", more_lines(lines.len() - scroll - height));
    let cells = u16::try_from(more.width()).unwrap_or(0).min(area.width);
    let corner = Rect {
        x: area.right() - cells,
        y: area.bottom() - 1,
        width: cells,
        height: 1,
    };
    text::put(
        grid,
        corner,
        0,
        &Line::from(Span::styled(more, theme::WARN)),
    );
}

/// `── uvicorn app.main:app (4127) ──── WHY: 4 more lines: w ── 1-7 of 60 ──`.
fn rule(
    state: &State,
    areas: &Areas,
    subject: Option<&Subject<'_>>,
    width: usize,
) -> Line<'static> {
    let shown = usize::from(areas.table.height);
    let top = state.cursor().top();
    let range = match state.rows.len() {
        n if n > shown => format!(" {}-{} of {n} ──", top + 1, (top + shown).min(n)),
        _ => String::new(),
    };
    let more = subject.map_or(String::new(), |s| more_of_why(state, areas, s));
    let tail = more.width() + range.width();
    let room = width.saturating_sub(tail + 5);
    let name = subject.filter(|_| room >= 8).map_or(String::new(), |s| {
        format!(" {} ", text::cut(&title(s), room.saturating_sub(2)))
    });
    let fill = width.saturating_sub(2 + name.width() + tail);
    let focused = state.focus == Focus::Why;
    let name_style = if focused {
        theme::SELECTED
    } else {
        theme::BOLD
    };
    Line::from(vec![
        Span::styled("──", theme::DIM),
        Span::styled(name, name_style),
        Span::styled("─".repeat(fill), theme::DIM),
        Span::styled(more, theme::WARN),
        Span::styled(range, theme::DIM),
    ])
}

/// What of WHY is below its last row, and the key that leads there.
fn more_of_why(state: &State, areas: &Areas, subject: &Subject<'_>) -> String {
    let focused = state.focus == Focus::Why;
    let scroll = if focused { state.scroll } else { 0 };
    let lines = panel::why::lines(subject, state.why_room()).len();
    let hidden = lines.saturating_sub(usize::from(areas.why.height) + scroll);
    let key = if focused { "↓" } else { "w" };
    if hidden == 0 || areas.why.height == 0 {
        return String::new();
    }
    format!(" {}: {key} ──", more_lines(hidden))
}

fn title(subject: &Subject<'_>) -> String {
    match (subject.server, subject.outsider, subject.people.first()) {
        (Some(server), _, Some(person)) if subject.narrowed => {
            format!("{} · {}", server.name, person.title())
        }
        (Some(server), ..) => format!("{} ({})", server.name, server.root.pid),
        (None, Some(outsider), _) => format!("{} ({})", outsider.name, outsider.process.key.pid),
        (None, None, _) => String::new(),
    }
}

/// `─[1] Sockets ──[2] Stacks ──…`; what is shown stands out, what is in focus more so.
fn tabs(state: &State, areas: &Areas, width: usize) -> Line<'static> {
    if state.is_wide() && state.shows_all_panels(areas.panel.height) {
        let (left, right) = PanelId::Sockets.pair();
        return tabs_of(state, &[left, right], width);
    }
    tabs_of(state, &PanelId::ALL, width)
}

fn tabs_of(state: &State, ids: &[PanelId], width: usize) -> Line<'static> {
    let (left, right) = state.panel.pair();
    let all = ids.len() < PanelId::ALL.len();
    let shown =
        |id: PanelId| all || id == state.panel || (state.is_wide() && (id == left || id == right));
    let roomy = width >= 72;
    let mut spans = vec![Span::styled("─", theme::DIM)];
    for id in ids {
        let style = match (
            state.focus == Focus::Panel && *id == state.panel,
            shown(*id),
        ) {
            (true, _) => theme::SELECTED,
            (false, true) => theme::BOLD,
            (false, false) => theme::DIM,
        };
        let mark = if shown(*id) { "▸" } else { "" };
        let title = if roomy || shown(*id) {
            format!(" {}", id.title())
        } else {
            String::new()
        };
        if all && *id == right_of(ids) {
            let used: usize = spans.iter().map(Span::width).sum();
            spans.push(Span::styled(
                "─".repeat((width / 2 + 1).saturating_sub(used)),
                theme::DIM,
            ));
        }
        spans.push(Span::styled(
            format!("{mark}[{}]{title}", id.digit()),
            style,
        ));
        spans.push(Span::styled(" ──", theme::DIM));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::styled(
        "─".repeat(width.saturating_sub(used)),
        theme::DIM,
    ));
    Line::from(spans)
}

fn right_of(ids: &[PanelId]) -> PanelId {
    ids.last().copied().unwrap_or(PanelId::Exits)
}

fn more_lines(n: usize) -> String {
    if n == 1 {
        "1 more line".to_owned()
    } else {
        format!("{n} more lines")
    }
}
