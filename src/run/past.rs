//! The past on the screen: a thread of its own goes through looks that were kept, as the user asks for, and shows them.
//!
//! In front of the machine as it is, the collector keeps the last minutes in [`Memory`]; the thread takes a copy of it when the user
//! goes back, so that neither waits for the other. A recording is gone through the same way.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::record;
use crate::cli::Target;
use crate::feed::{Feed, Move, Origin, Past, Player, Seen};
use crate::select;
use crate::view::Scene;

mod memory;
mod save;

pub(super) use memory::Memory;

/// Seconds of what was seen for each second that passes.
const SPEEDS: [f64; 9] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The least time between two scenes while playing.
const FRAME: Duration = Duration::from_millis(50);

/// Where nothing was seen for longer than this (the recorder was stopped meanwhile), playing does not wait for it.
const LONGEST_GAP: Duration = Duration::from_secs(3);

/// So long at a time looks are gone through that nobody has asked for yet; then one hears again.
const READ_ON: Duration = Duration::from_millis(20);

/// So often it is shown how far that is.
const PROGRESS: Duration = Duration::from_millis(250);

/// What the thread is asked to do.
pub(super) enum Order {
    Travel(Move),
    SaveLooks,
    SaveView(String),
}

/// Where its answers go.
pub(super) struct Answers {
    /// Takes a scene of the past; `None` where the present is to be shown.
    pub(super) show: Box<dyn Fn(Option<Arc<Scene>>) + Send>,
    /// Takes what is to be read once.
    pub(super) notices: mpsc::UnboundedSender<String>,
}

/// Starts the thread over what the collector keeps.
pub(super) fn over_memory(
    memory: Arc<Mutex<Memory>>,
    targets: Vec<Target>,
    answers: Answers,
) -> std::io::Result<Sender<Order>> {
    let (orders, wanted) = channel();
    let mut traveller = Traveller {
        place: None,
        memory: Some(memory),
        targets,
        answers,
        interval_s: 1.0,
        shown: Instant::now(),
    };
    std::thread::Builder::new()
        .name("steth-past".into())
        .spawn(move || traveller.obey(&wanted))?;
    Ok(orders)
}

/// Starts the thread over a recording; its first look is shown at once, and played from there.
pub(super) fn over_recording(
    player: Player,
    name: String,
    answers: Answers,
) -> std::io::Result<Sender<Order>> {
    let (orders, wanted) = channel();
    let mut traveller = Traveller {
        place: Some(Place::new(player, Origin::File(name))),
        memory: None,
        targets: Vec::new(),
        answers,
        interval_s: 1.0,
        shown: Instant::now(),
    };
    std::thread::Builder::new()
        .name("steth-past".into())
        .spawn(move || {
            traveller.go(Move::First);
            traveller.go(Move::Play);
            traveller.obey(&wanted);
        })?;
    Ok(orders)
}

struct Traveller {
    place: Option<Place>,
    memory: Option<Arc<Mutex<Memory>>>,
    targets: Vec<Target>,
    answers: Answers,
    interval_s: f64,
    /// When the last scene was.
    shown: Instant,
}

/// Where one is.
struct Place {
    player: Player,
    origin: Origin,
    seen: Option<Seen>,
    /// Index into [`SPEEDS`].
    speed: usize,
    /// While playing.
    playing: Option<Pace>,
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

impl Traveller {
    /// Until nobody asks any more.
    fn obey(&mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.rest() {
                Some(Duration::ZERO) => match orders.try_recv() {
                    Ok(order) => Some(order),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return,
                },
                Some(rest) => match orders.recv_timeout(rest) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                None => match orders.recv() {
                    Ok(order) => Some(order),
                    Err(_) => return,
                },
            };
            match order {
                Some(Order::Travel(to)) => self.go(to),
                Some(Order::SaveLooks) => self.save_looks(),
                Some(Order::SaveView(text)) => self.tell(save::view(&text)),
                None => self.go_on(),
            }
        }
    }

