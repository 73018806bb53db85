//! Which descriptors does a sleeping thread wait for? From its system call, and the arrays that poll and select name.

use crate::snapshot::Syscall;

/// Descriptors of one poll or select call that are looked at.
const LIMIT: u64 = 4096;

/// POLLIN and POLLRDNORM: a listener is readable when a connection waits.
const READABLE: u32 = 0x1 | 0x40;

/// Memory of the target: false if it could not be read.
pub(super) type Memory<'a> = dyn Fn(u64, &mut [u8]) -> bool + 'a;

/// The descriptor that the call has as first argument, for calls that take one and may sleep.
pub(super) fn descriptor_of(call: Syscall) -> Option<u32> {
    const CALLS: &[i64] = &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_sendfile,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_connect,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_flock,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        libc::SYS_getdents64,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
    ];
    let fd = call.args.first()?;
    // A descriptor is an int: the upper half of the register is not part of it.
    let fd = u32::try_from(fd & 0xffff_ffff).ok()?;
    (CALLS.contains(&call.number) && fd <= i32::MAX as u32).then_some(fd)
}

/// The epoll descriptor that the call sleeps in.
pub(super) fn epoll_of(call: Syscall) -> Option<u32> {
    let waits = match call.number {
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => true,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => true,
        _ => false,
    };
    waits.then(|| descriptor_of(call)).flatten()
}

/// The descriptors that would wake this call when they become readable: of accept, poll and select.
///
/// Empty for any other call; `None` if the arrays that it names could not be read.
pub(super) fn readable_fds(call: Syscall, memory: &Memory<'_>) -> Option<Vec<u32>> {
    let [first, second, ..] = call.args;
    match call.number {
        libc::SYS_accept | libc::SYS_accept4 => Some(descriptor_of(call).into_iter().collect()),
        libc::SYS_ppoll => read_poll(first, second, memory),
        libc::SYS_pselect6 => read_select(second, first, memory),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => read_poll(first, second, memory),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => read_select(second, first, memory),
        _ => Some(Vec::new()),
    }
}

fn read_poll(address: u64, count: u64, memory: &Memory<'_>) -> Option<Vec<u32>> {
    let bytes = copy(
        address,
        (count & 0xffff_ffff).min(LIMIT).checked_mul(8)?,
        memory,
    )?;
    Some(parse_pollfds(&bytes))
}

fn read_select(address: u64, count: u64, memory: &Memory<'_>) -> Option<Vec<u32>> {
    let count = (count & 0xffff_ffff).min(LIMIT);
    // The kernel copies whole longs.
    let bytes = copy(address, count.div_ceil(64).checked_mul(8)?, memory)?;
    Some(parse_fd_set(&bytes, count))
}

/// Nothing for an array that is not there (select with NULL) or is empty.
fn copy(address: u64, len: u64, memory: &Memory<'_>) -> Option<Vec<u8>> {
    if address == 0 || len == 0 {
        return Some(Vec::new());
    }
    let mut bytes = vec![0u8; usize::try_from(len).ok()?];
    memory(address, &mut bytes).then_some(bytes)
}

/// The descriptors of an array of `struct pollfd { int fd; short events, revents; }` that wait for input.
fn parse_pollfds(bytes: &[u8]) -> Vec<u32> {
    let (entries, _) = bytes.as_chunks::<8>();
    let armed = entries.iter().filter_map(|entry| {
        let [a, b, c, d, e, f, ..] = *entry;
        let events = u32::from(u16::from_ne_bytes([e, f]));
        let fd = u32::try_from(i32::from_ne_bytes([a, b, c, d])).ok()?;
        (events & READABLE != 0).then_some(fd)
    });
    armed.collect()
}

