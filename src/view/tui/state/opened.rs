//! Which finding has the cursor in WHY, and which one fills the screen? Both follow their finding while findings are ranked anew; one
//! that has ended stays open, and says so, until the user leaves it.

use std::ops::Range;

use crate::diagnosis::{Code, Finding, Server};
use crate::snapshot::{Moment, ProcessKey};
use crate::view::tui::clipboard::Copied;
use crate::view::tui::facts;
use crate::view::tui::keymap::Action;
use crate::view::tui::panel;
use crate::view::tui::theme::Mark;

use super::{Effect, State};

/// Identity of a finding over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FindingId {
    server: ProcessKey,
    code: Code,
    /// Its place among those of the same code.
    nth: usize,
}

impl FindingId {
    fn at(server: &Server, place: usize) -> Option<Self> {
        let code = server.findings.get(place)?.code;
        let before = server.findings.iter().take(place);
        Some(Self {
            server: server.root,
            code,
            nth: before.filter(|f| f.code == code).count(),
        })
    }

    fn place_in(self, server: &Server) -> Option<usize> {
        let mut alike = server
            .findings
            .iter()
            .enumerate()
            .filter(|(_, f)| f.code == self.code);
        let (place, _) = alike.nth(self.nth)?;
        (server.root == self.server).then_some(place)
    }
}

/// The finding that fills the screen, as it was last seen.
#[derive(Debug, Clone)]
pub struct Opened {
    id: FindingId,
    /// The server's name and pid.
    pub server: String,
    /// The finding.
    pub finding: Finding,
    /// How bad it is.
    pub mark: Mark,
    /// Its place in the ranking, from 1, and how many there are.
    pub rank: (usize, usize),
    /// When it was seen to have ended.
    pub ended: Option<Moment>,
    /// What came of copying its command; `None` while that has not been asked for.
    pub copied: Option<Copied>,
    /// Lines that have gone past the top.
    pub scroll: usize,
}

impl Opened {
    /// Root of its server.
    pub fn root(&self) -> ProcessKey {
        self.id.server
    }

    fn at(server: &Server, place: usize) -> Option<Self> {
        let finding = server.findings.get(place)?;
        Some(Self {
            id: FindingId::at(server, place)?,
            server: format!("{} ({})", server.name, server.root.pid),
            finding: finding.clone(),
            mark: panel::why::mark(server, finding),
            rank: (place + 1, server.findings.len()),
            ended: None,
            copied: None,
            scroll: 0,
        })
    }

    /// Takes in what is so now.
    fn follow(&mut self, server: Option<&Server>, now: Moment) {
        let place = server.and_then(|s| self.id.place_in(s));
        let newer = place.zip(server).and_then(|(at, s)| Self::at(s, at));
        match newer {
            Some(newer) => {
                let is_same = newer.finding.confirm == self.finding.confirm;
                *self = Self {
                    copied: self.copied.filter(|_| is_same),
                    scroll: self.scroll,
                    ..newer
                }
            }
            None => {
                self.ended.get_or_insert(now);
            }
        }
    }
}

/// What keys do to findings.
impl State {
    /// The place of the finding with the cursor.
    pub(super) fn chosen_in(&self, server: &Server) -> Option<usize> {
        let chosen = self.chosen.and_then(|id| id.place_in(server));
        (!server.findings.is_empty() && self.is_in_why()).then(|| chosen.unwrap_or(0))
    }

    fn is_in_why(&self) -> bool {
        self.why_room().focused
    }

    /// The findings that WHY shows, by the lines that they take, the one with the cursor, and the rows that there are for them.
    fn findings_in_why(&self) -> Option<(Vec<Range<usize>>, usize, usize)> {
        let server = self.subject()?.server?;
        let chosen = self.chosen_in(server)?;
        let rows = usize::from(self.areas()?.why.height);
        Some((panel::why::places(server, self.why_room()), chosen, rows))
    }

    /// Moves the cursor from finding to finding; what is longer than the screen is scrolled through first.
    pub(super) fn go_in_why(&mut self, by: isize) {
        let scrolled = self.scroll.min(1 << 20).saturating_add_signed(by);
        let Some((places, chosen, rows)) = self.findings_in_why() else {
            self.scroll = scrolled;
            return;
        };
        let next = match by {
            1 | -1 => chosen.checked_add_signed(by),
            _ => None,
        };
        let is_read = places.get(chosen).is_none_or(|place| match by {
            1 => place.end <= self.scroll + rows,
            _ => place.start >= self.scroll,
        });
        match next.and_then(|next| Some((next, places.get(next)?))) {
            Some((next, place)) if is_read => {
                let last = place.end.saturating_sub(rows);
                self.scroll = match by {
                    1 => self.scroll.max(last.min(place.start)),
                    _ => self.scroll.min(last.max(place.start)),
                };
                self.choose(next);
            }
            _ => {
                self.scroll = scrolled;
                self.choose(in_sight(
                    &places,
                    chosen,
                    scrolled..scrolled.saturating_add(rows),
                ));
            }
        }
    }

