//! One accept queue over time: is it drained, does it grow, what does it drop?

use std::collections::VecDeque;

use crate::snapshot::{Listener, Moment};

const QUEUE_LOOKS: usize = 64;

/// What is remembered of one listening socket.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The socket as last seen.
    pub socket: Listener,
    /// Depth at the last looks, oldest first.
    pub depths: VecDeque<u32>,
    /// Since when connections have waited without the queue ever getting shorter; `None` while it is empty.
    pub stuck_since: Option<Moment>,
    /// Deepest since `stuck_since`, less the depth then: how much it grew.
    pub grown: u32,
    drops: VecDeque<(Moment, u32)>,
    pub(super) seen: Moment,
}

impl Queue {
    pub(super) fn new(socket: &Listener, at: Moment) -> Self {
        let mut queue = Self {
            socket: socket.clone(),
            depths: VecDeque::new(),
            stuck_since: None,
            grown: 0,
            drops: VecDeque::new(),
            seen: Moment(at.0.wrapping_sub(1)),
        };
        queue.observe(socket, at);
        queue
    }

    pub(super) fn observe(&mut self, socket: &Listener, at: Moment) {
        if at <= self.seen {
            return;
        }
        self.seen = at;
        let depth = socket.accept_queue.unwrap_or(0);
        let before = self.depths.back().copied();
        self.stuck_since = match (depth, before) {
            (0, _) => None,
            (_, Some(before)) if depth < before => Some(at),
            _ => self.stuck_since.or(Some(at)),
        };
        self.grown = match (self.stuck_since, before) {
            (Some(since), Some(before)) if since < at => {
                self.grown.saturating_add(depth.saturating_sub(before))
            }
            _ => 0,
        };
        self.depths.push_back(depth);
        while self.depths.len() > QUEUE_LOOKS {
            self.depths.pop_front();
        }
        if let Some(drops) = socket.drops {
            self.drops.push_back((at, drops));
        }
        while self
            .drops
            .get(1)
            .is_some_and(|(when, _)| at.seconds_since(*when) > 5.0)
        {
            self.drops.pop_front();
        }
        self.socket = socket.clone();
    }

    /// Drops per second over the last five seconds; `None` until two looks, or when the counter went backwards.
    pub fn drops_per_second(&self) -> Option<f64> {
        let (first_at, first) = self.drops.front()?;
        let (last_at, last) = self.drops.back()?;
        let seconds = last_at.seconds_since(*first_at);
        let dropped = last.checked_sub(*first)?;
        (seconds >= 0.5).then(|| f64::from(dropped) / seconds)
    }

    /// True if the queue has no room left.
    pub fn is_full(&self) -> bool {
        match (self.socket.accept_queue, self.socket.backlog) {
            (Some(depth), Some(backlog)) => depth > backlog,
            _ => false,
        }
    }

    /// Seconds for which connections have waited while the queue never got shorter.
    pub fn stuck_s(&self, now: Moment) -> f64 {
        self.stuck_since
            .map_or(0.0, |since| now.seconds_since(since))
    }
}
