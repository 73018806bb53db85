//! How are numbers, times and names written for people? One way for every view: base units inside, formatting here.

use std::net::{IpAddr, SocketAddr};

pub use crate::diagnosis::words::duration;
use crate::snapshot::{Activity, Exit, Frame, signal_name, syscall_name};

/// A duration in at most three cells: `43s`, `12m`, `3h`, `41d`, `14w`, `3y`.
pub fn age(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..=99 => format!("{s}s"),
        100..=5999 => format!("{}m", s / 60),
        6000..=172_799 => format!("{}h", s / 3600),
        172_800..=8_639_999 => format!("{}d", s / 86_400),
        8_640_000..=31_535_999 => format!("{}w", s / 604_800),
        _ => format!("{}y", (s / 31_536_000).min(99)),
    }
}

/// Bytes in at most five cells, in powers of 1024: `512K`, `18M`, `1.2G`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut value = n as f64;
    let mut unit = "P";
    for name in UNITS {
        unit = name;
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
    }
    if value < 9.95 && unit != "B" && unit != "K" {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

/// A count in at most five cells: `65536`, `104k`, `1.0M`, `12M`.
pub fn count(n: u64) -> String {
    match n {
        0..=99_999 => n.to_string(),
        100_000..=999_999 => format!("{}k", n / 1000),
        1_000_000..=9_999_999 => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
        10_000_000..=9_999_999_999 => format!("{}M", n / 1_000_000),
        _ => "many".to_owned(),
    }
}

/// Whole percent: finer digits would only flicker.
pub fn percent(value: f64) -> String {
    format!("{:.0}%", value.max(0.0))
}

/// `14:02:11`, from milliseconds since the Unix epoch and the zone's offset in seconds east of UTC.
pub fn clock(wall_ms: i64, utc_offset_s: i32) -> String {
    let s = wall_ms.div_euclid(1000) + i64::from(utc_offset_s);
    let day = s.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60)
}

/// `14:02:11`, or `11-20 14:02` when it is not the day of `today_ms`.
pub fn clock_or_date(wall_ms: i64, today_ms: i64, utc_offset_s: i32) -> String {
    let days = |ms: i64| (ms.div_euclid(1000) + i64::from(utc_offset_s)).div_euclid(86_400);
    let time = clock(wall_ms, utc_offset_s);
    if days(wall_ms) == days(today_ms) {
        return time;
    }
    let (_, month, day) = civil_date(days(wall_ms));
    let minutes: String = time.chars().take(5).collect();
    format!("{month:02}-{day:02} {minutes}")
}

/// UTC, to the millisecond, as RFC 3339 has it: `2025-11-20T14:02:11.120Z`.
pub fn rfc3339(wall_ms: i64) -> String {
    let (year, month, day) = civil_date(wall_ms.div_euclid(86_400_000));
    format!(
        "{year:04}-{month:02}-{day:02}T{}.{:03}Z",
        clock(wall_ms, 0),
        wall_ms.rem_euclid(1000)
    )
}

/// Year, month and day of a count of days since 1970-01-01 (Gregorian; eras of 400 years that begin in March: Howard
/// Hinnant's civil_from_days).
fn civil_date(days: i64) -> (i64, i64, i64) {
    let since_era_0 = days + 719_468;
    let of_era = since_era_0.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year + since_era_0.div_euclid(146_097) * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// `10.0.0.5:5432`, `[::1]:8000`.
pub fn endpoint(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// The version without its last part: `3.11.7` → `3.11`.
pub fn python_minor(version: &str) -> &str {
    match version.match_indices('.').nth(1) {
        Some((at, _)) => version.get(..at).unwrap_or(version),
        None => version,
    }
}

/// How a process ended, in words: `code 3`, `SIGKILL`, `ended` where neither could be seen.
pub fn ending(exit: &Exit) -> String {
    match (exit.signal, exit.code) {
        (Some(signal), _) => signal_name(signal),
        (None, Some(code)) => format!("code {code}"),
        (None, None) => "ended, code not seen".to_owned(),
    }
}

/// What a thread does, in words: `in connect()`, `waits for the GIL`.
pub fn activity(activity: Activity) -> String {
    match activity {
        Activity::Running => "running".to_owned(),
        Activity::Selector => "waits in the event loop's poll".to_owned(),
        Activity::Gil => "waits for the GIL".to_owned(),
        Activity::Lock => "waits for a lock".to_owned(),
        Activity::Syscall(number) => format!("in {}()", syscall_name(number)),
        Activity::Stopped => "stopped".to_owned(),
        Activity::Unknown => "?".to_owned(),
    }
}

/// A frame's file as people name it: relative to the process's directory, to `site-packages` or to the standard library;
/// else its last three parts.
pub fn file<'a>(path: &'a str, cwd: Option<&str>) -> &'a str {
    for marker in ["/site-packages/", "/dist-packages/"] {
        if let Some((_, inside)) = path.rsplit_once(marker) {
            return inside;
        }
    }
    if let Some(inside) = standard_library(path) {
        return inside;
    }
    let relative = cwd.filter(|cwd| cwd.len() > 1).and_then(|cwd| {
        path.strip_prefix(cwd.trim_end_matches('/'))?
            .strip_prefix('/')
    });
    if let Some(inside) = relative {
        return inside;
    }
    match path.rmatch_indices('/').nth(2) {
        Some((at, _)) if at > 0 => path.get(at + 1..).unwrap_or(path),
        _ => path,
    }
}

