//! How long has the main thread been kept from running by others who use the processors? That is no time that its own code has taken:
//! on a machine that has too much to do, everybody stands longer in the same place.

use crate::snapshot::{Moment, Process, ProcessState, Thread};

/// Time on a run queue since a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Starved {
    /// Since when it is counted.
    since: Moment,
    /// `waited_ns` of the main thread then.
    from_ns: u64,
    /// The same at the last look.
    now_ns: u64,
    run_ns: u64,
    /// When the thread was last seen to have run, and to have been ready to.
    ran: Moment,
    ready_s: f64,
}

impl Starved {
    /// Takes in a look. The count begins anew whenever `since` is another moment.
    pub(super) fn observe(&mut self, process: &Process, since: Moment) {
        let Some(main) = process.thread(process.key.pid) else {
            return;
        };
        let at = process.sampled_at;
        if main.run_ns != self.run_ns {
            self.ran = at;
        }
        self.run_ns = main.run_ns;
        self.now_ns = main.waited_ns;
        // The kernel adds a wait when it is over: of one that goes on only its beginning is known.
        let is_ready = main.state == ProcessState::Running && is_counted(main);
        self.ready_s = if is_ready {
            at.seconds_since(self.ran.max(since))
        } else {
            0.0
        };
        if since != self.since {
            self.since = since;
            self.from_ns = main.waited_ns;
        }
    }

    /// Seconds since then.
    pub fn seconds(&self) -> f64 {
        self.now_ns.saturating_sub(self.from_ns) as f64 / 1e9 + self.ready_s
    }
}

/// False on a kernel without scheduler statistics, where nobody is ever seen to run.
fn is_counted(thread: &Thread) -> bool {
    thread.switches > 0
}
