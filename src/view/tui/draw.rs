//! What does the state look like? Puts the whole screen on a sheet; reads the state, changes nothing.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::arrange::Band;
use super::layout::{Areas, Focus, LEAST};
use super::panel::{self, PanelId, Subject};
use super::sheet::Sheet;
use super::state::opened::Opened;
use super::state::{Mode, State};
use super::{text, theme};

/// The state as a sheet.
pub fn compose(state: &State) -> Sheet {
    let mut sheet = Sheet::new(state.size, state.options.theme);
    match (state.areas(), state.mode) {
        (None, _) => too_small(state, &mut sheet),
        (Some(_), Mode::Help { scroll }) => help(scroll, &mut sheet),
        (Some(areas), _) => match &state.opened {
            Some(opened) => finding(state, opened, &mut sheet),
            None => screen(state, &areas, &mut sheet),
        },
    }
    sheet
}

/// Draws the state into a grid of its size.
pub fn draw(state: &State, grid: &mut Buffer) {
    grid.reset();
    let sheet = compose(state);
    for row in 0..sheet.size.1 {
        sheet.paint(row, grid);
    }
    sheet.theme.apply(grid);
}

/// The state as lines of text, without trailing blanks.
pub fn text(state: &State) -> String {
    let mut grid = Buffer::empty(Rect::new(0, 0, state.size.0, state.size.1));
    draw(state, &mut grid);
    let width = usize::from(state.size.0).max(1);
    grid.content.chunks(width).map(row_of_text).collect()
}

/// What a wide character covers is not a character of its own.
fn row_of_text(cells: &[Cell]) -> String {
    let mut line = String::new();
    let mut covered = 0;
    for cell in cells {
        if covered == 0 {
            line.push_str(cell.symbol());
            covered = cell.symbol().width();
        }
        covered = covered.saturating_sub(1);
    }
    format!("{}\n", line.trim_end())
}

fn too_small(state: &State, sheet: &mut Sheet) {
    let (columns, rows) = state.size;
    let words = format!(
        "The terminal is too small: {columns}x{rows}. steth needs {}x{}.",
        LEAST.0, LEAST.1
    );
    let lines: Vec<Line<'_>> = text::wrap(&words, usize::from(columns))
        .into_iter()
        .map(Line::raw)
        .collect();
    sheet.put_all(sheet.area(), lines, 0);
}

fn help(scroll: usize, sheet: &mut Sheet) {
    let lines = panel::help::lines(usize::from(sheet.size.0));
    let keys = Line::from(Span::styled(" Esc closes the help", theme::DIM));
    page("help", lines, scroll, keys, sheet);
}

fn finding(state: &State, opened: &Opened, sheet: &mut Sheet) {
    let width = usize::from(sheet.size.0);
    let lines = panel::finding::lines(state, opened, width);
    let keys = panel::finding::keys(opened, width);
    page(
        &panel::finding::title(opened),
        lines,
        opened.scroll,
        keys,
        sheet,
    );
}

/// The whole screen for one thing: a title, lines that can be scrolled, and keys.
fn page(
    title: &str,
    lines: Vec<Line<'static>>,
    scroll: usize,
    keys: Line<'static>,
    sheet: &mut Sheet,
) {
    let area = sheet.area();
    let width = usize::from(area.width);
    let hidden = (lines.len() + 2).saturating_sub(usize::from(area.height) + scroll);
    let more = if hidden > 0 {
        format!("{}: ↓ ", more_lines(hidden))
    } else {
        String::new()
    };
    let room = width.saturating_sub(more.width() + 1);
    let title = text::cut(&format!(" steth · {title}"), room);
    let title = vec![Span::styled(title, theme::BOLD)];
    sheet.put(area, 0, text::ends(title, vec![Span::raw(more)], width));
    let body = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(2),
        ..area
    };
    sheet.put_all(body, lines, scroll);
    let last = usize::from(area.height).saturating_sub(1);
    sheet.put(area, last, keys);
}

