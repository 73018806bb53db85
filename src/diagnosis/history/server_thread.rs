//! A process whose main thread only looks for changed files: is the thread that serves still there?
//!
//! Django's runserver and werkzeug's reloader serve in a thread of the process that they start again. When that thread ends
//! with an exception (a URLconf that cannot be imported), the main thread swallows it, and waits for a file to change.

use crate::diagnosis::framework::{self, Says};
use crate::diagnosis::{Kind, frames, kind};
use crate::snapshot::{Frame, Moment, Stack, Stacks};

/// What is remembered of that thread.
#[derive(Debug, Default, Clone)]
pub struct ServerThread {
    /// Since when it has been gone.
    pub gone_since: Option<Moment>,
    /// The application's frame in which it was last seen.
    pub last: Option<Frame>,
}

impl ServerThread {
    pub(super) fn observe(&mut self, stacks: &Stacks, main: u32, at: Moment) {
        // One that could not be read this time has not gone.
        if stacks.torn > 0 {
            return;
        }
        let (of_main, others): (Vec<&Stack>, Vec<&Stack>) =
            stacks.list.iter().partition(|s| s.tid == Some(main));
        let watches = of_main.iter().any(|s| framework::says(s, Says::Watches));
        let server = others.into_iter().find(|s| may_serve(s));
        if let Some(own) = server.and_then(frames::application_frame) {
            self.last = Some(own.1.clone());
        }
        self.gone_since = (watches && server.is_none()).then(|| self.gone_since.unwrap_or(at));
    }
}

/// An exporter beside the application serves, too, but not the application.
fn may_serve(stack: &Stack) -> bool {
    kind::by_stack(stack).is_some_and(|k| k != Kind::HttpServer) || frames::is_importing(stack)
}
