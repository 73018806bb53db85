//! Panel 7: what is not as it was at the marked moment? Only what differs; both moments may be of the past, in either order.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::diagnosis::{Member, Server, ServerListener, sockets};
use crate::snapshot::{Listener, ListenerState, Process, Snapshot};
use crate::view::format;
use crate::view::tui::{facts, text, theme};

use super::{Room, Subject, heading};

/// The lines.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let Some((then, before)) = subject
        .marked
        .and_then(|m| Some((m.snapshot.as_deref()?, m)))
    else {
        return vec![dim(
            " m marks the moment that is shown; here stands what differs from it, later or before"
                .to_owned(),
        )];
    };
    let Some(server) = subject.server else {
        return vec![dim(" – changes are told of servers only".to_owned())];
    };
    let mut lines = vec![between(then, subject)];
    let Some(was) = facts::server(&before.diagnosis, server.root) else {
        lines.push(line(
            "  the server was not there at the marked moment".to_owned(),
            theme::WARN,
        ));
        return lines;
    };
    let told = lines.len();
    if !subject.narrowed {
        of_server(was, server, &mut lines);
        of_listeners(was, server, &mut lines);
    }
    of_members(was, server, subject, &mut lines);
    if lines.len() == told {
        lines.push(dim("  nothing that is shown here differs".to_owned()));
    }
    for line in &mut lines {
        for span in &mut line.spans {
            span.content = text::cut(&span.content, room.width).into();
        }
    }
    lines
}

/// ` 14:02:11, the marked moment → 14:05:40, 3m 29s later`.
fn between(then: &Snapshot, subject: &Subject<'_>) -> Line<'static> {
    let now = subject.snapshot;
    let clock = |ms| format::clock_or_date(ms, now.wall_ms, subject.utc_offset_s);
    let passed_s = (now.wall_ms - then.wall_ms) as f64 / 1e3;
    let later = if passed_s < 0.0 { "before" } else { "later" };
    let rest = format!(
        " → {}, {} {later}",
        clock(now.wall_ms),
        format::duration(passed_s.abs())
    );
    heading(format!(" {}, the marked moment", clock(then.wall_ms)), rest)
}

fn of_server(was: &Server, is: &Server, lines: &mut Vec<Line<'static>>) {
    if was.phase != is.phase {
        let words = format!("  phase {} → {}", was.phase.word(), is.phase.word());
        lines.push(line(words, theme::BOLD));
    }
    let has = |server: &Server, code| server.findings.iter().any(|f| f.code == code);
    for finding in is.findings.iter().filter(|f| !has(was, f.code)) {
        let words = format!("  + {}: {}", finding.code.word(), finding.summary);
        lines.push(line(words, theme::FAIL));
    }
    for finding in was.findings.iter().filter(|f| !has(is, f.code)) {
        let words = format!("  − {}: {}", finding.code.word(), finding.summary);
        lines.push(line(words, theme::OK));
    }
    if was.exits_total != is.exits_total {
        let words = format!("  deaths {} → {}", was.exits_total, is.exits_total);
        lines.push(line(words, theme::WARN));
    }
}

fn of_listeners(was: &Server, is: &Server, lines: &mut Vec<Line<'static>>) {
    let same = |server: &Server, listener: &ServerListener| {
        let inode = listener.socket.inode;
        server
            .listeners
            .iter()
            .find(|l| l.socket.inode == inode)
            .cloned()
    };
    for listener in &is.listeners {
        let address = sockets::address(&listener.socket);
        let Some(before) = same(was, listener) else {
            let words = format!("  + {address} ({})", word(&listener.socket));
            lines.push(line(words, theme::PLAIN));
            continue;
        };
        let (then, now) = (&before.socket, &listener.socket);
        let mut facts = vec![moved("accept queue", then.accept_queue, now.accept_queue)];
        facts.push(moved("backlog", then.backlog, now.backlog));
        facts.push(moved("drops", then.drops, now.drops));
        if then.state != now.state {
            facts.push(Some(format!("{} → {}", word(then), word(now))));
        }
        tell(&address, facts, lines);
    }
    for listener in was.listeners.iter().filter(|l| same(is, l).is_none()) {
        let words = format!("  − {}", sockets::address(&listener.socket));
        lines.push(line(words, theme::WARN));
    }
}

fn word(socket: &Listener) -> &'static str {
    match socket.state {
        ListenerState::Bound => "bound",
        ListenerState::Listening => "listening",
    }
}

