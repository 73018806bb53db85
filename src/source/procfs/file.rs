//! How are bytes read from /proc? Small files in one read, others up to a bound; never more.
//!
//! `File::read_to_end` asks for the size of a file first, which is 0 for everything here and costs two system calls.

use std::fs::File;
use std::io::{self, Read};

use super::ProcError;

/// Bytes that one read of a small file may have: `stat`, `schedstat`, `syscall`, `status`, `limits`, `cgroup`.
///
/// The kernel makes each of these with single_open(): the whole text comes with the first read that has room.
pub(super) const SMALL: usize = 4096;

/// Reads a small file in one system call; the slice is what came.
pub(super) fn read_small<'a>(path: &str, room: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    loop {
        match file.read(room) {
            Ok(len) => return Ok(room.get(..len).unwrap_or(&[])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The same as text; what is not UTF-8 becomes U+FFFD.
pub(super) fn read_text(path: &str) -> io::Result<String> {
    let mut room = [0u8; SMALL];
    Ok(String::from_utf8_lossy(read_small(path, &mut room)?).into_owned())
}

/// Reads a file of any size into `out` (emptied first), at most `limit` bytes of it.
pub(super) fn read_bounded(path: &str, out: &mut Vec<u8>, limit: u64) -> io::Result<()> {
    const STEP: usize = 16 * 1024;
    out.clear();
    let mut file = File::open(path)?.take(limit);
    loop {
        let filled = out.len();
        out.resize(filled.saturating_add(STEP), 0);
        let room = out.get_mut(filled..).unwrap_or(&mut []);
        match file.read(room) {
            Ok(len) => {
                out.truncate(filled.saturating_add(len));
                if len == 0 {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => out.truncate(filled),
            Err(error) => {
                out.truncate(filled);
                return Err(error);
            }
        }
    }
}

/// Where a link of /proc points to, as text; what is not UTF-8 becomes U+FFFD.
pub(super) fn read_link(path: &str) -> io::Result<String> {
    let target = std::fs::read_link(path)?.into_os_string();
    Ok(target
        .into_string()
        .unwrap_or_else(|raw| raw.to_string_lossy().into_owned()))
}

/// The numbers among the names in a directory, sorted, at most `limit`.
pub(super) fn numbers_in(path: &str, limit: usize) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = std::fs::read_dir(path)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(limit)
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What went wrong, in the words of this module.
pub(super) fn error_of(what: &'static str, error: io::Error) -> ProcError {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => ProcError::Gone,
        Some(libc::EACCES | libc::EPERM) => ProcError::Denied { what },
        _ => ProcError::Io {
            what,
            source: error,
        },
    }
}

/// True if the kernel refused for want of rights.
pub(super) fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_bounded() {
        let mut out = vec![1, 2, 3];
        read_bounded("/proc/self/status", &mut out, 1 << 20).unwrap();
        assert!(out.starts_with(b"Name:"), "{out:?}");
        read_bounded("/proc/self/status", &mut out, 5).unwrap();
        assert_eq!(out, b"Name:");
        let mut room = [0u8; 4];
        assert_eq!(read_small("/proc/self/status", &mut room).unwrap(), b"Name");
    }

    #[test]
    fn errors_are_told_apart() {
        let of = |code| error_of("x", io::Error::from_raw_os_error(code));
        assert!(matches!(of(libc::ESRCH), ProcError::Gone));
        assert!(matches!(of(libc::ENOENT), ProcError::Gone));
        assert!(matches!(of(libc::EPERM), ProcError::Denied { what: "x" }));
        assert!(matches!(of(libc::EACCES), ProcError::Denied { what: "x" }));
        assert!(matches!(of(libc::EIO), ProcError::Io { .. }));
    }
}
