//! Text that a target controls, made harmless: its command line, thread names, file names and strings in its memory are
//! hostile, and a control character in them must never reach a terminal.

/// The text with every control character and every character that moves or hides others (bidi overrides, zero-width)
/// written as an escape, cut after `limit` characters with `…`.
pub fn clean(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit.saturating_mul(2)));
    for (count, c) in text.chars().enumerate() {
        if count == limit {
            out.push('…');
            break;
        }
        if is_harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// The same for bytes that ought to be UTF-8; what is not becomes U+FFFD.
pub fn clean_bytes(bytes: &[u8], limit: usize) -> String {
    let bounded = bytes.get(..limit.saturating_mul(4)).unwrap_or(bytes);
    clean(&String::from_utf8_lossy(bounded), limit)
}

fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_bounded() {
        let cases: &[(&str, usize, &str)] = &[
            ("plain", 10, "plain"),
            ("tab\tnul\0", 20, "tab\\tnul\\u{0}"),
            ("\x1b[31mred", 20, "\\u{1b}[31mred"),
            ("\u{9b}31m", 20, "\\u{9b}31m"),
            ("abc\u{202e}txt", 20, "abc\\u{202e}txt"),
            ("größe 日本", 20, "größe 日本"),
            ("abcdef", 3, "abc…"),
        ];
        for (input, limit, want) in cases {
            assert_eq!(&clean(input, *limit), want, "{input:?}");
        }
        assert_eq!(clean_bytes(b"a\xffb", 10), "a\u{fffd}b");
    }
}
