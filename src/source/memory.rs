//! How the memory of another process is read: process_vm_readv(2), and nothing else. Never ptrace, never a pause.
//!
//! What an address means is for the callers. A read needs the right that ptrace(2) calls PTRACE_MODE_ATTACH_REALCREDS; it
//! may block for as long as the target's page fault takes, so callers that must not wait read on a thread of their own.

use std::io;

/// Reads exactly `buf.len()` bytes at `addr` of process `pid`.
///
/// # Errors
/// `EPERM` without the right (or while the process exits), `ESRCH` when it is gone, `EFAULT` when the range is not wholly mapped.
pub fn read_exact_at(pid: u32, addr: u64, buf: &mut [u8]) -> io::Result<()> {
    if buf.is_empty() {
        return Ok(());
    }
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let remote = remote_range(addr, buf.len())?;
    let pid = kernel_pid(pid)?;
    // SAFETY: `local` is one live, exclusively borrowed buffer of the length stated, which outlives the call; `remote` is only
    // an address in the other process, which the kernel checks. The kernel writes at most `buf.len()` bytes.
    let count = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
    match usize::try_from(count) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(count) if count == buf.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
    }
}

/// Reads `len` bytes at `addr`; refuses more than 16 MiB, because lengths come from the target.
///
/// # Errors
/// As [`read_exact_at`]; `E2BIG` above the limit.
pub fn read_bytes(pid: u32, addr: u64, len: usize) -> io::Result<Vec<u8>> {
    if len > 16 << 20 {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let mut bytes = vec![0; len];
    read_exact_at(pid, addr, &mut bytes)?;
    Ok(bytes)
}

/// Reads one native-endian `u32`.
///
/// # Errors
/// As [`read_exact_at`].
pub fn read_u32(pid: u32, addr: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    read_exact_at(pid, addr, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Reads one native-endian `u64`, such as a pointer.
///
/// # Errors
/// As [`read_exact_at`].
pub fn read_u64(pid: u32, addr: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    read_exact_at(pid, addr, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Reads one range of `len` bytes at each of `addrs`, with as few system calls as may be (64 ranges each).
///
/// The answer has one element for each address, in their order; `None` where that range could not be read. The kernel stops
/// at the first bad range of a call (process_vm_readv(2)), so the rest of such a batch is asked for again.
///
/// # Errors
/// Only what concerns the whole process: `EPERM`, `ESRCH`; `E2BIG` for a `len` above 64 KiB or more than 65,536 addresses.
pub fn read_many(pid: u32, addrs: &[u64], len: usize) -> io::Result<Vec<Option<Vec<u8>>>> {
    if len > 64 << 10 || addrs.len() > 64 << 10 {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let mut found = Vec::with_capacity(addrs.len());
    while let Some(rest) = addrs.get(found.len()..).filter(|rest| !rest.is_empty()) {
        let batch = rest.get(..rest.len().min(64)).unwrap_or(rest);
        let read = read_batch(pid, batch, len)?;
        let stopped_early = read.len() < batch.len();
        found.extend(read.into_iter().map(Some));
        if stopped_early {
            found.push(None);
        }
    }
    Ok(found)
}

/// The leading ranges of `addrs` that could be read with one call; fewer than asked for means that the next one is bad.
fn read_batch(pid: u32, addrs: &[u64], len: usize) -> io::Result<Vec<Vec<u8>>> {
    if len == 0 {
        return Ok(vec![Vec::new(); addrs.len()]);
    }
    let mut bytes = vec![0_u8; len * addrs.len()];
    let piece = |(nth, &addr): (usize, &u64)| Piece {
        addr,
        at: nth * len,
        len,
    };
    let pieces: Vec<Piece> = addrs.iter().enumerate().map(piece).collect();
    let read = read_pieces(pid, &pieces, &mut bytes)?;
    Ok(bytes
        .chunks_exact(len)
        .take(read / len)
        .map(<[u8]>::to_vec)
        .collect())
}

/// A range of the other process's memory, and where in a buffer it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Address there.
    pub addr: u64,
    /// Offset in the buffer here.
    pub at: usize,
    /// Bytes.
    pub len: usize,
}

/// Pieces that one call reads at most (`IOV_MAX`).
pub const MOST_PIECES: usize = 1024;

/// Reads pieces one after the other with one call; answers with how many bytes it got. What is less than all stops within the
/// piece that could not be read (or did not fit the buffer), 0 if that is the first. At most [`MOST_PIECES`] are read.
///
/// # Errors
/// Only what concerns the whole process: `EPERM`, `ESRCH`.
pub fn read_pieces(pid: u32, pieces: &[Piece], into: &mut [u8]) -> io::Result<usize> {
    let (base, room) = (into.as_mut_ptr(), into.len());
    let most = pieces.len().min(MOST_PIECES);
    let (mut local, mut remote) = (Vec::with_capacity(most), Vec::with_capacity(most));
    for piece in pieces.iter().take(most) {
        let fits = piece
            .at
            .checked_add(piece.len)
            .is_some_and(|end| end <= room);
        // An address that does not fit a pointer ends the batch just as an unmapped one does.
        let Some(there) = remote_range(piece.addr, piece.len).ok().filter(|_| fits) else {
            break;
        };
        remote.push(there);
        local.push(libc::iovec {
            iov_base: base.wrapping_add(piece.at).cast(),
            iov_len: piece.len,
        });
    }
    if remote.is_empty() {
        return Ok(0);
    }
    let (pid, count) = (kernel_pid(pid)?, remote.len() as libc::c_ulong);
    // SAFETY: `local` and `remote` are live slices of `count` elements each. Those of `local` lie within `into`, which is
    // borrowed exclusively and outlives the call (where two overlap, the later one wins); those of `remote` hold addresses of the
    // other process only, which the kernel checks.
    let read =
        unsafe { libc::process_vm_readv(pid, local.as_ptr(), count, remote.as_ptr(), count, 0) };
    match usize::try_from(read) {
        Ok(read) => Ok(read),
        Err(_) => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::EFAULT) => Ok(0),
            e => Err(e),
        },
    }
}

fn remote_range(addr: u64, len: usize) -> io::Result<libc::iovec> {
    let addr = usize::try_from(addr).map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
    Ok(libc::iovec {
        iov_base: std::ptr::without_provenance_mut(addr),
        iov_len: len,
    })
}

fn kernel_pid(pid: u32) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of<T>(value: &[T]) -> u64 {
        value.as_ptr().addr() as u64
    }

    #[test]
    fn reads_own_memory() {
        let words = [0x0102_0304_0506_0708_u64, 42];
        let (pid, addr) = (std::process::id(), address_of(&words));
        assert_eq!(read_u64(pid, addr + 8).unwrap(), 42);
        assert_eq!(
            u64::from(read_u32(pid, addr).unwrap()),
            words[0] & 0xffff_ffff
        );
        assert_eq!(read_bytes(pid, addr, 16).unwrap()[8], 42);
        read_exact_at(pid, 1, &mut []).expect("nothing to read is always read");
    }

    #[test]
    fn bad_addresses_and_processes_are_errors_with_their_number() {
        let pid = std::process::id();
        let number = |r: io::Result<u64>| r.unwrap_err().raw_os_error();
        assert_eq!(number(read_u64(pid, 16)), Some(libc::EFAULT));
        assert_eq!(number(read_u64(u32::MAX, 16)), Some(libc::ESRCH));
        let too_long = read_bytes(pid, 16, usize::MAX).unwrap_err();
        assert_eq!(too_long.raw_os_error(), Some(libc::E2BIG));
    }

    #[test]
    fn a_batch_survives_bad_addresses_in_its_middle() {
        let words: Vec<u64> = (0..200).collect();
        let base = address_of(&words);
        let mut addrs: Vec<u64> = (0..200).map(|i| base + 8 * i).collect();
        for bad in [0, 63, 64, 130, 199] {
            addrs[bad] = 8;
        }
        let read = read_many(std::process::id(), &addrs, 8).unwrap();
        assert_eq!(read.len(), 200);
        for (i, word) in read.into_iter().enumerate() {
            let want =
                (![0, 63, 64, 130, 199].contains(&i)).then(|| (i as u64).to_ne_bytes().to_vec());
            assert_eq!(word, want, "range {i}");
        }
    }

    #[test]
    fn pieces_go_where_they_belong_up_to_the_first_bad_one() {
        let words: Vec<u64> = (0..100).collect();
        let base = address_of(&words);
        let piece = |addr, at| Piece { addr, at, len: 8 };
        let mut into = [0; 32];
        let pieces = [piece(base + 8 * 7, 16), piece(base + 8 * 9, 0)];
        let read = read_pieces(std::process::id(), &pieces, &mut into).unwrap();
        assert_eq!((read, into[16], into[0], into[8]), (16, 7, 9, 0));
        for bad in [piece(8, 8), piece(base, 25), piece(base, usize::MAX)] {
            let pieces = [piece(base + 8 * 3, 24), bad, piece(base + 8, 0)];
            let read = read_pieces(std::process::id(), &pieces, &mut into).unwrap();
            assert_eq!((read, into[24]), (8, 3), "{bad:?}");
        }
        assert!(read_pieces(u32::MAX, &pieces, &mut into).is_err());
    }
}
