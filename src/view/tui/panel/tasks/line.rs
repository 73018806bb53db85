//! One task as lines: state, name, age, where it stands, what it waits for; and its frames where it is looked at closely.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::diagnosis::task::{self, TaskRole, words};
use crate::snapshot::{Frame, Task, TaskState};
use crate::view::format;
use crate::view::tui::{text, theme};

use super::rows::Row;
use super::{View, dim};

/// Cells of a task's age.
const AGE: usize = 4;

/// Frames of a chain that stay while the panel is not in focus.
const FEW: usize = 6;

impl View<'_> {
    /// The lines of a row.
    pub(super) fn row(&self, row: &Row) -> Vec<Line<'static>> {
        let Some(task) = self.graph.task(row.task) else {
            return Vec::new();
        };
        let close = self.suspect == Some(row.task) || self.room.focused;
        let mut lines = self.line(row, task, close);
        if close {
            lines.extend(self.chain(task));
        }
        lines
    }

    /// One line; what does not fit goes on the next where the task is looked at closely, and away where it is not.
    fn line(&self, row: &Row, task: &Task, close: bool) -> Vec<Line<'static>> {
        let is_suspect = self.suspect == Some(row.task);
        let mark = if is_suspect { "▲" } else { " " };
        let (sign, sign_style) = sign(task.state);
        let at_rest = self.graph.role(row.task) == TaskRole::Idle;
        let style = dimmed(at_rest);
        let cells = (self.room.width / 5).clamp(9, 16);
        let age = format::age(self.standing.still_s(task.id));
        let mut spans = vec![
            Span::styled(format!(" {mark}"), theme::WARN),
            Span::styled(format!("{sign} "), sign_style),
            Span::styled(
                text::left(&name(row, task), cells),
                if is_suspect { theme::BOLD } else { style },
            ),
            Span::styled(format!(" {}  ", text::right(&age, AGE)), style),
        ];
        let used: usize = spans.iter().map(Span::width).sum();
        let room = self.room.width.saturating_sub(used);
        let parts = self.words(row, task, at_rest);
        let words = parts.join(" · ");
        let (place, place_style) = self.place(task, room);
        let fits = place.width() + 2 + words.width() <= room;
        spans.push(Span::styled(
            place,
            if at_rest { theme::DIM } else { place_style },
        ));
        if fits || !close {
            spans.push(Span::styled(format!("  {words}"), style));
            return vec![Line::from(spans)];
        }
        let mut lines = vec![Line::from(spans)];
        let lead = || Span::raw("        ");
        let width = self.room.width;
        for part in &parts {
            lines.extend(text::hanging(lead(), 8, part, style, width));
        }
        lines
    }

    /// Where it stands: the application's innermost frame, else a package's. Folders give way where it has no more than two thirds
    /// of the room, then the function.
    fn place(&self, task: &Task, room: usize) -> (String, Style) {
        let Some(frame) = task::telling_frame(task) else {
            return (String::new(), theme::DIM);
        };
        let style = match frame.is_library() {
            true => theme::DIM,
            false => theme::OWN,
        };
        let most = room * 2 / 3;
        let whole = self.frame(frame);
        if whole.width() <= most {
            return (whole, style);
        }
        let place = format::place(frame, self.cwd);
        let file = format!(" ({})", place.rsplit('/').next().unwrap_or(&place));
        let function = text::cut(&frame.function, most.saturating_sub(file.width()).max(8));
        (text::cut(&format!("{function}{file}"), most), style)
    }

    fn frame(&self, frame: &Frame) -> String {
        format!("{} ({})", frame.function, format::place(frame, self.cwd))
    }

    /// What it does or waits for, then what the blocks around it say.
    fn words(&self, row: &Row, task: &Task, at_rest: bool) -> Vec<String> {
        if let Some(call) = words::awaits(task).filter(|_| at_rest) {
            return vec![format!("at rest ({call})")];
        }
        let state = match task.state {
            TaskState::Running => Some("running".to_owned()),
            TaskState::Runnable => Some("could go on: the loop has not got to it".to_owned()),
            TaskState::NotStarted => Some("not started".to_owned()),
            TaskState::Waiting => words::of(self.graph, row.task),
        };
        let mut parts: Vec<String> = state.into_iter().collect();
        if row.times == 1 {
            parts.extend(words::blocks(self.graph, task));
        }
        parts
    }

    /// The frames of a task, from the innermost: the application's own alone while the panel is not in focus, since the first of
    /// them stands on the task's own line.
    fn chain(&self, task: &Task) -> Vec<Line<'static>> {
        if self.room.focused {
            return task.frames.iter().rev().map(|f| self.step(f)).collect();
        }
        let innermost = task::own(task).map_or(task.frames.len(), |(at, _)| at);
        let above = task.frames.get(..innermost).unwrap_or(&[]);
        let own: Vec<&Frame> = above.iter().rev().filter(|f| !f.is_library()).collect();
        let mut lines: Vec<Line<'static>> = own.iter().take(FEW).map(|f| self.step(f)).collect();
        let libraries = above.iter().filter(|f| f.is_library());
        if let (n, Some(outermost)) = (libraries.clone().count(), libraries.clone().next()) {
            let from = self.frame(outermost);
            let words = match n {
                1 => format!("        {from}"),
                n => format!("        … {n} library frames, from {from}"),
            };
            lines.push(dim(words));
        }
        lines
    }

    fn step(&self, frame: &Frame) -> Line<'static> {
        let (sign, style) = match frame.is_library() {
            true => (" ", theme::DIM),
            false => ("▸", theme::OWN),
        };
        let room = self.room.width.saturating_sub(8);
        let words = text::cut_middle(&self.frame(frame), room);
        Line::from(Span::styled(format!("      {sign} {words}"), style))
    }
}

/// `└ Task-7`, `38 ×`.
fn name(row: &Row, task: &Task) -> String {
    let tree = match row.depth {
        0 => String::new(),
        n => format!("{}└ ", "  ".repeat(n.min(6) - 1)),
    };
    match row.times {
        1 => format!("{tree}{}", task.name),
        n => format!("{tree}{n} ×"),
    }
}

/// The state as a sign; all but the commonest have their word on the line too.
fn sign(state: TaskState) -> (&'static str, Style) {
    match state {
        TaskState::Running => ("▶", theme::OK),
        TaskState::Waiting => ("·", theme::PLAIN),
        TaskState::Runnable => ("»", theme::WARN),
        TaskState::NotStarted => ("○", theme::DIM),
    }
}

fn dimmed(at_rest: bool) -> Style {
    if at_rest { theme::DIM } else { theme::PLAIN }
}
