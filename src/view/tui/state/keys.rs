//! What does each key do to the state? Dispatch by the table of keys, and the one place where keys are text: the filter.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};

use crate::feed::Move;
use crate::snapshot::Moment;
use crate::view::tui::column::Column;
use crate::view::tui::filter::Filter;
use crate::view::tui::keymap::{self, Action, Chord};
use crate::view::tui::layout::Focus;
use crate::view::tui::panel::{PanelId, Person};

use super::cursor::{Cursor, RowId};
use super::{Effect, Mode, Place, State};

/// Seconds between looks that `+` and `-` go through.
const INTERVALS: [f64; 7] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Processes whose locals are read at a time.
const LOCALS_MOST: usize = 8;

/// Characters that a filter may have.
const TYPED_MOST: usize = 200;

/// What keys do.
impl State {
    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        self.notice = None;
        if self.mode == Mode::Filter && self.type_into_filter(key) {
            return Vec::new();
        }
        let Some(action) = keymap::action(key) else {
            return Vec::new();
        };
        if matches!(self.mode, Mode::Help { .. }) {
            return self.act_in_help(action);
        }
        if self.opened.is_some() && action != Action::Help {
            return self.act_in_finding(action);
        }
        self.act(action)
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Up => self.go(-1),
            Action::Down => self.go(1),
            Action::First => self.go(isize::MIN),
            Action::Last => self.go(isize::MAX),
            Action::PageUp => self.go(-self.page()),
            Action::PageDown => self.go(self.page()),
            Action::HalfPageUp => self.go(-(self.page() / 2).max(1)),
            Action::HalfPageDown => self.go((self.page() / 2).max(1)),
            Action::Enter if self.focus == Focus::Why => return self.open_chosen(),
            Action::Enter => self.enter(),
            Action::Back => self.back(),
            Action::NextPanel => self.turn(1),
            Action::PreviousPanel => self.turn(-1),
            Action::Show(id) => self.look_at(Focus::Panel, id),
            Action::Locals => return self.ask_for_locals(),
            Action::ShowWhy => self.look_at(Focus::Why, self.panel),
            Action::Filter => self.mode = Mode::Filter,
            Action::OnlyFailing => self.choice.only_failing = !self.choice.only_failing,
            Action::SortLeft => self.sort(-1),
            Action::SortRight => self.sort(1),
            Action::SortInvert => {
                self.choice.sort.inverted = !self.choice.sort.inverted;
                self.sort(0);
            }
            Action::Tree => self.choice.tree = !self.choice.tree,
            Action::Pause => return self.pause(),
            Action::Travel(to) => return self.travel(to),
            Action::Present => return self.return_to_present(),
            Action::Mark => self.mark(),
            Action::SaveLooks if self.is_replay() => {
                self.notice = Some("this is a recording already".into());
            }
            Action::SaveLooks => return vec![Effect::SaveLooks],
            Action::SaveView => return vec![Effect::SaveView],
            Action::Faster if self.past().is_some() => return self.travel(Move::Speed(1)),
            Action::Slower if self.past().is_some() => return self.travel(Move::Speed(-1)),
            Action::Faster => return self.set_interval(-1),
            Action::Slower => return self.set_interval(1),
            Action::Help => self.mode = Mode::Help { scroll: 0 },
            Action::Redraw => return vec![Effect::Redraw],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Quit => return vec![Effect::Quit],
            Action::Interrupt => return vec![Effect::Interrupt],
        }
        Vec::new()
    }

    /// Moves the selection, or scrolls what has the focus.
    fn go(&mut self, by: isize) {
        if self.focus == Focus::Table {
            let rows = std::mem::take(&mut self.rows);
            self.cursor_mut().step(&rows, by);
            self.rows = rows;
        } else if self.focus == Focus::Why {
            self.go_in_why(by);
        } else {
            self.follows = false;
            self.scroll = self.scroll.min(1 << 20).saturating_add_signed(by);
        }
    }

    fn page(&self) -> isize {
        let height = self.areas().map_or(1, |a| match self.focus {
            Focus::Table => a.table.height,
            Focus::Why => a.why.height,
            Focus::Panel => a.panel.height,
        });
        (isize::try_from(height).unwrap_or(1) - 1).max(1)
    }

    fn enter(&mut self) {
        match (self.place, self.cursor().row()) {
            (_, Some(RowId::Others)) => self.choice.others_unfolded = !self.choice.others_unfolded,
            (Place::All, Some(RowId::Server(root))) => self.go_inside(Place::Server(root)),
            (Place::All, Some(RowId::Member { server, process })) => {
                self.go_inside(Place::Process(server));
                self.inner.choose(RowId::Member { server, process });
            }
            (Place::Server(root), Some(_)) => self.place = Place::Process(root),
            (Place::All | Place::Process(_), Some(_)) => self.look_at(Focus::Panel, self.panel),
            (_, None) => {}
        }
        self.scroll = 0;
    }

    fn go_inside(&mut self, place: Place) {
        self.place = place;
        self.inner = Cursor::default();
        let [_, inner] = &mut self.typed;
        inner.clear();
        self.inner_filter = Filter::default();
        if let Some(row) = self.outer.row() {
            self.outer.choose(row);
        }
    }

    /// One step back: out of the panel, out of the filter, out of the process, out of the server.
    fn back(&mut self) {
        self.scroll = 0;
        match self.place {
            _ if self.focus != Focus::Table => {
                self.focus = Focus::Table;
                self.asked = None;
            }
            _ if !self.typed().is_empty() => self.set_typed(String::new()),
            Place::Process(root) => self.place = Place::Server(root),
            Place::Server(_) => self.place = Place::All,
            Place::All => self.choice.only_failing = false,
        }
    }

    /// Tab goes round: table, WHY, the panels, table.
    fn turn(&mut self, by: isize) {
        let mut stops = vec![(Focus::Table, self.panel), (Focus::Why, self.panel)];
        stops.extend(PanelId::ALL.map(|id| (Focus::Panel, id)));
        let is_here = |stop: &(Focus, PanelId)| stop.0 == self.focus && stop.1 == self.panel;
        let at = stops.iter().position(is_here).unwrap_or(0) as isize;
        let next = (at + by).rem_euclid(stops.len() as isize);
        let next = usize::try_from(next).ok().and_then(|next| stops.get(next));
        if let Some(&(focus, panel)) = next {
            self.look_at(focus, panel);
        }
    }

    /// Asks for the locals of the processes that the panels speak of; again, for what they are by now.
    fn ask_for_locals(&mut self) -> Vec<Effect> {
        if self.past().is_some() {
            self.notice = Some("locals can be read of what is so now only".into());
            return Vec::new();
        }
        let alive = |p: &Person<'_>| (!p.has_ended()).then_some(p.process.key);
        let people = self.subject().map(|s| s.people).unwrap_or_default();
        let keys: Vec<_> = people.iter().filter_map(alive).take(LOCALS_MOST).collect();
        if keys.is_empty() {
            return Vec::new();
        }
        self.look_at(Focus::Panel, PanelId::Stacks);
        let since = self
            .live
            .snapshot
            .as_ref()
            .map_or(Moment::default(), |s| s.at);
        self.asked = Some((keys.clone(), since));
        vec![Effect::ReadLocals(keys)]
    }

    fn look_at(&mut self, focus: Focus, panel: PanelId) {
        self.asked = None;
        self.chosen = None;
        self.focus = focus;
        self.panel_chosen |= focus == Focus::Panel;
        self.panel = panel;
        self.scroll = 0;
        self.follows = focus == Focus::Panel && panel == PanelId::Log;
    }

    /// Sorts by the column so many places on; shows the new top, unless the user has chosen a row.
    fn sort(&mut self, by: isize) {
        self.choice.sort.column = Column::neighbour(self.choice.sort.column, by);
        if !self.outer.is_chosen() {
            self.outer = Cursor::default();
        }
    }

    /// Stops the picture, or lets it go on; in the past, that plays.
    pub(super) fn pause(&mut self) -> Vec<Effect> {
        if self.past().is_some() {
            return self.travel(Move::Play);
        }
        self.frozen = match self.frozen {
            Some(_) => None,
            None => self.live.snapshot.is_some().then(|| Arc::clone(&self.live)),
        };
        Vec::new()
    }

    fn set_interval(&mut self, step: isize) -> Vec<Effect> {
        let now = self.interval_s();
        let wanted = if step < 0 {
            INTERVALS.iter().rev().find(|i| **i < now - 1e-9)
        } else {
            INTERVALS.iter().find(|i| **i > now + 1e-9)
        };
        let Some(&wanted) = wanted else {
            return Vec::new();
        };
        self.wanted_interval_s = Some(wanted);
        vec![Effect::SetInterval(wanted)]
    }

    fn act_in_help(&mut self, action: Action) -> Vec<Effect> {
        let Mode::Help { scroll } = &mut self.mode else {
            return Vec::new();
        };
        let page = usize::from(self.size.1).saturating_sub(3).max(1);
        match action {
            Action::Up => *scroll = scroll.saturating_sub(1),
            Action::Down => *scroll += 1,
            Action::PageUp | Action::HalfPageUp => *scroll = scroll.saturating_sub(page),
            Action::PageDown | Action::HalfPageDown | Action::Pause => *scroll += page,
            Action::First => *scroll = 0,
            Action::Last => *scroll = usize::MAX,
            Action::Back | Action::Help | Action::Quit | Action::Enter => self.mode = Mode::Normal,
            Action::Interrupt => return vec![Effect::Interrupt],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Redraw => return vec![Effect::Redraw],
            _ => {}
        }
        Vec::new()
    }

    /// True if the key was for the filter; keys that move and those with Control act as ever.
    fn type_into_filter(&mut self, key: KeyEvent) -> bool {
        let mut typed = self.typed().to_owned();
        match Chord::of(key) {
            Some(Chord::Key(KeyCode::Enter)) => self.mode = Mode::Normal,
            Some(Chord::Key(KeyCode::Esc)) => {
                self.mode = Mode::Normal;
                typed.clear();
            }
            Some(Chord::Key(KeyCode::Backspace)) if typed.is_empty() => self.mode = Mode::Normal,
            Some(Chord::Key(KeyCode::Backspace)) => drop(typed.pop()),
            Some(Chord::Ctrl('u')) => typed.clear(),
            Some(Chord::Ctrl('w')) => {
                let kept = typed.trim_end().rfind(' ').map_or(0, |at| at + 1);
                typed.truncate(kept);
            }
            Some(Chord::Key(KeyCode::Char(c))) if typed.chars().count() < TYPED_MOST => {
                typed.push(c)
            }
            Some(Chord::Key(KeyCode::Up | KeyCode::Down | KeyCode::PageUp | KeyCode::PageDown)) => {
                return false;
            }
            Some(Chord::Ctrl('c' | 'z' | 'l')) => return false,
            _ => {}
        }
        self.set_typed(typed);
        true
    }
}
