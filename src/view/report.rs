//! An incident as one document that can be attached to a ticket: the cause, when what happened, graphs, stacks and tasks at the moment
//! of each finding, deaths, the surroundings, and what could not be seen. As HTML that needs nothing else, or as Markdown.
//!
//! [`Report::note`] takes look after look, of the machine as it is or of a recording; memory stays bounded however many there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::diagnosis::Diagnosis;
use crate::snapshot::{Gap, ProcessKey, Snapshot};
use crate::view::{format, json};

mod html;
mod markdown;
pub mod series;
mod story;
mod svg;

pub use story::{FindingStory, Story};

/// Servers that are told of, those that failed first.
const SERVERS: usize = 40;

/// Servers that are remembered.
const STORIES: usize = 400;

/// Different gaps that are told of.
const GAPS: usize = 200;

/// Looks at which a thing has to be hidden to be told of.
const LASTING: usize = 5;

/// What a report is of.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Where the looks are from, in words: `this machine`, `the recording night.steth`.
    pub source: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_ms: i64,
    /// Release of the kernel (uname(2)); `None` if it is not known.
    pub kernel: Option<String>,
    /// The zone of all times: seconds east of UTC.
    pub utc_offset_s: i32,
    /// Which servers were asked for, in words; empty for all.
    pub targets: String,
    /// What could not be read of a recording, in words; empty if all could be.
    pub damage: String,
}

/// What was seen, look by look.
#[derive(Debug, Clone, Default)]
pub struct Report {
    about: About,
    host: String,
    looks: usize,
    first_ms: i64,
    last_ms: i64,
    stories: BTreeMap<ProcessKey, Story>,
    /// Servers that there was no room for.
    forgotten: usize,
    /// What could not be seen, and at how many looks.
    gaps: BTreeMap<Gap, usize>,
    /// Largest backlog that listen(2) gives, by network namespace.
    somaxconn: BTreeSet<u32>,
}

impl Report {
    /// An empty one.
    pub fn new(about: About) -> Self {
        Self {
            about,
            ..Self::default()
        }
    }

    /// Takes in the next look.
    pub fn note(&mut self, snapshot: &Snapshot, diagnosis: &Diagnosis) {
        if self.looks == 0 {
            self.first_ms = snapshot.wall_ms;
            self.host.clone_from(&snapshot.host);
        }
        self.looks += 1;
        self.last_ms = snapshot.wall_ms;
        for server in &diagnosis.servers {
            if !self.stories.contains_key(&server.root) && self.stories.len() >= STORIES {
                self.forget_one();
            }
            let story = self.stories.entry(server.root);
            story.or_default().note(snapshot, server);
        }
        for story in self.stories.values_mut() {
            story.close(snapshot.wall_ms);
        }
        for gap in json::gaps_of(snapshot, diagnosis) {
            if self.gaps.len() < GAPS || self.gaps.contains_key(gap) {
                *self.gaps.entry(gap.clone()).or_default() += 1;
            }
        }
        self.somaxconn
            .extend(snapshot.netns.iter().filter_map(|n| n.somaxconn));
    }

    /// Of too many servers the oldest goes that has ended, and that least was wrong with.
    fn forget_one(&mut self) {
        let least = self
            .stories
            .iter()
            .min_by_key(|(_, s)| (!s.has_ended(), s.worst(), s.first_ms));
        if let Some(key) = least.map(|(key, _)| *key) {
            self.stories.remove(&key);
            self.forgotten += 1;
        }
    }

    /// What of a recording is lost, in words, and how many looks could not be read besides.
    pub fn tell_damage(&mut self, words: String, looks: usize) {
        let unread = (looks > 0).then(|| format!("looks that cannot be read: {looks}"));
        let all = Some(words)
            .filter(|w| !w.is_empty())
            .into_iter()
            .chain(unread);
        self.about.damage = all.collect::<Vec<_>>().join(", ");
    }

    /// The document as HTML: one file, no script, nothing that is fetched.
    pub fn html(&self) -> String {
        html::document(self)
    }

    /// The document as Markdown.
    pub fn markdown(&self) -> String {
        markdown::document(self)
    }

