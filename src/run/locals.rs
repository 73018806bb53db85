//! Locals of processes, read because the user asked: by a thread of its own, for a target may be slow or hang.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use crate::snapshot::{LocalsAnswer, ProcessKey};
use crate::source::clock;
use crate::source::python::locals_of;

/// The last question, and what has come of it.
#[derive(Default)]
pub(super) struct Locals {
    answers: Arc<Vec<LocalsAnswer>>,
    pending: Option<Receiver<LocalsAnswer>>,
    /// Asked while another question was pending: it is read when that one is done.
    next: Vec<ProcessKey>,
}

impl Locals {
    /// Reads those of these processes. One question at a time: a target that hangs costs one thread.
    pub(super) fn ask(&mut self, keys: Vec<ProcessKey>) {
        if self.pending.is_some() {
            self.next = keys;
            return;
        }
        let (sender, receiver) = channel();
        let first = keys.first().copied();
        let reader = std::thread::Builder::new().name("steth-locals".into());
        let started = reader.spawn(move || {
            for key in keys {
                if sender.send(locals_of(key)).is_err() {
                    break;
                }
            }
        });
        self.answers = Arc::default();
        match started {
            Ok(_) => self.pending = Some(receiver),
            Err(error) => {
                let failed = first.map(|key| LocalsAnswer {
                    key,
                    at: clock::now(),
                    result: Err(format!("no thread to read them: {error}")),
                });
                self.answers = Arc::new(failed.into_iter().collect());
            }
        }
    }

    /// Takes in what has come; true if something has.
    pub(super) fn take(&mut self) -> bool {
        let Some(pending) = &self.pending else {
            return false;
        };
        match pending.try_recv() {
            Ok(answer) => {
                Arc::make_mut(&mut self.answers).push(answer);
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => {
                self.pending = None;
                let next = std::mem::take(&mut self.next);
                if !next.is_empty() {
                    self.ask(next);
                }
                false
            }
        }
    }

    /// The answers so far.
    pub(super) fn answers(&self) -> Arc<Vec<LocalsAnswer>> {
        Arc::clone(&self.answers)
    }
}
