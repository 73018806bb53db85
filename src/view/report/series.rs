//! A number over time, in a bounded number of points: where there are too many, each two become one, of which the greater value stays,
//! for peaks are what one looks for.

/// Points that are kept.
const MOST: usize = 1024;

/// A number over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    points: Vec<(i64, Option<f64>)>,
    /// Values that become one point.
    each: usize,
    /// Values taken into the last point so far.
    taken: usize,
}

impl Series {
    /// Takes in a value, `None` where it could not be seen, at a time in milliseconds since the Unix epoch.
    pub fn push(&mut self, wall_ms: i64, value: Option<f64>) {
        let each = self.each.max(1);
        if self.taken > 0 && self.taken < each {
            if let Some((_, last)) = self.points.last_mut() {
                *last = greater(*last, value);
            }
            self.taken += 1;
        } else {
            self.points.push((wall_ms, value));
            self.taken = 1;
        }
        if self.points.len() > MOST {
            self.points = self.points.chunks(2).filter_map(one_of).collect();
            self.each = each * 2;
            self.taken = self.each;
        }
    }

    /// Times in milliseconds since the Unix epoch, and values.
    pub fn points(&self) -> &[(i64, Option<f64>)] {
        &self.points
    }

    /// The greatest value; `None` if none was seen.
    pub fn greatest(&self) -> Option<f64> {
        self.points.iter().filter_map(|p| p.1).reduce(f64::max)
    }

    /// True if it has never moved, or never been seen.
    pub fn is_flat(&self) -> bool {
        let mut seen = self.points.iter().filter_map(|p| p.1);
        let first = seen.next();
        seen.all(|value| Some(value) == first)
    }

    /// The first and the last value that were seen.
    pub fn ends(&self) -> Option<(f64, f64)> {
        let mut seen = self.points.iter().filter_map(|p| p.1);
        let first = seen.next()?;
        Some((first, seen.next_back().unwrap_or(first)))
    }
}

fn greater(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

fn one_of(points: &[(i64, Option<f64>)]) -> Option<(i64, Option<f64>)> {
    let (at, first) = points.first()?;
    let rest = points.iter().skip(1);
    Some((*at, rest.fold(*first, |most, p| greater(most, p.1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_outlives_any_number_of_points() {
        let mut series = Series::default();
        for at in 0..100_000 {
            let value = if at == 777 { 128.0 } else { 1.0 };
            series.push(at, Some(value));
        }
        assert!(series.points().len() <= MOST);
        assert_eq!(series.greatest(), Some(128.0));
        assert!(!series.is_flat());
        assert!(series.points().windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(series.points()[0].0, 0);
    }

    #[test]
    fn what_was_not_seen_is_no_zero() {
        let mut series = Series::default();
        series.push(0, None);
        series.push(1, Some(4.0));
        series.push(2, None);
        assert_eq!(series.points(), [(0, None), (1, Some(4.0)), (2, None)]);
        assert_eq!(series.ends(), Some((4.0, 4.0)));
        assert!(series.is_flat());
    }
}
