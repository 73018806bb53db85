//! Which time does a line tell? The stamps of Python's logging, gunicorn, uvicorn, Django, loguru, container runtimes and
//! everything else that writes ISO 8601.

/// Characters at the start of a line among which a stamp may begin: a bracket, a level, a logger's name may come first.
const SEARCHED: usize = 64;

/// A time that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Where the text after it begins.
    pub end: usize,
}

/// The first time that a line tells, near its beginning. `utc_offset_s` is the zone of one that names none: the machine's.
pub(super) fn of(line: &str, utc_offset_s: i32) -> Option<Stamp> {
    let near = line
        .char_indices()
        .nth(SEARCHED)
        .map_or(line.len(), |(at, _)| at);
    let starts = line
        .char_indices()
        .take_while(|(at, _)| *at < near)
        .filter(|(at, c)| c.is_ascii_digit() && is_word_start(line, *at));
    for (at, _) in starts {
        let rest = line.get(at..)?;
        let found = iso(rest, utc_offset_s).or_else(|| of_access_log(rest, utc_offset_s));
        if let Some((wall_ms, len)) = found {
            return Some(Stamp {
                wall_ms,
                end: at + len,
            });
        }
    }
    None
}

fn is_word_start(line: &str, at: usize) -> bool {
    let before = line.get(..at).and_then(|b| b.chars().next_back());
    before.is_none_or(|c| !c.is_alphanumeric() && c != '.' && c != '-')
}

/// `2026-11-20 19:35:17,123`, `2026-11-20T19:35:17.123456Z`, `2026-11-20 19:35:17 +0000`.
fn iso(text: &str, utc_offset_s: i32) -> Option<(i64, usize)> {
    let mut reader = Reader { text, at: 0 };
    let year = reader.number(4)?;
    let separator = reader.one_of("-/")?;
    let month = reader.number(2)?;
    reader.one_of(separator)?;
    let day = reader.number(2)?;
    reader.one_of("T ")?;
    let seconds = reader.clock()?;
    let ms = reader.fraction();
    let offset = reader.zone().unwrap_or(utc_offset_s);
    let wall = milliseconds(year, month, day, seconds, ms, offset)?;
    Some((wall, reader.at))
}

/// `20/Nov/2026:19:35:17 +0000` (access logs), `20/Nov/2026 19:35:17` (Django's development server).
fn of_access_log(text: &str, utc_offset_s: i32) -> Option<(i64, usize)> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut reader = Reader { text, at: 0 };
    let day = reader.number(2)?;
    reader.one_of("/")?;
    let name = text.get(reader.at..reader.at + 3)?;
    let month = MONTHS.iter().position(|m| *m == name)? + 1;
    reader.at += 3;
    reader.one_of("/")?;
    let year = reader.number(4)?;
    reader.one_of(": ")?;
    let seconds = reader.clock()?;
    let offset = reader.zone().unwrap_or(utc_offset_s);
    let month = i64::try_from(month).ok()?;
    Some((
        milliseconds(year, month, day, seconds, 0, offset)?,
        reader.at,
    ))
}

/// Reads from the front of a text; what does not fit is not consumed.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let text = self.text.get(self.at..self.at + digits)?;
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        self.at += digits;
        text.parse().ok()
    }

    /// One of these ASCII characters; which it was.
    fn one_of(&mut self, wanted: &str) -> Option<&'a str> {
        let one = self.text.get(self.at..self.at + 1)?;
        if !wanted.contains(one) {
            return None;
        }
        self.at += 1;
        Some(one)
    }

    /// `19:35:17` as seconds of the day; a leap second is the one before it.
    fn clock(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.one_of(":")?;
        let minute = self.number(2)?;
        self.one_of(":")?;
        let second = self.number(2)?.min(59);
        (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60 + second)
    }

    /// `,123`, `.123456`: milliseconds, 0 where there is none.
    fn fraction(&mut self) -> i64 {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(digits) = rest.strip_prefix([',', '.']) else {
            return 0;
        };
        let len = digits.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 || len > 9 {
            return 0;
        }
        self.at += len + 1;
        let three: String = digits
            .chars()
            .take(len)
            .chain("00".chars())
            .take(3)
            .collect();
        three.parse().unwrap_or(0)
    }

    /// `Z`, `+0100`, ` +01:00`: seconds east of UTC.
    fn zone(&mut self) -> Option<i32> {
        let before = self.at;
        let zone = self.zone_here();
        if zone.is_none() {
            self.at = before;
        }
        zone
    }

    fn zone_here(&mut self) -> Option<i32> {
        if self.one_of("Z").is_some() {
            return Some(0);
        }
        let _ = self.one_of(" ");
        let sign = if self.one_of("+-")? == "+" { 1 } else { -1 };
        let hours = self.number(2)?;
        let _ = self.one_of(":");
        let minutes = self.number(2)?;
        let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
        (hours < 24 && minutes < 60).then_some(sign * seconds)
    }
}

fn milliseconds(
    year: i64,
    month: i64,
    day: i64,
    seconds: i64,
    ms: i64,
    offset_s: i32,
) -> Option<i64> {
    let is_date = (1970..2200).contains(&year) && (1..=12).contains(&month);
    if !is_date || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    Some((days * 86_400 + seconds - i64::from(offset_s)) * 1000 + ms)
}

/// Days from 1970-01-01, by counting years from March so that the leap day is the last (H. Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_usual_shapes() {
        const NOON: i64 = 1_795_262_400_000; // 2026-11-21T12:00:00Z
        let cases = [
            ("2026-11-21 12:00:00,250 INFO x", NOON + 250),
            ("2026-11-21T12:00:00.25Z x", NOON + 250),
            ("2026-11-21T12:00:00.123456789Z stdout F x", NOON + 123),
            ("[2026-11-21 12:00:00 +0000] [342] [INFO] up", NOON),
            ("[2026-11-21 13:00:00 +0100] [342] [INFO] up", NOON),
            ("[21/Nov/2026 12:00:00] \"GET / HTTP/1.1\" 200 2", NOON),
            ("127.0.0.1 - - [21/Nov/2026:14:00:00 +0200] \"GET /", NOON),
            ("INFO 2026-11-21 12:00:00 autoreload", NOON),
            ("{\"timestamp\": \"2026-11-21T07:00:00-05:00\", ", NOON),
            ("2026/11/21 12:00:00 x", NOON),
            ("1970-01-01 00:00:00", 0),
            ("2000-02-29 00:00:00", 951_782_400_000),
        ];
        for (line, want) in cases {
            assert_eq!(of(line, 0).map(|s| s.wall_ms), Some(want), "{line}");
        }
        // A line that names no zone is in the machine's.
        assert_eq!(
            of("2026-11-21 13:00:00", 3600).map(|s| s.wall_ms),
            Some(NOON)
        );
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            "INFO:     127.0.0.1:8000 - \"GET / HTTP/1.1\" 200 OK",
            "2026-13-21 12:00:00",
            "2026-11-21 25:00:00",
            "2026-11-21",
            "99/Nov/2026 12:00:00",
            "version 12026-11-21 12:00:00",
            "1.2026-11-21 12:00:00",
            "größe 2026-11-2ü 12:00:00",
        ] {
            assert_eq!(of(line, 0), None, "{line}");
        }
        let long = "[2026-11-21 12:00:00.123456 +01:00]";
        for len in 0..long.len() {
            of(&long[..len], 0);
        }
    }
}
