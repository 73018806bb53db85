//! Where memory comes from: a live process, or whatever else a test puts in its place.

use std::io;

use crate::source::memory::{self, Piece};

/// Where memory comes from: a process, or in tests a handful of bytes.
pub trait Memory: std::fmt::Debug + Send + Sync {
    /// Reads pieces as [`memory::read_pieces`] does.
    ///
    /// # Errors
    /// Those that concern the whole process.
    fn read(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize>;
}

/// The memory of a live process, by process_vm_readv(2).
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// Its pid.
    pub pid: u32,
}

impl Memory for Live {
    fn read(&self, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize> {
        memory::read_pieces(self.pid, pieces, into)
    }
}
