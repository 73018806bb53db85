//! Which panels stand where, on a wide screen? By what the subject is, which seldom changes, never by what the panels have to
//! say: nothing jumps about.
//!
//! ```text
//!   with an event loop            without
//!   [5] Tasks   │ [2] Stacks      [1] Sockets │ [2] Stacks
//!   [1] Sockets │ [3] Threads     [3] Threads │ [4] Exits
//!   [4] Exits   │ [6] Log         [6] Log
//! ```

use super::panel::PanelId;

/// Rows of the panels' area from which on two bands of panels have room, and three.
const TWO_BANDS: u16 = 17;
const THREE_BANDS: u16 = 27;

/// What the subject is, as far as it decides which panels matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// An event loop with tasks runs in it.
    Loop,
    /// No event loop runs in it, or it cannot be seen.
    Plain,
}

/// Panels side by side: one, or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// The left one.
    pub left: PanelId,
    /// The right one; the left one has the whole width where there is none.
    pub right: Option<PanelId>,
    /// Rows, without the line of tabs above all but the first.
    pub rows: u16,
}

impl Sort {
    /// The panel that is shown where the user has not chosen one.
    pub fn first(self) -> PanelId {
        match self {
            Self::Loop => PanelId::Tasks,
            Self::Plain => PanelId::Stacks,
        }
    }

    /// The two that stand side by side, one of which is this.
    pub fn pair(self, id: PanelId) -> (PanelId, PanelId) {
        match (self, id) {
            (Self::Loop, PanelId::Stacks) | (_, PanelId::Tasks) => {
                (PanelId::Tasks, PanelId::Stacks)
            }
            (Self::Loop, PanelId::Sockets | PanelId::Threads) => {
                (PanelId::Sockets, PanelId::Threads)
            }
            (Self::Plain, PanelId::Sockets | PanelId::Stacks) => {
                (PanelId::Sockets, PanelId::Stacks)
            }
            (Self::Loop, PanelId::Exits | PanelId::Log) => (PanelId::Exits, PanelId::Log),
            (Self::Plain, PanelId::Threads | PanelId::Exits) => (PanelId::Threads, PanelId::Exits),
            (Self::Plain, PanelId::Log) => (PanelId::Stacks, PanelId::Log),
            (_, PanelId::Changes) => (PanelId::Changes, PanelId::Log),
        }
    }

    /// All bands that there is room for in so many rows; one pair where there is room for no more.
    pub fn bands(self, rows: u16, shown: PanelId) -> Vec<Band> {
        use PanelId::{Exits, Log, Sockets, Stacks, Tasks, Threads};
        let pairs: &[(PanelId, Option<PanelId>)] = match (self, rows) {
            (_, rows) if rows < TWO_BANDS => {
                let (left, right) = self.pair(shown);
                return vec![Band {
                    left,
                    right: Some(right),
                    rows,
                }];
            }
            (Self::Plain, rows) if rows < THREE_BANDS => {
                &[(Sockets, Some(Stacks)), (Threads, Some(Exits))]
            }
            (Self::Plain, _) => &[(Sockets, Some(Stacks)), (Threads, Some(Exits)), (Log, None)],
            (Self::Loop, rows) if rows < THREE_BANDS => {
                &[(Tasks, Some(Stacks)), (Sockets, Some(Threads))]
            }
            (Self::Loop, _) => &[
                (Tasks, Some(Stacks)),
                (Sockets, Some(Threads)),
                (Exits, Some(Log)),
            ],
        };
        let heights = heights(rows, pairs.len());
        let bands = pairs.iter().zip(heights);
        bands
            .map(|(&(left, right), rows)| Band { left, right, rows })
            .collect()
    }
}

/// The first band has half of the room, the others share the rest; each but the first has a line above it.
fn heights(rows: u16, bands: usize) -> Vec<u16> {
    let first = rows / 2;
    let others = u16::try_from(bands.saturating_sub(1)).unwrap_or(1).max(1);
    let rest = rows.saturating_sub(first + others);
    let mut heights = vec![first];
    heights.extend((0..others).map(|n| rest / others + u16::from(n == 0) * (rest % others)));
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_fill_the_room_and_show_no_panel_twice() {
        for sort in [Sort::Loop, Sort::Plain] {
            for shown in PanelId::ALL {
                let (left, right) = sort.pair(shown);
                assert!(left == shown || right == shown, "{sort:?} {shown:?}");
                for rows in 1..80 {
                    let bands = sort.bands(rows, shown);
                    let used: u16 = bands.iter().map(|b| b.rows).sum();
                    assert_eq!(usize::from(used) + bands.len() - 1, usize::from(rows));
                    let mut ids: Vec<PanelId> = bands
                        .iter()
                        .flat_map(|b| [Some(b.left), b.right])
                        .flatten()
                        .collect();
                    ids.sort_by_key(|id| id.digit());
                    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
                    assert!(bands.len() == 1 || bands.iter().all(|b| b.rows >= 5));
                }
            }
        }
    }
}
