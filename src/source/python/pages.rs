//! The memory of a process as it was a moment ago: pages, each read once for a snapshot, many with one system call.
//!
//! ```text
//!  want(address, length) ─┐
//!  want(…)                ├─► fetch: one process_vm_readv for up to 1,024 runs of pages ─► read, u64, …: no system call
//!  the pages of last time ┘
//! ```
//! Who follows pointers asks level by level: first `want` for all objects of a level, then `fetch`, then read. What was not
//! wanted beforehand is fetched when it is read. What an address means is for the callers; so is whether to believe it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use crate::source::memory;

/// Bytes of a page here; the kernel's may be a multiple of it.
pub const PAGE: usize = 4096;
const RUNS: usize = 1024;
/// Pages of one run at most: a bad page costs its run a second attempt.
const LONGEST: u64 = 64;

/// A map by addresses.
pub type ByAddress<T> = HashMap<u64, T, BuildHasherDefault<PageHasher>>;

/// Where pages come from: a process, or in tests a handful of bytes.
pub trait Memory: std::fmt::Debug + Send {
    /// Reads runs (first page number, count of pages) one after the other into `into`; answers with how many bytes it got,
    /// fewer than all if a page of the run where it stopped could not be read.
    ///
    /// # Errors
    /// Those that concern the whole process.
    fn read_runs(&self, runs: &[(u64, u64)], into: &mut [u8]) -> io::Result<usize>;
}

/// The memory of a live process, by process_vm_readv(2).
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// Its pid.
    pub pid: u32,
}

impl Memory for Live {
    fn read_runs(&self, runs: &[(u64, u64)], into: &mut [u8]) -> io::Result<usize> {
        let bytes =
            |count: u64| usize::try_from(count).map_or(usize::MAX, |n| n.saturating_mul(PAGE));
        let address = |page: u64| page.saturating_mul(PAGE as u64);
        let ranges: Vec<_> = runs
            .iter()
            .map(|&(first, count)| (address(first), bytes(count)))
            .collect();
        memory::read_ranges(self.pid, &ranges, into)
    }
}

/// Pages of one process at one moment.
#[derive(Debug)]
pub struct Pages {
    memory: Box<dyn Memory>,
    /// Page number → where it is in `store`, by pages; or that it cannot be read.
    known: ByAddress<Slot>,
    store: Vec<u8>,
    wanted: Vec<u64>,
    /// The page that was read last, and where: most reads follow one in the same page.
    last: (u64, usize),
    /// At most so many are held.
    most: usize,
    failure: Option<io::Error>,
    /// System calls so far.
    pub calls: u64,
    /// Reads so far, and one more for each 256 bytes: who follows the pointers of a target that lies stops by this.
    pub work: u64,
}

/// Pages that are put by while the same memory is read afresh.
#[derive(Debug)]
pub struct PutBy {
    known: ByAddress<Slot>,
    store: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Index in `store`, by pages; `None` if it cannot be read.
    at: Option<u32>,
    /// Read since the last renewal.
    used: bool,
}

impl Pages {
    /// Of the memory given, at most `most` pages at a time.
    pub fn new(memory: Box<dyn Memory>, most: usize) -> Self {
        Self {
            memory,
            known: HashMap::default(),
            store: Vec::new(),
            wanted: Vec::new(),
            last: (u64::MAX, 0),
            most: most.min(u32::MAX as usize),
            failure: None,
            calls: 0,
            work: 0,
        }
    }

    /// Of a live process; at most 64 MiB.
    pub fn of_process(pid: u32) -> Self {
        Self::new(Box::new(Live { pid }), 16_384)
    }

    /// Begins a new snapshot: everything that was used in the last one is read afresh with as few calls as may be, so that it
    /// is of one moment.
    ///
    /// # Errors
    /// As [`Pages::fetch`].
    pub fn renew(&mut self) -> io::Result<()> {
        self.failure = None;
        self.last = (u64::MAX, 0);
        self.store.clear();
        let again = self
            .known
            .drain()
            .filter(|(_, slot)| slot.used && slot.at.is_some())
            .map(|(page, _)| page);
        self.wanted.clear();
        self.wanted.extend(again);
        if self.store.capacity() > 8 * PAGE * self.wanted.len().max(64) {
            self.store = Vec::new();
        }
        self.fetch()
    }

