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
use crate::feed::{Feed, Move, Origin, Player};
use crate::recording::Recording;
use crate::select;
use crate::view::{Scene, format};

mod memory;
mod place;
mod save;

pub(super) use memory::Memory;
use place::{Place, Went};

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
        next: None,
    };
    std::thread::Builder::new()
        .name("steth-past".into())
        .spawn(move || traveller.obey(&wanted))?;
    Ok(orders)
}

/// Starts the thread over a recording; its first look is shown at once, and played from there.
pub(super) fn over_recording(
    recording: Recording,
    name: String,
    answers: Answers,
) -> std::io::Result<Sender<Order>> {
    let (orders, wanted) = channel();
    let interval_s = recording.header().interval_s;
    let damage = damage(&recording);
    let player = Player::new(Arc::new(recording));
    let place = Place::new(player, Origin::File(name), interval_s, damage);
    let mut traveller = Traveller {
        place: Some(place),
        memory: None,
        targets: Vec::new(),
        answers,
        interval_s,
        shown: Instant::now(),
        next: None,
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

/// What of a recording is lost, in words; empty if nothing is.
pub(super) fn damage(recording: &Recording) -> String {
    let bytes: u64 = recording.damages().iter().map(|d| d.bytes).sum();
    match bytes {
        0 => String::new(),
        bytes => format!("{} are damaged", format::bytes(bytes)),
    }
}

struct Traveller {
    place: Option<Place>,
    memory: Option<Arc<Mutex<Memory>>>,
    targets: Vec<Target>,
    answers: Answers,
    interval_s: f64,
    /// When the last scene was.
    shown: Instant,
    /// An order that was taken while others were gathered.
    next: Option<Order>,
}

impl Traveller {
    /// Until nobody asks any more.
    fn obey(&mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.rest().filter(|_| self.next.is_none()) {
                _ if self.next.is_some() => self.next.take(),
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
            match order.map(|order| self.gather(order, orders)) {
                Some(Order::Travel(to)) => self.go(to),
                Some(Order::SaveLooks) => self.save_looks(),
                Some(Order::SaveView(text)) => self.tell(save::view(&text)),
                None => self.go_on(),
            }
        }
    }

    /// Steps that were asked for meanwhile are one way: a key that is held down is not obeyed long after it was let go.
    fn gather(&mut self, order: Order, orders: &Receiver<Order>) -> Order {
        let Order::Travel(Move::Looks(mut by)) = order else {
            return order;
        };
        while let Ok(more) = orders.try_recv() {
            match more {
                Order::Travel(Move::Looks(more)) => by += more,
                other => {
                    self.next = Some(other);
                    break;
                }
            }
        }
        Order::Travel(Move::Looks(by))
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
            let player = kept.player();
            let place = Place::new(player, Origin::Memory, self.interval_s, String::new());
            self.place = Some(place);
        }
        let Some(place) = &mut self.place else { return };
        match (place.go(to), &place.origin) {
            (Went::Beyond, Origin::Memory) => return self.leave(),
            (Went::Nowhere, _) => self.tell(Ok("no such change is kept".to_owned())),
            _ => {}
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
            return self.leave();
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
