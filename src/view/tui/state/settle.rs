//! What follows from a change? Rows, selection and scrolling are made true again after every event.

use std::sync::Arc;

use crate::snapshot::ProcessKey;
use crate::view::tui::filter::Filter;
use crate::view::tui::layout::Focus;
use crate::view::tui::panel::{self, PanelId};
use crate::view::tui::standing::Group;

use super::cursor::{Cursor, RowId};
use super::{Mode, Place, State, rows};

impl State {
    pub(super) fn cursor_mut(&mut self) -> &mut Cursor {
        match self.place {
            Place::All => &mut self.outer,
            Place::Server(_) | Place::Process(_) => &mut self.inner,
        }
    }

    pub(super) fn set_typed(&mut self, text: String) {
        let filter = Filter::parse(&text);
        let [outer, inner] = &mut self.typed;
        if self.place == Place::All {
            *outer = text;
            self.choice.filter = filter;
        } else {
            *inner = text;
            self.inner_filter = filter;
        }
    }

    /// Makes rows, selection and scrolling true again.
    pub(super) fn settle(&mut self) {
        if self.place != Place::All && self.inside().is_none() {
            self.place = Place::All;
            self.focus = Focus::Table;
        }
        let scene = Arc::clone(self.shown());
        let now = self.now();
        let all = rows::all(&scene.diagnosis, &self.choice, &mut self.order, now);
        self.rows = match self.inside() {
            Some(server) => rows::members(server, &self.inner_filter),
            None => all,
        };
        self.lead_the_eye();
        let height = |state: &Self| state.areas().map_or(1, |a| usize::from(a.table.height));
        for _ in 0..2 {
            // The height depends on WHY, and WHY on the selection: the second round uses what the first has found.
            let height = height(self);
            let rows = std::mem::take(&mut self.rows);
            self.cursor_mut().settle(&rows, height);
            self.rows = rows;
        }
        self.suit_the_subject();
        self.bound_scroll();
        self.follow_opened();
    }

    /// Until the user chooses a panel, it is the one that says most of the subject.
    fn suit_the_subject(&mut self) {
        let first = self.subject().map(|s| s.sort().first());
        if let (Some(first), false) = (first, self.panel_chosen) {
            self.panel = first;
        }
    }

    /// Until the user chooses a row, the selection goes to the first row when that fails and the selected one does not.
    fn lead_the_eye(&mut self) {
        if self.place != Place::All || self.outer.is_chosen() {
            return;
        }
        let fails = |row: Option<RowId>| match row {
            Some(RowId::Server(root)) => self.order.group(root) == Some(Group::Failing),
            _ => false,
        };
        let lost = self.outer.row().is_none_or(|row| !self.rows.contains(&row));
        if lost || (fails(self.rows.first().copied()) && !fails(self.outer.row())) {
            self.outer.to_first(&self.rows);
        }
    }

    fn bound_scroll(&mut self) {
        if let Mode::Help { scroll } = &mut self.mode {
            let lines = panel::help::lines(usize::from(self.size.0)).len();
            *scroll = (*scroll).min((lines + 2).saturating_sub(usize::from(self.size.1)));
        }
        if self.scroll == 0 && !self.follows {
            return;
        }
        let most = match (self.subject(), self.areas(), self.focus) {
            (Some(subject), Some(areas), Focus::Panel) => {
                let lines = self
                    .panel
                    .lines(&subject, self.panel_room(self.panel, self.focused_width()))
                    .len();
                lines.saturating_sub(usize::from(areas.panel.height))
            }
            (Some(subject), Some(areas), Focus::Why) => {
                let lines = panel::why::lines(&subject, self.why_room()).len();
                lines.saturating_sub(usize::from(areas.why.height))
            }
            _ => 0,
        };
        self.scroll = if self.follows {
            most
        } else {
            self.scroll.min(most)
        };
        let is_log = self.focus == Focus::Panel && self.panel == PanelId::Log;
        self.follows = is_log && self.scroll == most;
    }

    /// The process that is to be looked at more often.
    pub(super) fn focused_now(&self) -> Option<ProcessKey> {
        match (self.place, self.cursor().row()) {
            (Place::Server(root), _) => Some(root),
            (_, row) => row.and_then(RowId::key),
        }
    }
}