fn of_members(was: &Server, is: &Server, subject: &Subject<'_>, lines: &mut Vec<Line<'static>>) {
    let spoken_of = |member: &&Member| {
        let key = member.process.key;
        subject.people.iter().any(|p| p.process.key == key)
    };
    for member in is.members.iter().filter(spoken_of) {
        let who = format!("{} {}", member.role.word(), member.process.key.pid);
        match facts::member(was, member.process.key) {
            Some(before) => tell(&who, of_member(before, member), lines),
            None => lines.push(line(format!("  + {who}"), theme::PLAIN)),
        }
    }
    if subject.narrowed {
        return;
    }
    for member in &was.members {
        if facts::member(is, member.process.key).is_none() {
            let words = format!("  − {} {}", member.role.word(), member.process.key.pid);
            lines.push(line(words, theme::WARN));
        }
    }
}

/// What differs of one process.
fn of_member(was: &Member, is: &Member) -> Vec<Option<String>> {
    let (then, now) = (&*was.process, &*is.process);
    let mut facts = Vec::new();
    if was.phase != is.phase {
        facts.push(Some(format!("{} → {}", was.phase.word(), is.phase.word())));
    }
    if then.state != now.state && (then.has_ended() || now.has_ended()) {
        facts.push(Some(format!(
            "state {} → {}",
            then.state.letter(),
            now.state.letter()
        )));
    }
    let fds = |p: &Process| p.fds.as_ref().map(|f| f.open);
    facts.push(moved("fds", fds(then), fds(now)));
    if let (Some(a), Some(b)) = (&then.fds, &now.fds) {
        let classes = a.classes.by_word().into_iter().zip(b.classes.by_word());
        for ((word, a), (_, b)) in classes {
            facts.push(moved(word, Some(a), Some(b)));
        }
    }
    facts.push(moved(
        "threads",
        Some(then.thread_count),
        Some(now.thread_count),
    ));
    let tasks = |p: &Process| {
        let tasks = p.python.as_ref()?.tasks.as_ref()?;
        Some(tasks.list.len())
    };
    facts.push(moved("tasks", tasks(then), tasks(now)));
    // A page more or less is no news.
    if then.rss.abs_diff(now.rss) >= 1 << 20 {
        let (a, b) = (format::bytes(then.rss), format::bytes(now.rss));
        facts.push(Some(format!("rss {a} → {b}")));
    }
    let cpu_s = (now.cpu_ns as f64 - then.cpu_ns as f64).abs() / 1e9;
    if cpu_s >= 0.1 {
        facts.push(Some(format!("{} of CPU", format::duration(cpu_s))));
    }
    facts.push(place(then, now));
    facts
}

/// Where the main thread stands, if that is elsewhere: `serve (app.py:12) → read (app.py:40)`.
fn place(then: &Process, now: &Process) -> Option<String> {
    let of = |p: &Process| {
        let stack = p.main_stack()?;
        let own = stack.frames.iter().rev().find(|f| !f.is_library());
        let frame = own.or_else(|| stack.leaf())?;
        Some(format!(
            "{} ({})",
            frame.function,
            format::place(frame, p.cwd.as_deref())
        ))
    };
    let (a, b) = (of(then)?, of(now)?);
    (a != b).then(|| format!("main thread {a} → {b}"))
}

/// `fds 11 → 64`; `None` if it has not moved or was not seen at both moments.
fn moved<T: PartialEq + std::fmt::Display>(
    word: &str,
    then: Option<T>,
    now: Option<T>,
) -> Option<String> {
    let (then, now) = (then?, now?);
    (then != now).then(|| format!("{word} {then} → {now}"))
}

fn tell(who: &str, facts: Vec<Option<String>>, lines: &mut Vec<Line<'static>>) {
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if !facts.is_empty() {
        lines.push(line(format!("  {who}: {}", facts.join(", ")), theme::PLAIN));
    }
}

fn line(words: String, style: Style) -> Line<'static> {
    Line::from(Span::styled(words, style))
}

fn dim(words: String) -> Line<'static> {
    line(words, theme::DIM)
}
