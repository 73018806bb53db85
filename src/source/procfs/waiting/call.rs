//! What does a system call wait for, by its number and its arguments? Pure but for the memory that the arguments point to.
//!
//! Told apart: a descriptor, a path, a child, a lock, a time. What a descriptor is, is for others to find out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::waits::Memory;
use crate::snapshot::{PipeEnd, Syscall};
use crate::source::text::clean_bytes;

/// Descriptors of one poll or select: with more of them it is a loop, and waits for none in particular.
const FEW: u64 = 8;
/// Bytes of a path that are read.
const PATH_BYTES: usize = 1024;
/// Bytes read at once, so that a read never crosses into a page that may not be there.
const STEP: u64 = 256;
/// F_SETLKW and F_OFD_SETLKW (asm-generic/fcntl.h).
const SETLKW: [u64; 2] = [7, 38];
/// FUTEX_PRIVATE_FLAG and FUTEX_CMD_MASK (linux/futex.h).
const FUTEX_PRIVATE: u64 = 128;
const FUTEX_COMMAND: u64 = !(128 | 256);
/// TIMER_ABSTIME (linux/time.h).
const ABSOLUTE: u64 = 1;

/// What a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// One of these descriptors, to be read from or written to.
    Descriptors(Vec<(u32, PipeEnd)>),
    /// A connection of this descriptor to this address, where that could be read.
    Connect(u32, Option<Address>),
    /// A file that is open: its content, or the disk beneath it.
    File(u32),
    /// The files of this epoll set.
    Epoll(u32),
    /// A path, and the descriptor of the directory that it begins at (`None`: the working directory).
    Path(PathAt),
    /// flock(2) on this descriptor.
    Flock(u32),
    /// fcntl(2) with F_SETLKW on this descriptor.
    Record(u32),
    /// The child with this pid, as its parent calls it; `None` for any.
    Child(Option<u32>),
    /// A word in memory.
    Futex(Futex),
    /// Time to pass.
    Sleep(Option<Until>),
}

