//! Panel 2: where does every Python thread stand? The application's own frame first, then what it calls, then who called it; the frame
//! that has changed since the look before is marked, threads in one place share their lines.
//!
//! ```text
//!   MainThread 4127  in connect()  the same for 43 s
//!     ▸ wait_for_database (app/db.py:31)
//!         → create_connection (socket.py:836)
//!    *▸ lifespan (app/main.py:14)
//!   38 × fetch_price (app.py:40)  in recvfrom()  AnyIO worker thread
//! ```

use ratatui::text::{Line, Span};

use crate::snapshot::{Activity, Python, ReadBy, Stack, Stacks, ThreadLocals};
use crate::view::format;
use crate::view::tui::{text, theme};

use super::{Person, Room, Subject, gather, heading};

mod fold;
mod frames;
mod locals;

use fold::Group;
use frames::Frames;

/// Seconds after which a stack says how old it is, and a thread that it has not moved.
const OLD_S: f64 = 5.0;
const STILL_S: f64 = 2.0;

/// Threads of a group that are named while the panel is in focus.
const NAMED: usize = 400;

/// The lines.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let alive = subject.people.iter().filter(|p| !p.has_ended());
    let mut lines = gather(alive, room, |person| {
        let mut lines = of_process(subject, person, room);
        if subject.people.len() > 1 {
            lines.insert(0, heading(format!(" {}", person.title()), String::new()));
        }
        lines
    });
    if lines.is_empty() {
        lines.push(dim(
            " – no live process; [4] Exits has the last frames".to_owned()
        ));
    }
    lines
}

fn of_process(subject: &Subject<'_>, person: &Person<'_>, room: Room) -> Vec<Line<'static>> {
    let process = person.process;
    let unseen = || subject.why_unseen(process.key.pid, "stacks", &["stack", "python", "memory"]);
    let Some(python) = &process.python else {
        return vec![dim("  – not a Python process".to_owned())];
    };
    let Some(stacks) = &python.stacks else {
        return vec![unseen()];
    };
    let asked = subject.locals.as_ref().and_then(|l| l.of(process.key));
    let answer = asked.flatten().and_then(|a| a.result.as_deref().ok());
    let view = View {
        subject,
        person,
        room,
        locals: answer.unwrap_or_default(),
    };
    let about = asked.map(|answer| locals::about(answer, subject.snapshot.at));
    let mut lines: Vec<Line<'static>> = about.into_iter().collect();
    for group in fold::groups(stacks, process.key.pid) {
        lines.extend(view.group(&group));
    }
    if stacks.torn > 0 {
        let words = format!(
            "  ? {} more threads moved while they were read",
            stacks.torn
        );
        lines.push(dim(words));
    }
    lines.extend(view.source(python, stacks));
    lines
}

/// The threads of one process, as they are shown.
struct View<'a> {
    subject: &'a Subject<'a>,
    person: &'a Person<'a>,
    room: Room,
    /// What was read because the user asked.
    locals: &'a [ThreadLocals],
}

impl View<'_> {
    /// One thread, or several in one place.
    fn group(&self, group: &Group<'_>) -> Vec<Line<'static>> {
        let stack = group.first;
        let place = stack
            .tid
            .and_then(|tid| self.person.standing.threads.of(tid));
        let mut lines = match group.others.is_empty() {
            true => vec![self.title(stack)],
            false => self.titles(group),
        };
        let frames = Frames {
            stack,
            cwd: self.person.process.cwd.as_deref(),
            room: self.room,
            changed: place.and_then(|p| p.changed),
            locals: self.locals,
        };
        lines.extend(frames.lines());
        lines
    }

    /// `  MainThread 4127  in connect()  holds the GIL  the same for 43 s`.
    fn title(&self, stack: &Stack) -> Line<'static> {
        let tid = stack
            .tid
            .map_or_else(|| "?".to_owned(), |tid| tid.to_string());
        let name = text::cut(name(stack), 40);
        let mut spans = vec![
            Span::styled(format!("  {name} {tid}"), theme::BOLD),
            Span::styled(
                format!("  {}", format::activity(stack.activity)),
                style(stack),
            ),
        ];
        if stack.holds_gil {
            spans.push(Span::styled("  holds the GIL", theme::WARN));
        }
        spans.extend(self.still(stack));
        Line::from(spans)
    }

    /// How long a thread has not moved, where that says something: not of one that waits for work.
    fn still(&self, stack: &Stack) -> Option<Span<'static>> {
        let place = self.person.standing.threads.of(stack.tid?)?;
        let seconds = self.subject.snapshot.at.seconds_since(place.since);
        let at_work =
            stack.activity != Activity::Selector && stack.frames.iter().any(|f| !f.is_library());
        (at_work && seconds >= STILL_S).then(|| {
            let seconds = format::duration(seconds.trunc());
            Span::raw(format!("  the same for {seconds}"))
        })
    }

    /// `  38 × fetch_price (app.py:40)  in recvfrom()  AnyIO worker thread`; all of them by name when in focus.
    fn titles(&self, group: &Group<'_>) -> Vec<Line<'static>> {
        let stack = group.first;
        let cwd = self.person.process.cwd.as_deref();
        let place = group.place().map_or_else(String::new, |f| {
            format!("{} ({})", f.function, format::place(f, cwd))
        });
        let place_style = match group.place().is_some_and(|f| !f.is_library()) {
            true => theme::OWN,
            false => theme::PLAIN,
        };
        let mut spans = vec![
            Span::styled(format!("  {} × ", group.len()), theme::BOLD),
            Span::styled(text::cut_middle(&place, self.room.width / 2), place_style),
            Span::styled(
                format!("  {}", format::activity(stack.activity)),
                style(stack),
            ),
            Span::styled(format!("  {}", group.names()), theme::DIM),
        ];
        spans.extend(self.still(stack));
        let mut lines = vec![Line::from(spans)];
        if self.room.focused {
            let all = group.all().take(NAMED);
            let named: Vec<String> = all
                .map(|s| format!("{} {}", name(s), s.tid.unwrap_or_default()))
                .collect();
            let words = text::hanging(
                Span::raw("    "),
                4,
                &named.join(", "),
                theme::DIM,
                self.room.width,
            );
            lines.extend(words);
        }
        lines
    }

    /// Who has read the stacks, where it was not our own reader, and how long ago, where that is long.
    fn source(&self, python: &Python, stacks: &Stacks) -> Option<Line<'static>> {
        let at = python.stacks_true_at.unwrap_or(stacks.at);
        let seconds = self.subject.snapshot.at.seconds_since(at);
        let ago = (seconds >= OLD_S).then(|| format!(" {} ago", format::duration(seconds.trunc())));
        let by = match stacks.by {
            ReadBy::Own => "",
            ReadBy::PySpy => " by py-spy",
        };
        (ago.is_some() || !by.is_empty())
            .then(|| dim(format!("  read{by}{}", ago.unwrap_or_default())))
    }
}

fn name(stack: &Stack) -> &str {
    stack.name.as_deref().unwrap_or(match stack.is_main() {
        true => "MainThread",
        false => "thread",
    })
}

fn style(stack: &Stack) -> ratatui::style::Style {
    match stack.activity {
        Activity::Running | Activity::Selector => theme::PLAIN,
        Activity::Unknown => theme::DIM,
        _ => theme::WARN,
    }
}

fn dim(words: String) -> Line<'static> {
    Line::from(Span::styled(words, theme::DIM))
}
