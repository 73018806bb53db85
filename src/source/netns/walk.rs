//! When are the kernel's tables walked? What listens is told in some 30 µs; bound sockets, half-open connections and
//! connections make the kernel walk whole hash tables, half a millisecond where they are empty. So a walk is made only when it
//! may show what the last one did not, and as seldom as its cost demands.

use std::time::Duration;

use crate::snapshot::{Listener, ListenerState, Moment};

/// The share of one core that walks may take, for all namespaces together: a thousandth; while the sockets of processes come
/// and go, a four-hundredth.
const SHARE: u32 = 1000;
const SHARE_OF_NEWS: u32 = 400;
/// A walk that is worth it is never put off longer than this.
const AT_LEAST_EVERY: Duration = Duration::from_secs(2);

/// What the last walk of a namespace leaves for the next one.
#[derive(Debug)]
pub struct Walked {
    /// Its processes' TCP sockets that did not listen.
    others: Vec<u64>,
    /// True if it showed something that passes by itself, half-open connections or somebody's bound sockets, or too little.
    passing: bool,
    /// TCP segments that the namespace had received before it.
    segments: Option<u64>,
    due_at: Moment,
    due_for_news_at: Moment,
}

/// What a walk found that matters for the next one, and what it took.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Sockets that listen or are bound, sorted by inode.
    pub listeners: &'a [Listener],
    /// Half-open connections.
    pub half_open: usize,
    /// TCP segments that the namespace had received before it.
    pub segments: Option<u64>,
    /// How long the kernel took, times the number of namespaces that are walked.
    pub cost: Duration,
}

impl Walked {
    /// Takes note of a walk. `others` are the TCP sockets of processes that were not known to listen before it.
    pub fn new(others: &[u64], found: Found<'_>, now: Moment) -> Self {
        let listens = |inode: &u64| {
            let at = found.listeners.binary_search_by_key(inode, |l| l.inode);
            let listener = at.ok().and_then(|at| found.listeners.get(at));
            listener.is_some_and(|l| l.state == ListenerState::Listening)
        };
        let bound = |l: &Listener| l.state == ListenerState::Bound;
        let after = |share| {
            let pause: Duration = found.cost.saturating_mul(share);
            now.plus_seconds(pause.min(AT_LEAST_EVERY).as_secs_f64())
        };
        Self {
            others: others.iter().copied().filter(|i| !listens(i)).collect(),
            passing: found.half_open > 0 || found.listeners.iter().any(bound),
            segments: found.segments,
            due_at: after(SHARE),
            due_for_news_at: after(SHARE_OF_NEWS),
        }
    }

    /// There is a listener that it did not show.
    pub fn lacks_a_listener(&mut self) {
        self.passing = true;
    }

    /// True if another walk may show something else than this one did, and may be made by now. With no TCP socket but those
    /// that listen nobody connects or binds; without a segment nobody is connected to.
    pub fn is_over(
        &self,
        others: &[u64],
        now: Moment,
        segments: impl FnOnce() -> Option<u64>,
    ) -> bool {
        if others != self.others {
            return now >= self.due_for_news_at;
        }
        let idle = || self.segments.is_some() && segments() == self.segments;
        now >= self.due_at && (!others.is_empty() || self.passing || !idle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, listener};

    fn walked(others: &[u64], listeners: &[Listener], half_open: usize) -> Walked {
        let found = Found {
            listeners,
            half_open,
            segments: Some(7),
            cost: Duration::from_micros(500),
        };
        Walked::new(others, found, NOW)
    }

    #[test]
    fn a_walk_is_made_when_it_may_show_something_else() {
        let bound = Listener {
            state: ListenerState::Bound,
            ..listener(80)
        };
        let (quiet, traffic, unseen) = (Some(7), Some(8), None);
        for (name, before, now, listeners, half_open, segments, want) in [
            ("nothing", &[][..], &[][..], &[][..], 0, quiet, false),
            ("traffic", &[], &[], &[], 0, traffic, true),
            ("traffic that is not seen", &[], &[], &[], 0, unseen, true),
            ("half-open connections", &[], &[], &[], 1, quiet, true),
            ("a bound socket", &[], &[], &[bound][..], 0, quiet, true),
            ("connections", &[5], &[5], &[], 0, quiet, true),
            ("a new socket", &[], &[5], &[], 0, quiet, true),
            ("a closed socket", &[5], &[], &[], 0, quiet, true),
            ("a listener", &[7], &[], &[listener(80)], 0, quiet, false),
        ] {
            let walked = walked(before, listeners, half_open);
            let is_over = walked.is_over(now, NOW.plus_seconds(2.0), || segments);
            assert_eq!(is_over, want, "{name}");
        }
        let mut walked = walked(&[], &[], 0);
        walked.lacks_a_listener();
        assert!(walked.is_over(&[], NOW.plus_seconds(2.0), || quiet));
    }

    #[test]
    fn what_walks_take_is_bounded() {
        let steady = walked(&[5], &[], 0);
        for (seconds, same, news) in [(0.1, false, false), (0.3, false, true), (0.6, true, true)] {
            let at = NOW.plus_seconds(seconds);
            assert_eq!(steady.is_over(&[5], at, || None), same, "{seconds}");
            assert_eq!(steady.is_over(&[6], at, || None), news, "{seconds}");
        }
    }
}
