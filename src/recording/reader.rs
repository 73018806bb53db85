//! A recording that is read: an index of its whole frames, made in one pass.
//!
//! Every byte is looked at once, whatever the file holds: a head that is true tells how long its record is, and where there is
//! none, the next one is searched for. Payloads are read when they are asked for.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::header::{Header, MOST_HEADER};
use super::layout::{HEAD, Head, MARK, RecordKind};
use super::{Frame, FrameKind, FrameMeta, Frames, ReadError};

/// Frames that are indexed: at 1 Hz those of six weeks. 40 bytes of memory each.
const MOST_FRAMES: usize = 4_000_000;
/// Sessions and damages that are told of.
const MOST_TOLD: usize = 1_000;

/// A recording in a file. A clone shares file and index.
#[derive(Debug, Clone)]
pub struct Recording {
    file: Arc<File>,
    header: Header,
    index: Arc<Index>,
}

/// What is known of the file's content.
#[derive(Debug, Default)]
pub(super) struct Index {
    frames: Vec<Place>,
    sessions: Vec<Session>,
    damages: Vec<Damage>,
    /// Behind the last whole record that was looked at.
    pub(super) end: u64,
    /// True if there were more frames than are indexed.
    pub(super) is_cut: bool,
}

/// Where a frame lies.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    meta: FrameMeta,
}

/// Frames that were written by one run of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Its first frame.
    pub first: usize,
    /// Where its header lies.
    pub offset: u64,
    /// What it says of itself.
    pub header: Header,
}

/// Bytes that are no whole frames, or cannot be decoded for want of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The frame that comes next; the number of frames if none does: the end is torn.
    pub before: usize,
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

impl Recording {
    /// Opens a recording and makes its index.
    ///
    /// # Errors
    /// A file that cannot be read, is no recording, or is of a version that this program does not know.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        // A pipe would wait for one who writes to it; for a file it means nothing.
        let flags = libc::O_NONBLOCK;
        Self::read(File::options().read(true).custom_flags(flags).open(path)?)
    }

    pub(super) fn read(file: File) -> Result<Self, ReadError> {
        if !file.metadata()?.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut from = BufReader::with_capacity(256 << 10, &file);
        let mut line = Vec::new();
        let most = MOST_HEADER as u64;
        (&mut from).take(most).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(ReadError::Foreign);
        }
        let header = Header::parse(&line)?;
        let start = line.len() as u64 + 1;
        let size = from.get_ref().metadata()?.len();
        let index = Pass::over(from, start, size)?;
        Ok(Self {
            file: Arc::new(file),
            header,
            index: Arc::new(index),
        })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Runs of the program that have appended to it, after the one of the header, in order (at most 1,000).
    pub fn sessions(&self) -> &[Session] {
        &self.index.sessions
    }

    /// What was left out, in order (at most 1,000).
    pub fn damages(&self) -> &[Damage] {
        &self.index.damages
    }

    /// Bytes at the end that are no whole frame: it was being written when its writer ended.
    pub fn torn_bytes(&self) -> u64 {
        let torn = self.index.damages.last();
        let torn = torn.filter(|damage| damage.before == self.count());
        torn.map_or(0, |damage| damage.bytes)
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }
}

impl Frames for Recording {
    fn count(&self) -> usize {
        self.index.frames.len()
    }

    fn meta(&self, i: usize) -> Option<FrameMeta> {
        self.index.frames.get(i).map(|place| place.meta)
    }

    fn frame(&self, i: usize) -> Result<Frame, ReadError> {
        let place = self.index.frames.get(i).ok_or(ReadError::NoSuchFrame)?;
        let damaged = || ReadError::Damaged {
            offset: place.offset,
        };
        let mut head = [0; HEAD];
        self.file.read_exact_at(&mut head, place.offset)?;
        let head = Head::parse(&head).filter(|head| head.meta() == Some(place.meta));
        let head = head.ok_or_else(damaged)?;
        let mut payload = vec![0; usize::try_from(head.length).unwrap_or_default()];
        self.file
            .read_exact_at(&mut payload, place.offset + HEAD as u64)?;
        if crc32fast::hash(&payload) != head.crc {
            return Err(damaged());
        }
        Ok(Frame {
            meta: place.meta,
            payload: payload.into(),
        })
    }
}

impl Index {
    #[cfg(test)]
    pub(super) fn offset(&self, i: usize) -> Option<u64> {
        self.frames.get(i).map(|place| place.offset)
    }

    /// Key frames: where they lie and when they were, oldest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = (u64, FrameMeta)> {
        let keys = self
            .frames
            .iter()
            .filter(|place| place.meta.kind == FrameKind::Key);
        keys.map(|place| (place.offset, place.meta))
    }
}

