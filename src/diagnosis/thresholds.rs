//! When is long, when is much: the numbers that rules compare with, all in one place.

/// Thresholds of phases and rules, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// An event loop that has not turned for so long is blocked.
    pub loop_blocked_s: f64,
    /// A loop blocked for so long is critical even when nobody waits.
    pub loop_blocked_critical_s: f64,
    /// A queue that held connections for so long without getting shorter is not drained.
    pub queue_stuck_s: f64,
    /// The same, where it becomes a warning: a few long requests fill one worker's time, and that is no failure.
    pub queue_stuck_warning_s: f64,
    /// The same, where it becomes critical.
    pub queue_stuck_critical_s: f64,
    /// A thread that stands in the same functions for so long stands still.
    pub standing_s: f64,
    /// The same, where what it waits for leaves no doubt: a debugger's prompt, a lock that nobody can release.
    pub doubtless_s: f64,
    /// A boot that takes longer than this is worth a word.
    pub slow_boot_s: f64,
    /// Not there after so long: a warning.
    pub delay_warning_s: f64,
    /// Not there after so long: critical.
    pub delay_critical_s: f64,
    /// Looking for less than this says nothing about what moves.
    pub observed_s: f64,
    /// Stopped for so long is not a debugger's blink.
    pub stopped_s: f64,
    /// A reloader without child for so long is not in the middle of a reload.
    pub childless_s: f64,
    /// A listener that nobody accepts from for so long.
    pub nobody_accepts_s: f64,
    /// A pool of which no thread has moved for so long.
    pub pool_taken_s: f64,
    /// Tasks that have waited for each other for so long.
    pub task_deadlock_s: f64,
    /// A semaphore or a pool of connections from which nobody has got anything for so long.
    pub slots_stuck_s: f64,
    /// So many requests that wait for it are many.
    pub slots_many: usize,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            loop_blocked_s: 2.0,
            loop_blocked_critical_s: 5.0,
            queue_stuck_s: 2.0,
            queue_stuck_warning_s: 5.0,
            queue_stuck_critical_s: 15.0,
            standing_s: 2.0,
            doubtless_s: 1.0,
            slow_boot_s: 3.0,
            delay_warning_s: 10.0,
            delay_critical_s: 30.0,
            observed_s: 1.5,
            stopped_s: 0.5,
            childless_s: 1.5,
            nobody_accepts_s: 2.0,
            pool_taken_s: 2.0,
            task_deadlock_s: 1.5,
            slots_stuck_s: 1.5,
            slots_many: 3,
        }
    }
}