/// What follows `lib/pythonX.Y/` (or `lib/pythonX.Yt/`), for files of the standard library.
fn standard_library(path: &str) -> Option<&str> {
    let (_, rest) = path
        .rsplit_once("/lib/python")
        .or_else(|| path.rsplit_once("/lib64/python"))?;
    let (version, inside) = rest.split_once('/')?;
    let plain = |c: char| c.is_ascii_digit() || c == '.' || c == 't';
    (version.starts_with(|c: char| c.is_ascii_digit()) && version.chars().all(plain))
        .then_some(inside)
}

/// `file:line`; the file alone where the line is not known.
pub fn place(frame: &Frame, cwd: Option<&str>) -> String {
    match frame.line {
        0 => file(&frame.file, cwd).to_owned(),
        line => format!("{}:{line}", file(&frame.file, cwd)),
    }
}

/// Bars for a queue's depths against its limit, oldest first, the last `cells` of them. Logarithmic, so that three of
/// 2,048 can be seen; only a queue that has reached its limit is drawn full.
pub fn bars(depths: impl DoubleEndedIterator<Item = u32>, limit: u32, cells: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let newest_first: Vec<char> = depths
        .rev()
        .take(cells)
        .map(|depth| {
            let share = f64::from(depth).ln_1p() / f64::from(limit.max(1)).ln_1p();
            let level = if depth >= limit.max(1) {
                7
            } else {
                ((share * 7.0).ceil() as usize).min(6)
            };
            BARS.get(level).copied().unwrap_or('█')
        })
        .collect();
    newest_first.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str) -> Frame {
        Frame {
            function: "f".into(),
            file: file.into(),
            line: 3,
        }
    }

    #[test]
    fn durations_fit_and_read_well() {
        let cases: &[(f64, &str, &str)] = &[
            (0.0, "0s", "0 s"),
            (0.012, "0s", "12 ms"),
            (0.84, "0s", "0.8 s"),
            (43.2, "43s", "43 s"),
            (133.0, "2m", "2 min 13 s"),
            (11_520.0, "3h", "3 h 12 min"),
            (3_553_200.0, "41d", "41 d 3 h"),
            (10_000_000.0, "16w", "115 d 17 h"),
            (64_000_000.0, "2y", "740 d 17 h"),
        ];
        for &(seconds, short, long) in cases {
            assert_eq!(age(seconds), short);
            assert_eq!(duration(seconds), long);
        }
        assert_eq!(age(-5.0), "0s");
        assert_eq!(duration(f64::NAN), "?");
    }

    #[test]
    fn sizes_and_counts_keep_to_five_cells() {
        for (n, want) in [
            (0, "0B"),
            (900, "900B"),
            (40_000, "39K"),
            (18 << 20, "18M"),
            (5 << 28, "1.2G"),
        ] {
            assert_eq!(bytes(n), want);
        }
        for (n, want) in [
            (7, "7"),
            (65_536, "65536"),
            (104_857, "104k"),
            (1_048_576, "1.0M"),
            (u64::MAX, "many"),
        ] {
            assert_eq!(count(n), want);
            assert!(count(n).len() <= 5 && bytes(n).len() <= 6);
        }
    }

    #[test]
    fn clocks_know_zones_and_days() {
        let ms = 1_763_647_331_120; // 2025-11-20T14:02:11.120Z
        assert_eq!(clock(ms, 0), "14:02:11");
        assert_eq!(clock(ms, -5 * 3600), "09:02:11");
        assert_eq!(clock_or_date(ms, ms, 0), "14:02:11");
        assert_eq!(clock_or_date(ms, ms + 86_400_000, 0), "11-20 14:02");
        assert_eq!(clock_or_date(951_782_400_000, ms, 0), "02-29 00:00");
        assert_eq!(clock(-1, 0), "23:59:59");
    }

    #[test]
    fn only_the_applications_frames_are_its_own() {
        let cases = [
            ("/srv/app/db.py", true, "app/db.py"),
            (
                "/srv/venv/lib/python3.11/site-packages/uvicorn/main.py",
                false,
                "uvicorn/main.py",
            ),
            (
                "/usr/lib/python3/dist-packages/apt/cache.py",
                false,
                "apt/cache.py",
            ),
            (
                "/usr/lib/python3.12/asyncio/runners.py",
                false,
                "asyncio/runners.py",
            ),
            (
                "/usr/lib/python3.13t/asyncio/runners.py",
                false,
                "asyncio/runners.py",
            ),
            (
                "<frozen importlib._bootstrap>",
                false,
                "<frozen importlib._bootstrap>",
            ),
            (
                "/home/me/lib/pythonic/tool.py",
                true,
                "lib/pythonic/tool.py",
            ),
            ("/srv/venv/bin/uvicorn", false, "venv/bin/uvicorn"),
            ("relative.py", true, "relative.py"),
        ];
        for (path, own, short) in cases {
            assert_eq!(!frame(path).is_library(), own, "{path}");
            assert_eq!(file(path, Some("/srv")), short, "{path}");
        }
    }

    #[test]
    fn bars_are_full_only_at_the_limit() {
        assert_eq!(bars([0, 1, 3].into_iter(), 2048, 5), "▁▂▃");
        assert_eq!(bars([2, 4, 6].into_iter(), 5, 2), "▇█");
        assert_eq!(bars([9].into_iter(), 0, 2), "█");
        assert_eq!(bars([].into_iter(), 5, 2), "");
    }

    #[test]
    fn versions_without_their_last_part() {
        assert_eq!(python_minor("3.11.7"), "3.11");
        assert_eq!(python_minor("3.14"), "3.14");
    }

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        for (ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_763_661_731_120, "2025-11-20T18:02:11.120Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), want);
        }
    }
}