    /// Forgets everything, also what would be read again.
    pub fn clear(&mut self) {
        self.known.clear();
        self.store.clear();
        self.wanted.clear();
        self.last = (u64::MAX, 0);
        self.failure = None;
    }

    /// Begins with no page at all, and gives back those that there were.
    pub fn put_by(&mut self) -> PutBy {
        self.wanted.clear();
        self.last = (u64::MAX, 0);
        PutBy {
            known: std::mem::take(&mut self.known),
            store: std::mem::take(&mut self.store),
        }
    }

    /// Takes pages that were put by, and drops those that there are.
    pub fn take_back(&mut self, pages: PutBy) {
        self.wanted.clear();
        self.last = (u64::MAX, 0);
        self.known = pages.known;
        self.store = pages.store;
    }

    /// True if more than half of the pages that may be held are.
    pub fn is_half_full(&self) -> bool {
        self.known.len() > self.most / 2
    }

    /// Notes that these bytes will be read.
    pub fn want(&mut self, addr: u64, len: usize) {
        let first = addr / PAGE as u64;
        let last = addr.saturating_add(len.max(1) as u64 - 1) / PAGE as u64;
        for page in first..=last.min(first + LONGEST) {
            if self.wanted.last() != Some(&page) && !self.known.contains_key(&page) {
                self.wanted.push(page);
            }
        }
    }

    /// True if the page of this address needs no system call.
    pub fn is_known(&self, addr: u64) -> bool {
        self.known.contains_key(&(addr / PAGE as u64))
    }

    /// Reads what was wanted.
    ///
    /// # Errors
    /// What concerns the whole process: `EPERM`, `ESRCH`. A page that cannot be read is none: reading from it yields `None`.
    pub fn fetch(&mut self) -> io::Result<()> {
        let mut pages = std::mem::take(&mut self.wanted);
        pages.sort_unstable();
        pages.dedup();
        pages.truncate(self.most.saturating_sub(self.known.len()));
        let mut runs = runs_of(&pages).into_iter().peekable();
        let mut result = Ok(());
        while runs.peek().is_some() && result.is_ok() {
            let batch: Vec<(u64, u64)> = runs.by_ref().take(RUNS).collect();
            result = self.read_all(&batch);
        }
        pages.clear();
        self.wanted = pages;
        result
    }

    /// Why reads fail that should not, if the process as a whole could not be read. Taken once.
    pub fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Copies the bytes at `addr`; `None` if not all of them could be read.
    pub fn read(&mut self, addr: u64, into: &mut [u8]) -> Option<()> {
        let mut addr = addr;
        let mut rest = into;
        self.work += 1 + rest.len() as u64 / 256;
        while !rest.is_empty() {
            let within = (addr % PAGE as u64) as usize;
            let count = rest.len().min(PAGE - within);
            let at = self.page(addr / PAGE as u64)? * PAGE + within;
            let (now, later) = rest.split_at_mut_checked(count)?;
            now.copy_from_slice(self.store.get(at..at + count)?);
            rest = later;
            addr = addr.checked_add(count as u64)?;
        }
        Some(())
    }

    /// `len` bytes; `None` as in [`Pages::read`], and for more than a mebibyte, because lengths come from the target.
    pub fn bytes(&mut self, addr: u64, len: usize) -> Option<Vec<u8>> {
        if len > 1 << 20 {
            return None;
        }
        if len > PAGE {
            self.want_all(addr, len);
        }
        let mut bytes = vec![0; len];
        self.read(addr, &mut bytes)?;
        Some(bytes)
    }

    /// One byte.
    pub fn u8(&mut self, addr: u64) -> Option<u8> {
        let mut bytes = [0; 1];
        self.read(addr, &mut bytes)?;
        Some(u8::from_ne_bytes(bytes))
    }

    /// Two bytes.
    pub fn u16(&mut self, addr: u64) -> Option<u16> {
        let mut bytes = [0; 2];
        self.read(addr, &mut bytes)?;
        Some(u16::from_ne_bytes(bytes))
    }

    /// Four bytes.
    pub fn u32(&mut self, addr: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(addr, &mut bytes)?;
        Some(u32::from_ne_bytes(bytes))
    }

