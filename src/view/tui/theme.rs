//! How does the screen look on this terminal? Panels draw with one set of styles and glyphs; what the terminal cannot
//! show is taken out of the finished grid here, in one place, so that no panel can forget it.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

/// Headings and names.
pub const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
/// What is there for completeness.
pub const DIM: Style = Style::new().add_modifier(Modifier::DIM);
/// Failing.
pub const FAIL: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
/// Not yet, or not quite.
pub const WARN: Style = Style::new().fg(Color::Yellow);
/// Works.
pub const OK: Style = Style::new().fg(Color::Green);
/// The application's own code, keys, what one may act on.
pub const OWN: Style = Style::new().fg(Color::Cyan);
/// The selected row, the focused panel's title.
pub const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);
/// Nothing special.
pub const PLAIN: Style = Style::new();

/// How a row stands, as one glyph; the word is always beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is one word for one state")]
pub enum Mark {
    Failing,
    CrashLooping,
    Warning,
    Serving,
    Starting,
    Stopped,
    Gone,
    Outside,
}

impl Mark {
    /// The glyph, one cell wide.
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Failing => "✖",
            Self::CrashLooping => "⟳",
            Self::Warning => "▲",
            Self::Serving => "●",
            Self::Starting => "◐",
            Self::Stopped => "■",
            Self::Gone => "○",
            Self::Outside => "·",
        }
    }

    /// The colour that goes with it.
    pub fn style(self) -> Style {
        match self {
            Self::Failing | Self::CrashLooping => FAIL,
            Self::Warning | Self::Starting | Self::Stopped => WARN,
            Self::Serving => OK,
            Self::Gone | Self::Outside => DIM,
        }
    }
}

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// The 16 colours, in the user's own palette; without, bold, dim and reversed remain.
    pub colours: bool,
    /// Only ASCII.
    pub ascii: bool,
}

impl Theme {
    /// Chooses by what the environment says: `NO_COLOR` set and not empty, a UTF-8 locale (see [`is_utf8`]), `TERM`.
    /// The Linux console's fonts have no room for our glyphs.
    pub fn choose(no_color: bool, utf8: bool, term: &str) -> Self {
        let mono = term.is_empty()
            || term == "dumb"
            || term.starts_with("vt")
            || term.ends_with("-mono")
            || term.ends_with("-m");
        Self {
            colours: !no_color && !mono,
            ascii: !utf8 || term == "linux" || term == "dumb",
        }
    }

    /// Takes out of a finished grid what the terminal cannot show.
    pub fn apply(self, grid: &mut Buffer) {
        for cell in &mut grid.content {
            if !self.colours {
                cell.fg = Color::Reset;
                cell.bg = Color::Reset;
            }
            if self.ascii && !cell.symbol().is_ascii() {
                let plain = ascii(cell.symbol());
                cell.set_symbol(plain);
            }
        }
    }
}

/// True if the locale's character set is UTF-8: the first of the three that is set and not empty decides (setlocale(3)).
pub fn is_utf8(lc_all: Option<&str>, lc_ctype: Option<&str>, lang: Option<&str>) -> bool {
    let decides = [lc_all, lc_ctype, lang]
        .into_iter()
        .flatten()
        .find(|value| !value.is_empty());
    decides.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.ends_with("utf-8") || value.ends_with("utf8") || value.contains("utf-8@")
    })
}

/// What stands for a glyph where only ASCII can be shown. Bars become digits: 1 is empty, 8 is full.
fn ascii(symbol: &str) -> &'static str {
    match symbol {
        "✖" => "X",
        "⟳" => "@",
        "▲" => "!",
        "●" => "*",
        "◐" => "~",
        "■" => "#",
        "○" => "o",
        "»" => "+",
        "·" | "•" => "-",
        "▸" | "▶" | "→" | "›" => ">",
        "▾" | "↓" | "▼" => "v",
        "↑" => "^",
        "←" | "‹" | "◀" => "<",
        "─" | "━" | "–" | "—" => "-",
        "┄" => ".",
        "│" | "├" | "└" => "|",
        "…" => "~",
        "≥" => ">",
        "≤" => "<",
        "×" => "x",
        "▁" => "1",
        "▂" => "2",
        "▃" => "3",
        "▄" => "4",
        "▅" => "5",
        "▆" => "6",
        "▇" => "7",
        "█" => "8",
        "’" | "‘" => "'",
        "“" | "”" => "\"",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        let cases: &[(bool, bool, &str, bool, bool)] = &[
            (false, true, "xterm-256color", true, false),
            (true, true, "xterm-256color", false, false),
            (false, false, "xterm", true, true),
            (false, true, "linux", true, true),
            (false, true, "vt100", false, false),
            (false, true, "dumb", false, true),
        ];
        for &(no_color, utf8, term, colours, ascii) in cases {
            let want = Theme { colours, ascii };
            assert_eq!(Theme::choose(no_color, utf8, term), want, "{term}");
        }
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        assert!(is_utf8(None, None, Some("en_US.UTF-8")));
        assert!(is_utf8(Some(""), Some("C.utf8"), Some("C")));
        assert!(!is_utf8(Some("C"), Some("C.utf8"), Some("en_US.UTF-8")));
        assert!(!is_utf8(None, None, None));
    }
}
