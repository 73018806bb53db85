//! A place among looks that were kept: where moves lead from it, and when what comes next is due while it goes on by itself.

use std::time::{Duration, Instant};

use crate::feed::{Change, Move, Origin, Past, Player, Seen};

/// Seconds of what was seen for each second that passes.
const SPEEDS: [f64; 9] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The least time between two scenes while playing.
const FRAME: Duration = Duration::from_millis(50);

/// Where nothing was seen for longer than this (the recorder was stopped meanwhile), playing does not wait for it.
const LONGEST_GAP: Duration = Duration::from_secs(3);

/// Where one is.
pub(super) struct Place {
    pub(super) player: Player,
    pub(super) origin: Origin,
    pub(super) seen: Option<Seen>,
    /// Seconds between two looks, as whoever made them wanted it.
    interval_s: f64,
    /// What of it cannot be read at all, in words.
    damage: String,
    /// Where one wants to go as soon as it is known where that is.
    goal: Option<Move>,
    /// Index into [`SPEEDS`].
    speed: usize,
    /// While playing.
    playing: Option<Pace>,
}

/// What came of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Went {
    /// One is there, or on the way.
    There,
    /// There is nothing but the present beyond.
    Beyond,
    /// There is no such place.
    Nowhere,
}

/// The clock of a past that goes on.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: Instant,
    /// What time it was by this clock then, in milliseconds since the Unix epoch.
    from_ms: i64,
    /// When the last scene was shown.
    shown: Instant,
}

impl Pace {
    /// It is so late, and goes on from now.
    fn from(wall_ms: i64) -> Self {
        let now = Instant::now();
        Self {
            since: now,
            from_ms: wall_ms,
            shown: now,
        }
    }

    /// When it is so late by this clock.
    fn when(self, wall_ms: i64, speed: f64) -> Instant {
        let ahead_s = (wall_ms - self.from_ms).max(0) as f64 / 1e3 / speed;
        self.since + Duration::from_secs_f64(ahead_s)
    }

    /// How late it is by this clock.
    fn time_by(self, now: Instant, speed: f64) -> i64 {
        let passed_s = now.saturating_duration_since(self.since).as_secs_f64();
        self.from_ms.saturating_add((passed_s * 1e3 * speed) as i64)
    }
}

