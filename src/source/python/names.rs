//! When the names of a process's threads are read again: to find them takes a walk through `sys.modules`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::snapshot::Thread;

/// Names by pthread_self(), as py-spy keeps them: `None` for a thread without one.
#[derive(Debug)]
pub struct ThreadNames {
    /// What py-spy reads and fills.
    pub known: HashMap<u64, Option<String>>,
    /// Whether they are daemons, by the same, as far as that was read with the names.
    pub daemons: HashMap<u64, bool>,
    /// Whose names they are; `None` before the first reading.
    threads: Option<Vec<u32>>,
    forgotten_at: Instant,
    /// How long nameless threads are left alone; doubles up to a minute.
    patience: Duration,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

impl Default for ThreadNames {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            daemons: HashMap::new(),
            threads: None,
            forgotten_at: Instant::now(),
            patience: SHORTEST,
        }
    }
}

impl ThreadNames {
    /// Forgets what may no longer hold: all names after a minute, or when threads came or went (the address of an ended
    /// thread is soon that of another), at most once a second; the nameless ones when they may have got one.
    pub fn refresh(&mut self, threads: &[Thread]) {
        let age = self.forgotten_at.elapsed();
        let tids = || threads.iter().map(|t| t.tid);
        let known = self.threads.as_ref();
        let changed = known.is_none_or(|known| !tids().eq(known.iter().copied()));
        if (changed && age >= SHORTEST) || age >= LONGEST || self.threads.is_none() {
            self.known.clear();
            self.daemons.clear();
            self.threads = Some(tids().collect());
            self.forgotten_at = Instant::now();
            self.patience = SHORTEST;
        } else if age >= self.patience {
            self.known.retain(|_, name| name.is_some());
            self.patience = (self.patience * 2).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_while_the_threads_are_the_same() {
        let mut names = ThreadNames::default();
        names.refresh(&[]);
        names.known = HashMap::from([(1, Some("a".to_owned())), (2, None)]);
        names.refresh(&[]);
        assert_eq!(names.known.len(), 2);
        names.forgotten_at = Instant::now().checked_sub(SHORTEST).unwrap();
        names.refresh(&[]);
        assert_eq!(
            names.known.len(),
            1,
            "the nameless one may have a name by now"
        );
        assert_eq!(names.patience, SHORTEST * 2);
        names.threads = Some(vec![7]);
        names.refresh(&[]);
        assert!(
            names.known.is_empty(),
            "another thread may have the address"
        );
    }
}
