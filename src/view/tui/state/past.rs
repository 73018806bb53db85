//! How does one move through what was seen? The screen says where it wants to go; whoever keeps the looks answers with a scene.

use std::sync::Arc;

use crate::feed::{Move, Past};
use crate::view::{Scene, format};

use super::{Effect, Order, State};

/// Moving through the past.
impl State {
    /// What is known of the past that is on screen; `None` if that is the present.
    pub fn past(&self) -> Option<&Past> {
        self.shown().feed.past()
    }

    /// True if there is no present: what is shown was recorded.
    pub fn is_replay(&self) -> bool {
        self.live.feed.past().is_some()
    }

    /// Goes somewhere; from the present into the past first, where that is what it takes.
    pub(super) fn travel(&mut self, to: Move) -> Vec<Effect> {
        if self.is_replay() || self.travels {
            return vec![Effect::Travel(to)];
        }
        let is_back = match to {
            Move::Looks(by) | Move::Change(by) => by < 0,
            Move::Seconds(by) => by < 0,
            Move::First => true,
            _ => false,
        };
        let from = self.shown().snapshot.as_ref().map(|s| s.wall_ms);
        let Some(from) = from.filter(|_| is_back || self.frozen.is_some()) else {
            self.notice = Some("this is the newest look: [ goes back".into());
            return Vec::new();
        };
        self.frozen = Some(Arc::clone(self.shown()));
        self.travels = true;
        vec![Effect::Travel(Move::To(from)), Effect::Travel(to)]
    }

    /// A scene of the past, or that there is nothing beyond: then it is the present that is shown. What comes after the user has
    /// left the past is too late.
    pub(super) fn see_past(&mut self, scene: Option<Arc<Scene>>) {
        if !self.travels {
            return;
        }
        self.travels = scene.is_some();
        if let Some(scene) = &scene {
            self.take_places_anew(scene);
        }
        self.frozen = scene;
    }

    /// Marks the moment that is shown: what differs from it is told from then on.
    pub(super) fn mark(&mut self) {
        if let Some(snapshot) = &self.shown().snapshot {
            let clock = format::clock(snapshot.wall_ms, self.options.utc_offset_s);
            self.notice = Some(format!("{clock} is marked: 7 tells what differs from it"));
            self.marked = Some(Arc::clone(self.shown()));
        }
    }

    /// Who goes to another moment wants to see at once what was wrong then: rows take their places without settling first.
    pub(super) fn take_places_anew(&mut self, scene: &Scene) {
        if scene.feed.past().is_some_and(|past| !past.playing) {
            self.order = Order::default();
        }
    }

    /// Back to the present.
    pub(super) fn return_to_present(&mut self) -> Vec<Effect> {
        if self.is_replay() {
            self.notice = Some("this is a recording: there is no present to go to".into());
            return Vec::new();
        }
        self.frozen = None;
        if !std::mem::take(&mut self.travels) {
            return Vec::new();
        }
        vec![Effect::Travel(Move::Leave)]
    }
}
