//! One line of a traceback: a frame, the exception's name, the words that chain two of them.

use crate::snapshot::Frame;

use super::level;

/// `  File "app.py", line 16, in serve` as traceback and faulthandler write it, loguru's `> File …`, and a SyntaxError's place,
/// which has no function.
pub(super) fn frame(text: &str) -> Option<Frame> {
    let text = text.trim_start();
    let text = text.strip_prefix("> ").unwrap_or(text);
    let (file, rest) = text.strip_prefix("File \"")?.split_once("\", line ")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (line, rest) = rest.split_at_checked(digits)?;
    let function = rest
        .strip_prefix(", in ")
        .or_else(|| rest.strip_prefix(" in "))
        .unwrap_or("<module>");
    Some(Frame {
        function: function.trim_end().to_owned(),
        file: file.to_owned(),
        line: line.parse().ok()?,
    })
}

/// `│ /srv/app.py:16 in serve                 │` as rich draws it.
pub(super) fn boxed_frame(text: &str) -> Option<Frame> {
    let inside = text.trim_start().strip_prefix('│')?.trim_end();
    let inside = inside.strip_suffix('│').unwrap_or(inside).trim();
    let (place, function) = inside.rsplit_once(" in ")?;
    let (file, line) = place.rsplit_once(':')?;
    let is_name = !function.contains(' ') && !file.is_empty() && !file.contains('❱');
    is_name.then_some(Frame {
        function: function.to_owned(),
        file: file.to_owned(),
        line: line.parse().ok()?,
    })
}

/// True for what stands between frames: source lines, carets, the borders of a box, nothing.
pub(super) fn is_between(text: &str) -> bool {
    text.is_empty() || text.starts_with([' ', '│', '╭', '╰', '└', '\\'])
}

/// `KeyError: 'x'`, `sqlalchemy.exc.OperationalError: (…)`, `KeyboardInterrupt`: class and message.
pub(super) fn exception(text: &str) -> Option<(&str, &str)> {
    let (name, message) = text.split_once(':').unwrap_or((text, ""));
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    // A class of a function's own is `module.function.<locals>.Name`.
    let is_name = name.split('.').all(|p| is_part(p) || p == "<locals>");
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_class = last.starts_with(char::is_uppercase) || name.contains('.');
    let is_text = name.starts_with(|c: char| c.is_ascii_digit()) || level::by_word(name).is_some();
    (is_name && is_class && !is_text).then(|| (name, message.trim()))
}

/// True for the words between two tracebacks of which the first has led to the second, and for the lines that divide an
/// exception group.
pub(super) fn is_chain(text: &str) -> bool {
    text.starts_with("During handling of the above exception")
        || text.starts_with("The above exception was the direct cause")
        || text.trim_start().starts_with("+-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read() {
        let cases = [
            (
                "  File \"app.py\", line 16, in serve",
                Some(("serve", "app.py", 16)),
            ),
            (
                "    File \"/a b/c.py\", line 1, in <module>",
                Some(("<module>", "/a b/c.py", 1)),
            ),
            (
                "  File \"/srv/app.py\", line 3",
                Some(("<module>", "/srv/app.py", 3)),
            ),
            (
                "  File \"/srv/app.py\", line 9 in work",
                Some(("work", "/srv/app.py", 9)),
            ),
            (
                "> File \"/srv/app.py\", line 9, in work",
                Some(("work", "/srv/app.py", 9)),
            ),
            ("  File \"app.py\", line x, in serve", None),
            ("  File \"app.py\", line 99999999999, in serve", None),
            ("  File \"app.py", None),
            ("    raise RuntimeError(name)", None),
            ("", None),
        ];
        for (text, want) in cases {
            let read = frame(text);
            let read = read
                .as_ref()
                .map(|f| (f.function.as_str(), f.file.as_str(), f.line));
            assert_eq!(read, want, "{text}");
        }
        let boxed = boxed_frame("│ /srv/app.py:16 in serve                     │").unwrap();
        assert_eq!((boxed.file.as_str(), boxed.line), ("/srv/app.py", 16));
        assert_eq!(boxed_frame("│ ❱ 16     for x in y                │"), None);
        assert_eq!(
            boxed_frame("│   15     wait: 3 in all things       │"),
            None
        );
    }

    #[test]
    fn exceptions_are_told_from_other_lines() {
        let cases = [
            ("KeyError: 'x'", Some(("KeyError", "'x'"))),
            ("KeyboardInterrupt", Some(("KeyboardInterrupt", ""))),
            (
                "socket.gaierror: [Errno -2] x",
                Some(("socket.gaierror", "[Errno -2] x")),
            ),
            (
                "app.f.<locals>.Stop: now",
                Some(("app.f.<locals>.Stop", "now")),
            ),
            ("INFO:     up", None),
            ("job tick", None),
            ("done", None),
            ("12:00:01 web.1", None),
            ("[2026-11-20 19:35:17 +0000] [1] [INFO] x", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(exception(text), want, "{text}");
        }
    }
}
