//! Which columns has the table, how wide are they, in which order do they put rows? Widths depend on the room alone, never on the
//! values, so that nothing moves while values change.

use std::cmp::Ordering;

use super::facts::{Facts, Queue, Seen};
use super::text;

/// Columns, from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its title")]
pub enum Column {
    Phase,
    For,
    Server,
    Listens,
    Queue,
    Syn,
    Threads,
    Fds,
    Cpu,
    Memory,
    Python,
}

impl Column {
    /// All of them, from left to right.
    pub const ALL: [Column; 11] = [
        Self::Phase,
        Self::For,
        Self::Server,
        Self::Listens,
        Self::Queue,
        Self::Syn,
        Self::Threads,
        Self::Fds,
        Self::Cpu,
        Self::Memory,
        Self::Python,
    ];

    /// Those that can be left out, the most needed first. PHASE, FOR and SERVER always stay.
    const BY_NEED: [Column; 8] = [
        Self::Listens,
        Self::Queue,
        Self::Cpu,
        Self::Fds,
        Self::Threads,
        Self::Memory,
        Self::Python,
        Self::Syn,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Phase => "PHASE",
            Self::For => "FOR",
            Self::Server => "SERVER",
            Self::Listens => "LISTENS ON",
            Self::Queue => "ACCEPT QUEUE",
            Self::Syn => "SYN",
            Self::Threads => "THR",
            Self::Fds => "FDS",
            Self::Cpu => "CPU",
            Self::Memory => "MEM",
            Self::Python => "PYTHON",
        }
    }

    /// Cells at the least.
    fn least(self) -> usize {
        match self {
            Self::Phase => 13,
            Self::For => 4,
            Self::Server => 22,
            Self::Listens => 14,
            Self::Queue => 14,
            Self::Syn => 4,
            Self::Threads => 4,
            Self::Fds => 10,
            Self::Cpu => 5,
            Self::Memory => 5,
            Self::Python => 6,
        }
    }

    /// How many cells more are of use, where there is room.
    fn stretch(self) -> usize {
        match self {
            Self::Server => 24,
            Self::Listens => 20,
            Self::Queue => 14,
            _ => 0,
        }
    }

    fn is_number(self) -> bool {
        matches!(
            self,
            Self::For | Self::Syn | Self::Threads | Self::Fds | Self::Cpu | Self::Memory
        )
    }

    /// The column that comes `step` places after this one among those that one may sort by; none is the default order.
    pub fn neighbour(from: Option<Column>, step: isize) -> Option<Column> {
        let places = Self::ALL.len() as isize + 1;
        let at = from
            .and_then(|c| Self::ALL.iter().position(|x| *x == c))
            .map_or(0, |p| p as isize + 1);
        let next = (at + step).rem_euclid(places);
        usize::try_from(next - 1)
            .ok()
            .and_then(|at| Self::ALL.get(at).copied())
    }

    /// The heading, fitted.
    pub fn heading(self, width: usize, sorted: Option<bool>) -> String {
        let title = match sorted {
            Some(inverted) => format!("{}{}", self.title(), if inverted { "↑" } else { "↓" }),
            None => self.title().to_owned(),
        };
        if self.is_number() {
            text::right(&title, width)
        } else {
            text::left(&title, width)
        }
    }

    /// Compares two rows for sorting by this column: what is largest, longest or alphabetically first comes first.
    pub fn compare(self, a: &Facts, b: &Facts) -> Ordering {
        match self {
            Self::Phase => a.phase.cmp(&b.phase),
            Self::For => b.for_s.total_cmp(&a.for_s),
            Self::Server => a.name.cmp(&b.name),
            Self::Listens => by(&b.listens, &a.listens).reverse(),
            Self::Queue => by(&depth(&b.queue), &depth(&a.queue)),
            Self::Syn => by(&b.syn, &a.syn),
            Self::Threads => by(&b.threads, &a.threads),
            Self::Fds => by(&b.fds, &a.fds),
            Self::Cpu => by(&whole(&b.cpu), &whole(&a.cpu)),
            Self::Memory => by(&b.memory, &a.memory),
            Self::Python => by(&b.python, &a.python).reverse(),
        }
    }
}

/// The columns that there is room for, with their widths; one cell between them.
pub fn fit(width: usize) -> Vec<(Column, usize)> {
    let mut chosen = vec![Column::Phase, Column::For, Column::Server];
    let cost = |columns: &[Column]| {
        columns
            .iter()
            .map(|c| c.least() + 1)
            .sum::<usize>()
            .saturating_sub(1)
    };
    for column in Column::BY_NEED {
        if cost(&chosen) + 1 + column.least() > width {
            break;
        }
        chosen.push(column);
    }
    let missing = cost(&chosen).saturating_sub(width);
    let mut spare = width.saturating_sub(cost(&chosen));
    let mut widths: Vec<(Column, usize)> = Column::ALL
        .into_iter()
        .filter(|c| chosen.contains(c))
        .map(|c| (c, c.least()))
        .collect();
    for (share, of) in [(2, 3), (1, 1)] {
        for (column, cells) in &mut widths {
            let wanted = (column.stretch() * share / of + column.least()).saturating_sub(*cells);
            let given = wanted.min(spare);
            *cells += given;
            spare -= given;
        }
    }
    if let Some((_, cells)) = widths.iter_mut().find(|(c, _)| *c == Column::Server) {
        *cells = (*cells + spare).saturating_sub(missing);
    }
    widths
}

fn by<T: PartialOrd>(a: &Seen<T>, b: &Seen<T>) -> Ordering {
    a.partial_cmp(b).unwrap_or(Ordering::Equal)
}

fn depth(queue: &Seen<Queue>) -> Seen<u32> {
    match queue {
        Seen::None => Seen::None,
        Seen::Unseen => Seen::Unseen,
        Seen::Is(q) => Seen::Is(q.depth),
    }
}

fn whole(value: &Seen<f64>) -> Seen<i64> {
    match value {
        Seen::None => Seen::None,
        Seen::Unseen => Seen::Unseen,
        Seen::Is(v) => Seen::Is(v.round() as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_use_the_whole_width_and_leave_by_need() {
        for width in 36..300 {
            let columns = fit(width);
            let used: usize = columns.iter().map(|(_, cells)| cells + 1).sum::<usize>() - 1;
            assert_eq!(used, width);
            assert!(columns.iter().any(|(c, _)| *c == Column::Server));
        }
        let at_76: Vec<Column> = fit(76).into_iter().map(|(c, _)| c).collect();
        assert!(at_76.contains(&Column::Listens) && at_76.contains(&Column::Queue));
        assert_eq!(fit(157).len(), Column::ALL.len());
    }

    #[test]
    fn sorting_goes_round_by_way_of_the_default_order() {
        let mut at = None;
        for _ in 0..Column::ALL.len() {
            at = Column::neighbour(at, 1);
            assert!(at.is_some());
        }
        assert_eq!(Column::neighbour(at, 1), None);
        assert_eq!(Column::neighbour(None, -1), Some(Column::Python));
    }
}
