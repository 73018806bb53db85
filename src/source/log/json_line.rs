//! Lines that are JSON objects: what the usual loggers of that kind (structlog, python-json-logger, loguru's `serialize`,
//! Google's and Amazon's) put into them.

use serde_json::{Map, Value};

use super::{level, stamp};
use crate::snapshot::Level;

/// What such a line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct JsonLine {
    pub told_ms: Option<i64>,
    pub level: Option<Level>,
    pub pid: Option<u32>,
    /// The traceback in one of its values, with line feeds.
    pub traceback: Option<String>,
}

/// Reads a line; `None` if it is no JSON object.
pub(super) fn parse(line: &[u8], utc_offset_s: i32) -> Option<JsonLine> {
    if !line.starts_with(b"{") {
        return None;
    }
    let object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    // loguru wraps everything in `record`.
    let inner = object.get("record").and_then(Value::as_object);
    let of = |keys: &[&str]| {
        let find = |map: &Map<String, Value>| keys.iter().find_map(|key| map.get(*key).cloned());
        find(&object).or_else(|| inner.and_then(find))
    };
    let told = of(&[
        "timestamp",
        "time",
        "ts",
        "asctime",
        "@timestamp",
        "datetime",
    ]);
    let pid = of(&["process", "pid", "process_id"]);
    Some(JsonLine {
        told_ms: told.and_then(|value| time(&value, utc_offset_s)),
        level: of(&["level", "levelname", "severity", "lvl", "log.level"])
            .and_then(|value| level_of(&value)),
        pid: pid.and_then(|value| u32::try_from(value.as_u64()?).ok()),
        traceback: object
            .values()
            .chain(inner.into_iter().flat_map(Map::values))
            .filter_map(Value::as_str)
            .find(|text| text.contains("Traceback (most recent call last)"))
            .map(str::to_owned),
    })
}

/// ISO 8601, or seconds or milliseconds since the epoch.
fn time(value: &Value, utc_offset_s: i32) -> Option<i64> {
    if let Some(text) = value.as_str() {
        return stamp::of(text, utc_offset_s).map(|s| s.wall_ms);
    }
    let number = value.as_f64()?;
    const MILLISECONDS_FROM: f64 = 1e11;
    let ms = if number > MILLISECONDS_FROM {
        number
    } else {
        number * 1000.0
    };
    (ms > 0.0 && ms < 1e14).then_some(ms as i64)
}

/// A word, an object with a name (loguru), or the numbers of Python's logging.
fn level_of(value: &Value) -> Option<Level> {
    if let Some(word) = value.as_str() {
        return level::by_word(word);
    }
    if let Some(name) = value.get("name") {
        return level::by_word(name.as_str()?);
    }
    Some(match value.as_u64()? {
        0..=10 => Level::Debug,
        11..=20 => Level::Info,
        21..=30 => Level::Warning,
        31..=40 => Level::Error,
        _ => Level::Critical,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_says_is_read() {
        let line = r#"{"event": "boot failed", "level": "error", "timestamp": "1970-01-01T00:00:01Z", "process": 77, "exception": "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 'x'"}"#;
        let read = parse(line.as_bytes(), 0).unwrap();
        assert_eq!((read.told_ms, read.pid), (Some(1000), Some(77)));
        assert_eq!(read.level, Some(Level::Error));
        assert!(read.traceback.unwrap().ends_with("KeyError: 'x'"));

        let loguru = r#"{"text": "x", "record": {"level": {"name": "WARNING", "no": 30}, "time": {"timestamp": 1.0}}}"#;
        assert_eq!(
            parse(loguru.as_bytes(), 0).unwrap().level,
            Some(Level::Warning)
        );
        let numbers = r#"{"level": 40, "time": 1795262400250}"#;
        let read = parse(numbers.as_bytes(), 0).unwrap();
        assert_eq!(
            (read.told_ms, read.level),
            (Some(1_795_262_400_250), Some(Level::Error))
        );
    }

    #[test]
    fn what_is_no_object_is_none() {
        for line in ["", "plain", "[1, 2]", "{'python': 'dict'}", "{\"cut\": "] {
            assert_eq!(parse(line.as_bytes(), 0), None, "{line}");
        }
        assert_eq!(parse(b"{}", 0), Some(JsonLine::default()));
        assert_eq!(
            parse(b"{\"level\": null, \"time\": -1, \"pid\": -4}", 0),
            Some(JsonLine::default())
        );
        // Recursion is bounded by the parser itself.
        let deep = format!("{{\"a\": {}", "[".repeat(4000));
        assert_eq!(parse(deep.as_bytes(), 0), None);
    }
}
