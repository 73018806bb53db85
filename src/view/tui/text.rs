//! How does text fit into cells? Truncation, padding and wrapping, by display width; everything here is bounded by the room
//! that it is given.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text, cut to `width` cells; what is cut ends in `…`.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = take(text, width.saturating_sub(1));
    if width > 0 {
        out.push('…');
    }
    out
}

/// The text, cut in its middle, so that both a path's root and its file name can be seen.
pub fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width || width < 8 {
        return cut(text, width);
    }
    let head = take(text, (width - 1) / 2);
    let mut tail: Vec<char> = Vec::new();
    let mut room = width - 1 - head.width();
    for c in text.chars().rev() {
        let cells = c.width().unwrap_or(0);
        if cells > room {
            break;
        }
        room -= cells;
        tail.push(c);
    }
    let tail: String = tail.into_iter().rev().collect();
    format!("{head}…{tail}")
}

/// As many characters as fit.
fn take(text: &str, width: usize) -> String {
    let mut room = width;
    let mut out = String::new();
    for c in text.chars() {
        let cells = c.width().unwrap_or(0);
        if cells > room {
            break;
        }
        room -= cells;
        out.push(c);
    }
    out
}

/// Exactly `width` cells, text to the left.
pub fn left(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let fill = width.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(fill))
}

/// Exactly `width` cells, text to the right.
pub fn right(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let fill = width.saturating_sub(text.width());
    format!("{}{text}", " ".repeat(fill))
}

/// The first so many characters.
fn head(text: &str, characters: usize) -> &str {
    match text.char_indices().nth(characters) {
        Some((at, _)) => text.get(..at).unwrap_or(text),
        None => text,
    }
}

/// Breaks text between words into lines of at most `width` cells; a word that is longer is broken where it must.
/// Bounded: at most 64 lines of it.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    const LINES: usize = 64;
    let width = width.max(1);
    let text = head(text, width.saturating_mul(LINES));
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        if line.width() + gap + word.width() <= width {
            if gap == 1 {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        let mut rest = word;
        while lines.len() < LINES {
            let piece = take(rest, width);
            if piece.is_empty() || piece.len() == rest.len() {
                break;
            }
            rest = rest.get(piece.len()..).unwrap_or("");
            lines.push(piece);
        }
        line.push_str(rest);
        if lines.len() >= LINES {
            return lines;
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Breaks text at any character into pieces of at most `width` cells, so that nothing of it is lost; at least one.
pub fn pieces(text: &str, width: usize) -> Vec<&str> {
    let width = width.max(2);
    let mut pieces = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (at, c) in text.char_indices() {
        let cells = c.width().unwrap_or(0);
        if used + cells > width {
            pieces.extend(text.get(start..at));
            (start, used) = (at, 0);
        }
        used += cells;
    }
    pieces.extend(text.get(start..));
    pieces
}

/// Lines of `first` + text, wrapped, the following lines indented by `rest`.
pub fn hanging(
    first: Span<'static>,
    rest: usize,
    text: &str,
    style: Style,
    width: usize,
) -> Vec<Line<'static>> {
    let room = width.saturating_sub(rest);
    wrap(text, room)
        .into_iter()
        .enumerate()
        .map(|(at, part)| {
            let lead = if at == 0 {
                first.clone()
            } else {
                Span::raw(" ".repeat(rest))
            };
            Line::from(vec![lead, Span::styled(part, style)])
        })
        .collect()
}

/// A line with something at each end; the right end gives way.
pub fn ends(left: Vec<Span<'static>>, right: Vec<Span<'static>>, width: usize) -> Line<'static> {
    let used: usize = left.iter().map(Span::width).sum();
    let wanted: usize = right.iter().map(Span::width).sum();
    let mut spans = left;
    if used + wanted < width {
        spans.push(Span::raw(" ".repeat(width - used - wanted)));
        spans.extend(right);
    }
    Line::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_by_cells_not_by_characters() {
        assert_eq!(cut("uvicorn", 7), "uvicorn");
        assert_eq!(cut("uvicorn app", 7), "uvicor…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(left("日本", 5), "日本 ");
        assert_eq!(right("9", 3), "  9");
        assert_eq!(
            cut_middle("/srv/very/long/path/app.py", 13),
            "/srv/v…app.py"
        );
    }

    #[test]
    fn pieces_lose_nothing() {
        assert_eq!(pieces("  a bcd", 3), ["  a", " bc", "d"]);
        assert_eq!(pieces("日本語", 5), ["日本", "語"]);
        assert_eq!(pieces("", 5), [""]);
        assert_eq!(pieces("日", 0), ["日"]);
    }

    #[test]
    fn wrapping_keeps_every_word_and_breaks_long_ones() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert!(wrap(&"x".repeat(100_000), 1).len() <= 64);
        assert!(wrap("日本", 1).len() <= 2);
        assert!(wrap("", 10).is_empty());
    }
}
