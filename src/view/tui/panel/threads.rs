//! Panel 3: what do the operating system's threads do, and which files are open, by class, and which of them grow?

use std::collections::BTreeMap;

use ratatui::text::{Line, Span};

use crate::diagnosis::waits;
use crate::snapshot::{Fds, Process, ProcessState, Thread, ThreadWait, WaitTarget, syscall_name};
use crate::view::format;
use crate::view::tui::{text, theme};

use super::{Person, Room, Subject, gather, heading};

/// Threads of one process that are listed one by one while the panel is not in focus.
const FEW: usize = 8;

/// The lines.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let alive = subject.people.iter().filter(|p| !p.has_ended());
    let mut lines = gather(alive, room, |p| of_process(subject, p, room));
    if lines.is_empty() {
        lines.push(Line::from(Span::styled(" – no live process", theme::DIM)));
    }
    lines
}

fn of_process(subject: &Subject<'_>, person: &Person<'_>, room: Room) -> Vec<Line<'static>> {
    let mut lines = vec![title(person)];
    lines.extend(files(subject, person));
    lines.extend(threads(subject, person, room));
    lines
}

/// ` worker 4131  S sleeping  cpu 2%  mem 41M  python 3.11.7  uid 33  heartbeat 0.4 s ago`.
fn title(person: &Person<'_>) -> Line<'static> {
    let p = person.process;
    let cpu = person
        .member
        .and_then(|m| m.cpu_percent)
        .map_or_else(|| "?".to_owned(), format::percent);
    let version = p
        .python
        .as_ref()
        .map(|py| py.version.clone().unwrap_or_else(|| "?".to_owned()));
    let mut words = format!(
        "  {}  cpu {cpu}  mem {}  uid {}",
        state(p.state),
        format::bytes(p.rss),
        p.uid
    );
    if let Some(version) = version {
        words.push_str(&format!("  python {version}"));
    }
    if let Some(beat) = p.heartbeat {
        let age = beat.age_ms.map_or_else(
            || "never".to_owned(),
            |ms| format!("{} ago", format::duration(ms as f64 / 1000.0)),
        );
        words.push_str(&format!("  heartbeat {age}"));
    }
    if let Some(tracer) = p.tracer {
        words.push_str(&format!("  traced by {tracer}"));
    }
    heading(format!(" {}", person.title()), words)
}

fn files(subject: &Subject<'_>, person: &Person<'_>) -> Vec<Line<'static>> {
    let Some(fds) = &person.process.fds else {
        return vec![subject.why_unseen(person.process.key.pid, "open files", &["fd"])];
    };
    let growth = person
        .member
        .map(|m| m.fd_growth.as_slice())
        .unwrap_or_default();
    let mut lines = vec![open(fds)];
    let mut spans = vec![Span::raw("    ")];
    for (name, count) in fds.classes.by_word() {
        let grows = growth
            .iter()
            .find(|(class, _)| *class == name)
            .map(|(_, per_minute)| *per_minute);
        if count == 0 && grows.is_none() {
            continue;
        }
        spans.push(Span::raw(format!("{name} {count}")));
        if let Some(per_minute) = grows {
            let style = if per_minute > 0.0 {
                theme::WARN
            } else {
                theme::DIM
            };
            spans.push(Span::styled(format!(" ({per_minute:+.0}/min)"), style));
        }
        spans.push(Span::raw("   "));
    }
    lines.push(Line::from(spans));
    lines
}

fn open(fds: &Fds) -> Line<'static> {
    let (limit, style) = match fds.limit {
        None => ("?".to_owned(), theme::PLAIN),
        Some(limit) if fds.open + 1 >= limit => (limit.to_string(), theme::FAIL),
        Some(limit) => (limit.to_string(), theme::PLAIN),
    };
    let stdio: Vec<String> = fds
        .stdio
        .iter()
        .enumerate()
        .map(|(n, to)| {
            format!(
                "{n} → {}",
                to.as_deref()
                    .map_or_else(|| "closed".to_owned(), |t| text::cut_middle(t, 30))
            )
        })
        .collect();
    Line::from(vec![
        Span::styled(format!("  files open {} of {limit}", fds.open), style),
        Span::styled(format!("   {}", stdio.join("  ")), theme::DIM),
    ])
}