/// An address that a socket is to be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Inet(IpAddr, u16),
    Unix(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathAt {
    pub path: String,
    pub directory: Option<u32>,
    /// For open(2): what is done with a FIFO. `None` for other calls, and for both ways.
    pub end: Option<PipeEnd>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Futex {
    pub address: u64,
    pub private: bool,
    pub timed: bool,
}

/// The end of a sleep: so many nanoseconds on this clock, or from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Clock(libc::clockid_t, u64),
    FromStart(u64),
}

/// What a sleeping call waits for; `None` for a call that is not one of these, or whose arguments could not be read.
pub(super) fn subject(call: Syscall, memory: &Memory<'_>) -> Option<Subject> {
    let [first, second, third, ..] = call.args;
    let fd = || descriptor(first);
    if let Some(path) = path_of(call) {
        return Some(Subject::Path(PathAt {
            path: read_string(path.address, memory)?,
            directory: path.directory,
            end: path.end,
        }));
    }
    Some(match call.number {
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_pread64
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_recvmmsg
        | libc::SYS_accept
        | libc::SYS_accept4 => Subject::Descriptors(vec![(fd()?, PipeEnd::Reads)]),
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_pwrite64
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_sendfile => Subject::Descriptors(vec![(fd()?, PipeEnd::Writes)]),
        libc::SYS_connect => Subject::Connect(fd()?, read_address(second, third, memory)),
        libc::SYS_ppoll => Subject::Descriptors(read_poll(first, second, memory)?),
        libc::SYS_pselect6 => Subject::Descriptors(read_select([second, third], first, memory)?),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Subject::Epoll(fd()?),
        libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_ftruncate
        | libc::SYS_fallocate
        | libc::SYS_getdents64
        | libc::SYS_fstat => Subject::File(fd()?),
        libc::SYS_flock => Subject::Flock(fd()?),
        libc::SYS_fcntl if SETLKW.contains(&second) => Subject::Record(fd()?),
        libc::SYS_wait4 => Subject::Child(child(first)),
        // P_PID is 1 (linux/wait.h).
        libc::SYS_waitid if first == 1 => Subject::Child(child(second)),
        libc::SYS_waitid => Subject::Child(None),
        libc::SYS_futex => futex(call.args)?,
        libc::SYS_nanosleep => Subject::Sleep(read_timespec(first, memory).map(Until::FromStart)),
        libc::SYS_clock_nanosleep => Subject::Sleep(read_timespec(third, memory).map(|ns| {
            if second & ABSOLUTE == 0 {
                Until::FromStart(ns)
            } else {
                Until::Clock(first as libc::clockid_t, ns)
            }
        })),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => Subject::Descriptors(read_poll(first, second, memory)?),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => Subject::Descriptors(read_select([second, third], first, memory)?),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => Subject::Epoll(fd()?),
        _ => return None,
    })
}

struct PathArgument {
    address: u64,
    directory: Option<u32>,
    end: Option<PipeEnd>,
}

/// Calls whose first or second argument is a path.
fn path_of(call: Syscall) -> Option<PathArgument> {
    let [first, second, third, ..] = call.args;
    let end = |flags: u64| match flags & 3 {
        0 => Some(PipeEnd::Reads),
        1 => Some(PipeEnd::Writes),
        _ => None,
    };
    let (at, address, end) = match call.number {
        libc::SYS_openat => (Some(first), second, end(third)),
        libc::SYS_newfstatat
        | libc::SYS_statx
        | libc::SYS_faccessat
        | libc::SYS_faccessat2
        | libc::SYS_readlinkat
        | libc::SYS_unlinkat
        | libc::SYS_mkdirat
        | libc::SYS_openat2 => (Some(first), second, None),
        libc::SYS_chdir | libc::SYS_statfs | libc::SYS_execve => (None, first, None),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => (None, first, end(second)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat
        | libc::SYS_lstat
        | libc::SYS_access
        | libc::SYS_readlink
        | libc::SYS_unlink
        | libc::SYS_mkdir
        | libc::SYS_rename => (None, first, None),
        _ => return None,
    };
    Some(PathArgument {
        address,
        directory: at.and_then(descriptor),
        end,
    })
}

/// A descriptor is an int: the upper half of the register is not part of it. AT_FDCWD and others below zero are none.
fn descriptor(argument: u64) -> Option<u32> {
    let low = (argument & 0xffff_ffff) as u32;
    (low <= i32::MAX as u32).then_some(low)
}

/// A pid above zero; 0, -1 and groups mean any child.
fn child(argument: u64) -> Option<u32> {
    descriptor(argument).filter(|pid| *pid > 0)
}

/// FUTEX_WAIT (0), FUTEX_LOCK_PI (6), FUTEX_WAIT_BITSET (9), FUTEX_LOCK_PI2 (13).
fn futex(args: [u64; 6]) -> Option<Subject> {
    let [address, operation, _, timeout, ..] = args;
    let waits = matches!(operation & 0xffff_ffff & FUTEX_COMMAND, 0 | 6 | 9 | 13);
    waits.then_some(Subject::Futex(Futex {
        address,
        private: operation & FUTEX_PRIVATE != 0,
        timed: timeout != 0,
    }))
}

/// `struct pollfd { int fd; short events, revents; }`; POLLIN is 1, POLLOUT 4.
fn read_poll(address: u64, count: u64, memory: &Memory<'_>) -> Option<Vec<(u32, PipeEnd)>> {
    let count = count & 0xffff_ffff;
    if count == 0 || count > FEW {
        return None;
    }
    let mut bytes = [0u8; 8 * FEW as usize];
    let bytes = bytes.get_mut(..usize::try_from(count * 8).ok()?)?;
    if !memory(address, bytes) {
        return None;
    }
    let (entries, _) = bytes.as_chunks::<8>();
    let waits = entries.iter().filter_map(|[a, b, c, d, events, ..]| {
        let fd = u32::try_from(i32::from_ne_bytes([*a, *b, *c, *d])).ok()?;
        // The low byte of `events` on little-endian machines, which is where all flags that matter are.
        match events {
            events if events & 1 != 0 => Some((fd, PipeEnd::Reads)),
            events if events & 4 != 0 => Some((fd, PipeEnd::Writes)),
            _ => None,
        }
    });
    Some(waits.collect())
}

/// The sets to read from and to write to; descriptors below `count`.
fn read_select(sets: [u64; 2], count: u64, memory: &Memory<'_>) -> Option<Vec<(u32, PipeEnd)>> {
    let count = (count & 0xffff_ffff).min(1024);
    let mut found = Vec::new();
    for (address, end) in sets.into_iter().zip([PipeEnd::Reads, PipeEnd::Writes]) {
        if address == 0 || count == 0 {
            continue;
        }
        let mut bytes = [0u8; 128];
        // The kernel copies whole longs.
        let bytes = bytes.get_mut(..usize::try_from(count.div_ceil(64) * 8).ok()?)?;
        if !memory(address, bytes) {
            return None;
        }
        let set = (0u32..).zip(bytes.iter()).flat_map(|(at, byte)| {
            (0..8u32)
                .filter(move |bit| byte >> bit & 1 == 1)
                .map(move |bit| at * 8 + bit)
        });
        found.extend(set.filter(|fd| u64::from(*fd) < count).map(|fd| (fd, end)));
    }
    (found.len() as u64 <= FEW).then_some(found)
}

/// `struct sockaddr`: the family in the machine's order, ports and addresses in the network's.
fn read_address(address: u64, length: u64, memory: &Memory<'_>) -> Option<Address> {
    let mut bytes = [0u8; 110];
    let length = usize::try_from(length & 0xffff_ffff).ok()?.min(bytes.len());
    let bytes = bytes.get_mut(..length)?;
    (length >= 2 && memory(address, bytes)).then_some(())?;
    parse_address(bytes)
}

fn parse_address(bytes: &[u8]) -> Option<Address> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let port = || Some(u16::from_be_bytes(*rest.first_chunk::<2>()?));
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let octets: [u8; 4] = rest.get(2..6)?.try_into().ok()?;
            Some(Address::Inet(IpAddr::V4(Ipv4Addr::from(octets)), port()?))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = rest.get(6..22)?.try_into().ok()?;
            Some(Address::Inet(IpAddr::V6(Ipv6Addr::from(octets)), port()?))
        }
        libc::AF_UNIX => Some(Address::Unix(match rest.split_first()? {
            (0, name) => format!("@{}", clean_bytes(name, 256)),
            _ => clean_bytes(rest.split(|b| *b == 0).next()?, 256),
        })),
        _ => None,
    }
}

/// A string that NUL ends, cut where it is too long; `None` if its beginning could not be read.
fn read_string(address: u64, memory: &Memory<'_>) -> Option<String> {
    let mut text = Vec::new();
    while text.len() < PATH_BYTES {
        let at = address.checked_add(text.len() as u64)?;
        let mut step = [0u8; STEP as usize];
        let room = step.get_mut(..usize::try_from(STEP - at % STEP).ok()?)?;
        if !memory(at, room) {
            break;
        }
        match room.iter().position(|b| *b == 0) {
            Some(end) => {
                text.extend_from_slice(room.get(..end)?);
                return Some(clean_bytes(&text, PATH_BYTES));
            }
            None => text.extend_from_slice(room),
        }
    }
    (!text.is_empty()).then(|| clean_bytes(&text, PATH_BYTES))
}

/// `struct timespec` in nanoseconds.
fn read_timespec(address: u64, memory: &Memory<'_>) -> Option<u64> {
    let mut bytes = [0u8; 16];
    memory(address, &mut bytes).then_some(())?;
    let (seconds, nanoseconds) = bytes.split_first_chunk::<8>()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let nanoseconds = u64::from_ne_bytes(*nanoseconds.first_chunk::<8>()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests;
