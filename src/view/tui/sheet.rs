//! What is to be on the screen? Lines placed side by side in rows. Two sheets are compared row by row, so that only rows that
//! differ are turned into cells: of a screen where time passes those are few.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::theme::Theme;

/// A whole screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Columns and rows.
    pub size: (u16, u16),
    /// What the terminal can show.
    pub theme: Theme,
    rows: Vec<Row>,
}

/// What is in one row, in the order in which it was put there.
type Row = Vec<Placed>;

/// A line, and the cells that it may fill.
#[derive(Debug, Clone, PartialEq)]
struct Placed {
    x: u16,
    width: u16,
    line: Line<'static>,
}

impl Sheet {
    /// An empty one.
    pub fn new(size: (u16, u16), theme: Theme) -> Self {
        Self {
            size,
            theme,
            rows: vec![Row::new(); usize::from(size.1)],
        }
    }

    /// The whole of it.
    pub fn area(&self) -> Rect {
        Rect::new(0, 0, self.size.0, self.size.1)
    }

    /// Puts a line into one row of the area, `row` counted from its top. What is too long ends in `…`; a row outside the area
    /// is not shown.
    pub fn put(&mut self, area: Rect, row: usize, line: Line<'static>) {
        let area = area.intersection(self.area());
        let row = Some(row).filter(|row| *row < usize::from(area.height));
        let place = row.and_then(|row| self.rows.get_mut(usize::from(area.y) + row));
        if let Some(place) = place {
            place.push(Placed {
                x: area.x,
                width: area.width,
                line,
            });
        }
    }

    /// Puts as many lines as the area has rows, from `scroll` on.
    pub fn put_all(&mut self, area: Rect, lines: Vec<Line<'static>>, scroll: usize) {
        let rows = usize::from(area.height);
        for (row, line) in lines.into_iter().skip(scroll).take(rows).enumerate() {
            self.put(area, row, line);
        }
    }

    /// The rows that are not as they are on another sheet, by their number.
    pub fn differing<'a>(&'a self, other: &'a Sheet) -> impl Iterator<Item = u16> + 'a {
        let same = self.size == other.size && self.theme == other.theme;
        let rows = self.rows.iter().enumerate();
        let differing = rows.filter(move |(at, row)| !same || other.rows.get(*at) != Some(row));
        differing.filter_map(|(at, _)| u16::try_from(at).ok())
    }

    /// Paints one row into a grid that holds it.
    pub fn paint(&self, row: u16, grid: &mut Buffer) {
        for placed in self.rows.get(usize::from(row)).into_iter().flatten() {
            placed.paint(row, grid);
        }
    }
}

impl Placed {
    fn paint(&self, row: u16, grid: &mut Buffer) {
        let end = self.x + self.width;
        let mut x = self.x;
        for span in &self.line.spans {
            let style = self.line.style.patch(span.style);
            x = match plain(&span.content) {
                Some(bytes) => paint_plain(bytes, style, (x, row), end, grid),
                None => {
                    let room = usize::from(end - x);
                    grid.set_stringn(x, row, &span.content, room, style).0
                }
            };
        }
        if self.width > 0 && self.line.width() > usize::from(self.width) {
            let style = self
                .line
                .spans
                .last()
                .map_or(Style::new(), |span| span.style);
            grid.set_string(end - 1, row, "…", style);
        }
    }
}

/// The text, if each of its bytes is a character that fills one cell.
fn plain(text: &str) -> Option<&[u8]> {
    let bytes = text.as_bytes();
    let printable = |b: &u8| matches!(b, b' '..=b'~');
    bytes.iter().all(printable).then_some(bytes)
}

/// What `set_stringn` does, without dividing the text into graphemes. Returns where it ended.
fn paint_plain(bytes: &[u8], style: Style, at: (u16, u16), end: u16, grid: &mut Buffer) -> u16 {
    let (mut x, row) = at;
    for byte in bytes {
        let Some(cell) = grid.cell_mut((x, row)).filter(|_| x < end) else {
            break;
        };
        cell.set_char(char::from(*byte)).set_style(style);
        x += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theme() -> Theme {
        Theme::choose(false, true, "xterm")
    }

    fn shown(sheet: &Sheet) -> Vec<String> {
        let mut grid = Buffer::empty(sheet.area());
        for row in 0..sheet.size.1 {
            sheet.paint(row, &mut grid);
        }
        let width = usize::from(sheet.size.0);
        let rows = grid.content.chunks(width);
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect())
            .collect()
    }

    #[test]
    fn lines_stand_where_they_are_put_and_the_last_one_is_on_top() {
        let mut sheet = Sheet::new((8, 3), theme());
        let right = Rect::new(4, 1, 9, 9);
        sheet.put(sheet.area(), 0, Line::raw("much too long"));
        sheet.put_all(
            right,
            vec!["a".into(), "b".into(), "c".into(), "d".into()],
            1,
        );
        sheet.put(Rect::new(0, 1, 3, 1), 0, Line::raw("日本"));
        sheet.put(Rect::new(5, 2, 1, 1), 0, Line::raw("!"));
        sheet.put(sheet.area(), 3, Line::raw("outside"));
        let mixed = vec!["a".into(), "日b".into(), "cde".into()];
        sheet.put(Rect::new(4, 0, 4, 1), 0, Line::from(mixed));
        assert_eq!(shown(&sheet), ["mucha日 …", "日 … b   ", "    c!  "]);
    }

    #[test]
    fn only_rows_that_differ_are_told() {
        let mut before = Sheet::new((8, 3), theme());
        before.put(before.area(), 1, Line::raw("a"));
        let mut now = before.clone();
        assert_eq!(now.differing(&before).count(), 0);
        now.put(now.area(), 2, Line::raw("b"));
        assert_eq!(now.differing(&before).collect::<Vec<_>>(), [2]);
        assert_eq!(before.differing(&now).collect::<Vec<_>>(), [2]);
        let larger = Sheet::new((9, 3), theme());
        assert_eq!(larger.differing(&now).count(), 3, "another size");
        let mono = Sheet::new((8, 3), Theme::choose(true, true, "xterm"));
        assert_eq!(mono.differing(&now).count(), 3, "other colours");
    }
}
