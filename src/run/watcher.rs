//! Look, say what it means, sleep until the next look is due: the loop that the screen and `check` share.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::locals::Locals;
use super::past::Memory;
use crate::cli::Target;
use crate::diagnosis::{Analyst, Diagnosis};
use crate::feed::Feed;
use crate::select;
use crate::snapshot::{Moment, OwnCost, ProcessKey, Snapshot};
use crate::source::sampler::{Sampler, Wishes};
use crate::view::Scene;

/// Looks again and again, and says what each look means.
pub(super) struct Watcher {
    sampler: Sampler,
    analyst: Analyst,
    pub(super) wishes: Wishes,
    targets: Vec<Target>,
    pub(super) began: Instant,
    looked: Instant,
    costs: VecDeque<(Moment, OwnCost)>,
    pub(super) locals: Locals,
    /// Where looks are kept, if they are.
    pub(super) memory: Option<Arc<Mutex<Memory>>>,
}

/// Between two looks at what is hot.
const HOT_TICK: Duration = Duration::from_millis(100);
/// Never less between two looks, whatever happens on the machine.
const REST: Duration = Duration::from_millis(40);
/// Never more, however long a look took.
const LONGEST_REST: Duration = Duration::from_secs(5);

impl Watcher {
    pub(super) fn new(targets: &[Target], interval: Duration) -> Self {
        let now = Instant::now();
        Self {
            sampler: Sampler::new(),
            analyst: Analyst::default(),
            wishes: Wishes {
                interval_s: interval.as_secs_f64(),
                hot: BTreeSet::new(),
                focus: None,
                patience: Duration::from_millis(60),
                holders: BTreeSet::new(),
            },
            targets: targets.to_vec(),
            began: now,
            looked: now,
            costs: VecDeque::new(),
            locals: Locals::default(),
            memory: None,
        }
    }

    /// One look and what it means: for all that is there, and for what the targets select.
    pub(super) fn look(&mut self) -> (Scene, Diagnosis) {
        self.looked = Instant::now();
        let snapshot = Arc::new(self.sampler.look(&self.wishes));
        let whole = self.observe(&snapshot);
        self.wishes.hot = whole.attention.iter().copied().collect();
        self.wishes.holders = whole.unknown_holders.iter().copied().collect();
        let selected = select::select(whole.clone(), &self.targets);
        let own_cpu_percent = self.own_cpu(&snapshot);
        let scene = Scene {
            snapshot: Some(snapshot),
            diagnosis: Arc::new(selected),
            interval_s: self.wishes.interval_s,
            own_cpu_percent,
            observed_for_s: self.began.elapsed().as_secs_f64(),
            locals: self.locals.answers(),
            feed: Feed::Live,
        };
        (scene, whole)
    }

    fn observe(&mut self, snapshot: &Arc<Snapshot>) -> Diagnosis {
        let Some(memory) = &self.memory else {
            return self.analyst.observe(snapshot);
        };
        let lock = || memory.lock().unwrap_or_else(PoisonError::into_inner);
        lock().keep(snapshot, &self.analyst, self.wishes.interval_s);
        let whole = self.analyst.observe(snapshot);
        lock().note(snapshot, &whole);
        whole
    }

    fn own_cpu(&mut self, snapshot: &Snapshot) -> Option<f64> {
        self.costs.push_back((snapshot.at, snapshot.own));
        while self
            .costs
            .get(1)
            .is_some_and(|(at, _)| snapshot.at.seconds_since(*at) > 5.0)
        {
            self.costs.pop_front();
        }
        let (at, cost) = self.costs.front()?;
        let seconds = snapshot.at.seconds_since(*at);
        let used = snapshot.own.cpu_ns.checked_sub(cost.cpu_ns)?;
        (seconds >= 2.0).then(|| used as f64 / 1e7 / seconds)
    }

    /// What the user wants to see; all there is where it is empty.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Looks at this process, or at none in particular, more often from the next look on.
    pub(super) fn focus_on(&mut self, focus: Option<ProcessKey>) {
        self.wishes.focus = focus;
    }

    /// Sleeps until the next look is due, somebody who is watched stirs, something happens that matters, or `asked` says that
    /// a look is wanted now; that is heard within a tenth of a second.
    pub(super) fn wait(&mut self, mut asked: impl FnMut(&mut Self) -> bool) {
        let took = self.looked.elapsed();
        // A machine on which looks are dear is looked at less often: at most a third of the time.
        let rested = self.looked + took + took.saturating_mul(2).clamp(REST, LONGEST_REST);
        let ticked = rested.max(self.looked + HOT_TICK);
        while !asked(self) {
            let now = Instant::now();
            let due = rested.max(now + self.sampler.due_in(&self.wishes));
            if now >= due || now >= ticked && self.sampler.stirs(&self.wishes) {
                break;
            }
            let next = if now < ticked { ticked } else { now + HOT_TICK };
            if self
                .sampler
                .wait(next.min(due).saturating_duration_since(now))
            {
                break;
            }
        }
        let since = self.looked.elapsed();
        std::thread::sleep(took.saturating_add(REST).saturating_sub(since));
    }
}
