//! Where does each part of the screen stand?
//!
//! ```text
//!  header        1   who, when, how many
//!  heading       1   titles of the columns
//!  table         n   servers, failing ones first; at most two fifths
//!  ── rule ────  1   whom the rest speaks of
//!  why           n   the cause, its evidence, what to do
//!  timeline      1
//!  ── tabs ────  1   [1] Sockets [2] Stacks …
//!  panel         n   the rest; two side by side from 150 columns
//!  ruler         1   in the past: where one is
//!  footer        1   keys, or what is being typed
//! ```
//!
//! What has the focus grows, the others give way; on a low screen WHY and the panel take turns.

use ratatui::layout::Rect;

/// The least size that can be drawn on.
pub const LEAST: (u16, u16) = (40, 10);

/// From this width on, two panels stand side by side.
pub const WIDE: u16 = 150;

/// Below this height WHY and the panel take turns.
const LOW: u16 = 17;

/// Who listens to the arrow keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// The table.
    Table,
    /// WHY.
    Why,
    /// The panel.
    Panel,
}

/// What the layout depends on.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Columns and rows of the screen.
    pub size: (u16, u16),
    /// Rows of the table.
    pub rows: usize,
    /// Lines of WHY.
    pub why: usize,
    /// Who has the focus.
    pub focus: Focus,
    /// True inside a server, where WHY and the panels matter more than the table.
    pub inside: bool,
    /// True in the past, where one wants to see where one is.
    pub past: bool,
}

/// The parts; those that have no room are empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the picture above names them")]
pub struct Areas {
    pub header: Rect,
    pub heading: Rect,
    pub table: Rect,
    pub rule: Rect,
    pub why: Rect,
    pub timeline: Rect,
    pub tabs: Rect,
    pub panel: Rect,
    pub ruler: Rect,
    pub footer: Rect,
}

/// Heights of the three parts that share the room.
struct Heights {
    table: u16,
    why: u16,
    panel: u16,
}

/// The layout; `None` if the screen is too small.
pub fn areas(wishes: Wishes) -> Option<Areas> {
    let (width, height) = wishes.size;
    if width < LEAST.0 || height < LEAST.1 {
        return None;
    }
    let low = height < LOW;
    let ruler = u16::from(wishes.past);
    let heights = if low {
        low_heights(wishes)
    } else {
        heights(wishes)
    };
    let mut y = 0;
    let mut next = |rows: u16| {
        let area = Rect::new(0, y, width, rows);
        y += rows;
        area
    };
    Some(Areas {
        header: next(1),
        heading: next(1),
        table: next(heights.table),
        rule: next(u16::from(!low || heights.why > 0)),
        why: next(heights.why),
        timeline: next(u16::from(!low)),
        tabs: next(u16::from(!low || heights.panel > 0)),
        panel: next(heights.panel),
        ruler: next(ruler),
        footer: Rect::new(0, height - 1, width, 1),
    })
}

fn heights(wishes: Wishes) -> Heights {
    let room = wishes.size.1 - 6 - u16::from(wishes.past);
    let rows = rows(wishes.rows);
    let why = rows_of(wishes.why).max(2);
    let (table_most, why_most) = match (wishes.focus, wishes.inside) {
        (Focus::Table, false) => (room * 2 / 5, room * 2 / 5),
        (Focus::Table, true) => (room / 3, room * 2 / 5),
        (Focus::Why, _) => (3, room - 5),
        (Focus::Panel, _) => (3, room / 5),
    };
    let table = rows.min(table_most);
    let why = why.min(why_most);
    Heights {
        table,
        why,
        panel: room - table - why,
    }
}

fn low_heights(wishes: Wishes) -> Heights {
    let room = wishes.size.1 - 4 - u16::from(wishes.past);
    let table = rows(wishes.rows).min(if wishes.focus == Focus::Table {
        (room / 2).max(1)
    } else {
        1
    });
    let rest = room - table;
    match wishes.focus {
        Focus::Panel => Heights {
            table,
            why: 0,
            panel: rest,
        },
        Focus::Table | Focus::Why => Heights {
            table,
            why: rest,
            panel: 0,
        },
    }
}

fn rows(n: usize) -> u16 {
    rows_of(n).max(1)
}

fn rows_of(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fill_the_screen_and_never_leave_it() {
        for height in 10..120 {
            for rows in [0, 1, 5, 60, 100_000] {
                for why in [1, 7, 500] {
                    for focus in [Focus::Table, Focus::Why, Focus::Panel] {
                        for (inside, past) in [(false, false), (true, false), (true, true)] {
                            let a = areas(Wishes {
                                size: (80, height),
                                rows,
                                why,
                                focus,
                                inside,
                                past,
                            })
                            .unwrap();
                            let used = a.table.height + a.why.height + a.panel.height;
                            let fixed = 3
                                + a.rule.height
                                + a.timeline.height
                                + a.tabs.height
                                + a.ruler.height;
                            assert!(used + fixed <= height);
                            assert!(used + fixed + 1 >= height, "{height} {a:?}");
                            assert!(a.table.height > 0);
                            assert_eq!(a.footer.y, height - 1);
                        }
                    }
                }
            }
        }
        let least = Wishes {
            size: LEAST,
            rows: 3,
            why: 3,
            focus: Focus::Table,
            inside: false,
            past: false,
        };
        assert!(areas(least).is_some());
        assert!(
            areas(Wishes {
                size: (39, 10),
                ..least
            })
            .is_none()
        );
        assert!(
            areas(Wishes {
                size: (40, 9),
                ..least
            })
            .is_none()
        );
    }
}
