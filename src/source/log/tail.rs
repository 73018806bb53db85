//! The end of a regular file, and what is appended to it. A file only: to open a pipe or a terminal for reading would take what
//! belongs to somebody else.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::UNIX_EPOCH;

use super::split::Splitter;

/// Bytes that are read at once: of a file that is met, and of what is appended between two readings. What was appended
/// beyond that is skipped.
pub(super) const ONCE: u64 = 64 * 1024;

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId {
    pub device: u64,
    pub inode: u64,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TailError {
    /// A pipe, a terminal, a device, a directory.
    #[error("it is not a regular file")]
    NotAFile,
    /// The kernel refused.
    #[error("it may not be read")]
    Denied,
    /// Anything else.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A file that is read as it grows.
#[derive(Debug)]
pub(super) struct FileTail {
    id: FileId,
    file: File,
    offset: u64,
    splitter: Splitter,
}

/// What a reading found.
#[derive(Debug, Default)]
pub(super) struct Appended {
    pub lines: Vec<Vec<u8>>,
    /// Bytes that were passed over.
    pub skipped: u64,
    /// When the file was last written to, in milliseconds since the epoch.
    pub modified_ms: i64,
}

impl FileTail {
    /// Opens a file by a path that may be a link of `/proc/PID/fd`; reading begins near its end.
    ///
    /// # Errors
    /// If it is no regular file, or may not be read. Nothing but a regular file is ever opened.
    pub(super) fn open(path: &str) -> Result<(FileId, Self), TailError> {
        // O_PATH opens nothing, and holds on to what the link leads to now: what is asked about is what is read.
        let pinned = open(path, libc::O_PATH)?;
        let about = pinned.metadata()?;
        if !about.is_file() {
            return Err(TailError::NotAFile);
        }
        let own = format!("/proc/self/fd/{}", pinned.as_raw_fd());
        // Without O_NOATIME the reading itself would show in the file; it is for its owner only (open(2)).
        let harmless = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = match open(&own, harmless | libc::O_NOATIME) {
            Err(TailError::Denied) => open(&own, harmless)?,
            opened => opened?,
        };
        let id = FileId {
            device: about.dev(),
            inode: about.ino(),
        };
        let offset = about.len().saturating_sub(ONCE);
        let splitter = if offset == 0 {
            Splitter::default()
        } else {
            Splitter::torn()
        };
        Ok((
            id,
            Self {
                id,
                file,
                offset,
                splitter,
            },
        ))
    }

    /// Which file it is.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// Reads what is there beyond what was read; from the start again after a truncation.
    pub(super) fn read(&mut self) -> io::Result<Appended> {
        let about = self.file.metadata()?;
        let mut appended = Appended {
            modified_ms: about
                .modified()?
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            ..Appended::default()
        };
        let len = about.len();
        if len < self.offset {
            self.offset = 0;
            self.splitter = Splitter::default();
        }
        if len - self.offset > ONCE {
            appended.skipped = len - self.offset - ONCE;
            self.offset = len - ONCE;
            self.splitter = Splitter::torn();
        }
        let mut room = vec![0u8; usize::try_from(len - self.offset).unwrap_or(0)];
        let mut filled = 0;
        while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.offset) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.splitter
            .feed(room.get(..filled).unwrap_or_default(), &mut appended.lines);
        Ok(appended)
    }
}

fn open(path: &str, flags: i32) -> Result<File, TailError> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(flags).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => TailError::Denied,
        // A socket cannot be opened at all.
        Some(libc::ENXIO) => TailError::NotAFile,
        _ => TailError::Io(error),
    })
}

/// Which regular file a path leads to; `None` for anything else.
pub(super) fn id_of(path: &str) -> Option<FileId> {
    let about = std::fs::metadata(path).ok()?;
    about.is_file().then(|| FileId {
        device: about.dev(),
        inode: about.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(tail: &mut FileTail) -> Vec<String> {
        let read = tail.read().unwrap();
        read.lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }

    #[test]
    fn what_is_appended_is_read_once_and_a_truncation_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let name = path.to_str().unwrap();
        std::fs::write(&path, "one\ntwo\nhal").unwrap();
        let (id, mut tail) = FileTail::open(name).unwrap();
        assert_eq!(Some(id), id_of(name));
        assert_eq!(lines(&mut tail), ["one", "two"]);
        assert!(lines(&mut tail).is_empty());
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"f\nfour\n").unwrap();
        assert_eq!(lines(&mut tail), ["half", "four"]);
        file.set_len(0).unwrap();
        file.write_all(b"again\n").unwrap();
        assert_eq!(lines(&mut tail), ["again"]);
        // Another file in its place is another file; this one is read to its end.
        std::fs::rename(&path, folder.path().join("app.log.1")).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        file.write_all(b"last\n").unwrap();
        assert_eq!(lines(&mut tail), ["last"]);
        assert_ne!(Some(id), id_of(name));
    }

    #[test]
    fn of_much_only_the_end_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let name = path.to_str().unwrap();
        let much: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, &much).unwrap();
        let (_, mut tail) = FileTail::open(name).unwrap();
        let first = lines(&mut tail);
        assert_eq!(first.last().unwrap(), "line 99999");
        assert!(first.len() < 10_000 && first[0].starts_with("line "));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(much.as_bytes()).unwrap();
        let read = tail.read().unwrap();
        assert_eq!(read.skipped, much.len() as u64 - ONCE);
        assert_eq!(read.lines.last().unwrap(), b"line 99999");
    }

    #[test]
    fn nothing_but_a_file_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in ["/dev/null", "/", socket.to_str().unwrap()] {
            let error = FileTail::open(path).unwrap_err();
            assert!(matches!(error, TailError::NotAFile), "{path}: {error}");
        }
        // Nor a pipe: what is in it stays there for its reader.
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let link = format!("/proc/self/fd/{}", reader.as_raw_fd());
        assert!(matches!(FileTail::open(&link), Err(TailError::NotAFile)));
        let mut byte = [0u8; 1];
        std::io::Read::read_exact(&mut reader, &mut byte).unwrap();
        assert_eq!(&byte, b"x");
        assert!(FileTail::open("/nowhere").is_err());
    }

    #[test]
    fn a_deleted_file_is_read_through_who_has_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut file = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(b"still here\n").unwrap();
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let (_, mut tail) = FileTail::open(&link).unwrap();
        assert_eq!(lines(&mut tail), ["still here"]);
    }
}
