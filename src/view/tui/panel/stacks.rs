//! Panel 2: where does every Python thread stand? Innermost frame first, the application's own frames set off.

use ratatui::text::{Line, Span};

use crate::snapshot::{Activity, Frame, Moment, Python, Stack};
use crate::view::format;
use crate::view::tui::{text, theme};

use super::{Person, Room, Subject, gather, heading};

/// Frames that stay of a long stack while the panel is not in focus: innermost and outermost.
const INNERMOST: usize = 6;
const OUTERMOST: usize = 2;

/// Seconds after which a stack says how old it is.
const OLD_S: f64 = 5.0;

/// The lines.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let alive = subject.people.iter().filter(|p| !p.has_ended());
    let mut lines = gather(alive, room, |person| {
        let mut lines = of_process(subject, person, room);
        if subject.people.len() > 1 {
            lines.insert(0, heading(format!(" {}", person.title()), standing(person)));
        }
        lines
    });
    if lines.is_empty() {
        lines.push(Line::from(Span::styled(
            " – no live process; [4] Exits has the last frames",
            theme::DIM,
        )));
    }
    lines
}

/// How long the main thread has stood still, where it is long enough to mean something.
fn standing(person: &Person<'_>) -> String {
    match person.member.and_then(|m| m.same_frame_s) {
        Some(seconds) if seconds >= 2.0 => format!(
            "  main thread on the same frames for {}",
            format::duration(seconds.trunc())
        ),
        _ => String::new(),
    }
}

fn of_process(subject: &Subject<'_>, person: &Person<'_>, room: Room) -> Vec<Line<'static>> {
    let process = person.process;
    let unseen = || subject.why_unseen(process.key.pid, "stacks", &["stack", "python", "memory"]);
    let Some(python) = &process.python else {
        return vec![Line::from(Span::styled(
            "  – not a Python process",
            theme::DIM,
        ))];
    };
    let Some(stacks) = &python.stacks else {
        return vec![unseen()];
    };
    let cwd = process.cwd.as_deref();
    let mut lines: Vec<Line<'static>> = stacks
        .list
        .iter()
        .flat_map(|stack| thread(stack, cwd, room))
        .collect();
    if stacks.torn > 0 {
        let words = format!(
            "  ? {} more threads moved while they were read",
            stacks.torn
        );
        lines.push(Line::from(Span::styled(words, theme::DIM)));
    }
    lines.extend(age(python, subject.snapshot.at));
    lines
}

fn age(python: &Python, now: Moment) -> Option<Line<'static>> {
    let at = python
        .stacks_true_at
        .or(python.stacks.as_ref().map(|s| s.at))?;
    let seconds = now.seconds_since(at);
    (seconds >= OLD_S).then(|| {
        Line::from(Span::styled(
            format!("  read {} ago", format::duration(seconds.trunc())),
            theme::DIM,
        ))
    })
}

fn thread(stack: &Stack, cwd: Option<&str>, room: Room) -> Vec<Line<'static>> {
    let mut lines = vec![title(stack)];
    let total = stack.frames.len();
    let fold = !room.focused && total > INNERMOST + OUTERMOST + 1;
    for (depth, frame) in stack.frames.iter().rev().enumerate() {
        if fold && depth == INNERMOST {
            let hidden = total - INNERMOST - OUTERMOST;
            lines.extend(first_own_hidden(stack, cwd, room.width));
            lines.push(Line::from(Span::styled(
                format!("      … {hidden} frames"),
                theme::DIM,
            )));
        }
        if fold && (INNERMOST..total - OUTERMOST).contains(&depth) {
            continue;
        }
        lines.push(line(frame, cwd, room.width));
    }
    lines
}

/// The innermost frame of the application's own, where folding would hide it.
fn first_own_hidden(stack: &Stack, cwd: Option<&str>, width: usize) -> Option<Line<'static>> {
    let at = stack.frames.iter().rev().position(|f| !f.is_library())?;
    let hidden = (INNERMOST..stack.frames.len() - OUTERMOST).contains(&at);
    let frame = stack.frames.iter().rev().nth(at).filter(|_| hidden)?;
    Some(line(frame, cwd, width))
}

/// `  MainThread 4127  in connect()  holds the GIL`.
fn title(stack: &Stack) -> Line<'static> {
    let name = stack.name.as_deref().unwrap_or(if stack.is_main() {
        "MainThread"
    } else {
        "thread"
    });
    let tid = stack
        .tid
        .map_or_else(|| "?".to_owned(), |tid| tid.to_string());
    let style = match stack.activity {
        Activity::Running | Activity::Selector => theme::PLAIN,
        Activity::Unknown => theme::DIM,
        _ => theme::WARN,
    };
    let mut spans = vec![
        Span::styled(format!("  {} {tid}", text::cut(name, 40)), theme::BOLD),
        Span::styled(format!("  {}", format::activity(stack.activity)), style),
    ];
    if stack.holds_gil {
        spans.push(Span::styled("  holds the GIL", theme::WARN));
    }
    Line::from(spans)
}

/// `    ▸ connect (app/db.py:31)` for the application's own frames, dimmed without the sign for the others.
fn line(frame: &Frame, cwd: Option<&str>, width: usize) -> Line<'static> {
    let own = !frame.is_library();
    let (sign, style) = if own {
        ("▸", theme::OWN)
    } else {
        (" ", theme::DIM)
    };
    let function = text::cut(&frame.function, width / 2);
    let room = width.saturating_sub(9 + unicode_width::UnicodeWidthStr::width(function.as_str()));
    let place = text::cut_middle(&format::place(frame, cwd), room.max(12));
    Line::from(Span::styled(
        format!("    {sign} {function} ({place})"),
        style,
    ))
}
