//! Where the loader has put the executable and a library, by what the process itself keeps of that: a few words of memory instead of
//! the list of all mappings, which the kernel would have to write. For files that are known from another process.
//!
//! ```text
//!  /proc/PID/auxv ─ AT_PHDR ─► executable ─ DT_DEBUG ─► r_debug ─► link_map ─► link_map ─► … the library
//!                                                                                             └─ its build id is there?
//! ```
//! All of it can be wrong: of a process that has called exec meanwhile, that loads a library now, that lies. Only where the very build id lies that
//! the file has is it believed.

use super::pages::Memory;
use crate::source::memory::Piece;

/// What tells a file where it is loaded; addresses are those of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Where its program headers are, if they are loaded.
    pub headers: Option<u64>,
    /// Address and bytes of its dynamic section.
    pub dynamic: (u64, u64),
    /// Address and bytes of the note that holds its build id.
    pub build_id: Option<(u64, Vec<u8>)>,
}

/// Bytes of a note with a build id at most, and of a dynamic section.
pub const MOST_NOTE: u64 = 256;
const MOST_DYNAMIC: u64 = 8192;
/// Files of one process that are looked through: the executable's own libraries come first.
const MOST_FILES: usize = 64;

const AT_PHDR: u64 = 3;
const DT_DEBUG: u64 = 21;

/// How far the executable's addresses in the process are from those in the file, as the kernel says; `auxv` are the bytes of
/// `/proc/PID/auxv`.
pub fn bias_of_executable(auxv: &[u8], exe: &Marks) -> Option<u64> {
    Some(entry(auxv, AT_PHDR)?.wrapping_sub(exe.headers?))
}

/// The same for a library, whose build id is there, by the list that the loader keeps for debuggers (`r_debug`, `link_map`: link.h of glibc and musl).
pub fn bias_of_library(memory: &dyn Memory, exe: (&Marks, u64), library: &Marks) -> Option<u64> {
    let (exe, bias) = exe;
    let (addr, length) = exe.dynamic;
    (length <= MOST_DYNAMIC).then_some(())?;
    let mut dynamic = vec![0; usize::try_from(length).ok()?];
    read(memory, addr.wrapping_add(bias), &mut dynamic)?;
    let debug = entry(&dynamic, DT_DEBUG)?;
    let [mut next] = words::<8, 1>(memory, debug.checked_add(8)?)?;
    for _ in 0..MOST_FILES {
        let [bias, _name, dynamic, following] = words::<32, 4>(memory, next)?;
        // A library's dynamic section is at its own distance.
        if dynamic.wrapping_sub(bias) == library.dynamic.0 && library.are_at(memory, bias) {
            return Some(bias);
        }
        next = following;
    }
    None
}

impl Marks {
    /// True if the build id lies where it would be with this bias.
    pub fn are_at(&self, memory: &dyn Memory, bias: u64) -> bool {
        let Some((addr, note)) = &self.build_id else {
            return false;
        };
        let mut found = vec![0; note.len()];
        let is_read = read(memory, addr.wrapping_add(bias), &mut found).is_some();
        is_read && !note.is_empty() && found == *note
    }
}

/// The value of a tag among pairs that a pair with the tag 0 ends: an auxiliary vector, a dynamic section.
fn entry(pairs: &[u8], wanted: u64) -> Option<u64> {
    let words = pairs.as_chunks::<8>().0.as_chunks::<2>().0;
    let pairs = words.iter().map(|pair| pair.map(u64::from_ne_bytes));
    let mut pairs = pairs.take_while(|[tag, _]| *tag != 0);
    let [_, value] = pairs.find(|[tag, _]| *tag == wanted)?;
    (value != 0).then_some(value)
}

fn words<const BYTES: usize, const N: usize>(memory: &dyn Memory, addr: u64) -> Option<[u64; N]> {
    let mut bytes = [0; BYTES];
    read(memory, addr, &mut bytes)?;
    let words = bytes.as_chunks::<8>().0;
    let words: &[[u8; 8]; N] = words.try_into().ok()?;
    Some(words.map(u64::from_ne_bytes))
}