    /// How long there is nothing to do; `None` until somebody asks.
    fn rest(&self) -> Option<Duration> {
        let place = self.place.as_ref()?;
        if !place.is_read() {
            return Some(Duration::ZERO);
        }
        place.next_due()
    }

    /// Something to do without being asked: the next scene while playing, looks that nobody has gone through yet.
    fn go_on(&mut self) {
        let Some(place) = &mut self.place else { return };
        let is_due = place.next_due().is_some_and(|due| due.is_zero());
        let was_read = place.is_read();
        if !was_read {
            place.read_on(READ_ON);
        }
        if is_due {
            let reached_the_end = !place.play_on();
            if reached_the_end && place.origin == Origin::Memory {
                return self.leave();
            }
        }
        let is_news = !was_read && (place.is_read() || self.shown.elapsed() >= PROGRESS);
        if is_due || is_news {
            self.show();
        }
    }

    fn go(&mut self, to: Move) {
        if to == Move::Leave {
            return self.leave();
        }
        if let (Move::To(_), Some(memory)) = (to, &self.memory) {
            let kept = memory.lock().unwrap_or_else(PoisonError::into_inner);
            self.interval_s = kept.interval_s();
            self.place = Some(Place::new(kept.player(), Origin::Memory));
        }
        let Some(place) = &mut self.place else { return };
        let is_beyond = !place.go(to);
        if is_beyond && place.origin == Origin::Memory {
            return self.leave();
        }
        self.show();
    }

    fn leave(&mut self) {
        if self.memory.is_some() {
            self.place = None;
            (self.answers.show)(None);
        }
    }

    fn show(&mut self) {
        self.shown = Instant::now();
        let Some((place, seen)) = self
            .place
            .as_ref()
            .and_then(|p| Some((p, p.seen.as_ref()?)))
        else {
            let words = "nothing of it can be read".to_owned();
            let _ = self.answers.notices.send(words);
            return;
        };
        let scene = Scene {
            snapshot: Some(Arc::clone(&seen.snapshot)),
            diagnosis: Arc::new(select::select(seen.diagnosis.clone(), &self.targets)),
            interval_s: self.interval_s,
            own_cpu_percent: None,
            observed_for_s: (seen.snapshot.wall_ms - place.player.time_of(0)).max(0) as f64 / 1e3,
            locals: Arc::default(),
            feed: Feed::Past(Arc::new(place.past())),
        };
        (self.answers.show)(Some(Arc::new(scene)));
    }

    fn save_looks(&self) {
        let Some(memory) = &self.memory else { return };
        let kept = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (tape, header) = (
            kept.tape(),
            record::header(Duration::from_secs_f64(kept.interval_s())),
        );
        drop(kept);
        self.tell(save::looks(&tape, header));
    }

    fn tell(&self, result: anyhow::Result<String>) {
        let words = result.unwrap_or_else(|error| format!("not saved: {error:#}"));
        let _ = self.answers.notices.send(words);
    }
}

impl Place {
    fn new(player: Player, origin: Origin) -> Self {
        Self {
            player,
            origin,
            seen: None,
            speed: 2,
            playing: None,
        }
    }

    fn is_read(&self) -> bool {
        self.player.read() >= self.player.count()
    }

    /// Goes through looks that nobody has gone through yet, for so long.
    fn read_on(&mut self, length: Duration) {
        let until = Instant::now() + length;
        while self.player.read_on().is_some() && Instant::now() < until {}
    }

    fn at(&self) -> usize {
        self.seen.as_ref().map_or(0, |s| s.look)
    }

    fn wall_ms(&self) -> i64 {
        self.seen.as_ref().map_or(0, |s| s.snapshot.wall_ms)
    }

    fn speed(&self) -> f64 {
        SPEEDS.get(self.speed).copied().unwrap_or(1.0)
    }

