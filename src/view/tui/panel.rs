//! What is drawn: one file for each part of the screen. Each makes lines from a [`Subject`] and the room that it has; none knows where
//! on the screen it stands, none changes anything.

use ratatui::text::{Line, Span};

use crate::diagnosis::{Member, Outsider, Server, Standing};
use crate::snapshot::{Gap, LocalsAnswer, Moment, Process, ProcessKey, Snapshot};

pub mod changes;
pub mod exits;
pub mod finding;
pub mod footer;
pub mod header;
pub mod help;
pub mod log;
pub mod ruler;
pub mod sockets;
pub mod stacks;
pub mod table;
pub mod tasks;
pub mod threads;
pub mod timeline;
pub mod why;

use crate::view::Scene;

use super::arrange::Sort;
use super::theme;

/// The panels in the lower part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its title")]
pub enum PanelId {
    Sockets,
    Stacks,
    Threads,
    Exits,
    Tasks,
    Log,
    Changes,
}

impl PanelId {
    /// All of them, in the order of their digits.
    pub const ALL: [PanelId; 7] = [
        Self::Sockets,
        Self::Stacks,
        Self::Threads,
        Self::Exits,
        Self::Tasks,
        Self::Log,
        Self::Changes,
    ];

    /// The digit that shows it.
    pub fn digit(self) -> char {
        match self {
            Self::Sockets => '1',
            Self::Stacks => '2',
            Self::Threads => '3',
            Self::Exits => '4',
            Self::Tasks => '5',
            Self::Log => '6',
            Self::Changes => '7',
        }
    }

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sockets => "Sockets",
            Self::Stacks => "Stacks",
            Self::Threads => "Threads & files",
            Self::Exits => "Exits",
            Self::Tasks => "Tasks",
            Self::Log => "Log",
            Self::Changes => "Changes",
        }
    }

    /// Its title in one word.
    pub fn short_title(self) -> &'static str {
        self.title().split(' ').next().unwrap_or_default()
    }

    /// Lines that have gone past its top while nobody scrolls: the newest of a log are at its end.
    pub fn at_rest(self, lines: usize, rows: usize) -> usize {
        match self {
            Self::Log => lines.saturating_sub(rows),
            _ => 0,
        }
    }

    /// Its lines.
    pub fn lines(self, subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
        let mut lines = match self {
            Self::Sockets => sockets::lines(subject, room),
            Self::Stacks => stacks::lines(subject, room),
            Self::Threads => threads::lines(subject, room),
            Self::Exits => exits::lines(subject, room),
            Self::Tasks => tasks::lines(subject, room),
            Self::Log => log::lines(subject, room),
            Self::Changes => changes::lines(subject, room),
        };
        lines.truncate(room.most());
        lines
    }
}

/// The room that a panel has.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Cells.
    pub width: usize,
    /// True if the user looks at this panel: nothing is folded away.
    pub focused: bool,
}

impl Room {
    /// Lines beyond which a panel need not go on: what is scrolled through is long, what is glanced at is not, and it is made
    /// anew for each picture.
    pub fn most(self) -> usize {
        if self.focused { 4000 } else { 200 }
    }
}

/// What WHY and the panels speak of: the selected server, narrowed to one process or not, or other Python.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The look.
    pub snapshot: &'a Snapshot,
    /// The server, if it is one.
    pub server: Option<&'a Server>,
    /// The process that is no server, if it is one.
    pub outsider: Option<&'a Outsider>,
    /// The processes that are spoken of, as in the server: root first.
    pub people: Vec<Person<'a>>,
    /// True if the subject is one process of the server.
    pub narrowed: bool,
    /// Locals that were asked for.
    pub locals: Option<Asked<'a>>,
    /// The scene at the moment that the user has marked.
    pub marked: Option<&'a Scene>,
    /// The finding that has the cursor, by its place; `None` while WHY is not in focus.
    pub chosen: Option<usize>,
    /// Seconds east of UTC.
    pub utc_offset_s: i32,
}

