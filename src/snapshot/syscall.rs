//! Names of the system calls in which servers wait.

/// Name of a system call by its number on this architecture; `syscall 123` for one that is not in the table.
pub fn syscall_name(number: i64) -> String {
    let name = TABLE
        .iter()
        .chain(OLD)
        .find(|(n, _)| *n == number)
        .map(|(_, name)| *name);
    name.map_or_else(|| format!("syscall {number}"), str::to_owned)
}

macro_rules! table {
    ($($name:ident),* $(,)?) => { &[$((libc::$name, strip(stringify!($name)))),*] };
}

const fn strip(name: &str) -> &str {
    let bytes = name.as_bytes();
    let (_, rest) = bytes.split_at(4);
    match std::str::from_utf8(rest) {
        Ok(text) => text,
        Err(_) => name,
    }
}

const TABLE: &[(i64, &str)] = table![
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_openat,
    SYS_close,
    SYS_connect,
    SYS_accept,
    SYS_accept4,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendto,
    SYS_sendmsg,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_futex,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_ppoll,
    SYS_pselect6,
    SYS_wait4,
    SYS_waitid,
    SYS_flock,
    SYS_fcntl,
    SYS_fsync,
    SYS_fdatasync,
    SYS_ioctl,
    SYS_io_uring_enter,
    SYS_rt_sigtimedwait,
    SYS_rt_sigsuspend,
    SYS_restart_syscall,
    SYS_getrandom,
    SYS_sendfile,
    SYS_splice,
    SYS_mmap,
    SYS_munmap,
    SYS_madvise,
    SYS_exit_group,
    SYS_sched_yield,
    SYS_getdents64,
    SYS_statx,
    SYS_newfstatat,
    SYS_semtimedop,
    SYS_msgrcv,
    SYS_io_getevents,
    SYS_clone,
    SYS_execve,
];

/// Calls that newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const OLD: &[(i64, &str)] = table![
    SYS_open,
    SYS_stat,
    SYS_poll,
    SYS_select,
    SYS_epoll_wait,
    SYS_pause,
    SYS_fork,
    SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[(i64, &str)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_calls_have_names_and_others_have_numbers() {
        assert_eq!(syscall_name(libc::SYS_connect), "connect");
        assert_eq!(syscall_name(libc::SYS_epoll_pwait), "epoll_pwait");
        assert_eq!(syscall_name(99_999), "syscall 99999");
    }
}
