//! Which kernel thread a Python thread is.
//!
//! 3.11 and newer keep the kernel's thread id, as the process itself sees it: in a pid namespace that is an inner one. Older
//! ones only keep pthread_self(), the address of glibc's `struct pthread`, in which the id lies at +720 on x86_64. After
//! a fork that CPython did not do itself (uwsgi) both may still be the parent's, so nothing is believed that is not a thread of this process.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use crate::snapshot::Thread;
use crate::source::memory;

/// Offset of `tid` in `struct pthread`: glibc on x86_64, seen with 2.31 to 2.43; on others the check against the list of threads fails.
const PTHREAD_TID: u64 = 720;

/// Ids of the threads of one process, as it sees them itself → as this program sees them.
#[derive(Debug, Default)]
pub struct Tids {
    /// Not looked for until it is needed.
    namespace: Option<Namespace>,
}

/// In which pid namespace a process lives.
#[derive(Debug)]
enum Namespace {
    /// In this program's: both ids are equal.
    Own,
    /// In another one; holds what is known.
    Other(HashMap<u32, u32>),
}

impl Tids {
    /// The id of this program's namespace, if the process has such a thread.
    pub fn outer(&mut self, pid: u32, inner: u32, threads: &[Thread]) -> Option<u32> {
        let exists = |tid: &u32| threads.iter().any(|t| t.tid == *tid);
        let namespace = self.namespace.get_or_insert_with(|| Namespace::of(pid));
        let Namespace::Other(known) = namespace else {
            return Some(inner).filter(exists);
        };
        if !known.get(&inner).is_some_and(exists) {
            let pairs = threads
                .iter()
                .filter_map(|t| Some((inner_tid(pid, t.tid)?, t.tid)));
            *known = pairs.collect();
        }
        known.get(&inner).copied().filter(exists)
    }
}

impl Namespace {
    /// Looks whether the process lives in another one; if that cannot be seen it is taken to live in ours.
    fn of(pid: u32) -> Self {
        static OWN: LazyLock<Option<PathBuf>> = LazyLock::new(|| namespace("self"));
        let theirs = namespace(&pid.to_string());
        match theirs.is_some() && theirs != *OWN {
            true => Self::Other(HashMap::new()),
            false => Self::Own,
        }
    }
}

fn namespace(who: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{who}/ns/pid")).ok()
}

/// The last value of `NSpid` in `/proc/PID/task/TID/status`, proc(5): the id in the innermost namespace.
fn inner_tid(pid: u32, tid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    parse_inner_tid(&status)
}

fn parse_inner_tid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The main thread's id is the pid. After a foreign fork it is the one that cannot be told, or by its name the main one.
pub fn find_main(
    pid: u32,
    tids: &mut [Option<u32>],
    threads: &[Thread],
    is_called_main: impl Fn(usize) -> bool,
) {
    if tids.contains(&Some(pid)) || !threads.iter().any(|t| t.tid == pid) {
        return;
    }
    let untold: Vec<usize> = (0..tids.len())
        .filter(|at| tids.get(*at) == Some(&None))
        .collect();
    let named = untold.iter().find(|at| is_called_main(**at));
    let main = match untold.as_slice() {
        [only] => Some(only),
        _ => named,
    };
    if let Some(tid) = main.and_then(|at| tids.get_mut(*at)) {
        *tid = Some(pid);
    }
}

/// Where the inner thread id of a thread lies that is known by pthread_self().
pub fn pthread_tid(pthread: u64) -> u64 {
    pthread.wrapping_add(PTHREAD_TID)
}

/// The inner thread ids of threads known by pthread_self(), in their order; 0 where it could not be read.
pub fn read_pthread_tids(pid: u32, pthreads: &[u64]) -> Vec<u32> {
    let addrs: Vec<u64> = pthreads.iter().map(|p| pthread_tid(*p)).collect();
    let Ok(words) = memory::read_many(pid, &addrs, 4) else {
        return vec![0; pthreads.len()];
    };
    let word = |bytes: Option<Vec<u8>>| bytes?.try_into().ok().map(u32::from_ne_bytes);
    words
        .into_iter()
        .map(|bytes| word(bytes).unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ProcessState;

    fn thread(tid: u32) -> Thread {
        Thread {
            tid,
            name: String::new(),
            state: ProcessState::Sleeping,
            syscall: None,
            syscall_seen: false,
            run_ns: 0,
            waited_ns: 0,
            switches: 0,
            waits_on: None,
        }
    }

    #[test]
    fn the_innermost_id_is_the_last() {
        assert_eq!(parse_inner_tid("Name:\tx\nNSpid:\t4711\t12\n"), Some(12));
        assert_eq!(parse_inner_tid("NSpid:\t4711\n"), Some(4711));
        assert_eq!(parse_inner_tid("Name:\tx\n"), None);
    }

    #[test]
    fn an_id_that_is_no_thread_of_the_process_is_not_believed() {
        let threads = [thread(100), thread(101)];
        let mut same = Tids {
            namespace: Some(Namespace::Own),
        };
        assert_eq!(same.outer(100, 101, &threads), Some(101));
        assert_eq!(same.outer(100, 99, &threads), None);
        let mut inner = Tids {
            namespace: Some(Namespace::Other(HashMap::from([(1, 100), (2, 77)]))),
        };
        assert_eq!(inner.outer(100, 1, &threads), Some(100));
        assert_eq!(inner.outer(100, 2, &threads), None, "ended meanwhile");
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    fn own_thread_id_lies_where_glibc_keeps_it() {
        let read = std::thread::spawn(|| {
            let own = fs::read_link("/proc/thread-self").unwrap();
            let own: u32 = own.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // SAFETY: it has no preconditions.
            let pthread = unsafe { libc::pthread_self() };
            (own, read_pthread_tids(std::process::id(), &[pthread, 8]))
        });
        let (own, tids) = read.join().unwrap();
        assert_eq!(tids, [own, 0]);
    }
}
