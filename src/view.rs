//! What a view may see: one [`Scene`], made of a snapshot and what was made of it. Views fetch nothing and change nothing.

use std::sync::Arc;

pub mod check;
pub mod json;

use crate::diagnosis::Diagnosis;
use crate::feed::Feed;
use crate::snapshot::{LocalsAnswer, Snapshot};

pub mod format;
pub mod metrics;
pub mod report;
pub mod tui;

/// All that a view may see.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The newest look; `None` before the first one has ended.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What it means.
    pub diagnosis: Arc<Diagnosis>,
    /// Seconds between looks at quiet processes, as the user set it.
    pub interval_s: f64,
    /// This program's own CPU use in percent of one core, over the last seconds; `None` until known.
    pub own_cpu_percent: Option<f64>,
    /// Seconds of looking so far.
    pub observed_for_s: f64,
    /// Locals of the processes that were asked about last, as far as they have come.
    pub locals: Arc<Vec<LocalsAnswer>>,
    /// Whether this is what is so now.
    pub feed: Feed,
}

impl Scene {
    /// The scene before anything has been seen.
    pub fn before_the_first_look(interval_s: f64) -> Self {
        Self {
            snapshot: None,
            diagnosis: Arc::new(Diagnosis::default()),
            interval_s,
            own_cpu_percent: None,
            observed_for_s: 0.0,
            locals: Arc::default(),
            feed: Feed::Live,
        }
    }
}
