//! What happened to one server: its phases, what was wrong and when, where it stood then, its deaths, and numbers over time.

use std::collections::VecDeque;

use crate::diagnosis::{Finding, MemberExit, Phase, Server, ServerListener, Severity};
use crate::snapshot::{ListenerState, ProcessKey, Snapshot};
use crate::view::check::log::last_lines;
use crate::view::format;
use crate::view::tui::panel::{PanelId, Room, Subject};

use super::series::Series;

/// Bounds of what is kept of one server.
const PHASES: usize = 400;
const FINDINGS: usize = 60;
const EXITS: usize = 200;

/// Columns and lines of stacks and tasks.
const WIDTH: usize = 118;
const LINES: usize = 120;

/// One server, from the first look at it to the last.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// Name for people.
    pub name: String,
    /// Pid of its root.
    pub pid: u32,
    /// When it was first seen, in milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// Phases with the times at which they began; the first may have begun before the first look.
    pub phases: Vec<(i64, Phase)>,
    /// What was wrong, in the order in which it began.
    pub findings: Vec<FindingStory>,
    /// Deaths, oldest first.
    pub exits: VecDeque<(i64, MemberExit)>,
    /// Numbers over time, by their names.
    pub series: Vec<(&'static str, Series)>,
    /// Why it was in its last phase.
    pub why: String,
    /// What it is and where it runs, by its name.
    pub facts: Vec<(&'static str, String)>,
    /// Phases, findings and deaths that there was no room for.
    lost: usize,
    /// Its phase at the last look at it.
    phase: Option<Phase>,
    /// True if the last look had it.
    seen_now: bool,
}

/// Something that was wrong for a while.
#[derive(Debug, Clone)]
pub struct FindingStory {
    /// As it was last seen.
    pub finding: Finding,
    /// How bad it was at its worst.
    pub severity: Severity,
    /// Its place among those of its look, the last time.
    pub rank: usize,
    /// When it began, in milliseconds since the Unix epoch.
    pub began_ms: i64,
    /// When it was seen no more.
    pub ended_ms: Option<i64>,
    /// Stacks when it began.
    pub stacks: Vec<String>,
    /// Tasks when it began; empty where there are none.
    pub tasks: Vec<String>,
    /// The last lines of its log by then that tell something.
    pub log: Vec<String>,
}

impl Story {
    /// Takes in the next look.
    pub(super) fn note(&mut self, snapshot: &Snapshot, server: &Server) {
        let now = snapshot.wall_ms;
        if self.phases.is_empty() {
            self.first_ms = now;
        }
        self.seen_now = true;
        self.name.clone_from(&server.name);
        self.pid = server.pid;
        self.why.clone_from(&server.why);
        self.phase = Some(server.phase);
        if self.phases.last().is_none_or(|p| p.1 != server.phase) {
            let began = snapshot.wall_ms_of(server.since);
            let after = self.phases.last().map_or(began, |p| began.max(p.0));
            if self.phases.len() >= PHASES {
                self.phases.remove(1);
                self.lost += 1;
            }
            self.phases.push((after.min(now), server.phase));
        }
        self.note_findings(snapshot, server);
        for exit in server.exits.iter().rev() {
            let known = |e: &(i64, MemberExit)| e.1.exit.key == exit.exit.key;
            if !self.exits.iter().any(known) {
                if self.exits.len() >= EXITS {
                    self.exits.pop_front();
                    self.lost += 1;
                }
                self.exits
                    .push_back((snapshot.wall_ms_of(exit.exit.at), exit.clone()));
            }
        }
        self.note_numbers(now, server);
        self.facts = facts(server);
    }

    fn note_findings(&mut self, snapshot: &Snapshot, server: &Server) {
        let now = snapshot.wall_ms;
        for story in self.findings.iter_mut().filter(|s| s.ended_ms.is_none()) {
            let still = server.findings.iter().any(|f| is_same(f, &story.finding));
            story.ended_ms = (!still).then_some(now);
        }
        for (rank, finding) in server.findings.iter().enumerate() {
            let is_open =
                |s: &&mut FindingStory| s.ended_ms.is_none() && is_same(&s.finding, finding);
            match self.findings.iter_mut().find(is_open) {
                Some(story) => {
                    story.finding = finding.clone();
                    story.severity = story.severity.max(finding.severity);
                    story.rank = rank;
                }
                None => {
                    self.make_room();
                    self.findings.push(FindingStory {
                        finding: finding.clone(),
                        severity: finding.severity,
                        rank,
                        began_ms: now,
                        ended_ms: None,
                        stacks: picture(PanelId::Stacks, snapshot, server),
                        tasks: picture(PanelId::Tasks, snapshot, server),
                        log: last_lines(server, snapshot),
                    });
                }
            }
        }
    }

    /// Of too many findings the oldest goes that was least grave and has ended.
    fn make_room(&mut self) {
        if self.findings.len() < FINDINGS {
            return;
        }
        let rank = |f: &FindingStory| (f.ended_ms.is_none(), f.severity, f.began_ms);
        let least = (0..self.findings.len()).min_by_key(|at| self.findings.get(*at).map(rank));
        if let Some(at) = least {
            self.findings.remove(at);
            self.lost += 1;
        }
    }

    fn note_numbers(&mut self, now: i64, server: &Server) {
        let listens = |l: &&ServerListener| !l.side && l.socket.state == ListenerState::Listening;
        let own = || server.listeners.iter().filter(listens);
        let alive = || server.members.iter().filter(|m| m.exit.is_none());
        let queue = own().map(|l| l.socket.accept_queue.map(f64::from));
        let drops = own().map(|l| l.socket.drops.map(f64::from));
        let fds = alive().map(|m| m.process.fds.as_ref().map(|f| f.open as f64));
        let threads = alive().map(|m| Some(f64::from(m.process.thread_count)));
        let tasks = alive().map(|m| {
            let python = m.process.python.as_ref()?;
            Some(python.tasks.as_ref()?.list.len() as f64)
        });
        let rss = alive().map(|m| Some(m.process.rss as f64 / f64::from(1 << 20)));
        let values = [
            ("accept queue", sum(queue)),
            ("drops", sum(drops)),
            ("open files", sum(fds)),
            ("threads", sum(threads)),
            ("tasks", sum(tasks)),
            ("memory, MiB", sum(rss)),
        ];
        if self.series.is_empty() {
            self.series = values
                .iter()
                .map(|(name, _)| (*name, Series::default()))
                .collect();
        }
        for ((_, series), (_, value)) in self.series.iter_mut().zip(values) {
            series.push(now, value);
        }
    }

    /// Ends what was wrong with a server that is not there any more.
    pub(super) fn close(&mut self, now: i64) {
        if !std::mem::take(&mut self.seen_now) {
            for story in self.findings.iter_mut().filter(|s| s.ended_ms.is_none()) {
                story.ended_ms = Some(now);
            }
        }
    }

    /// The gravest of what was wrong; `None` if nothing was but what is only to be known.
    pub fn worst(&self) -> Option<Severity> {
        let all = self.findings.iter().map(|f| f.severity);
        all.filter(|s| *s > Severity::Info).max()
    }

    /// What is to be read first: of the gravest, what was ranked highest, lasts, and began first.
    pub fn cause(&self) -> Option<&FindingStory> {
        let worst = self.findings.iter().map(|f| f.severity).max()?;
        let gravest = self.findings.iter().filter(|f| f.severity == worst);
        gravest.min_by_key(|f| (f.ended_ms.is_some(), f.rank, f.began_ms))
    }

    /// Its phase at the last look at it.
    pub fn phase(&self) -> &'static str {
        self.phase.map_or("", Phase::word)
    }

    /// True if neither its sockets nor its stacks could be seen at last.
    pub(super) fn is_unseen(&self) -> bool {
        self.phase == Some(Phase::Unseen)
    }

    /// True if it is not there any more.
    pub(super) fn has_ended(&self) -> bool {
        self.phase == Some(Phase::Exited)
    }

    /// How much of it there was no room for, in words.
    pub(super) fn left_out(&self) -> Option<String> {
        let lost = self.lost;
        (lost > 0).then(|| format!("Phases, findings and deaths that are left out: {lost}."))
    }

    /// `uvicorn app.main:app (4127)`.
    pub fn title(&self) -> String {
        format!("{} ({})", self.name, self.pid)
    }

    /// Phases, findings and deaths in the order of time, a sentence each.
    pub(super) fn events(&self) -> Vec<(i64, String)> {
        let phases = self
            .phases
            .iter()
            .map(|(at, phase)| (*at, phase.word().to_owned()));
        let mut events: Vec<(i64, String)> = phases.collect();
        for story in &self.findings {
            let code = story.finding.code.word();
            events.push((story.began_ms, format!("{code} began")));
            if let Some(ended) = story.ended_ms {
                events.push((ended, format!("{code} ended")));
            }
        }
        for (at, exit) in &self.exits {
            let who = format!("{} {}", exit.role.word(), exit.exit.key.pid);
            events.push((*at, format!("{who} ended: {}", format::ending(&exit.exit))));
        }
        events.sort_by_key(|(at, _)| *at);
        events
    }
}

