//! Secrets in lines of a log. Names tell, as everywhere; but the name of an exception is no name of a value.

use crate::source::secret;

/// The line with its secrets masked: `name=value` and its like, passwords in addresses, and what follows `Bearer` and `Basic`.
pub(super) fn masked(line: &str) -> String {
    if secret::is_in_clear() {
        return line.to_owned();
    }
    let line = secret::without_credentials(line);
    match exception(&line) {
        Some((name, rest)) => format!("{name}:{}", secret::masked(rest)),
        None => secret::masked(&line),
    }
}

/// `jose.TokenError: it has expired` → `jose.TokenError`, ` it has expired`.
pub(super) fn exception(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(':')?;
    let is_name = name
        .split('.')
        .all(|part| part.starts_with(|c: char| c.is_alphabetic() || c == '_') && is_word(part));
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_class = ["Error", "Exception", "Warning", "Exit", "Interrupt"]
        .iter()
        .any(|end| last.ends_with(end));
    (is_name && is_class).then_some((name, rest))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_exceptions_stay() {
        let cases = [
            ("TokenError: it has expired", "TokenError: it has expired"),
            (
                "jwt.exceptions.InvalidSignatureError: Signature verification failed",
                "jwt.exceptions.InvalidSignatureError: Signature verification failed",
            ),
            (
                "ValueError: no pool for postgresql://app:hunter2@db/x",
                "ValueError: no pool for postgresql://app:•••@db/x",
            ),
            (
                "sent Bearer eyJhbGciOi.J9-x to host",
                "sent Bearer ••• to host",
            ),
            (
                "Bearer eyJhbGciOi.J9 and bearer eyJhbGciOi.J8, basic dXNlcjpwdw==",
                "Bearer ••• and bearer •••, basic •••",
            ),
            ("Basic settings are wrong", "Basic settings are wrong"),
            ("login with password=hunter2", "login with password=•••"),
            (
                "GET /a?token=abc&x=1 HTTP/1.1",
                "GET /a?token=•••&x=1 HTTP/1.1",
            ),
            ("KeyError: 'pool_size'", "KeyError: 'pool_size'"),
        ];
        for (line, want) in cases {
            assert_eq!(masked(line), want);
        }
        let header = masked("Authorization: Bearer eyJhbGciOiJIUzI1NiJ9");
        assert!(!header.contains("eyJ"), "{header}");
    }
}