/// The descriptors below `count` in an `fd_set`. Bit n of the set is bit n mod 8 of byte n / 8 on little-endian machines.
fn parse_fd_set(bytes: &[u8], count: u64) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<8>();
    let mut fds = Vec::new();
    for (word, base) in words.iter().zip((0u32..).step_by(64)) {
        let word = u64::from_ne_bytes(*word);
        fds.extend(
            (0..64)
                .filter(|bit| word >> bit & 1 == 1)
                .map(|bit| base + bit),
        );
    }
    fds.retain(|fd| u64::from(*fd) < count);
    fds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: i64, args: [u64; 6]) -> Syscall {
        Syscall { number, args }
    }

    #[test]
    fn pollfds_that_wait_for_input() {
        let mut bytes = Vec::new();
        for (fd, events) in [(5i32, 1i16), (6, 4), (-1, 1), (7, 0x41), (8, 0)] {
            bytes.extend(fd.to_ne_bytes());
            bytes.extend(events.to_ne_bytes());
            bytes.extend(1i16.to_ne_bytes());
        }
        assert_eq!(parse_pollfds(&bytes), [5, 7]);
        assert_eq!(parse_pollfds(&bytes[..7]), Vec::<u32>::new());
        assert_eq!(parse_pollfds(&bytes[..12]), [5]);
    }

    #[test]
    fn fd_sets() {
        let mut bytes = [0u8; 24];
        bytes[..8].copy_from_slice(&(1u64 << 3 | 1 << 63).to_ne_bytes());
        bytes[16..].copy_from_slice(&1u64.to_ne_bytes());
        assert_eq!(parse_fd_set(&bytes, 129), [3, 63, 128]);
        assert_eq!(parse_fd_set(&bytes, 63), [3]);
        assert_eq!(parse_fd_set(&bytes[..5], 64), Vec::<u32>::new());
    }

    #[test]
    fn what_each_call_waits_for() {
        let memory = |address: u64, out: &mut [u8]| {
            out.fill(0);
            let Some(first) = out.first_mut().filter(|_| address == 0x1000) else {
                return false;
            };
            *first = 0b1000;
            if let Some(events) = out.get_mut(4) {
                *events = 1;
            }
            true
        };
        let none = Some(vec![]);
        let cases = [
            (libc::SYS_accept4, [3, 0, 0, 0, 0, 0], Some(vec![3])),
            (libc::SYS_accept, [u64::MAX, 0, 0, 0, 0, 0], none.clone()),
            (libc::SYS_ppoll, [0x1000, 1, 0, 0, 0, 0], Some(vec![8])),
            (libc::SYS_ppoll, [0x2000, 1, 0, 0, 0, 0], None),
            (libc::SYS_ppoll, [0x2000, 0, 0, 0, 0, 0], none.clone()),
            (libc::SYS_pselect6, [4, 0x1000, 0, 0, 0, 0], Some(vec![3])),
            (libc::SYS_pselect6, [4, 0, 0, 0, 0, 0], none.clone()),
            (libc::SYS_pselect6, [4, 0x2000, 0, 0, 0, 0], None),
            (libc::SYS_read, [3, 0, 0, 0, 0, 0], none),
        ];
        for (number, args, want) in cases {
            let got = readable_fds(call(number, args), &memory);
            assert_eq!(got, want, "{number} {args:x?}");
        }
    }

    #[test]
    fn hostile_counts_are_bounded() {
        let asked = std::cell::Cell::new(0);
        let memory = |_: u64, out: &mut [u8]| {
            asked.set(asked.get().max(out.len()));
            true
        };
        for number in [libc::SYS_ppoll, libc::SYS_pselect6] {
            let args = [u64::MAX, u64::MAX, 0, 0, 0, 0];
            assert!(readable_fds(call(number, args), &memory).is_some());
        }
        assert_eq!(asked.get(), 4096 * 8);
    }

    #[test]
    fn first_arguments() {
        let read = call(libc::SYS_read, [7, 0, 0, 0, 0, 0]);
        assert_eq!((descriptor_of(read), epoll_of(read)), (Some(7), None));
        let epoll = call(libc::SYS_epoll_pwait, [4, 0, 0, 0, 0, 0]);
        assert_eq!((descriptor_of(epoll), epoll_of(epoll)), (Some(4), Some(4)));
        let futex = call(libc::SYS_futex, [4, 0, 0, 0, 0, 0]);
        assert_eq!(descriptor_of(futex), None);
    }
}