    /// Eight bytes, such as a pointer.
    pub fn u64(&mut self, addr: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes)?;
        Some(u64::from_ne_bytes(bytes))
    }

    /// A large range, fetched at once.
    fn want_all(&mut self, addr: u64, len: usize) {
        for at in (0..len).step_by(PAGE * 32) {
            self.want(addr.saturating_add(at as u64), (len - at).min(PAGE * 32));
        }
        if let Err(error) = self.fetch() {
            self.failure = Some(error);
        }
    }

    /// Where this page is in `store`, by pages; fetched if need be.
    fn page(&mut self, page: u64) -> Option<usize> {
        if self.last.0 == page {
            return Some(self.last.1);
        }
        if !self.known.contains_key(&page) {
            self.wanted.push(page);
            if let Err(error) = self.fetch() {
                self.failure = Some(error);
                return None;
            }
        }
        let slot = self.known.get_mut(&page)?;
        slot.used = true;
        let at = slot.at? as usize;
        self.last = (page, at);
        Some(at)
    }

    /// Reads runs, and goes on behind a page that cannot be read; a run that stopped in its middle is tried page by page.
    fn read_all(&mut self, runs: &[(u64, u64)]) -> io::Result<()> {
        let mut rest = runs.to_vec();
        while !rest.is_empty() {
            let pages: u64 = rest.iter().map(|run| run.1).sum();
            let start = self.store.len();
            self.store.resize(start + pages as usize * PAGE, 0);
            self.calls += 1;
            let read = self
                .memory
                .read_runs(&rest, self.store.get_mut(start..).unwrap_or_default());
            let whole = read.as_ref().map_or(0, |bytes| bytes / PAGE);
            self.store.truncate(start + whole * PAGE);
            read?;
            rest = self.note(&rest, whole, start / PAGE);
        }
        Ok(())
    }

    /// Enters the `read` leading pages of these runs, which begin at `first` in `store`; what is left to read.
    fn note(&mut self, runs: &[(u64, u64)], read: usize, first: usize) -> Vec<(u64, u64)> {
        let mut at = (first..first + read).map(|at| at as u32);
        let mut runs = runs.iter();
        let mut rest = Vec::new();
        for &(page, count) in runs.by_ref() {
            let got = (page..page + count).zip(at.by_ref()).map(|(page, at)| {
                let slot = Slot {
                    at: Some(at),
                    used: false,
                };
                self.known.insert(page, slot);
            });
            let got = got.count() as u64;
            if got < count {
                // The call stopped here. A longer run may have failed as a whole: each of its pages is tried alone.
                let is_bad = count == 1;
                self.known.extend(is_bad.then_some((
                    page,
                    Slot {
                        at: None,
                        used: false,
                    },
                )));
                rest.extend(
                    (page + got..page + count)
                        .filter(|_| !is_bad)
                        .map(|page| (page, 1)),
                );
                break;
            }
        }
        rest.extend(runs);
        rest
    }
}

/// Neighbouring pages as runs (first, count).
fn runs_of(pages: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for &page in pages {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == page && *count < LONGEST => *count += 1,
            _ => runs.push((page, 1)),
        }
    }
    runs
}

