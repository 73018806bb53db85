//! Logs that somebody else keeps wrap each line: Docker in JSON, Kubernetes and Podman in a format of the CRI, journald in
//! JSON of its own.

use serde::Deserialize;
use serde_json::Value;

use super::stamp;
use crate::snapshot::Level;

/// How the lines of a file are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// Not at all.
    Plain,
    /// Whatever a container's runtime writes: Docker's JSON, or the CRI's.
    Container,
}

/// A line without its wrapping.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unwrapped {
    pub text: Vec<u8>,
    pub told_ms: Option<i64>,
    pub pid: Option<u32>,
    pub level: Option<Level>,
    /// True if the runtime has cut the line here: the next entry goes on with it.
    pub goes_on: bool,
}

/// Unwraps a line of a file; `None` if it is not what it should be.
pub(super) fn unwrap(line: &[u8], wrapping: Wrapping) -> Option<Unwrapped> {
    match wrapping {
        Wrapping::Plain => Some(Unwrapped {
            text: line.to_vec(),
            ..Unwrapped::default()
        }),
        Wrapping::Container if line.starts_with(b"{") => docker(line),
        Wrapping::Container => cri(line),
    }
}

#[derive(Deserialize)]
struct DockerLine {
    log: String,
    time: Option<String>,
}

/// `{"log":"text\n","stream":"stderr","time":"2026-11-20T18:02:11.120Z"}`; no line feed where Docker has cut at 16 KiB.
fn docker(line: &[u8]) -> Option<Unwrapped> {
    let read: DockerLine = serde_json::from_slice(line).ok()?;
    let whole = read.log.strip_suffix('\n');
    Some(Unwrapped {
        text: whole.unwrap_or(&read.log).as_bytes().to_vec(),
        told_ms: read.time.and_then(|t| stamp::of(&t, 0)).map(|s| s.wall_ms),
        goes_on: whole.is_none(),
        ..Unwrapped::default()
    })
}

/// `2026-11-20T18:02:11.120345678Z stderr F text`; `P` where it has been cut (Kubernetes, "CRI logging format").
fn cri(line: &[u8]) -> Option<Unwrapped> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = parts.next()?;
    let tags = parts.next()?;
    let text = parts.next().unwrap_or_default();
    let told = stamp::of(time, 0)?;
    matches!(stream, b"stdout" | b"stderr").then(|| Unwrapped {
        text: text.to_vec(),
        told_ms: Some(told.wall_ms),
        goes_on: tags.starts_with(b"P"),
        ..Unwrapped::default()
    })
}

/// An entry of `journalctl -o json`, and the cursor that asks for what comes after it.
pub(super) fn journal(line: &[u8]) -> Option<(Unwrapped, String)> {
    let entry: serde_json::Map<String, Value> = serde_json::from_slice(line).ok()?;
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    let number = |name: &str| field(name).and_then(|text| text.parse::<i64>().ok());
    let text = match entry.get("MESSAGE")? {
        Value::String(text) => text.as_bytes().to_vec(),
        // What is not printable comes as numbers of bytes; where a field occurs twice, as a list of both.
        Value::Array(bytes) => bytes
            .iter()
            .filter_map(|b| u8::try_from(b.as_u64()?).ok())
            .collect(),
        _ => return None,
    };
    let unwrapped = Unwrapped {
        text,
        told_ms: number("__REALTIME_TIMESTAMP").map(|us| us / 1000),
        pid: number("_PID").and_then(|pid| u32::try_from(pid).ok()),
        level: None,
        goes_on: false,
    };
    Some((unwrapped, field("__CURSOR")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> Option<(String, Option<i64>, bool)> {
        let read = unwrap(line.as_bytes(), Wrapping::Container)?;
        let text = String::from_utf8(read.text).unwrap();
        Some((text, read.told_ms, read.goes_on))
    }

    #[test]
    fn lines_of_container_runtimes() {
        let cases = [
            (
                r#"{"log":"INFO: up\n","stream":"stderr","time":"1970-01-01T00:00:02.5Z"}"#,
                Some(("INFO: up", Some(2500), false)),
            ),
            (
                r#"{"log":"cut at 16 K","stream":"stderr"}"#,
                Some(("cut at 16 K", None, true)),
            ),
            (r#"{"log":"torn"#, None),
            (
                "1970-01-01T00:00:02.500000000Z stderr F   File \"a.py\"",
                Some(("  File \"a.py\"", Some(2500), false)),
            ),
            (
                "1970-01-01T01:00:02.5+01:00 stdout P half",
                Some(("half", Some(2500), true)),
            ),
            (
                "1970-01-01T00:00:02Z stdout F",
                Some(("", Some(2000), false)),
            ),
            ("1970-01-01T00:00:02Z other F x", None),
            ("just words", None),
            ("", None),
        ];
        for (line, want) in cases {
            let want = want.map(|(t, at, on): (&str, _, _)| (t.to_owned(), at, on));
            assert_eq!(text(line), want, "{line}");
        }
    }

    #[test]
    fn entries_of_the_journal() {
        let line = br#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"2500000","_PID":"77","MESSAGE":"up"}"#;
        let (read, cursor) = journal(line).unwrap();
        assert_eq!(
            (read.text.as_slice(), read.told_ms, read.pid),
            (&b"up"[..], Some(2500), Some(77))
        );
        assert_eq!(cursor, "s=1;i=2");
        let bytes = br#"{"__CURSOR":"c","MESSAGE":[27,91,51,49,109,120,300]}"#;
        assert_eq!(journal(bytes).unwrap().0.text, b"\x1b[31mx");
        for line in [
            &b"{}"[..],
            b"",
            b"x",
            br#"{"MESSAGE":"no cursor"}"#,
            br#"{"__CURSOR":"c","MESSAGE":null}"#,
        ] {
            assert_eq!(journal(line), None);
        }
    }
}
