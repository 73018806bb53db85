//! Which phases did it go through, and when? One line: `14:01:20 importing ━━ 14:01:24 starting ━━━━━━━━▶ now, 43 s`. Then, where there
//! is room, the finding that ended last.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::diagnosis::{FindingChange, PhaseChange, Server};
use crate::snapshot::Moment;
use crate::view::format;
use crate::view::tui::standing;
use crate::view::tui::theme;

use super::Subject;

/// The line. Where not all phases fit, the oldest give way.
pub fn line(subject: &Subject<'_>, width: usize) -> Line<'static> {
    let Some(server) = subject.server else {
        return started(subject);
    };
    let changes = match subject.narrowed {
        false => server.timeline.clone(),
        true => own_phase(subject),
    };
    let steps: Vec<Step> = steps(
        subject,
        &changes,
        server.since_is_bound && server.timeline.len() < 2,
    );
    let now = subject.snapshot.at;
    let ends = changes
        .last()
        .is_some_and(|c| standing::mark_of_phase(c.phase) == theme::Mark::Gone);
    let last_s = changes.last().map_or(0.0, |c| now.seconds_since(c.at));
    let tail = if ends {
        String::new()
    } else {
        format!("▶ now, {}", format::duration(last_s.trunc()))
    };
    let room = width.saturating_sub(tail.width() + 4);
    let past = match subject.narrowed {
        false => last_ended(subject, server),
        true => None,
    };
    let mut kept: Vec<Step> = Vec::new();
    let mut used = 0;
    for step in steps.into_iter().rev() {
        used += step.width();
        if used > room && !kept.is_empty() {
            kept.push(Step {
                clock: String::new(),
                word: "…",
                style: theme::DIM,
                bar: 1,
            });
            break;
        }
        kept.push(step);
    }
    let mut left = room.saturating_sub(used);
    let past = past.filter(|words| words.width() <= left);
    left -= past.as_ref().map_or(0, |words| words.width());
    if let Some(last) = kept.first_mut() {
        last.bar += left.min(24);
    }
    let mut spans = vec![Span::raw(" ")];
    for step in kept.iter().rev() {
        spans.extend(step.spans());
    }
    spans.push(Span::raw(tail));
    spans.extend(past.map(|words| Span::styled(words, theme::DIM)));
    Line::from(spans)
}

/// ` · loop-blocked ended 14:02:09`: of those that are not there again.
fn last_ended(subject: &Subject<'_>, server: &Server) -> Option<String> {
    let is_over = |c: &&FindingChange| !c.began && server.findings.iter().all(|f| f.code != c.code);
    let last = server.finding_log.iter().rev().find(is_over)?;
    Some(format!(
        " · {} ended {}",
        last.code.word(),
        clock(subject, last.at)
    ))
}

struct Step {
    clock: String,
    word: &'static str,
    style: ratatui::style::Style,
    bar: usize,
}

impl Step {
    fn width(&self) -> usize {
        self.clock.width() + 1 + self.word.width() + 1 + self.bar + 1
    }

    fn spans(&self) -> [Span<'static>; 3] {
        [
            Span::styled(format!("{} ", self.clock), theme::DIM),
            Span::styled(self.word, self.style),
            Span::styled(format!(" {} ", "━".repeat(self.bar)), self.style),
        ]
    }
}

fn steps(subject: &Subject<'_>, changes: &[PhaseChange], first_is_bound: bool) -> Vec<Step> {
    let ends = changes
        .iter()
        .skip(1)
        .map(|c| c.at)
        .chain([subject.snapshot.at]);
    let with_ends = changes.iter().zip(ends).enumerate();
    with_ends
        .map(|(at, (change, end))| {
            let clock = clock(subject, change.at);
            let lasted = end.seconds_since(change.at);
            Step {
                clock: if at == 0 && first_is_bound {
                    format!("≤{clock}")
                } else {
                    clock
                },
                word: change.phase.word(),
                style: standing::mark_of_phase(change.phase).style(),
                bar: if at + 1 == changes.len() {
                    1
                } else {
                    (1.0 + lasted / 2.0).log2().ceil().clamp(1.0, 8.0) as usize
                },
            }
        })
        .collect()
}

fn own_phase(subject: &Subject<'_>) -> Vec<PhaseChange> {
    let member = subject.people.first().and_then(|p| p.member);
    member
        .map(|m| {
            vec![PhaseChange {
                at: m.since,
                phase: m.phase,
            }]
        })
        .unwrap_or_default()
}

fn started(subject: &Subject<'_>) -> Line<'static> {
    let Some(person) = subject.people.first() else {
        return Line::default();
    };
    let at = person.process.started;
    let age = format::duration(subject.snapshot.at.seconds_since(at).trunc());
    Line::from(Span::styled(
        format!(" started {}, {age} ago", clock(subject, at)),
        theme::DIM,
    ))
}

fn clock(subject: &Subject<'_>, at: Moment) -> String {
    format::clock_or_date(
        subject.snapshot.wall_ms_of(at),
        subject.snapshot.wall_ms,
        subject.utc_offset_s,
    )
}