    /// Goes there; false where there is nothing but the present beyond.
    fn go(&mut self, to: Move) -> bool {
        let last = self.player.count().saturating_sub(1);
        let look = match to {
            Move::To(wall_ms) => self.player.look_at(wall_ms),
            Move::Looks(by) if by > 0 && self.at() >= last => return false,
            Move::Looks(by) => self.at().saturating_add_signed(by),
            Move::Seconds(by) if by > 0 && self.at() >= last => return false,
            Move::Seconds(by) => self.by_seconds(by),
            Move::Change(by) => match self.change(by) {
                Some(look) => look,
                None => return true,
            },
            Move::First => 0,
            Move::Last => last,
            Move::Play if self.playing.is_some() => {
                self.playing = None;
                return true;
            }
            Move::Play => {
                if self.at() >= last && self.origin != Origin::Memory {
                    self.see(0);
                }
                self.playing = Some(Pace::from(self.wall_ms()));
                return self.at() < last;
            }
            Move::Speed(by) => {
                self.speed = self.speed.saturating_add_signed(by).min(SPEEDS.len() - 1);
                self.playing = self.playing.map(|_| Pace::from(self.wall_ms()));
                return true;
            }
            Move::Leave => return false,
        };
        self.see(look.min(last));
        self.playing = self.playing.map(|_| Pace::from(self.wall_ms()));
        true
    }

    fn see(&mut self, look: usize) {
        self.seen = self.player.seek(look).or_else(|| self.seen.take());
    }

    /// The look so many seconds from here, one look away at least.
    fn by_seconds(&self, by: i64) -> usize {
        let look = self
            .player
            .look_at(self.wall_ms().saturating_add(by * 1000));
        match by > 0 {
            true => look.max(self.at() + 1),
            false => look.min(self.at().saturating_sub(1)),
        }
    }

    /// The look of the next change, or of the one before. The next one may be among those that nobody has gone through yet.
    fn change(&mut self, by: isize) -> Option<usize> {
        let now = self.wall_ms();
        loop {
            let changes = self.player.changes().list();
            let found = match by > 0 {
                true => changes.iter().find(|c| c.wall_ms > now),
                false => changes.iter().rev().find(|c| c.wall_ms < now),
            };
            if let Some(change) = found {
                return Some(self.player.look_at(change.wall_ms));
            }
            if by < 0 || self.is_read() {
                return None;
            }
            self.player.read_on();
        }
    }

    /// How long until the next scene is due; `None` unless playing.
    fn next_due(&self) -> Option<Duration> {
        let pace = self.playing?;
        let next = self.at() + 1;
        if next >= self.player.count() {
            return Some(Duration::ZERO);
        }
        let from = pace.when(self.wall_ms(), self.speed());
        let due = from + self.until(next).div_f64(self.speed());
        Some(
            due.max(pace.shown + FRAME)
                .saturating_duration_since(Instant::now()),
        )
    }

    /// The time between this look and the next one, as it is to be waited for.
    fn until(&self, next: usize) -> Duration {
        let passes_ms = self.player.time_of(next) - self.wall_ms();
        Duration::from_millis(u64::try_from(passes_ms).unwrap_or(0)).min(LONGEST_GAP)
    }

    /// The newest look that is due by now, while playing; false if there is none any more.
    fn play_on(&mut self) -> bool {
        let Some(pace) = self.playing else {
            return true;
        };
        let last = self.player.count().saturating_sub(1);
        let next = self.at() + 1;
        if next > last {
            self.playing = None;
            return false;
        }
        let is_gap = self.until(next) == LONGEST_GAP;
        let due = self
            .player
            .look_at(pace.time_by(Instant::now(), self.speed()));
        self.see(due.clamp(next, if is_gap { next } else { last }));
        self.playing = Some(match is_gap {
            true => Pace::from(self.wall_ms()),
            false => Pace {
                shown: Instant::now(),
                ..pace
            },
        });
        true
    }

    fn past(&self) -> Past {
        let count = self.player.count();
        let damage = match self.player.unread() {
            0 => String::new(),
            1 => "1 look cannot be read".to_owned(),
            n => format!("{n} looks cannot be read"),
        };
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
            damage,
        }
    }
}
