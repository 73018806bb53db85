//! What had been understood by when? An analyst is kept as it was before some of the looks, so that a seek needs to observe a few
//! looks only, and not all of them from the first on.

use std::collections::BTreeMap;

use crate::diagnosis::Analyst;

/// Analysts, by the index of the look that each was about to observe: a key frame, where decoding can begin too.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    kept: BTreeMap<usize, Analyst>,
    most: usize,
    /// Looks between two of them, at least: doubled whenever there are too many.
    apart: usize,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self::new(128)
    }
}

impl Checkpoints {
    /// At most so many are kept (2 or more); beyond that every other one goes.
    pub fn new(most: usize) -> Self {
        Self {
            kept: BTreeMap::new(),
            most: most.max(2),
            apart: 1,
        }
    }

    /// Keeps the analyst as it was before this look, unless one is kept shortly before it.
    pub fn keep(&mut self, look: usize, analyst: &Analyst) {
        let last = self.kept.last_key_value().map(|(at, _)| *at);
        if last.is_some_and(|last| look < last.saturating_add(self.apart)) {
            return;
        }
        self.kept.insert(look, analyst.clone());
        if self.kept.len() > self.most {
            self.apart = self.apart.max(self.spacing()).saturating_mul(2);
            let mut is_odd = false;
            self.kept.retain(|_, _| {
                is_odd = !is_odd;
                is_odd
            });
        }
    }

    /// The nearest one that leads to this look: the index of the look that it is about to observe, and the analyst.
    pub fn before(&self, look: usize) -> Option<(usize, &Analyst)> {
        let (at, analyst) = self.kept.range(..=look).next_back()?;
        Some((*at, analyst))
    }

    /// Looks between the first two.
    fn spacing(&self) -> usize {
        let mut at = self.kept.keys();
        match (at.next(), at.next()) {
            (Some(first), Some(second)) => second - first,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_thinned_out_and_the_first_stays() {
        let mut kept = Checkpoints::new(4);
        for look in 0..1000 {
            kept.keep(look, &Analyst::default());
        }
        assert!(kept.kept.len() <= 4, "{:?}", kept.kept.keys());
        assert_eq!(kept.before(0).map(|(at, _)| at), Some(0));
        let widest = (0..1000).map(|look| look - kept.before(look).unwrap().0);
        assert!(widest.max() < Some(1000));
    }

    #[test]
    fn the_nearest_one_before_is_found() {
        let mut kept = Checkpoints::default();
        kept.keep(0, &Analyst::default());
        kept.keep(60, &Analyst::default());
        for (look, at) in [(0, 0), (59, 0), (60, 60), (61, 60)] {
            assert_eq!(kept.before(look).map(|(at, _)| at), Some(at));
        }
    }
}
