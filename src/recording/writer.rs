//! A recording that is written: at its end only, so that it is valid at every moment.
//!
//! Limits: where the file exceeds one by a quarter, what is to stay is copied into a new file beside it, which then takes its
//! place (rename(2)): at no moment is there no valid file of that name, and what is dropped are the oldest whole segments. Where
//! that fails (the copy needs room too), it is tried again at the next key frame, and the file goes on up to twice the limit.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::header::Header;
use super::layout::{frame_record, session_record};
use super::reader::Recording;
use super::{Frame, FrameKind, FrameMeta, ReadError};

/// How much a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub size: u64,
    /// Seconds that the oldest frame may be older than the newest; `None` for any number.
    pub age_s: Option<u64>,
}

impl Default for Limits {
    /// 256 MiB, of any age.
    fn default() -> Self {
        Self {
            size: 256 << 20,
            age_s: None,
        }
    }
}

/// Why a recording could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is a file of that name that is no recording, or of another version: it is left alone.
    #[error(transparent)]
    Existing(ReadError),
    /// Somebody else writes to it.
    #[error("another program records to it")]
    Busy,
    /// A delta, where a key frame has to come first.
    #[error("a recording begins with a key frame")]
    NoKey,
    /// The file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl WriteError {
    /// True if there is no room left on the file system, or for this user.
    pub fn is_full(&self) -> bool {
        let Self::Io(error) = self else { return false };
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}

/// Appends frames to a file.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    limits: Limits,
    /// Where each run of the program that has written to it begins, and what it says of itself; the newest is this one.
    sessions: VecDeque<(u64, Header)>,
    /// Behind the last whole record.
    end: u64,
    /// Key frames, oldest first.
    keys: VecDeque<Segment>,
    has_key: bool,
    /// Bytes of a torn end that were cut off when it was opened.
    cut: u64,
}

/// A key frame and what follows it.
#[derive(Debug, Clone, Copy)]
struct Segment {
    offset: u64,
    wall_ms: i64,
}

