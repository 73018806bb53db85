//! Who is it? Command line, executable, directory, owner, tracer, network namespace and limit: what seldom changes.

use std::io;

use super::{file, threads::PATH_LIMIT};
use crate::source::{secret, text};

/// Arguments of a command line that are kept, and their bytes in all.
const ARGUMENT_LIMIT: usize = 256;
const CMDLINE_LIMIT: usize = 4096;

/// What `/proc/PID/status` is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    pub euid: u32,
    pub tracer: Option<u32>,
}

pub(super) fn read_status(pid: u32) -> io::Result<Status> {
    let mut room = [0u8; file::SMALL];
    let text = file::read_small(&format!("/proc/{pid}/status"), &mut room)?;
    parse_status(text).ok_or(io::ErrorKind::InvalidData.into())
}

pub(super) fn read_limit(pid: u32) -> Option<u64> {
    let mut room = [0u8; file::SMALL];
    parse_limit(file::read_small(&format!("/proc/{pid}/limits"), &mut room).ok()?)
}

/// Secrets in it are masked here, before anybody can show or store them.
pub(super) fn read_cmdline(pid: u32) -> io::Result<Vec<String>> {
    let mut room = [0u8; CMDLINE_LIMIT];
    let read = file::read_small(&format!("/proc/{pid}/cmdline"), &mut room);
    read.map(|bytes| secret::masked_arguments(&parse_cmdline(bytes)))
}

/// A link of the process directory, such as `exe` or `cwd`.
pub(super) fn read_path(pid: u32, name: &str) -> io::Result<String> {
    let link = file::read_link(&format!("/proc/{pid}/{name}"))?;
    Ok(text::clean(&link, PATH_LIMIT))
}

/// The inode of its network namespace.
pub(super) fn read_netns(pid: u32) -> io::Result<u64> {
    let link = file::read_link(&format!("/proc/{pid}/ns/net"))?;
    parse_namespace(&link).ok_or(io::ErrorKind::InvalidData.into())
}

/// `net:[4026531833]` → 4026531833.
pub(crate) fn parse_namespace(link: &str) -> Option<u64> {
    let number = link.split_once(":[")?.1.strip_suffix(']')?;
    number.parse().ok()
}

/// The effective uid (second of four) and the tracer (0: none).
fn parse_status(text: &[u8]) -> Option<Status> {
    let text = String::from_utf8_lossy(text);
    // The name comes first and escapes line feeds: it cannot pose as another line.
    let field = |key: &str, at: usize| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().nth(at)?.parse::<u32>().ok()
    };
    Some(Status {
        euid: field("Uid:", 1)?,
        tracer: field("TracerPid:", 0).filter(|pid| *pid != 0),
    })
}

/// The soft limit of open files; unlimited is `u64::MAX`.
fn parse_limit(text: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(text);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut fields = line.split_ascii_whitespace();
    let soft = fields.next()?;
    // Of a line that is cut off the number may be too.
    fields.next()?;
    if soft == "unlimited" {
        return Some(u64::MAX);
    }
    soft.parse().ok()
}

/// Arguments end with NUL; a process that wrote its title over them (setproctitle) may leave many NULs behind it.
fn parse_cmdline(bytes: &[u8]) -> Vec<String> {
    let end = bytes
        .iter()
        .rposition(|b| *b != 0)
        .map_or(0, |at| at.saturating_add(1));
    let bytes = bytes.get(..end).unwrap_or(&[]);
    if bytes.is_empty() {
        return Vec::new();
    }
    let arguments = bytes.split(|b| *b == 0).take(ARGUMENT_LIMIT);
    arguments
        .map(|argument| text::clean_bytes(argument, CMDLINE_LIMIT))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] = b"Name:\tUid:\\n9\nUmask:\t0022\nState:\tt (tracing stop)\nTgid:\t5\nTracerPid:\t77\nUid:\t1000\t1001\t1002\t1003\nGid:\t0\t0\t0\t0\n";

    #[test]
    fn status_lines() {
        let status = parse_status(STATUS).unwrap();
        assert_eq!((status.euid, status.tracer), (1001, Some(77)));
        let text = String::from_utf8_lossy(STATUS).replace("77", "0");
        assert_eq!(parse_status(text.as_bytes()).unwrap().tracer, None);
        for len in 0..STATUS.len() {
            let _ = parse_status(&STATUS[..len]);
        }
        assert_eq!(parse_status(b"Name:\tx\n"), None);
    }

    #[test]
    fn limits() {
        let text = |soft: &str| {
            format!(
                "Limit   Soft Limit   Hard Limit  Units     \nMax processes   9   9   processes \nMax open files            {soft}                20000                files     \n"
            )
        };
        assert_eq!(parse_limit(text("1024").as_bytes()), Some(1024));
        assert_eq!(parse_limit(text("unlimited").as_bytes()), Some(u64::MAX));
        assert_eq!(parse_limit(b"Max open files     10"), None, "cut off");
        assert_eq!(parse_limit(b""), None);
    }

    #[test]
    fn command_lines() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"", &[]),
            (b"\0\0", &[]),
            (b"python3\0-c\0\0x\0", &["python3", "-c", "", "x"]),
            (
                b"gunicorn: master [app]\0\0\0\0",
                &["gunicorn: master [app]"],
            ),
            (b"a\x1b[2J\0b\nc\0", &["a\\u{1b}[2J", "b\\nc"]),
            (b"cut off", &["cut off"]),
        ];
        for (bytes, want) in cases {
            assert_eq!(&parse_cmdline(bytes), want);
        }
        assert_eq!(parse_cmdline(&b"x\0".repeat(1000)).len(), ARGUMENT_LIMIT);
    }

    #[test]
    fn namespaces() {
        assert_eq!(parse_namespace("net:[4026531833]"), Some(4_026_531_833));
        assert_eq!(parse_namespace("net:[40265318"), None);
        assert_eq!(parse_namespace(""), None);
    }
}
