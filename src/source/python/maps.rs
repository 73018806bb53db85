//! Which files are mapped into a process, and how to open the very file that is mapped: not the one that by now has its name.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::StackError;

/// One line of `/proc/PID/maps`, proc(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// True if it may be executed.
    pub exec: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Inode of the file; 0 for none.
    pub inode: u64,
    /// Path, as the kernel writes it: a deleted file's ends in ` (deleted)`. Empty for none.
    pub path: String,
}

impl Mapping {
    /// The last component of the path, without the mark of a deleted file.
    pub fn name(&self) -> &str {
        let path = self.path.strip_suffix(DELETED).unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }

    /// What the kernel tells of the mapped file: that of [`Mapping::open`], without opening it where that is possible.
    ///
    /// # Errors
    /// As [`Mapping::open`].
    pub fn metadata(&self, pid: u32) -> io::Result<Metadata> {
        fs::metadata(self.link(pid)).or_else(|_| self.open(pid)?.metadata())
    }

    fn link(&self, pid: u32) -> String {
        format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end)
    }

    /// Opens the mapped file itself: by the kernel's link to it, else by its path in the target's root, else by its path here.
    /// The first needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, proc(5) `map_files`; it is the only way to a deleted file. In a
    /// plain chroot the path already holds the root; in another mount namespace it does not.
    ///
    /// # Errors
    /// The last one met.
    pub fn open(&self, pid: u32) -> io::Result<File> {
        let by_link = match File::open(self.link(pid)) {
            Ok(file) => return Ok(file),
            Err(error) => error,
        };
        if self.path.ends_with(DELETED) {
            return Err(by_link);
        }
        let paths = [format!("/proc/{pid}/root{}", self.path), self.path.clone()];
        let opened: Vec<File> = paths.iter().filter_map(|p| open_regular(p).ok()).collect();
        // On an overlay the inode in maps may be that of a lower layer: an exact match is best, but no condition.
        let same = |file: &File| file.metadata().is_ok_and(|m| m.ino() == self.inode);
        let best = opened.iter().position(same).unwrap_or(0);
        opened.into_iter().nth(best).ok_or(by_link)
    }
}

const DELETED: &str = " (deleted)";

/// Opens without waiting, should the path by now name a FIFO.
fn open_regular(path: &str) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(PathBuf::from(path))?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

/// The mappings of a process as far as they have been asked for: the kernel writes no more of them than is read, and to write them
/// is most of what it costs to find an interpreter.
pub struct Maps<R> {
    lines: R,
    line: Vec<u8>,
    known: Vec<Mapping>,
}

/// Mappings that are read at most.
const MOST: usize = 65_536;

impl Maps<BufReader<File>> {
    /// Of this process.
    ///
    /// # Errors
    /// `Gone`, or `NoPermission`.
    pub fn open(pid: u32) -> Result<Self, StackError> {
        let failed = |error| StackError::from_io(pid, &error);
        let file = File::open(format!("/proc/{pid}/maps")).map_err(failed)?;
        // The kernel writes about a page at a time, whatever is asked for.
        let mut maps = Self::new(BufReader::with_capacity(4096, file));
        match maps.lines.fill_buf().map_err(failed)? {
            // A zombie, or a kernel thread: there is no memory any more, or there never was.
            [] => Err(StackError::Gone),
            _ => Ok(maps),
        }
    }
}

impl<R: BufRead> Maps<R> {
    fn new(lines: R) -> Self {
        Self {
            lines,
            line: Vec::new(),
            known: Vec::new(),
        }
    }

    /// The first that is as asked, in order of address; none of those behind it is read.
    pub fn first(&mut self, is_it: impl Fn(&Mapping) -> bool) -> Option<Mapping> {
        if let Some(known) = self.known.iter().find(|mapping| is_it(mapping)) {
            return Some(known.clone());
        }
        loop {
            let next = self.more()?;
            if is_it(next) {
                return Some(next.clone());
            }
        }
    }

    /// All of them, in order of address.
    pub fn all(&mut self) -> &[Mapping] {
        while self.more().is_some() {}
        &self.known
    }

    /// Reads one more; `None` at the end.
    fn more(&mut self) -> Option<&Mapping> {
        while self.known.len() < MOST {
            self.line.clear();
            let count = self.lines.read_until(b'\n', &mut self.line).ok()?;
            (count > 0).then_some(())?;
            let line = String::from_utf8_lossy(&self.line);
            if let Some(mapping) = parse_line(line.trim_end_matches('\n')) {
                self.known.push(mapping);
                return self.known.last();
            }
        }
        None
    }
}

fn parse_line(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let (field, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = tail;
        (!field.is_empty()).then_some(field)
    };
    let (start, end) = field()?.split_once('-')?;
    let flags = field()?;
    let offset = field()?;
    let _device = field()?;
    let inode = field()?.parse().ok()?;
    let hex = |digits| u64::from_str_radix(digits, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        exec: flags.as_bytes().get(2) == Some(&b'x'),
        offset: hex(offset)?,
        inode,
        path: rest.trim_start_matches(' ').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let text = "\
55d0-55e0 r--p 00000000 fe:00 1311 /usr/bin/python3.11
7f00-7f10 r-xp 00001000 fe:00 42                         /usr/lib/my lib/libpython3.11.so.1.0 (deleted)
7f20-7f30 rw-p 00000000 00:00 0
garbage
ffff-zzzz r-xp 00000000 00:00 0 [vsyscall]
";
        let mut maps = Maps::new(text.as_bytes());
        let second = maps.first(|m| m.exec).unwrap();
        assert_eq!((second.inode, maps.known.len()), (42, 2), "and no further");
        assert_eq!(maps.first(|m| m.inode == 42), Some(second));
        assert_eq!(maps.first(|m| m.inode == 43), None);
        let maps = maps.all();
        assert_eq!(maps.len(), 3);
        assert_eq!(
            (maps[0].start, maps[0].end, maps[0].exec),
            (0x55d0, 0x55e0, false)
        );
        assert_eq!(maps[0].name(), "python3.11");
        assert_eq!(
            (maps[1].offset, maps[1].inode, maps[1].exec),
            (0x1000, 42, true)
        );
        assert_eq!(
            maps[1].path,
            "/usr/lib/my lib/libpython3.11.so.1.0 (deleted)"
        );
        assert_eq!(maps[1].name(), "libpython3.11.so.1.0");
        assert_eq!(maps[2].path, "");
    }

    #[test]
    fn own_executable_is_mapped_and_opens() {
        let pid = std::process::id();
        let exe = fs::read_link("/proc/self/exe").unwrap();
        let mut maps = Maps::open(pid).unwrap();
        let mapping = maps.first(|m| m.path == exe.to_string_lossy()).unwrap();
        let opened = mapping.open(pid).unwrap().metadata().unwrap();
        assert_eq!(opened.ino(), fs::metadata("/proc/self/exe").unwrap().ino());
    }
}