/// Locals that were asked for, as far as they have come.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Of which processes.
    pub keys: &'a [ProcessKey],
    /// Since when.
    pub since: Moment,
    /// All answers that there are, of whomever.
    pub answers: &'a [LocalsAnswer],
}

impl Asked<'_> {
    /// Whether those of this process were asked for, and the answer, which is no older than the question.
    pub fn of(&self, key: ProcessKey) -> Option<Option<&LocalsAnswer>> {
        let answers = self.answers.iter().filter(|a| a.at >= self.since);
        self.keys
            .contains(&key)
            .then(|| answers.rev().find(|a| a.key == key))
    }
}

/// A process that is spoken of.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// The process.
    pub process: &'a Process,
    /// Its place in the server, if it has one.
    pub member: Option<&'a Member>,
    /// Where its tasks and threads stand.
    pub standing: &'a Standing,
}

impl Person<'_> {
    /// `worker 4131`.
    pub fn title(&self) -> String {
        let word = self.member.map_or("process", |m| m.role.word());
        format!("{word} {}", self.process.key.pid)
    }

    /// True if it has ended.
    pub fn has_ended(&self) -> bool {
        self.member.is_some_and(|m| m.exit.is_some())
    }
}

impl<'a> Subject<'a> {
    /// A whole server, of which nothing was asked.
    pub fn of_server(snapshot: &'a Snapshot, server: &'a Server, utc_offset_s: i32) -> Self {
        let people = server.members.iter().map(|m| Person {
            process: &m.process,
            member: Some(m),
            standing: &m.standing,
        });
        Self {
            snapshot,
            server: Some(server),
            outsider: None,
            people: people.collect(),
            narrowed: false,
            locals: None,
            marked: None,
            chosen: None,
            utc_offset_s,
        }
    }

    /// What it is, as far as it decides which panels matter.
    pub fn sort(&self) -> Sort {
        let has_loop = |p: &Person<'_>| {
            let tasks = p.standing.graph().map(|g| &g.tasks);
            tasks.is_some_and(|t| !t.loops.is_empty() || !t.list.is_empty())
        };
        match self.people.iter().any(has_loop) {
            true => Sort::Loop,
            false => Sort::Plain,
        }
    }

    /// What could not be seen and concerns these processes or the whole machine.
    pub fn gaps(&self) -> impl Iterator<Item = &'a Gap> {
        let pids: Vec<u32> = self.people.iter().map(|p| p.process.key.pid).collect();
        self.snapshot
            .gaps
            .iter()
            .filter(move |gap| gap.pid.is_none_or(|pid| pids.contains(&pid)))
    }

    /// A line that says why something of a process is `?`: the gap whose source has one of the words in its name.
    pub fn why_unseen(&self, pid: u32, what: &str, sources: &[&str]) -> Line<'static> {
        let concerns = |gap: &&Gap| {
            gap.pid.is_none_or(|p| p == pid) && sources.iter().any(|word| gap.source.contains(word))
        };
        let gap = self
            .snapshot
            .gaps
            .iter()
            .filter(concerns)
            .max_by_key(|gap| gap.pid.is_some());
        let text = match gap {
            None => format!("  ? {what}: not seen yet"),
            Some(Gap {
                cause,
                unlock: None,
                ..
            }) => format!("  ? {what} not seen: {cause}"),
            Some(Gap {
                cause,
                unlock: Some(unlock),
                ..
            }) => format!("  ? {what} not seen: {cause} → {unlock}"),
        };
        Line::from(Span::styled(text, theme::DIM))
    }
}

/// The lines of each part, one after the other, until there are enough.
fn gather<P>(
    parts: impl IntoIterator<Item = P>,
    room: Room,
    lines_of: impl Fn(P) -> Vec<Line<'static>>,
) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for part in parts {
        lines.extend(lines_of(part));
        if lines.len() > room.most() {
            break;
        }
    }
    lines
}

/// A heading inside a panel.
fn heading(words: String, rest: String) -> Line<'static> {
    Line::from(vec![Span::styled(words, theme::BOLD), Span::raw(rest)])
}
