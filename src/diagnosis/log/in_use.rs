//! Lines that say that bind() was refused: EADDRINUSE in the words of asyncio, gunicorn, Django, werkzeug, granian and the
//! exception itself.

use crate::diagnosis::bind::{self, Wanted};
use crate::snapshot::LogLine;

/// An address that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which, where the line says it.
    pub address: Option<Wanted>,
}

/// What a line says of it; `None` for any other line.
pub fn parse(line: &LogLine) -> Option<Refused> {
    const SAYINGS: [&str; 6] = [
        "address already in use",
        "Address already in use",
        "EADDRINUSE",
        "Connection in use: ",
        "That port is already in use",
        "is in use by another program",
    ];
    let text = line.text.as_str();
    // Most lines say nothing like it, and all of them are asked at each look.
    if !["in use", "EADDRINUSE", " 98"]
        .iter()
        .any(|w| text.contains(w))
    {
        return None;
    }
    // The number is Linux's on every architecture but MIPS, SPARC, PA-RISC and Alpha.
    let by_number = text.contains("[Errno 98]") || text.contains("(os error 98)");
    let says = by_number || SAYINGS.iter().any(|words| text.contains(words));
    says.then(|| Refused {
        address: pair(text).or_else(|| gunicorn(text)).or_else(|| port(text)),
    })
}

/// `('127.0.0.1', 8000)`, `('::1', 8000, 0, 0)`: an address as Python's socket module has it.
fn pair(text: &str) -> Option<Wanted> {
    let (_, rest) = text.split_once("('")?;
    let (host, rest) = rest.split_once("', ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let number = rest.get(..end)?;
    bind::address(&format!("[{host}]:{number}"))
}

/// `Connection in use: /run/x.sock`.
fn gunicorn(text: &str) -> Option<Wanted> {
    let (_, rest) = text.split_once("Connection in use: ")?;
    rest.starts_with('/')
        .then(|| Wanted::Unix(rest.trim_end().to_owned()))
}

/// `Port 5000 is in use by another program.`
fn port(text: &str) -> Option<Wanted> {
    let (_, rest) = text.split_once("Port ")?;
    let (number, _) = rest.split_once(" is in use")?;
    bind::address(&format!(":{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Moment;

    #[test]
    fn refusals_are_read_in_everybodys_words() {
        let cases = [
            (
                "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 37173): address already in use",
                Some("127.0.0.1:37173"),
            ),
            (
                "OSError: [Errno 98] error while attempting to bind on address ('::1', 80, 0, 0): address already in use",
                Some("[::1]:80"),
            ),
            (
                "[2026-11-20 19:35:17 +0000] [1] [ERROR] Connection in use: ('0.0.0.0', 8000)",
                Some("0.0.0.0:8000"),
            ),
            ("Connection in use: /run/x.sock", Some("unix:/run/x.sock")),
            (
                "Port 5000 is in use by another program. Either identify",
                Some("port 5000"),
            ),
            ("OSError: [Errno 98] Address already in use", Some("")),
            ("Error: That port is already in use.", Some("")),
            (
                "RuntimeError: Address already in use (os error 98)",
                Some(""),
            ),
            ("the address book is already in use", None),
            ("[Errno 111] Connection refused", None),
            ("('", None),
            ("", None),
        ];
        for (text, want) in cases {
            let line = LogLine {
                number: 0,
                at: Moment(0),
                is_new: true,
                told_ms: None,
                pid: None,
                level: None,
                text: text.to_owned(),
            };
            let said = parse(&line).map(|r| r.address.map_or_else(String::new, |a| a.words()));
            assert_eq!(said.as_deref(), want, "{text}");
        }
    }
}