impl Writer {
    /// Makes a file that only its owner may read, or goes on with a recording: a torn end is cut off, and the header is put
    /// behind what is there. The first frame has to be a key frame.
    ///
    /// # Errors
    /// A file that cannot be written, is no recording of this version, or that another program records to.
    pub fn open(path: &Path, header: Header, limits: Limits) -> Result<Self, WriteError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).mode(0o600);
        // What a symbolic link means is what is replaced when the file is made shorter.
        let (file, path) = match path.canonicalize() {
            Ok(path) => (options.open(&path)?, path),
            Err(_) => (options.create(true).open(path)?, path.canonicalize()?),
        };
        if !file.metadata()?.is_file() {
            return Err(WriteError::Existing(ReadError::NotAFile));
        }
        lock(&file)?;
        let mut writer = Self {
            path,
            file,
            limits,
            sessions: VecDeque::new(),
            end: 0,
            keys: VecDeque::new(),
            has_key: false,
            cut: 0,
        };
        writer.begin(header)?;
        Ok(writer)
    }

    /// Bytes of a torn end that were cut off when the file was opened.
    pub fn cut_bytes(&self) -> u64 {
        self.cut
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// No room, or another failure of the file. It is valid up to the frame before, and the next frame has to be a key frame.
    pub fn write(&mut self, frame: &Frame) -> Result<(), WriteError> {
        let is_key = frame.meta.kind == FrameKind::Key;
        if !is_key && !self.has_key {
            return Err(WriteError::NoKey);
        }
        if is_key {
            self.trim(&frame.meta)?;
        }
        let offset = self.end;
        self.has_key = false;
        self.append(&frame_record(frame))?;
        self.has_key = true;
        if is_key {
            let wall_ms = frame.meta.wall_ms;
            self.keys.push_back(Segment { offset, wall_ms });
        }
        Ok(())
    }

    fn begin(&mut self, header: Header) -> Result<(), WriteError> {
        let size = self.file.metadata()?.len();
        let line = header.line().map_err(std::io::Error::from)?;
        if size == 0 {
            self.sessions.push_back((0, header));
            return self.append(&line);
        }
        let before = Recording::read(self.file.try_clone()?).map_err(WriteError::Existing)?;
        if before.index().is_cut {
            return Err(WriteError::Existing(ReadError::TooMany));
        }
        self.end = before.index().end;
        self.cut = size - self.end;
        self.keys = before
            .index()
            .keys()
            .map(|(offset, meta)| Segment {
                offset,
                wall_ms: meta.wall_ms,
            })
            .collect();
        self.sessions.push_back((0, before.header().clone()));
        let sessions = before.sessions().iter();
        self.sessions
            .extend(sessions.map(|s| (s.offset, s.header.clone())));
        self.file.set_len(self.end)?;
        let record = session_record(&line, header.wall_ms);
        self.sessions.push_back((self.end, header));
        self.append(&record)
    }

    /// Appends all of it or nothing.
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if let Err(error) = self.file.write_all(bytes) {
            // A part may have been written. If even that cannot be taken back, readers will find it torn.
            let _ = self.file.set_len(self.end);
            return Err(error.into());
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Drops the oldest segments if a limit is exceeded by a quarter.
    fn trim(&mut self, newest: &FrameMeta) -> Result<(), WriteError> {
        let most_age_ms = self
            .limits
            .age_s
            .map(|s| i64::try_from(s.saturating_mul(1000)).unwrap_or(i64::MAX));
        let is_large = self.end > self.limits.size.saturating_add(self.limits.size / 4);
        let oldest = self.keys.front().map(|segment| segment.wall_ms);
        let is_old = most_age_ms.zip(oldest).is_some_and(|(most, oldest)| {
            newest.wall_ms.saturating_sub(oldest) > most.saturating_add(most / 4)
        });
        if !is_large && !is_old {
            return Ok(());
        }
        // A segment stays while what begins with it is within the limits.
        let keeps = |segment: &&Segment| {
            let is_young = most_age_ms
                .is_none_or(|most| newest.wall_ms.saturating_sub(segment.wall_ms) <= most);
            self.end - segment.offset <= self.limits.size && is_young
        };
        let from = self
            .keys
            .iter()
            .find(keeps)
            .map_or(self.end, |segment| segment.offset);
        if self.keys.front().is_some_and(|oldest| oldest.offset < from) {
            let replaced = self.replace(from);
            // The next key frame tries again.
            if self.end > self.limits.size.saturating_mul(2) {
                return replaced;
            }
        }
        Ok(())
    }

    /// Puts a file with all from `from` on in the place of this one.
    fn replace(&mut self, from: u64) -> Result<(), WriteError> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let beside = self.path.with_file_name(name);
        let made = self.copy(&beside, from).and_then(|made| {
            std::fs::rename(&beside, &self.path)?;
            Ok(made)
        });
        let (file, start) = made.inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })?;
        self.file = file;
        self.end = self.end - from + start;
        self.keys.retain(|segment| segment.offset >= from);
        for segment in &mut self.keys {
            segment.offset = segment.offset - from + start;
        }
        while self.sessions.get(1).is_some_and(|(at, _)| *at <= from) {
            self.sessions.pop_front();
        }
        for (at, _) in &mut self.sessions {
            *at = (*at + start).saturating_sub(from);
        }
        Ok(())
    }

    /// A file with the first line and all from `from` on; also tells where that begins in it.
    fn copy(&self, path: &Path, from: u64) -> Result<(File, u64), WriteError> {
        let mut options = OpenOptions::new();
        // Somebody else's, left behind, or put there to be followed.
        let _ = std::fs::remove_file(path);
        let mut file = options
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        lock(&file)?;
        self.share(&file);
        reserve(&file, self.end - from)?;
        let begun = self.sessions.iter().take_while(|(at, _)| *at <= from);
        let header = begun.last().map(|(_, header)| header);
        let header = header.ok_or(WriteError::NoKey)?;
        let line = header.line().map_err(std::io::Error::from)?;
        file.write_all(&line)?;
        let mut old = &self.file;
        old.seek(SeekFrom::Start(from))?;
        std::io::copy(&mut old.take(self.end - from), &mut file)?;
        Ok((file, line.len() as u64))
    }

    /// Whoever may read this file may read that one. To others than before it is not given: where the owner cannot be the same,
    /// it stays its maker's.
    fn share(&self, made: &File) {
        let Ok(old) = self.file.metadata() else {
            return;
        };
        if fchown(made, Some(old.uid()), Some(old.gid())).is_ok() {
            let _ = made.set_permissions(old.permissions());
        }
    }
}

/// Takes room on the file system for so many bytes, so that a copy for which there is none does not fill it up first.
fn reserve(file: &File, bytes: u64) -> Result<(), WriteError> {
    let length = libc::off_t::try_from(bytes).unwrap_or(libc::off_t::MAX);
    // SAFETY: the descriptor is that of an open file; the rest are plain numbers.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, length) };
    let error = std::io::Error::last_os_error();
    // Not every file system can do it.
    let is_refused = result != 0 && WriteError::Io(std::io::Error::from(error.kind())).is_full();
    if is_refused {
        Err(error.into())
    } else {
        Ok(())
    }
}

/// One writer at a time; whoever reads is not kept from it.
fn lock(file: &File) -> Result<(), WriteError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(WriteError::Busy),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
