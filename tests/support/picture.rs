//! A terminal's screen as an SVG picture: what the emulator holds, cell by cell, and nothing drawn by hand.

use std::fmt::Write;

const CELL: (f64, f64) = (8.4, 18.0);
const MARGIN: f64 = 12.0;
const INK: &str = "#d4d4d4";
const PAPER: &str = "#16181d";
/// The sixteen colours of a terminal.
const PALETTE: [&str; 16] = [
    "#16181d", "#e05c5c", "#7fb55a", "#d9a843", "#5a9bd8", "#b07cc6", "#4fb3b3", "#d4d4d4",
    "#7a7f8a", "#ff7b72", "#9ccc65", "#ffd166", "#79b8ff", "#d2a8ff", "#76e3ea", "#ffffff",
];

/// How a run of cells looks.
#[derive(Clone, PartialEq)]
struct Look {
    ink: String,
    paper: String,
    bold: bool,
    dim: bool,
    underline: bool,
}

/// The screen as a picture.
pub fn svg(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let width = f64::from(columns) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(rows) * CELL.1 + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{PAPER}\"/>\n"
    );
    for row in 0..rows {
        for (column, cells, text, look) in runs(screen, row, columns) {
            draw(&mut out, (row, column, cells), &text, &look);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Neighbours that look the same: first column, width in cells, text, look.
fn runs(screen: &vt100::Screen, row: u16, columns: u16) -> Vec<(u16, u16, String, Look)> {
    let mut runs: Vec<(u16, u16, String, Look)> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen.cell(row, column) else {
            continue;
        };
        let look = look_of(cell);
        let text = if cell.has_contents() {
            cell.contents()
        } else {
            " "
        };
        match runs.last_mut() {
            _ if cell.is_wide_continuation() => {
                if let Some(last) = runs.last_mut() {
                    last.1 += 1;
                }
            }
            Some((_, cells, so_far, same)) if *same == look => {
                so_far.push_str(text);
                *cells += 1;
            }
            _ => runs.push((column, 1, text.to_owned(), look)),
        }
    }
    runs
}

fn look_of(cell: &vt100::Cell) -> Look {
    let (mut ink, mut paper) = (colour(cell.fgcolor(), INK), colour(cell.bgcolor(), PAPER));
    if cell.inverse() {
        std::mem::swap(&mut ink, &mut paper);
    }
    Look {
        ink,
        paper,
        bold: cell.bold(),
        dim: cell.dim(),
        underline: cell.underline(),
    }
}

fn colour(colour: vt100::Color, default: &str) -> String {
    match colour {
        vt100::Color::Default => default.to_owned(),
        vt100::Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        vt100::Color::Idx(index @ 0..16) => PALETTE[usize::from(index)].to_owned(),
        vt100::Color::Idx(index @ 16..232) => {
            let level = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
            let cube = index - 16;
            let (red, green, blue) = (cube / 36, cube / 6 % 6, cube % 6);
            format!("#{:02x}{:02x}{:02x}", level(red), level(green), level(blue))
        }
        vt100::Color::Idx(index) => {
            let grey = 8 + 10 * (index - 232);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
    }
}

fn draw(out: &mut String, (row, column, cells): (u16, u16, u16), text: &str, look: &Look) {
    let x = MARGIN + f64::from(column) * CELL.0;
    let y = MARGIN + f64::from(row) * CELL.1;
    let width = f64::from(cells) * CELL.0;
    if look.paper != PAPER {
        let (paper, height) = (&look.paper, CELL.1);
        writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{paper}\"/>"
        )
        .expect("a String takes everything");
    }
    if text.trim().is_empty() {
        return;
    }
    let weight = if look.bold {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let faint = if look.dim { " opacity=\"0.6\"" } else { "" };
    let line = if look.underline {
        " text-decoration=\"underline\""
    } else {
        ""
    };
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
         xml:space=\"preserve\" fill=\"{}\"{weight}{faint}{line}>{escaped}</text>",
        y + 13.5,
        look.ink
    )
    .expect("a String takes everything");
}
