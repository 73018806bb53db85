//! How does a command get to where the user can paste it? By OSC 52: the terminal, which may be far away, is asked to take it into
//! its clipboard. Nobody answers whether it did, so nobody is told that it has.
//!
//! Source: xterm's ctlseqs, "Manipulate Selection Data". tmux takes the sequence as it is, and hands it on where its option
//! `set-clipboard` is `on`; GNU screen knows it not, and passes on what is wrapped in DCS.

/// Bytes of text beyond which nothing is sent: a command is never that long, and half a command is worse than none.
const TEXT_MOST: usize = 8 * 1024;

/// Bytes between the wrappers of one DCS string: GNU screen drops longer ones (MAXSTR is 768 in its versions before 4.2).
const DCS_MOST: usize = 500;

/// What stands between this program and a clipboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clipboard {
    /// A terminal that would print the sequence, or has no clipboard.
    None,
    /// The terminal itself.
    Terminal,
    /// tmux.
    Tmux,
    /// GNU screen.
    Screen,
}

/// What came of copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It was sent this way.
    Sent(Clipboard),
    /// The terminal has no clipboard.
    NoClipboard,
    /// There is nothing to copy, or too much of it.
    NotSent,
}

impl Clipboard {
    /// Chooses by `TERM` and by whether `TMUX` and `STY` are set. The Linux console and real terminals may print what they do not
    /// understand.
    pub fn choose(term: &str, tmux: bool, sty: bool) -> Self {
        let has_none = matches!(term, "" | "dumb" | "linux" | "cons25" | "sun")
            || ["vt", "ansi", "wyse"].iter().any(|t| term.starts_with(t));
        match (has_none, tmux, sty) {
            (true, ..) => Self::None,
            (false, true, _) => Self::Tmux,
            (false, false, true) => Self::Screen,
            (false, false, false) => Self::Terminal,
        }
    }

    /// What copying this text would come to.
    pub fn copied(self, text: &str) -> Copied {
        match self {
            Self::None => Copied::NoClipboard,
            _ if text.is_empty() || text.len() > TEXT_MOST => Copied::NotSent,
            _ => Copied::Sent(self),
        }
    }

    /// The bytes that ask for it; none where [`Self::copied`] is not `Sent`. A control character in the text, which
    /// might end a line where it is pasted, becomes a space, and so does what makes a text look like another one.
    pub fn sequence(self, text: &str) -> Vec<u8> {
        if !matches!(self.copied(text), Copied::Sent(_)) {
            return Vec::new();
        }
        let one_line: String = text
            .chars()
            .map(|c| {
                if c.is_control() || is_unseen(c) {
                    ' '
                } else {
                    c
                }
            })
            .collect();
        let plain = format!("\x1b]52;c;{}\x07", base64(one_line.as_bytes())).into_bytes();
        match self {
            Self::Screen => in_dcs(&plain),
            _ => plain,
        }
    }
}

/// Characters without a width, and those that turn the direction of a text (Unicode, bidirectional controls).
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `ESC P … ESC \`, as often as is needed.
fn in_dcs(sequence: &[u8]) -> Vec<u8> {
    let wrap = |part: &[u8]| [b"\x1bP", part, b"\x1b\\"].concat();
    sequence.chunks(DCS_MOST).flat_map(wrap).collect()
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let six = (bits >> (18 - 6 * at) & 0x3f) as usize;
            let letter = LETTERS.get(six).filter(|_| at <= group.len());
            out.push(letter.map_or('=', |l| char::from(*l)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("→?>", "4oaSPz4="),
        ] {
            assert_eq!(base64(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn the_environment_chooses_the_way() {
        for (term, tmux, sty, want) in [
            ("xterm-256color", false, false, Clipboard::Terminal),
            ("tmux-256color", true, false, Clipboard::Tmux),
            ("screen", false, true, Clipboard::Screen),
            ("screen", true, true, Clipboard::Tmux),
            ("screen", false, false, Clipboard::Terminal),
            ("linux", false, false, Clipboard::None),
            ("vt220", false, false, Clipboard::None),
            ("dumb", true, false, Clipboard::None),
            ("", false, false, Clipboard::None),
        ] {
            assert_eq!(Clipboard::choose(term, tmux, sty), want, "{term}");
        }
    }

    #[test]
    fn what_is_sent_is_bounded_and_one_line() {
        let plain = Clipboard::Terminal;
        assert_eq!(plain.sequence("ls\n-l"), b"\x1b]52;c;bHMgLWw=\x07");
        assert_eq!(plain.sequence("a\u{202e}b"), plain.sequence("a b"));
        assert_eq!(Clipboard::Tmux.sequence("foo"), b"\x1b]52;c;Zm9v\x07");
        assert_eq!(Clipboard::None.sequence("foo"), b"");
        assert_eq!(plain.copied(""), Copied::NotSent);
        assert_eq!(plain.sequence(""), b"");
        assert!(!plain.sequence(&"x".repeat(TEXT_MOST)).is_empty());
        assert_eq!(plain.sequence(&"x".repeat(TEXT_MOST + 1)), b"");
    }

    #[test]
    fn for_gnu_screen_it_is_wrapped_in_short_pieces() {
        assert_eq!(
            Clipboard::Screen.sequence("foo"),
            b"\x1bP\x1b]52;c;Zm9v\x07\x1b\\"
        );
        let long = Clipboard::Screen.sequence(&"x".repeat(3000));
        let text = String::from_utf8(long).unwrap();
        let pieces: Vec<&str> = text.split_terminator("\x1b\\").collect();
        assert!(pieces.len() > 5);
        let joined: String = pieces
            .iter()
            .map(|p| p.strip_prefix("\x1bP").unwrap())
            .collect();
        assert!(pieces.iter().all(|p| p.len() <= DCS_MOST + 2));
        assert_eq!(
            joined.into_bytes(),
            Clipboard::Terminal.sequence(&"x".repeat(3000))
        );
    }
}
