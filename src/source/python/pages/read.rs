//! Reading from pages: bytes, words, numbers. What is not there is fetched.

use super::blocks::mask;
use super::{PAGE, Pages};

impl Pages {
    /// Copies the bytes at `addr`; `None` if not all of them could be read.
    pub fn read(&mut self, addr: u64, into: &mut [u8]) -> Option<()> {
        let mut addr = addr;
        let mut rest = into;
        self.work += 1 + rest.len() as u64 / 256;
        while !rest.is_empty() {
            let within = (addr % PAGE as u64) as usize;
            let count = rest.len().min(PAGE - within);
            let at = self.locate(addr / PAGE as u64, mask(within, count))? * PAGE + within;
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
        self.array(addr).map(u8::from_ne_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self, addr: u64) -> Option<u32> {
        self.array(addr).map(u32::from_ne_bytes)
    }

    /// Eight bytes, such as a pointer.
    pub fn u64(&mut self, addr: u64) -> Option<u64> {
        self.array(addr).map(u64::from_ne_bytes)
    }

    /// Some bytes: most reads are of few that lie in one page.
    #[inline]
    pub fn array<const N: usize>(&mut self, addr: u64) -> Option<[u8; N]> {
        let within = (addr % PAGE as u64) as usize;
        if within + N > PAGE {
            let mut bytes = [0; N];
            self.read(addr, &mut bytes)?;
            return Some(bytes);
        }
        self.work += 1;
        let at = self.locate(addr / PAGE as u64, mask(within, N))?;
        let bytes = self.store.get(at * PAGE + within..)?;
        bytes.first_chunk().copied()
    }
}
