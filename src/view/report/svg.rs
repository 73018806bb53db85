//! A number over time, as a picture inside the document: no script, nothing that is fetched, and the colours of the page.

use std::fmt::Write as _;

use super::html::escaped;
use super::series::Series;

/// Of a picture, in its own units; the page scales it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 110.0;
/// Room on the left, above and below for words.
const LEFT: f64 = 52.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 16.0;

/// The picture of a series, between two times in milliseconds since the Unix epoch; `marks` are times at which something began that was
/// wrong. Lines break where nothing was seen.
pub(super) fn graph(
    name: &str,
    series: &Series,
    (from, to): (i64, i64),
    clocks: (&str, &str),
    marks: &[i64],
) -> String {
    let greatest = series.greatest().unwrap_or(0.0);
    let most = if greatest > 0.0 { greatest } else { 1.0 };
    let span = (to - from).max(1) as f64;
    let x = |at: i64| LEFT + (at - from).max(0) as f64 / span * (WIDTH - LEFT - 4.0);
    let floor = HEIGHT - BOTTOM;
    let y = |value: f64| floor - value / most * (floor - TOP);
    let mut out = String::new();
    let name = escaped(name);
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}, at most {}\">\
<text class=\"name\" x=\"{LEFT}\" y=\"12\">{name}</text>\
<line class=\"axis\" x1=\"{LEFT}\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\"/>\
<text class=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>\
<text class=\"end\" x=\"{}\" y=\"{floor}\">0</text>\
<text class=\"from\" x=\"{LEFT}\" y=\"{}\">{}</text>\
<text class=\"end\" x=\"{WIDTH}\" y=\"{}\">{}</text>",
        number(greatest),
        LEFT - 6.0,
        TOP + 6.0,
        number(greatest),
        LEFT - 6.0,
        HEIGHT - 3.0,
        escaped(clocks.0),
        HEIGHT - 3.0,
        escaped(clocks.1),
    );
    for at in marks {
        let _ = write!(
            out,
            "<line class=\"mark\" x1=\"{0:.1}\" y1=\"{TOP}\" x2=\"{0:.1}\" y2=\"{floor}\"/>",
            x(*at)
        );
    }
    let path = path(series.points(), x, y);
    let _ = write!(out, "<path d=\"{path}\"/></svg>");
    out
}

/// Steps: a value holds until the next look.
fn path(points: &[(i64, Option<f64>)], x: impl Fn(i64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut is_drawn = false;
    for (at, value) in points {
        let _ = match (value, is_drawn) {
            (Some(value), true) => write!(path, "H{:.1}V{:.1}", x(*at), y(*value)),
            (Some(value), false) => write!(path, "M{:.1} {:.1}h1", x(*at), y(*value)),
            (None, true) => write!(path, "H{:.1}", x(*at)),
            (None, false) => Ok(()),
        };
        is_drawn = value.is_some();
    }
    path
}

/// Whole numbers as such, others with one decimal.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