    fn choose(&mut self, place: usize) {
        let id = self.subject().and_then(|s| FindingId::at(s.server?, place));
        self.chosen = id.or(self.chosen);
    }

    /// Opens the finding with the cursor, and copies its command.
    pub(super) fn open_chosen(&mut self) -> Vec<Effect> {
        let opened = self.subject().and_then(|subject| {
            let server = subject.server?;
            Opened::at(server, self.chosen_in(server)?)
        });
        if opened.is_some() {
            self.opened = opened;
        }
        self.copy()
    }

    fn copy(&mut self) -> Vec<Effect> {
        let clipboard = self.options.clipboard;
        let Some(opened) = &mut self.opened else {
            return Vec::new();
        };
        let command = opened.finding.confirm.clone();
        let copied = clipboard.copied(&command);
        opened.copied = Some(copied);
        match copied {
            Copied::Sent(_) => vec![Effect::Copy(command)],
            Copied::NoClipboard | Copied::NotSent => Vec::new(),
        }
    }

    pub(super) fn act_in_finding(&mut self, action: Action) -> Vec<Effect> {
        let page = isize::try_from(self.size.1)
            .unwrap_or(1)
            .saturating_sub(3)
            .max(1);
        match action {
            Action::Up => self.scroll_opened(-1),
            Action::Down => self.scroll_opened(1),
            Action::First => self.scroll_opened(isize::MIN),
            Action::Last => self.scroll_opened(isize::MAX),
            Action::PageUp | Action::HalfPageUp => self.scroll_opened(-page),
            Action::PageDown | Action::HalfPageDown => self.scroll_opened(page),
            Action::NextPanel => self.turn_to_finding(1),
            Action::PreviousPanel => self.turn_to_finding(-1),
            Action::Enter => return self.copy(),
            Action::Back | Action::Quit => self.opened = None,
            Action::Pause => return self.pause(),
            Action::Travel(to) => return self.travel(to),
            Action::Present => return self.return_to_present(),
            Action::SaveView => return vec![Effect::SaveView],
            Action::Interrupt => return vec![Effect::Interrupt],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Redraw => return vec![Effect::Redraw],
            _ => {}
        }
        Vec::new()
    }

    fn scroll_opened(&mut self, by: isize) {
        if let Some(opened) = &mut self.opened {
            opened.scroll = opened.scroll.min(1 << 20).saturating_add_signed(by);
        }
    }

    /// The next finding of the same server; after the last one the first.
    fn turn_to_finding(&mut self, by: isize) {
        let Some(opened) = &self.opened else { return };
        let Some(server) = facts::server(&self.shown().diagnosis, opened.root()) else {
            return;
        };
        let count = isize::try_from(server.findings.len()).unwrap_or(0);
        let next = match opened
            .id
            .place_in(server)
            .and_then(|at| isize::try_from(at).ok())
        {
            Some(at) if count > 0 => (at + by).rem_euclid(count),
            _ => 0,
        };
        let next = usize::try_from(next).unwrap_or(0);
        if let Some(opened) = Opened::at(server, next) {
            self.chosen = Some(opened.id);
            self.opened = Some(opened);
        }
    }

    /// Makes the open finding true again.
    pub(super) fn follow_opened(&mut self) {
        let Some(mut opened) = self.opened.take() else {
            return;
        };
        let now = self.now();
        opened.follow(facts::server(&self.shown().diagnosis, opened.root()), now);
        let lines = panel::finding::lines(self, &opened, usize::from(self.size.0)).len();
        let most = (lines + 2).saturating_sub(usize::from(self.size.1));
        opened.scroll = opened.scroll.min(most);
        self.opened = Some(opened);
    }
}

/// The chosen place if some of it is among these lines, else the first that begins there, else the last.
fn in_sight(places: &[Range<usize>], chosen: usize, lines: Range<usize>) -> usize {
    let is_seen = |p: &Range<usize>| p.start < lines.end && p.end > lines.start;
    if places.get(chosen).is_some_and(is_seen) {
        return chosen;
    }
    let first = places.iter().position(|p| p.start >= lines.start);
    first.unwrap_or(places.len().saturating_sub(1))
}