fn is_same(a: &Finding, b: &Finding) -> bool {
    a.code == b.code && a.culprit == b.culprit
}

/// The sum; `None` if there is nothing to add, or some of it was not seen.
fn sum(mut values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let first = values.next()??;
    values.try_fold(first, |sum, value| Some(sum + value?))
}

/// What a panel shows of the server, as text.
fn picture(panel: PanelId, snapshot: &Snapshot, server: &Server) -> Vec<String> {
    let subject = Subject::of_server(snapshot, server, 0);
    let room = Room {
        width: WIDTH,
        focused: true,
    };
    let lines = panel.lines(&subject, room);
    let text = lines.iter().take(LINES).map(|line| {
        let spans = line.spans.iter().map(|s| s.content.as_ref());
        spans.collect::<String>().trim_end().to_owned()
    });
    text.collect()
}

/// What it is and where it runs.
fn facts(server: &Server) -> Vec<(&'static str, String)> {
    let mut facts = vec![("kind", server.kind.word().to_owned())];
    let root: Option<&crate::diagnosis::Member> = server.members.first();
    let mut add = |name, value: Option<String>| facts.extend(value.map(|v| (name, v)));
    add("command line", root.map(|m| m.process.cmdline.join(" ")));
    add("directory", root.and_then(|m| m.process.cwd.clone()));
    let version = |m: &crate::diagnosis::Member| m.process.python.as_ref()?.version.clone();
    add("Python", server.members.iter().find_map(version));
    let limit = |m: &crate::diagnosis::Member| m.process.fds.as_ref()?.limit;
    let limit = server.members.iter().find_map(limit);
    add("limit of open files", limit.map(|n| n.to_string()));
    add("cgroup", root.and_then(|m| m.process.cgroup.clone()));
    let key = |m: &crate::diagnosis::Member| -> ProcessKey { m.process.key };
    let pids: Vec<String> = server
        .members
        .iter()
        .map(|m| format!("{} {}", m.role.word(), key(m).pid))
        .take(40)
        .collect();
    add("processes", Some(pids.join(", ")));
    let listeners: Vec<String> = server
        .listeners
        .iter()
        .map(|l| crate::diagnosis::sockets::address(&l.socket))
        .take(20)
        .collect();
    let listens = if listeners.is_empty() {
        "nothing".to_owned()
    } else {
        listeners.join(", ")
    };
    add("listens on", Some(listens));
    facts
}