impl Place {
    pub(super) fn new(player: Player, origin: Origin, interval_s: f64, damage: String) -> Self {
        Self {
            player,
            origin,
            interval_s,
            damage,
            goal: None,
            seen: None,
            speed: 2,
            playing: None,
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.player.read() >= self.player.count()
    }

    /// Goes through looks that nobody has gone through yet, for so long.
    pub(super) fn read_on(&mut self, length: Duration) {
        let until = Instant::now() + length;
        while self.player.read_on().is_some() && Instant::now() < until {}
        if let Some(goal) = self.goal.take() {
            self.go(goal);
        }
    }

    fn at(&self) -> usize {
        self.seen.as_ref().map_or(0, |s| s.look)
    }

    /// What time it is here.
    fn time_ms(&self) -> i64 {
        self.player.time_of(self.at())
    }

    fn speed(&self) -> f64 {
        SPEEDS.get(self.speed).copied().unwrap_or(1.0)
    }

    /// Goes there; false where there is nothing but the present beyond.
    pub(super) fn go(&mut self, to: Move) -> Went {
        self.goal = None;
        let last = self.player.count().saturating_sub(1);
        let look = match to {
            Move::To(wall_ms) => self.player.look_at(wall_ms),
            Move::Looks(by) if by > 0 && self.at() >= last => return Went::Beyond,
            Move::Looks(by) => self.at().saturating_add_signed(by),
            Move::Seconds(by) if by > 0 && self.at() >= last => return Went::Beyond,
            Move::Seconds(by) => self.by_seconds(by),
            Move::Change(by) => match self.change(by) {
                Some(look) => look,
                None if by > 0 && !self.is_read() => return self.later(to),
                None => return Went::Nowhere,
            },
            Move::First => 0,
            Move::Last if !self.is_read() => return self.later(to),
            Move::Last => last,
            Move::Play if self.playing.is_some() => {
                self.playing = None;
                return Went::There;
            }
            Move::Play => {
                if self.at() >= last && self.origin != Origin::Memory {
                    self.see(0);
                }
                self.playing = Some(Pace::from(self.time_ms()));
                return if self.at() < last {
                    Went::There
                } else {
                    Went::Beyond
                };
            }
            Move::Speed(by) => {
                self.speed = self.speed.saturating_add_signed(by).min(SPEEDS.len() - 1);
                self.playing = self.playing.map(|_| Pace::from(self.time_ms()));
                return Went::There;
            }
            Move::Leave => return Went::Beyond,
        };
        self.see(look.min(last));
        self.playing = self.playing.map(|_| Pace::from(self.time_ms()));
        Went::There
    }

    /// Goes there as soon as enough has been gone through.
    fn later(&mut self, to: Move) -> Went {
        self.goal = Some(to);
        Went::There
    }

    fn see(&mut self, look: usize) {
        self.seen = self.player.seek(look).or_else(|| self.seen.take());
    }

    /// The look so many seconds from here, one look away at least.
    fn by_seconds(&self, by: i64) -> usize {
        let look = self
            .player
            .look_at(self.time_ms().saturating_add(by * 1000));
        match by > 0 {
            true => look.max(self.at() + 1),
            false => look.min(self.at().saturating_sub(1)),
        }
    }

    /// The look of the next change, or of the one before, among those that have been gone through.
    fn change(&self, by: isize) -> Option<usize> {
        let now = self.time_ms();
        let changes = self.player.changes().list();
        let is_after = |c: &&Change| c.wall_ms > now;
        let is_before = |c: &&Change| c.wall_ms < now;
        let found = match by > 0 {
            true => changes.iter().find(is_after),
            false => changes.iter().rev().find(is_before),
        };
        Some(self.player.look_at(found?.wall_ms))
    }

    /// How long until the next scene is due; `None` unless playing.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let pace = self.playing?;
        let next = self.at() + 1;
        if next >= self.player.count() {
            return Some(Duration::ZERO);
        }
        let from = pace.when(self.time_ms(), self.speed());
        let due = from + self.until(next).div_f64(self.speed());
        Some(
            due.max(pace.shown + FRAME)
                .saturating_duration_since(Instant::now()),
        )
    }

    /// The time between this look and the next one, as it is to be waited for.
    fn until(&self, next: usize) -> Duration {
        let passes_ms = self.player.time_of(next) - self.time_ms();
        Duration::from_millis(u64::try_from(passes_ms).unwrap_or(0)).min(self.longest_gap())
    }

    /// What is longer is a time in which nobody looked.
    fn longest_gap(&self) -> Duration {
        LONGEST_GAP.max(Duration::from_secs_f64(
            3.0 * self.interval_s.clamp(0.0, 60.0),
        ))
    }

    /// The newest look that is due by now, while playing; false if there is none any more.
    pub(super) fn play_on(&mut self) -> bool {
        let Some(pace) = self.playing else {
            return true;
        };
        let last = self.player.count().saturating_sub(1);
        let next = self.at() + 1;
        if next > last {
            self.playing = None;
            return false;
        }
        let is_gap = self.until(next) == self.longest_gap();
        let due = self
            .player
            .look_at(pace.time_by(Instant::now(), self.speed()));
        let before = self.at();
        self.see(due.clamp(next, if is_gap { next } else { last }));
        if self.at() == before {
            // What comes cannot be read.
            self.playing = None;
            return false;
        }
        self.playing = Some(match is_gap {
            true => Pace::from(self.time_ms()),
            false => Pace {
                shown: Instant::now(),
                ..pace
            },
        });
        true
    }

    pub(super) fn past(&self) -> Past {
        let count = self.player.count();
        let unread = match self.player.unread() {
            0 => String::new(),
            1 => "1 look cannot be read".to_owned(),
            n => format!("{n} looks cannot be read"),
        };
        let damage: Vec<&str> = [self.damage.as_str(), unread.as_str()]
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect();
        Past {
            origin: self.origin.clone(),
            at: self.at(),
            count,
            first_ms: self.player.time_of(0),
            last_ms: self.player.time_of(count.saturating_sub(1)),
            playing: self.playing.is_some(),
            speed: self.speed(),
            read: self.player.read(),
            changes: self.player.changes().list(),
            damage: damage.join(", "),
        }
    }
}
