//! The system calls that std does not have, for netlink sockets, namespaces and pidfds. All `unsafe` of these sources
//! is here; nothing here knows what the bytes mean.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};

/// A netlink socket of this protocol (`NETLINK_SOCK_DIAG`, `NETLINK_CONNECTOR`) in the calling thread's network namespace.
pub fn netlink_socket(protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            protocol,
        )
    };
    owned(fd)
}

/// Binds a netlink socket to a port that the kernel chooses and to the multicast groups of this mask.
pub fn bind_netlink(fd: BorrowedFd<'_>, groups: u32) -> io::Result<()> {
    let address = kernel_address(groups);
    // SAFETY: `address` is a sockaddr_nl that lives through the call, and the length is its own.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_nl>() as socklen_t,
        )
    };
    checked(result)
}

/// Lets a receive that finds nothing end after this time with `WouldBlock`.
pub fn set_receive_timeout(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_usec: libc::suseconds_t::from(timeout.subsec_micros()),
    };
    set_option(fd, libc::SO_RCVTIMEO, &value)
}

/// Asks for a receive buffer of so many bytes, beyond `net.core.rmem_max` where the right for that (CAP_NET_ADMIN) is there.
pub fn set_receive_buffer(fd: BorrowedFd<'_>, bytes: c_int) -> io::Result<()> {
    set_option(fd, libc::SO_RCVBUFFORCE, &bytes)
        .or_else(|_| set_option(fd, libc::SO_RCVBUF, &bytes))
}

/// Sends one message to the kernel.
pub fn send_to_kernel(fd: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    let address = kernel_address(0);
    // SAFETY: `message` and `address` are valid for reads of the lengths given, and live through the call.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_nl>() as socklen_t,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// One datagram of a netlink socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its full length in bytes; more than the buffer holds if it was cut off.
    pub length: usize,
    /// Netlink port of the sender; 0 is the kernel.
    pub sender: u32,
}

/// Receives one datagram. Retries when a signal came in between.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: c_int) -> io::Result<Datagram> {
    loop {
        let mut address = kernel_address(0);
        let mut address_length = size_of::<libc::sockaddr_nl>() as socklen_t;
        // SAFETY: `buffer` is valid for writes of its length, `address` for `address_length`; both live through the call.
        let length = unsafe {
            libc::recvfrom(
                fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                flags | libc::MSG_TRUNC,
                (&raw mut address).cast(),
                &raw mut address_length,
            )
        };
        match usize::try_from(length) {
            Ok(length) => {
                return Ok(Datagram {
                    length,
                    sender: address.nl_pid,
                });
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Name of the protocol of the socket behind a path such as `/proc/PID/fd/N` (`TCP`, `UNIX-STREAM`): sockfs tells it as the
/// attribute `system.sockprotoname` (net/socket.c). `None` if it does not.
pub fn socket_protocol<'a>(path: &str, room: &'a mut [u8]) -> Option<&'a [u8]> {
    let path = CString::new(path).ok()?;
    // SAFETY: path and name end with NUL, `room` is valid for writes of its length; all live through the call.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"system.sockprotoname".as_ptr(),
            room.as_mut_ptr().cast(),
            room.len(),
        )
    };
    room.get(..usize::try_from(length).ok()?)
}

/// Moves the calling thread into a network namespace. Call it on a thread that ends soon after.
pub fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns(2) takes no pointers; it changes the calling thread only.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// A descriptor that becomes readable when the process ends (Linux 5.3).
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: pidfd_open(2) takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(fd as c_int)
}

/// An empty epoll set.
pub fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: epoll_create1(2) takes no pointers.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Adds a descriptor to an epoll set, for input; `token` stands for it.
pub fn epoll_add(set: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: token,
    };
    // SAFETY: `event` is valid for a read and lives through the call.
    let result = unsafe {
        libc::epoll_ctl(
            set.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd.as_raw_fd(),
            &raw mut event,
        )
    };
    checked(result)
}

/// Tokens of descriptors in an epoll set that have something to tell, at most 64; waits for one, at most so long, rounded up
/// to milliseconds.
pub fn epoll_wait(set: BorrowedFd<'_>, longest: Duration) -> io::Result<Vec<u64>> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    let milliseconds = longest.as_micros().div_ceil(1000);
    let milliseconds = c_int::try_from(milliseconds).unwrap_or(c_int::MAX);
    // SAFETY: `events` is valid for writes of the number given, and lives through the call.
    let count = unsafe {
        libc::epoll_wait(
            set.as_raw_fd(),
            events.as_mut_ptr(),
            events.len() as c_int,
            milliseconds,
        )
    };
    match usize::try_from(count) {
        Ok(count) => Ok(events.iter().take(count).map(|event| event.u64).collect()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Waits until one of the descriptors has something to tell, at most `timeout`; `None` waits for ever.
/// Returns for each whether it has (data, an end or an error).
pub fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let timeout = timeout.map_or(-1, |t| c_int::try_from(t.as_millis()).unwrap_or(c_int::MAX));
    // SAFETY: `polled` is a vector of pollfd of the length given, and lives through the call.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        return Ok(vec![false; fds.len()]);
    }
    Ok(polled.iter().map(|p| p.revents != 0).collect())
}

/// Nanoseconds of a clock (`CLOCK_BOOTTIME`, `CLOCK_MONOTONIC`); 0 if the kernel does not have it.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    // SAFETY: timespec is plain numbers, for which zero is a value.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: `time` is valid for a write of one timespec.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result < 0 {
        return 0;
    }
    (time.tv_sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec as u64)
}

fn kernel_address(groups: u32) -> libc::sockaddr_nl {
    // SAFETY: sockaddr_nl is plain numbers, for which zero is a value; its padding is private.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    address
}

fn set_option<T>(fd: BorrowedFd<'_>, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its own size and lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as socklen_t,
        )
    };
    checked(result)
}

fn owned(fd: c_int) -> io::Result<OwnedFd> {
    checked(fd)?;
    // SAFETY: the call that returned `fd` has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
