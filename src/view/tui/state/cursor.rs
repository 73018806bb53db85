//! Where is the selection? On a row by identity, so that it follows its row; on a place only when the row has gone.

use crate::snapshot::ProcessKey;

/// Identity of a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowId {
    /// A server.
    Server(ProcessKey),
    /// A process of a server.
    Member {
        /// Root of the server.
        server: ProcessKey,
        /// The process.
        process: ProcessKey,
    },
    /// The line into which other Python is folded.
    Others,
    /// A Python process that is no server.
    Outsider(ProcessKey),
}

impl RowId {
    /// The process that stands for the row.
    pub fn key(self) -> Option<ProcessKey> {
        match self {
            Self::Server(key) | Self::Outsider(key) => Some(key),
            Self::Member { process, .. } => Some(process),
            Self::Others => None,
        }
    }
}

/// The selection in one list of rows.
#[derive(Debug, Clone, Default)]
pub struct Cursor {
    row: Option<RowId>,
    /// Where the row was last, for the case that it goes.
    index: usize,
    /// The first row that is on screen.
    top: usize,
    /// True once the user has moved it: from then on it never leaves its row.
    chosen: bool,
}

impl Cursor {
    /// The selected row.
    pub fn row(&self) -> Option<RowId> {
        self.row
    }

    /// Its place among the rows.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The first row that is on screen.
    pub fn top(&self) -> usize {
        self.top
    }

    /// True once the user has moved it.
    pub fn is_chosen(&self) -> bool {
        self.chosen
    }

    /// Selects a row by the user's will.
    pub fn choose(&mut self, row: RowId) {
        self.row = Some(row);
        self.chosen = true;
    }

    /// Moves by so many rows, stopping at the ends.
    pub fn step(&mut self, rows: &[RowId], by: isize) {
        let last = rows.len().saturating_sub(1);
        let to = self.index.saturating_add_signed(by).min(last);
        if let Some(row) = rows.get(to) {
            self.index = to;
            self.choose(*row);
        }
    }

    /// Goes to the first row, for a selection that nobody has chosen.
    pub fn to_first(&mut self, rows: &[RowId]) {
        self.row = rows.first().copied();
    }

    /// Finds its row again after rows have come, gone or moved, and keeps it on screen.
    pub fn settle(&mut self, rows: &[RowId], height: usize) {
        match rows.iter().position(|row| Some(*row) == self.row) {
            Some(at) => self.index = at,
            None => {
                self.index = self.index.min(rows.len().saturating_sub(1));
                self.row = rows.get(self.index).copied();
            }
        }
        let height = height.max(1);
        self.top = self
            .top
            .min(rows.len().saturating_sub(height))
            .min(self.index);
        if self.index >= self.top + height {
            self.top = self.index + 1 - height;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pid: u32) -> RowId {
        RowId::Server(ProcessKey { pid, start_time: 1 })
    }

    #[test]
    fn follows_its_row_and_stays_in_place_when_it_goes() {
        let mut cursor = Cursor::default();
        let mut rows = vec![row(1), row(2), row(3), row(4)];
        cursor.settle(&rows, 2);
        assert_eq!(cursor.row(), Some(row(1)));
        cursor.step(&rows, 2);
        cursor.settle(&rows, 2);
        assert_eq!((cursor.row(), cursor.top()), (Some(row(3)), 1));
        rows.swap(0, 2);
        cursor.settle(&rows, 2);
        assert_eq!(
            (cursor.row(), cursor.index(), cursor.top()),
            (Some(row(3)), 0, 0)
        );
        rows.remove(0);
        cursor.settle(&rows, 2);
        assert_eq!(cursor.row(), Some(row(2)));
        cursor.step(&rows, 99);
        assert_eq!(cursor.row(), Some(row(4)));
        cursor.settle(&[], 2);
        assert_eq!(cursor.row(), None);
    }
}