fn read(memory: &dyn Memory, addr: u64, into: &mut [u8]) -> Option<()> {
    let len = into.len();
    // What no address space has is not asked for.
    (addr != 0 && addr.checked_add(len as u64)? < 1 << 56).then_some(())?;
    let piece = Piece { addr, at: 0, len };
    (memory.read(&[piece], into).ok()? == len).then_some(())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Ranges of memory by address.
    #[derive(Debug, Default)]
    struct Fake {
        ranges: Vec<(u64, Vec<u8>)>,
        reads: AtomicUsize,
    }

    impl Fake {
        fn put(&mut self, addr: u64, words: &[u64]) {
            let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
            self.ranges.push((addr, bytes.collect()));
        }
    }

    impl Memory for Fake {
        fn read(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let Piece { addr, len, .. } = pieces[0];
            let found = self.ranges.iter().find_map(|(at, bytes)| {
                let from = usize::try_from(addr.checked_sub(*at)?).ok()?;
                bytes.get(from..from + len)
            });
            let found = found.ok_or(io::Error::from_raw_os_error(libc::EFAULT))?;
            into.copy_from_slice(found);
            Ok(len)
        }
    }

    const EXE: u64 = 0x5500_0000_0000;
    const LIBRARY: u64 = 0x7f00_0000_0000;

    fn marks(headers: Option<u64>, dynamic: u64, id: u64) -> Marks {
        Marks {
            headers,
            dynamic: (dynamic, 48),
            build_id: Some((0x358, id.to_ne_bytes().to_vec())),
        }
    }

    fn exe() -> Marks {
        marks(Some(0x40), 0x3dc0, 1)
    }

    fn library() -> Marks {
        marks(None, 0x9000, 2)
    }

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn auxv() -> Vec<u8> {
        bytes(&[33, 0x7fff_0000, AT_PHDR, EXE + 0x40, 9, EXE + 0x1060, 0, 0])
    }

    /// A process with the executable, the vdso and the library in the loader's list.
    fn process() -> Fake {
        let mut fake = Fake::default();
        fake.put(EXE + 0x358, &[1]);
        fake.put(EXE + 0x3dc0, &[1, 77, DT_DEBUG, 0x7f22_0000, 0, 0]);
        fake.put(0x7f22_0000, &[1, 0x7f33_0000]);
        fake.put(0x7f33_0000, &[EXE, 0, EXE + 0x3dc0, 0x7f33_1000]);
        fake.put(0x7f33_1000, &[0x7fff_0000, 0, 0x7fff_0500, 0x7f33_2000]);
        fake.put(0x7f33_2000, &[LIBRARY, 0, LIBRARY + 0x9000, 0]);
        fake.put(LIBRARY + 0x358, &[2]);
        fake
    }

    #[test]
    fn the_loader_tells_where_files_are() {
        let fake = process();
        assert_eq!(bias_of_executable(&auxv(), &exe()), Some(EXE));
        assert!(exe().are_at(&fake, EXE));
        let found = bias_of_library(&fake, (&exe(), EXE), &library());
        assert_eq!(found, Some(LIBRARY));
    }

    #[test]
    fn another_build_id_is_another_file() {
        let fake = process();
        let other = marks(Some(0x40), 0x3dc0, 3);
        assert!(!other.are_at(&fake, EXE));
        let other = marks(None, 0x9000, 3);
        assert_eq!(bias_of_library(&fake, (&exe(), EXE), &other), None);
        let nameless = Marks {
            build_id: None,
            ..exe()
        };
        assert!(!nameless.are_at(&fake, EXE));
    }

    #[test]
    fn what_is_cut_short_or_runs_in_circles_is_given_up() {
        let mut fake = process();
        for end in 0..auxv().len() {
            let cut = bias_of_executable(&auxv()[..end], &exe());
            assert!(cut.is_none() || end >= 32, "{end}");
        }
        let behind_the_end = bytes(&[0, 0, AT_PHDR, EXE + 0x40]);
        assert_eq!(bias_of_executable(&behind_the_end, &exe()), None);
        // The list leads back to its beginning.
        fake.ranges.retain(|(at, _)| *at != 0x7f33_2000);
        fake.put(0x7f33_2000, &[0, 0, 0, 0x7f33_0000]);
        fake.reads.store(0, Ordering::Relaxed);
        assert_eq!(bias_of_library(&fake, (&exe(), EXE), &library()), None);
        assert!(fake.reads.load(Ordering::Relaxed) < 2 * MOST_FILES);
        // A dynamic section without end.
        let endless = Marks {
            dynamic: (0x3dc0, u64::MAX),
            ..exe()
        };
        assert_eq!(bias_of_library(&fake, (&endless, EXE), &library()), None);
    }
}
