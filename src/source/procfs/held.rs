//! Which files of /proc stay open from look to look? To read one again is then a single pread(2), a third of what opening,
//! reading and closing it costs.
//!
//! An open file of /proc/PID means that process and not its number: once it has ended, reading fails with ESRCH, also when the
//! pid is used again. Each costs a descriptor here and a page in the kernel (seq_file's buffer), so there is a bound.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::file;

/// Files that are held, at most, however many descriptors this program may have.
const MOST: u64 = 1024;

/// Room for files that stay open: one part of so many of the descriptors that this program may have.
const SHARE: u64 = 2;

/// How many files may still be held open.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    free: Arc<AtomicUsize>,
}

impl Shelf {
    /// As many as the limit of this program allows.
    pub(super) fn of_this_program() -> Self {
        let limit = super::identity::read_limit(std::process::id()).unwrap_or(0);
        Self::with_room((limit / SHARE).min(MOST) as usize)
    }

    pub(super) fn with_room(files: usize) -> Self {
        Self {
            free: Arc::new(AtomicUsize::new(files)),
        }
    }

    fn hold(&self, file: File) -> Option<Held> {
        let take = |free: usize| free.checked_sub(1);
        let order = Ordering::Relaxed;
        let taken = self.free.fetch_update(order, order, take);
        taken.ok().map(|_| Held {
            file,
            free: Arc::clone(&self.free),
        })
    }
}

/// A file that stays open.
#[derive(Debug)]
struct Held {
    file: File,
    free: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free.fetch_add(1, Ordering::Relaxed);
    }
}

/// A small file that is read again and again, and what it said last.
#[derive(Debug, Default)]
pub(super) struct Probe {
    held: Option<Held>,
    said: Vec<u8>,
}

impl Probe {
    /// Reads it, by its path where it is not held open; the slice is what came. It stays open if `shelf` has room for it.
    pub(super) fn read<'a>(
        &mut self,
        path: impl Fn() -> String,
        shelf: Option<&Shelf>,
        room: &'a mut [u8],
    ) -> io::Result<&'a [u8]> {
        let length = match self.again(room) {
            Some(length) => length,
            None => {
                let file = File::open(path())?;
                let length = read_whole(&file, room)?;
                self.held = shelf.and_then(|shelf| shelf.hold(file));
                length
            }
        };
        let text = room.get(..length).unwrap_or(&[]);
        self.said.clear();
        self.said.extend_from_slice(text);
        Ok(text)
    }

    /// True if it says now what it said last. False if it was never read, or cannot be read.
    pub(super) fn says_the_same(&self, path: impl Fn() -> String, room: &mut [u8]) -> bool {
        let text = match &self.held {
            Some(held) => read_whole(&held.file, room)
                .ok()
                .and_then(|length| room.get(..length)),
            None => file::read_small(&path(), room).ok(),
        };
        !self.said.is_empty() && text.is_some_and(|text| text == self.said)
    }

    /// Reads the file that is open; one that cannot be read any more is closed: there may be another under its path.
    fn again(&mut self, room: &mut [u8]) -> Option<usize> {
        let read = read_whole(&self.held.as_ref()?.file, room);
        if read.is_err() {
            self.held = None;
        }
        read.ok()
    }
}

/// From the start, in one system call: at offset 0 the kernel makes the text anew (seq_read_iter, fs/seq_file.c).
fn read_whole(file: &File, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(room, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat() -> String {
        "/proc/self/stat".to_owned()
    }

    #[test]
    fn a_file_is_held_while_there_is_room_and_read_in_any_case() {
        let shelf = Shelf::with_room(1);
        let mut probes = [Probe::default(), Probe::default()];
        let mut room = [0u8; file::SMALL];
        for probe in &mut probes {
            let text = probe.read(stat, Some(&shelf), &mut room).unwrap();
            assert!(text.ends_with(b"\n"), "{text:?}");
        }
        let [first, second] = &probes;
        assert!(first.held.is_some() && second.held.is_none());
        drop(probes);
        assert_eq!(shelf.free.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn it_is_told_whether_a_file_says_the_same() {
        let shelf = Shelf::with_room(1);
        let limits = || "/proc/self/limits".to_owned();
        let uptime = || "/proc/uptime".to_owned();
        let mut room = [0u8; file::SMALL];
        for shelf in [Some(&shelf), None] {
            let mut again = [0u8; file::SMALL];
            let (mut steady, mut clock) = (Probe::default(), Probe::default());
            assert!(!steady.says_the_same(limits, &mut again), "never read");
            steady.read(limits, shelf, &mut room).unwrap();
            clock.read(uptime, shelf, &mut room).unwrap();
            assert!(steady.says_the_same(limits, &mut again));
            while clock.says_the_same(uptime, &mut again) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn the_dead_are_not_mistaken_for_who_has_their_number_now() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn();
        let child = child.as_mut().unwrap();
        let path = format!("/proc/{}/stat", child.id());
        let (shelf, mut probe) = (Shelf::with_room(1), Probe::default());
        let mut room = [0u8; file::SMALL];
        probe
            .read(|| path.clone(), Some(&shelf), &mut room)
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!probe.says_the_same(stat, &mut room));
        // The path stands for another process here.
        let text = probe.read(stat, Some(&shelf), &mut room).unwrap();
        let own = std::process::id().to_string();
        assert!(text.starts_with(own.as_bytes()));
    }
}
