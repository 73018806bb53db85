//! Times, sizes and addresses as people type them.

use std::net::SocketAddr;
use std::time::Duration;

/// `3s`, `500ms`, `2m`, `1.5` (seconds).
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = parse_age(text)?;
    if time > Duration::from_secs(86_400) {
        return Err("a time from 0 to 24 h is needed".into());
    }
    Ok(time)
}

/// The same, and `7d`.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        other => return Err(format!("unknown unit '{other}': ms, s, m, h or d")),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| format!("'{text}' is not a time: 3s, 500ms, 2m"))?;
    let seconds = value * scale;
    if !(0.0..=LONGEST_S).contains(&seconds) {
        return Err("a time from 0 to 365 d is needed".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

const LONGEST_S: f64 = 365.0 * 86_400.0;

/// `256M`, `2G`, `500k`, `1048576`: in units of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(format!("unknown unit '{unit}': k, M or G")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("'{text}' is not a size: 500k, 256M, 2G"))?;
    let size = number.saturating_mul(scale);
    if size < 64 << 10 {
        return Err("a size of 64k at least is needed".into());
    }
    Ok(size)
}

pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(100) || interval > Duration::from_secs(60) {
        return Err("an interval from 100ms to 60s is needed".into());
    }
    Ok(interval)
}

pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("'{text}' is not an address with a port: 127.0.0.1:9464, [::1]:9464, 0.0.0.0:9464")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        for (text, want) in [
            ("3s", Some(3.0)),
            ("500ms", Some(0.5)),
            ("2m", Some(120.0)),
            ("0", Some(0.0)),
            ("3y", None),
            ("-1", None),
            ("25h", None),
            ("2d", None),
        ] {
            assert_eq!(
                parse_duration(text).ok().map(|d| d.as_secs_f64()),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_and_ages_have_units_and_bounds() {
        for (text, want) in [
            ("256M", Some(256 << 20)),
            ("2g", Some(2 << 30)),
            ("64k", Some(65_536)),
            ("1", None),
            ("1T", None),
            ("-1M", None),
            ("M", None),
        ] {
            assert_eq!(parse_size(text).ok(), want, "{text}");
        }
        assert_eq!(parse_age("7d"), Ok(Duration::from_secs(604_800)));
        assert!(parse_age("400d").is_err());
    }
}
