//! How bad does a line say it is? The words of Python's logging where loggers put them: near the beginning, in capitals,
//! in brackets or behind `level=`. A word in the middle of a message says nothing.

use crate::snapshot::Level;

/// Words after the stamp among which the level is looked for: `name - ERROR - message` has it third.
const WORDS: usize = 5;

/// The level; `None` where the line names none. `from` is where the text after the stamp begins.
pub(super) fn of(line: &str, from: usize) -> Option<Level> {
    let named = line.get(..from).and_then(of_words);
    let rest = line.get(from..).unwrap_or(line);
    named.or_else(|| of_words(rest)).or_else(|| of_pair(line))
}

fn of_words(text: &str) -> Option<Level> {
    text.split_whitespace().take(WORDS).find_map(of_token)
}

/// `ERROR:`, `[ERROR]`, `ERROR:root:no`, `|WARNING|`, `[error`.
fn of_token(token: &str) -> Option<Level> {
    let is_bracketed = token.starts_with('[');
    let bare = token.trim_start_matches(['[', '(', '|', '-', '<']);
    let end = bare
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(bare.len());
    let (word, after) = bare.split_at_checked(end)?;
    let is_whole = after.is_empty() || after.starts_with([':', ']', ')', '|', ',', '>', '-']);
    if !is_whole {
        return None;
    }
    by_word(word).filter(|_| is_bracketed || word.chars().all(char::is_uppercase))
}

/// `level=error`, `severity="ERROR"`.
fn of_pair(text: &str) -> Option<Level> {
    const SEARCHED: usize = 300;
    let near = text.get(..SEARCHED).unwrap_or(text);
    ["level=", "levelname=", "severity="]
        .iter()
        .find_map(|key| {
            let (_, rest) = near.split_once(key)?;
            let value = rest.trim_start_matches(['"', '\'']);
            let end = value
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(value.len());
            by_word(value.get(..end)?)
        })
}

/// The level that a word means, in any case.
pub(super) fn by_word(word: &str) -> Option<Level> {
    const WORDS: &[(&str, Level)] = &[
        ("trace", Level::Debug),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("notice", Level::Info),
        ("success", Level::Info),
        ("warning", Level::Warning),
        ("warn", Level::Warning),
        ("error", Level::Error),
        ("err", Level::Error),
        ("critical", Level::Critical),
        ("fatal", Level::Critical),
    ];
    let found = WORDS.iter().find(|(w, _)| w.eq_ignore_ascii_case(word));
    found.map(|(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::log::stamp;

    #[test]
    fn levels_are_read_where_loggers_put_them() {
        use Level::{Critical, Debug, Error, Info, Warning};
        let cases = [
            ("INFO:     Started server process [32382]", Some(Info)),
            ("ERROR:    [Errno 98] address already in use", Some(Error)),
            ("[2026-11-20 19:35:17 +0000] [342] [INFO] up", Some(Info)),
            (
                "2026-11-20 19:35:17,123 - shop.db - ERROR - no",
                Some(Error),
            ),
            ("ERROR:root:no", Some(Error)),
            (
                "2026-11-20 19:35:17.123 | WARNING  | a:b:1 - x",
                Some(Warning),
            ),
            ("2026-11-20 19:35:17 [critical ] boom", Some(Critical)),
            ("ts=1 level=error msg=x", Some(Error)),
            ("[DEBUG] x", Some(Debug)),
            ("CRITICAL 2026-11-20 19:35:17 x", Some(Critical)),
            ("job tick", None),
            ("the last ERROR was yesterday, they say", Some(Error)),
            ("nothing in these words is an ERROR", None),
            ("error in lower case is a word", None),
            ("ERRORS: 0", None),
            ("", None),
        ];
        for (line, want) in cases {
            let from = stamp::of(line, 0).map_or(0, |s| s.end);
            assert_eq!(of(line, from), want, "{line}");
        }
    }
}
