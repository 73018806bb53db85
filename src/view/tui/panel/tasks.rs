//! Panel 5: what do the asyncio tasks wait for, who waits for whom, and since when? The suspect first, what is at rest last and folded.
//!
//! ```text
//!  asyncio loop in thread 4127 · 12 tasks: 1 running, 11 waiting · ready 3
//!  ThreadPoolExecutor asyncio_: 5/5 busy, 12 queued
//!  ▲· Task-2         43s  wait_for_leader (app/main.py:5)  Event.wait
//!         ▸ prepare (app/main.py:7)
//!   · Task-1         43s  Server.startup (uvicorn/server.py:116)  Event.wait
//!   ▶ └ Task-7        0s  load (app/cache.py:12)  running
//!   · 38 ×           12s  chat (app/chat.py:9)  at rest (read)
//! ```

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::diagnosis::task::{Graph, suspect, words};
use crate::diagnosis::{Phase, Standing};
use crate::snapshot::{EventLoop, LoopKind, Task, TaskState};
use crate::view::tui::theme;

use super::{Person, Room, Subject, gather, heading};

mod line;
mod rows;

use rows::Row;

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
        lines.push(dim(" – no live process".to_owned()));
    }
    lines
}

fn of_process(subject: &Subject<'_>, person: &Person<'_>, room: Room) -> Vec<Line<'static>> {
    if !person.process.is_python() {
        return vec![dim("  – not a Python process".to_owned())];
    }
    let Some(graph) = person.standing.graph() else {
        return vec![subject.why_unseen(person.process.key.pid, "tasks", &["task"])];
    };
    let tasks = &graph.tasks;
    if tasks.loops.is_empty() && tasks.list.is_empty() && tasks.torn == 0 {
        return vec![dim("  – no tasks: no asyncio loop runs here".to_owned())];
    }
    let phase = person.member.map_or(Phase::NotAServer, |m| m.phase);
    let view = View {
        graph,
        standing: person.standing,
        suspect: suspect::of(person.standing, phase),
        cwd: person.process.cwd.as_deref(),
        room,
    };
    let mut lines = view.loops();
    lines.extend(view.unread());
    lines
}

/// The tasks of one process, as they are shown.
struct View<'a> {
    graph: &'a Graph,
    standing: &'a Standing,
    suspect: Option<usize>,
    cwd: Option<&'a str>,
    room: Room,
}

impl View<'_> {
    /// Each loop with its tasks, that of the suspect first.
    fn loops(&self) -> Vec<Line<'static>> {
        let mut loops: Vec<&EventLoop> = self.graph.tasks.loops.iter().collect();
        let of_suspect = self.suspect.and_then(|at| self.graph.task(at));
        loops.sort_by_key(|l| of_suspect.is_none_or(|t| t.event_loop != l.id));
        let mut lines = Vec::new();
        for (nth, each) in loops.iter().enumerate() {
            lines.extend(self.headline(each));
            if nth == 0 {
                lines.extend(self.pools());
            }
            let rows = rows::of(self.graph, self.standing, self.suspect, |t| {
                t.event_loop == each.id
            });
            lines.extend(self.rows(&rows));
        }
        let known = |t: &Task| loops.iter().any(|l| l.id == t.event_loop);
        let others = rows::of(self.graph, self.standing, self.suspect, |t| !known(t));
        if !others.is_empty() {
            lines.push(dim(" tasks of a loop that was not seen".to_owned()));
            lines.extend(self.rows(&others));
        }
        lines
    }

    fn rows(&self, rows: &[Row]) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        for row in rows {
            lines.extend(self.row(row));
            if lines.len() > self.room.most() {
                break;
            }
        }
        lines
    }

    /// `asyncio loop in thread 4127 · 12 tasks: 1 running, 10 waiting, 1 runnable · ready 3`.
    fn headline(&self, of: &EventLoop) -> Vec<Line<'static>> {
        let kind = match of.kind {
            LoopKind::Asyncio => "asyncio loop",
            LoopKind::Uvloop => "uvloop loop",
            LoopKind::Other => "event loop",
        };
        let thread = match of.tid {
            Some(tid) => format!(" in thread {tid}"),
            None => " that no thread is seen to run".to_owned(),
        };
        let ready = of.ready.map_or(String::new(), |n| format!(" · ready {n}"));
        let counts = self.counts(of);
        let words = format!("{thread} · {counts}{ready}");
        let kind = Span::styled(format!(" {kind}"), theme::BOLD);
        if kind.width() + words.width() <= self.room.width {
            return vec![Line::from(vec![kind, Span::raw(words)])];
        }
        let counts = format!("   {counts}{ready}");
        vec![Line::from(vec![kind, Span::raw(thread)]), Line::raw(counts)]
    }

    fn counts(&self, of: &EventLoop) -> String {
        let tasks = || {
            let all = self.graph.tasks.list.iter();
            all.filter(|t| t.event_loop == of.id)
        };
        let states = [
            (TaskState::Running, "running"),
            (TaskState::Waiting, "waiting"),
            (TaskState::Runnable, "runnable"),
            (TaskState::NotStarted, "not started"),
        ];
        let parts: Vec<String> = states
            .into_iter()
            .map(|(state, word)| (tasks().filter(|t| t.state == state).count(), word))
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        match tasks().count() {
            0 => "no tasks".to_owned(),
            1 => format!("1 task: {}", parts.join(", ")),
            n => format!("{n} tasks: {}", parts.join(", ")),
        }
    }

    /// `ThreadPoolExecutor asyncio_: 5/5 busy, 12 queued`.
    fn pools(&self) -> Vec<Line<'static>> {
        let pools = self.graph.tasks.pools.iter();
        let shown = pools.filter(|p| self.room.focused || p.busy > 0 || p.queued > 0);
        let line = |pool| {
            let style = match words::is_full(pool) {
                true => theme::FAIL,
                false => theme::PLAIN,
            };
            let counts = format!(": {}/{} busy, {} queued", pool.busy, pool.size, pool.queued);
            Line::from(vec![
                Span::styled(format!(" {}", words::pool(pool)), theme::BOLD),
                Span::styled(counts, style),
            ])
        };
        shown.map(line).collect()
    }

    /// What this reading does not show.
    fn unread(&self) -> Vec<Line<'static>> {
        let tasks = &self.graph.tasks;
        let told = [
            (tasks.torn, "more tasks changed while they were read"),
            (tasks.left_out, "more tasks that are not looked at"),
        ];
        told.into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| dim(format!("  ? {n} {what}")))
            .collect()
    }
}

fn dim(words: String) -> Line<'static> {
    Line::from(Span::styled(words, theme::DIM))
}