    /// Servers, those that fail worst first: what lasts before what is over, what began first before what came of it; and how many are
    /// left out.
    fn ranked(&self) -> (Vec<&Story>, usize) {
        let mut stories: Vec<&Story> = self.stories.values().collect();
        stories.sort_by_key(|story| {
            let cause = story.cause();
            (
                Reverse(story.worst()),
                cause.is_some_and(|c| c.ended_ms.is_some()),
                cause.map_or(story.first_ms, |c| c.began_ms),
            )
        });
        let left_out = stories.len().saturating_sub(SERVERS) + self.forgotten;
        stories.truncate(SERVERS);
        (stories, left_out)
    }

    /// The report in one sentence.
    fn verdict(&self) -> String {
        let (stories, _) = self.ranked();
        let worst = stories.first().filter(|s| s.worst().is_some());
        if let Some((story, cause)) = worst.and_then(|s| Some((s, s.cause()?))) {
            let over = cause
                .ended_ms
                .map(|at| format!(" (until {})", self.clock(at)));
            let over = over.unwrap_or_default();
            return format!("{}: {}{over}", story.title(), cause.finding.summary);
        }
        let unseen = self.stories.values().filter(|s| s.is_unseen()).count();
        match (self.stories.len(), unseen) {
            (0, _) => "no Python server was seen".to_owned(),
            (1, 0) => "nothing is wrong with the one server that was seen".to_owned(),
            (n, 0) => format!("nothing is wrong with the {n} servers that were seen"),
            (n, unseen) => format!(
                "too little could be seen to judge {unseen} of {n} servers; nothing is wrong with the rest"
            ),
        }
    }

    /// From when to when, in one zone, which it names: `2026-11-20, 14:02:11 to 14:12:40, UTC+02:00`.
    fn span(&self) -> String {
        let offset = self.about.utc_offset_s;
        let local = self.last_ms.saturating_add(i64::from(offset) * 1000);
        let date: String = format::rfc3339(local).chars().take(10).collect();
        let minutes = offset.unsigned_abs() / 60;
        let sign = if offset < 0 { '-' } else { '+' };
        let zone = match offset {
            0 => "UTC".to_owned(),
            _ => format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60),
        };
        let (from, to) = (self.clock(self.first_ms), self.clock(self.last_ms));
        format!("{date}, {from} to {to}, {zone}")
    }

    /// What there is to know of the surroundings, by its name.
    fn surroundings(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("host", self.host.clone()),
            (
                "kernel",
                self.about.kernel.clone().unwrap_or_else(|| "?".to_owned()),
            ),
            ("looks", format!("{} of {}", self.looks, self.about.source)),
            ("made by", format!("steth {}", env!("CARGO_PKG_VERSION"))),
        ];
        let somaxconn: Vec<String> = self.somaxconn.iter().map(u32::to_string).collect();
        if !somaxconn.is_empty() {
            rows.push(("net.core.somaxconn", somaxconn.join(", ")));
        }
        if !self.about.targets.is_empty() {
            rows.push(("servers asked for", self.about.targets.clone()));
        }
        if !self.about.damage.is_empty() {
            rows.push(("not read", self.about.damage.clone()));
        }
        rows
    }

    /// What could not be seen, a sentence each: not what was only not seen yet.
    fn unseen(&self) -> Vec<String> {
        let words = |gap: &Gap| {
            let of = gap
                .pid
                .map(|pid| format!(" of pid {pid}"))
                .unwrap_or_default();
            let unlock = gap.unlock.as_ref().map(|u| format!("; unlock: {u}"));
            format!(
                "{}{of}: {}{}",
                gap.source,
                gap.cause,
                unlock.unwrap_or_default()
            )
        };
        let lasting = self
            .gaps
            .iter()
            .filter(|(_, looks)| **looks >= LASTING.min(self.looks));
        lasting.map(|(gap, _)| words(gap)).collect()
    }

    /// A time of day, with the date where it is not that of the end.
    fn clock(&self, wall_ms: i64) -> String {
        format::clock_or_date(wall_ms, self.last_ms, self.about.utc_offset_s)
    }
}

#[cfg(test)]
mod tests;