fn threads(subject: &Subject<'_>, person: &Person<'_>, room: Room) -> Vec<Line<'static>> {
    let process = person.process;
    let Some(threads) = &process.threads else {
        let words = format!("{} threads, what they do", process.thread_count);
        return vec![subject.why_unseen(process.key.pid, &words, &["thread", "task"])];
    };
    let mut lines = vec![Line::raw(format!("  threads {}", process.thread_count))];
    if room.focused || threads.len() <= FEW {
        lines.extend(threads.iter().map(|t| thread(subject, process, t)));
        return lines;
    }
    lines.extend(grouped(process, threads).into_iter().take(FEW));
    lines
}

fn thread(subject: &Subject<'_>, process: &Process, t: &Thread) -> Line<'static> {
    let waits = told(process, t).map(|w| waits::words(w, subject.snapshot.at));
    let words = format!(
        "    {} {}  {}  {}",
        text::right(&t.tid.to_string(), 7),
        text::left(&t.name, 15),
        state(t.state),
        waits.unwrap_or_else(|| does(t))
    );
    Line::from(Span::styled(words, style(t)))
}

/// Threads that do the same stand on one line: `12 × S sleeping  futex`.
fn grouped(process: &Process, threads: &[Thread]) -> Vec<Line<'static>> {
    let mut alike: BTreeMap<String, (usize, &Thread)> = BTreeMap::new();
    for t in threads {
        let does = told(process, t).map_or_else(|| does(t), waits::brief);
        alike
            .entry(format!("{}  {does}", state(t.state)))
            .or_insert((0, t))
            .0 += 1;
    }
    let mut groups: Vec<(String, (usize, &Thread))> = alike.into_iter().collect();
    groups.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
    let line = |(words, (n, t)): (String, (usize, &Thread))| {
        Line::from(Span::styled(
            format!("    {} × {words}", text::right(&n.to_string(), 3)),
            style(t),
        ))
    };
    groups.into_iter().map(line).collect()
}

/// What the thread waits for, where it was looked at closely and is more than a word in memory, at which most threads rest.
fn told<'a>(process: &'a Process, t: &Thread) -> Option<&'a ThreadWait> {
    let wait = process.wait(t.tid)?;
    let same = t.syscall.is_some_and(|call| call.number == wait.call);
    (same && !matches!(wait.on, WaitTarget::Futex { .. })).then_some(wait)
}

/// The system call and what it waits on; `?` where that may not be read.
fn does(t: &Thread) -> String {
    let call = match (t.syscall, t.syscall_seen) {
        (Some(call), _) => syscall_name(call.number),
        (None, true) => "–".to_owned(),
        (None, false) => "?".to_owned(),
    };
    match &t.waits_on {
        Some(on) => format!("{call} on {}", text::cut_middle(on, 48)),
        None => call,
    }
}

fn style(t: &Thread) -> ratatui::style::Style {
    match t.state {
        ProcessState::DiskSleep | ProcessState::Stopped | ProcessState::Tracing => theme::WARN,
        _ => theme::PLAIN,
    }
}

/// The letter that ps shows, and its word.
fn state(state: ProcessState) -> String {
    let word = match state {
        ProcessState::Running => "running",
        ProcessState::Sleeping => "sleeping",
        ProcessState::DiskSleep => "uninterruptible",
        ProcessState::Stopped => "stopped",
        ProcessState::Tracing => "traced",
        ProcessState::Zombie => "zombie",
        ProcessState::Dead => "dead",
        ProcessState::Idle => "idle",
        ProcessState::Unknown => "",
    };
    format!("{} {word}", state.letter())
}