fn screen(state: &State, areas: &Areas, sheet: &mut Sheet) {
    let width = usize::from(sheet.size.0);
    sheet.put(areas.header, 0, panel::header::line(state, width));
    sheet.put(areas.heading, 0, panel::table::heading(state, width));
    let rows = panel::table::lines(state, width, usize::from(areas.table.height));
    sheet.put_all(areas.table, rows, 0);
    if let Some(past) = state.past() {
        let now_ms = state.shown().snapshot.as_ref().map_or(0, |s| s.wall_ms);
        let line = panel::ruler::line(past, now_ms, state.options.utc_offset_s, width);
        sheet.put(areas.ruler, 0, line);
    }
    sheet.put(areas.footer, 0, panel::footer::line(state, width));
    let subject = state.subject();
    sheet.put(areas.rule, 0, rule(state, areas, subject.as_ref(), width));
    match subject {
        Some(subject) => lower(state, areas, &subject, sheet),
        None => sheet.put(areas.why, 0, nothing_selected(state)),
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
fn lower(state: &State, areas: &Areas, subject: &Subject<'_>, sheet: &mut Sheet) {
    let why = panel::why::lines(subject, state.why_room());
    let scroll = if state.focus == Focus::Why {
        state.scroll
    } else {
        0
    };
    sheet.put_all(areas.why, why, scroll);
    let width = usize::from(areas.timeline.width);
    sheet.put(areas.timeline, 0, panel::timeline::line(subject, width));
    sheet.put(areas.tabs, 0, tabs(state, areas, subject));
    panels(state, areas.panel, subject, sheet);
}

/// One panel; bands of two side by side where it is wide enough.
fn panels(state: &State, area: Rect, subject: &Subject<'_>, sheet: &mut Sheet) {
    let mut y = area.y;
    for (at, band) in state.bands(subject.sort(), area.height).iter().enumerate() {
        if at > 0 {
            let tabs = Rect {
                y,
                height: 1,
                ..area
            };
            sheet.put(tabs, 0, tabs_of_band(state, *band, area.width));
            y += 1;
        }
        let rows = Rect {
            y,
            height: band.rows,
            ..area
        };
        match band.right {
            Some(right) => pair(state, (band.left, right), rows, subject, sheet),
            None => one_panel(state, band.left, rows, subject, sheet),
        }
        y += band.rows;
    }
}

fn pair(
    state: &State,
    (left, right): (PanelId, PanelId),
    area: Rect,
    subject: &Subject<'_>,
    sheet: &mut Sheet,
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
    one_panel(state, left, left_area, subject, sheet);
    one_panel(state, right, right_area, subject, sheet);
    for row in 0..usize::from(area.height) {
        let bar = Rect {
            x: area.x + half,
            width: 1,
            ..area
        };
        sheet.put(bar, row, Line::from(Span::styled("│", theme::DIM)));
    }
}

fn one_panel(state: &State, id: PanelId, area: Rect, subject: &Subject<'_>, sheet: &mut Sheet) {
    let room = state.panel_room(id, area.width);
    let lines = id.lines(subject, room);
    let total = lines.len();
    let height = usize::from(area.height);
    let scroll = if room.focused {
        state.scroll
    } else {
        id.at_rest(total, height)
    };
    sheet.put_all(area, lines, scroll);
    if total <= scroll + height || height < 2 {
        return;
    }
    let key = if room.focused { '↓' } else { id.digit() };
    let more = format!("… {}: {key} ", more_lines(total - scroll - height));
    let cells = u16::try_from(more.width()).unwrap_or(0).min(area.width);
    let corner = Rect {
        x: area.right() - cells,
        y: area.bottom() - 1,
        width: cells,
        height: 1,
    };
    sheet.put(corner, 0, Line::from(Span::styled(more, theme::WARN)));
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

/// `─[1] Sockets ──[2] Stacks ──…`; what is shown stands out, what is in focus more so. Where there are several bands each has
/// its own tabs above it.
fn tabs(state: &State, areas: &Areas, subject: &Subject<'_>) -> Line<'static> {
    let bands = state.bands(subject.sort(), areas.panel.height);
    match bands.as_slice() {
        [first, _, ..] => tabs_of_band(state, *first, areas.tabs.width),
        [only] => tabs_of_all(state, *only, usize::from(areas.tabs.width)),
        [] => Line::default(),
    }
}

fn tabs_of_band(state: &State, band: Band, width: u16) -> Line<'static> {
    let mut spans = vec![Span::styled("─", theme::DIM)];
    spans.extend(tab(state, band.left, true, band.left.title(), WIDE_GAP));
    if let Some(right) = band.right {
        spans.push(fill(&spans, usize::from(width / 2) + 1));
        spans.extend(tab(state, right, true, right.title(), WIDE_GAP));
    }
    spans.push(fill(&spans, usize::from(width)));
    Line::from(spans)
}

/// Where there is no room for all titles they are shortened, or else left out but for those of what is shown.
fn tabs_of_all(state: &State, band: Band, width: usize) -> Line<'static> {
    let shown = |id: PanelId| id == band.left || Some(id) == band.right;
    type Title = fn(PanelId) -> &'static str;
    let fits = |(title, gap): &(Title, &str)| {
        let cells = PanelId::ALL
            .iter()
            .map(|id| title(*id).width() + 4 + gap.width());
        cells.sum::<usize>() + 2 <= width
    };
    let forms: [(Title, &str); 3] = [
        (PanelId::title, WIDE_GAP),
        (PanelId::short_title, WIDE_GAP),
        (PanelId::short_title, "─"),
    ];
    let form = forms.into_iter().find(fits);
    let gap = form.map_or(WIDE_GAP, |(_, gap)| gap);
    let mut spans = vec![Span::styled("─", theme::DIM)];
    for id in PanelId::ALL {
        let title = match form {
            Some((title, _)) => title(id),
            None if shown(id) => id.title(),
            None => "",
        };
        spans.extend(tab(state, id, shown(id), title, gap));
    }
    spans.push(fill(&spans, width));
    Line::from(spans)
}

/// Between two tabs, where there is room.
const WIDE_GAP: &str = " ──";

/// `▸[2] Stacks ──`.
fn tab(
    state: &State,
    id: PanelId,
    shown: bool,
    title: &str,
    gap: &'static str,
) -> [Span<'static>; 2] {
    let focused = state.focus == Focus::Panel && id == state.panel;
    let style = match (focused, shown) {
        (true, _) => theme::SELECTED,
        (false, true) => theme::BOLD,
        (false, false) => theme::DIM,
    };
    let mark = if shown { "▸" } else { "" };
    let words = format!("{mark}[{}] {title}", id.digit());
    let words = words.trim_end().to_owned();
    [Span::styled(words, style), Span::styled(gap, theme::DIM)]
}

/// A rule from what is there to this column.
fn fill(spans: &[Span<'_>], to: usize) -> Span<'static> {
    let used: usize = spans.iter().map(Span::width).sum();
    Span::styled("─".repeat(to.saturating_sub(used)), theme::DIM)
}

fn more_lines(n: usize) -> String {
    if n == 1 {
        "1 more line".to_owned()
    } else {
        format!("{n} more lines")
    }
}
