//! What must not be shown or stored in clear: values whose names say that they are secrets, and passwords inside addresses.
//!
//! A name tells, never the value: what looks random need not be a secret, and a secret need not look random. Masked is what gets
//! into a snapshot, where it is read: command lines, lines of logs, locals. Nothing behind it ever has the secret.

mod arguments;

use std::sync::atomic::{AtomicBool, Ordering};

pub use arguments::masked_arguments;

static IN_CLEAR: AtomicBool = AtomicBool::new(false);

/// From here on nothing is masked any more in this program: its user has asked for that.
pub fn leave_in_clear() {
    IN_CLEAR.store(true, Ordering::Relaxed);
}

/// True if nothing is masked.
pub fn is_in_clear() -> bool {
    IN_CLEAR.load(Ordering::Relaxed)
}

/// What stands in place of a secret.
pub const MASK: &str = "•••";

/// Parts of names that hold secrets.
const WORDS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "api_key",
    "private_key",
    "authorization",
    "cookie",
    "session_id",
    "sessionid",
    "signature",
    "dsn",
];

/// True for the name of a variable, key, option or header whose value is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // `key` is part of too many harmless names (`cache_keys`, `keyboard`): only as a word, and `keys` hold none.
    let is_key =
        name.split('_').any(|word| word == "key") || name == "auth" || name.ends_with("_auth");
    is_key || WORDS.iter().any(|word| name.contains(word))
}

/// The text with every secret in it masked: `name=value`, `'name': value` of a secret's name, and the password of
/// `scheme://user:password@host`.
pub fn masked(text: &str) -> String {
    masked_where(text, |name, _, rest| {
        is_secret(name).then(|| value_of(rest, &ENDS)).flatten()
    })
}

/// What ends a value without quotes.
const ENDS: [char; 9] = [' ', ',', ';', '&', ')', '}', ']', '\'', '"'];

/// The same; where the value is that is hidden behind a name and its sign (`=` or `:`), `secret_of` says.
fn masked_where(
    text: &str,
    secret_of: impl Fn(&str, &str, &str) -> Option<(usize, usize)>,
) -> String {
    if is_in_clear() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let value = match after.strip_prefix("://") {
            Some(authority) => {
                out.push_str("://");
                rest = authority;
                password_of(authority)
            }
            None => {
                let sign = after.get(..1).unwrap_or_default();
                out.push_str(sign);
                rest = after.get(1..).unwrap_or_default();
                secret_of(name_before(before), sign, rest)
            }
        };
        if let Some((start, end)) = value {
            out.push_str(rest.get(..start).unwrap_or_default());
            out.push_str(MASK);
            rest = rest.get(end..).unwrap_or_default();
        }
    }
    out + rest
}

/// The name that stands right before `=` or `:`, without its quotes.
fn name_before(text: &str) -> &str {
    let text = text.trim_end_matches([' ', '\'', '"']);
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_part(*c))
        .last();
    start.and_then(|(at, _)| text.get(at..)).unwrap_or_default()
}

/// Where the value is that begins here: inside its quotes, or up to one of what ends it; `None` if there is none.
fn value_of(text: &str, ends: &[char]) -> Option<(usize, usize)> {
    let start = text.len() - text.trim_start_matches(' ').len();
    let value = text.get(start..)?;
    // `b'…'` and its like.
    let prefix = value.find(|c: char| !c.is_ascii_alphabetic());
    let prefix = prefix.filter(|at| {
        let is_quote = value.get(*at..).is_some_and(|v| v.starts_with(['\'', '"']));
        *at <= 2 && is_quote
    });
    let (inside, end) =
        match prefix.and_then(|at| value.get(at..at + 1).map(|quote| (at + 1, quote))) {
            Some((inside, quote)) => (
                inside,
                value
                    .get(inside..)?
                    .find(quote)
                    .map_or(value.len(), |end| inside + end),
            ),
            None => (0, value.find(ends).unwrap_or(value.len())),
        };
    let is_told = end > inside && value.get(inside..end) != Some("None");
    is_told.then_some((start + inside, start + end))
}

/// Where the password is in `user:password@host…`.
fn password_of(authority: &str) -> Option<(usize, usize)> {
    let end = authority
        .find(['/', ' ', '\'', '"', '?'])
        .unwrap_or(authority.len());
    let at = authority.get(..end)?.rfind('@')?;
    let colon = authority.get(..at)?.find(':')?;
    (colon + 1 < at).then_some((colon + 1, at))
}

/// What follows the name of a scheme of HTTP authentication (RFC 9110, 11.4) is what it keeps: `Authorization: Bearer …`. Once a
/// name has hidden the scheme, nothing tells what comes after it; so this goes first.
pub(super) fn without_credentials(text: &str) -> String {
    const SCHEMES: [&str; 2] = ["bearer ", "basic "];
    const LEAST: usize = 8;
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    let mut text = text.to_owned();
    for scheme in SCHEMES {
        let mut out = String::with_capacity(text.len());
        let mut told = 0;
        for (at, _) in text.to_ascii_lowercase().match_indices(scheme) {
            let start = at + scheme.len();
            let rest = text.get(start..).unwrap_or_default();
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let value = rest.get(..end).unwrap_or_default();
            let is_word = value.chars().all(|c| c.is_ascii_lowercase());
            if end >= LEAST && !is_word {
                out.push_str(text.get(told..start).unwrap_or_default());
                out.push_str(MASK);
                told = start + end;
            }
        }
        text = out + text.get(told..).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in [
            "password",
            "DB_PASSWORD",
            "X-Api-Key",
            "secret_key",
            "AWS_SECRET_ACCESS_KEY",
            "token",
            "csrf_token",
            "key",
            "Authorization",
            "dsn",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "keys",
            "keyboard",
            "monkey",
            "host",
            "port",
            "passes",
            "author",
            "user",
            "cache_keys",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn secrets_in_text_are_masked_and_nothing_else() {
        let cases = [
            (
                "{'user': 'ann', 'password': 'p, w', 'n': 1}",
                "{'user': 'ann', 'password': '•••', 'n': 1}",
            ),
            (
                "postgresql://app:hunter2@db:5432/shop?a=b",
                "postgresql://app:•••@db:5432/shop?a=b",
            ),
            ("'redis://:pw@cache/0'", "'redis://:•••@cache/0'"),
            ("http://localhost:8000/a:b@c", "http://localhost:8000/a:b@c"),
            ("--token=abc --port=80", "--token=••• --port=80"),
            (
                "Config(api_key=b'xyz', host='h')",
                "Config(api_key=b'•••', host='h')",
            ),
            (
                "{\"secret\": \"a\", \"b\": 2}",
                "{\"secret\": \"•••\", \"b\": 2}",
            ),
            ("password=None, x", "password=None, x"),
            ("token: abc", "token: •••"),
            ("password=", "password="),
            ("key='unended", "key='•••"),
            ("a=b:c==d", "a=b:c==d"),
            ("größe='ü', pwd='é'", "größe='ü', pwd='•••'"),
        ];
        for (text, want) in cases {
            assert_eq!(masked(text), want);
        }
    }
}