/// Page numbers are as good as random in their low bits; one multiplication spreads them (Fibonacci hashing).
#[derive(Debug, Default)]
pub struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte) ^ self.0.rotate_left(8));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages 1 to 99, each full of its own number; those that can be divided by seven cannot be read.
    #[derive(Debug)]
    struct Numbers {
        /// The kernel copies what comes before a bad page of a run, or nothing of that run.
        splits: bool,
    }

    impl Memory for Numbers {
        fn read_runs(&self, runs: &[(u64, u64)], into: &mut [u8]) -> io::Result<usize> {
            let mut chunks = into.chunks_exact_mut(PAGE);
            let is_good = |page: &u64| (1..100).contains(page) && !page.is_multiple_of(7);
            let mut read = 0;
            for &(first, count) in runs {
                let pages = first..first + count;
                let whole = pages.clone().all(|page| is_good(&page));
                if whole || self.splits {
                    for (page, chunk) in pages.take_while(is_good).zip(&mut chunks) {
                        chunk.fill(page as u8);
                        read += PAGE;
                    }
                }
                if !whole {
                    break;
                }
            }
            Ok(read)
        }
    }

    fn pages(splits: bool) -> Pages {
        Pages::new(Box::new(Numbers { splits }), 1000)
    }

    const AT: u64 = PAGE as u64;

    #[test]
    fn a_bad_page_costs_itself_and_no_neighbour() {
        for splits in [false, true] {
            let mut pages = pages(splits);
            pages.want(0, 40 * PAGE);
            pages.want(60 * AT, 50 * PAGE);
            pages.fetch().unwrap();
            let calls = pages.calls;
            for page in (0..40).chain(60..110) {
                let good = (1..100).contains(&page) && page % 7 != 0;
                assert_eq!(
                    pages.u8(page * AT + 5),
                    good.then_some(page as u8),
                    "page {page}"
                );
            }
            assert_eq!(pages.calls, calls, "all was wanted beforehand");
            assert_eq!(pages.u64(50 * AT), Some(0x3232_3232_3232_3232));
            assert_eq!(pages.calls, calls + 1, "this was not");
        }
    }

    #[test]
    fn reads_go_over_the_edges_of_pages() {
        let mut pages = pages(true);
        assert_eq!(pages.bytes(2 * AT - 2, 4), Some(vec![1, 1, 2, 2]));
        assert_eq!(
            pages.bytes(AT, 3 * PAGE + 1).map(|b| b.len()),
            Some(3 * PAGE + 1)
        );
        assert_eq!(
            pages.bytes(6 * AT + 4090, 10),
            None,
            "page 7 cannot be read"
        );
        assert_eq!(pages.u32(u64::MAX - 1), None, "no wrapping");
        assert_eq!(pages.bytes(AT, usize::MAX), None);
    }

    #[test]
    fn a_renewal_reads_again_what_was_used_with_one_call() {
        let mut pages = pages(true);
        for page in [3, 4, 20, 30, 31] {
            pages.u8(page * AT).unwrap();
        }
        pages.want(50 * AT, 1);
        pages.fetch().unwrap();
        let calls = pages.calls;
        pages.renew().unwrap();
        assert_eq!(pages.calls, calls + 1);
        assert_eq!(pages.u8(31 * AT), Some(31));
        assert_eq!(pages.calls, calls + 1, "page 31 had been used");
        assert_eq!(pages.u8(50 * AT), Some(50));
        assert_eq!(pages.calls, calls + 2, "page 50 had not");
    }

    #[test]
    fn no_more_pages_are_held_than_allowed() {
        let mut pages = Pages::new(Box::new(Numbers { splits: true }), 3);
        let read: Vec<_> = [1, 2, 3, 4].map(|page| pages.u8(page * AT)).to_vec();
        assert_eq!(read, [Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn pages_that_are_put_by_stay_as_they_were() {
        let mut pages = pages(true);
        assert_eq!(pages.u8(3 * AT), Some(3));
        let calls = pages.calls;
        let old = pages.put_by();
        assert_eq!(pages.u8(3 * AT), Some(3));
        assert_eq!(pages.calls, calls + 1, "read afresh");
        assert_eq!(pages.u8(4 * AT), Some(4));
        pages.take_back(old);
        assert_eq!(pages.u8(3 * AT), Some(3));
        assert_eq!(pages.calls, calls + 2, "still known");
        assert_eq!(pages.u8(4 * AT), Some(4));
        assert_eq!(pages.calls, calls + 3, "of the other pages");
    }

    #[test]
    fn a_live_process_is_read_and_a_dead_one_is_an_error() {
        let words: Vec<u64> = (0..2000).collect();
        let addr = words.as_ptr().addr() as u64;
        let mut own = Pages::of_process(std::process::id());
        assert_eq!(own.u64(addr + 8 * 1999), Some(1999));
        assert_eq!(own.u64(addr + 8 * 17), Some(17));
        assert_eq!(own.u64(8), None);
        assert!(own.failure().is_none(), "an unmapped page is no failure");
        let mut gone = Pages::of_process(u32::MAX);
        assert_eq!(gone.u64(addr), None);
        assert_eq!(
            gone.failure().and_then(|e| e.raw_os_error()),
            Some(libc::ESRCH)
        );
    }
}