/// The pass over the records.
struct Pass<R> {
    from: R,
    at: u64,
    index: Index,
    /// Ordinal of the delta that may come next.
    next: Option<u32>,
    /// Where bytes began that are left out.
    left_out: Option<u64>,
}

impl<R: BufRead + Seek> Pass<R> {
    fn over(mut from: R, start: u64, size: u64) -> Result<Index, ReadError> {
        from.seek(SeekFrom::Start(start))?;
        let index = Index {
            end: start,
            ..Index::default()
        };
        let mut pass = Self {
            from,
            at: start,
            index,
            next: None,
            left_out: None,
        };
        while pass.at < size && pass.index.frames.len() < MOST_FRAMES {
            pass.step()?;
        }
        pass.index.is_cut = pass.at < size;
        if pass.index.is_cut {
            pass.leave(pass.at);
        }
        pass.at = size;
        pass.close_damage();
        Ok(pass.index)
    }

    /// Takes in one record, or goes to the next mark.
    fn step(&mut self) -> Result<(), ReadError> {
        let offset = self.at;
        let mut bytes = Vec::with_capacity(HEAD);
        (&mut self.from).take(HEAD as u64).read_to_end(&mut bytes)?;
        let Some(head) = Head::parse(&bytes) else {
            return self.search(&bytes);
        };
        self.at += HEAD as u64;
        let payload = self.payload(&head)?;
        match payload {
            Some(payload) if self.follows(&head) => self.take(offset, &head, &payload),
            _ => self.leave(offset),
        }
        Ok(())
    }

    /// Reads the payload and checks it; `None` if it is not whole or not true. Only that of a session is kept.
    fn payload(&mut self, head: &Head) -> Result<Option<Vec<u8>>, ReadError> {
        let mut crc = crc32fast::Hasher::new();
        let mut kept = Vec::new();
        let mut left = u64::from(head.length);
        while left > 0 {
            let chunk = self.from.fill_buf()?;
            let length = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let Some(chunk) = chunk.get(..length).filter(|chunk| !chunk.is_empty()) else {
                break;
            };
            crc.update(chunk);
            if head.kind == RecordKind::Session && kept.len() < MOST_HEADER {
                kept.extend_from_slice(chunk);
            }
            self.from.consume(length);
            left -= length as u64;
        }
        self.at += u64::from(head.length) - left;
        Ok((left == 0 && crc.finalize() == head.crc).then_some(kept))
    }

    /// True for a record that can be decoded: a delta only right behind the frame before it.
    fn follows(&self, head: &Head) -> bool {
        match head.kind {
            RecordKind::Frame(FrameKind::Delta) => {
                self.left_out.is_none() && self.next == Some(head.ordinal)
            }
            _ => true,
        }
    }

    fn take(&mut self, offset: u64, head: &Head, payload: &[u8]) {
        let end = std::mem::replace(&mut self.at, offset);
        self.close_damage();
        self.at = end;
        self.index.end = end;
        self.next = None;
        if let Some(meta) = head.meta() {
            self.next = head.ordinal.checked_add(1);
            self.index.frames.push(Place { offset, meta });
        } else if let Ok(header) = Header::parse(payload)
            && self.index.sessions.len() < MOST_TOLD
        {
            let first = self.index.frames.len();
            self.index.sessions.push(Session {
                first,
                offset,
                header,
            });
        }
    }

    fn leave(&mut self, offset: u64) {
        self.next = None;
        self.left_out.get_or_insert(offset);
    }

    /// What was left out ends here.
    fn close_damage(&mut self) {
        let Some(offset) = self.left_out.take() else {
            return;
        };
        if self.index.damages.len() < MOST_TOLD {
            self.index.damages.push(Damage {
                before: self.index.frames.len(),
                offset,
                bytes: self.at - offset,
            });
        }
    }

    /// No head here: on to the next mark. `bytes` have been read from where it was looked for.
    fn search(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.leave(self.at);
        let inside = bytes.get(1..).unwrap_or_default();
        let marked = inside.windows(MARK.len()).position(|window| window == MARK);
        let begun = || {
            (1..MARK.len())
                .rev()
                .find(|n| inside.ends_with(MARK.get(..*n).unwrap_or_default()))
        };
        let step = match marked {
            Some(at) => at + 1,
            None => bytes.len() - begun().unwrap_or(0),
        };
        self.at += step.max(1) as u64;
        let back = step.max(1) as i64 - bytes.len() as i64;
        // Inside the buffer, mostly.
        self.from.seek_relative(back)?;
        Ok(())
    }
}
