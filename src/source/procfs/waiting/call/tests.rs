use super::*;

/// Memory of a target: bytes at addresses, and nothing else.
struct Target(Vec<(u64, Vec<u8>)>);

impl Target {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let found = self.0.iter().find_map(|(at, bytes)| {
            let from = usize::try_from(address.checked_sub(*at)?).ok()?;
            bytes.get(from..from + into.len())
        });
        found.map(|bytes| into.copy_from_slice(bytes)).is_some()
    }
}

fn told(number: i64, args: [u64; 6], memory: &Target) -> Option<Subject> {
    subject(Syscall { number, args }, &|address, into| {
        memory.read(address, into)
    })
}

fn nothing() -> Target {
    Target(Vec::new())
}

#[test]
fn descriptors_paths_and_children() {
    let path = |text: &[u8]| {
        let mut bytes = text.to_vec();
        bytes.resize(2048, 0);
        Target(vec![(0x1000, bytes)])
    };
    let at = |path: &str, directory, end| {
        Some(Subject::Path(PathAt {
            path: path.to_owned(),
            directory,
            end,
        }))
    };
    let here = (-100i64) as u64;
    let reads = |fd| Some(Subject::Descriptors(vec![(fd, PipeEnd::Reads)]));
    let cases = [
        (libc::SYS_read, [0, 0x1000, 1, 0, 0, 0], reads(0)),
        (libc::SYS_recvfrom, [7, 0, 0, 0, 0, 0], reads(7)),
        (libc::SYS_read, [u64::MAX, 0, 0, 0, 0, 0], None),
        (
            libc::SYS_sendto,
            [7, 0, 0, 0, 0, 0],
            Some(Subject::Descriptors(vec![(7, PipeEnd::Writes)])),
        ),
        (
            libc::SYS_openat,
            [here, 0x1000, 0o2000000, 0, 0, 0],
            at("/run/x", None, Some(PipeEnd::Reads)),
        ),
        (
            libc::SYS_openat,
            [5, 0x1000, 1, 0, 0, 0],
            at("/run/x", Some(5), Some(PipeEnd::Writes)),
        ),
        (
            libc::SYS_newfstatat,
            [here, 0x1000, 0, 0, 0, 0],
            at("/run/x", None, None),
        ),
        (libc::SYS_openat, [here, 0x9000, 0, 0, 0, 0], None),
        (libc::SYS_flock, [4, 2, 0, 0, 0, 0], Some(Subject::Flock(4))),
        (
            libc::SYS_fcntl,
            [4, 7, 0, 0, 0, 0],
            Some(Subject::Record(4)),
        ),
        (libc::SYS_fcntl, [4, 3, 0, 0, 0, 0], None),
        (
            libc::SYS_wait4,
            [77, 0, 0, 0, 0, 0],
            Some(Subject::Child(Some(77))),
        ),
        (
            libc::SYS_wait4,
            [0xffff_ffff, 0, 0, 0, 0, 0],
            Some(Subject::Child(None)),
        ),
        (
            libc::SYS_waitid,
            [1, 77, 0, 0, 0, 0],
            Some(Subject::Child(Some(77))),
        ),
        (
            libc::SYS_waitid,
            [0, 77, 0, 0, 0, 0],
            Some(Subject::Child(None)),
        ),
        (libc::SYS_getpid, [0; 6], None),
    ];
    for (number, args, want) in cases {
        assert_eq!(
            told(number, args, &path(b"/run/x\0rest")),
            want,
            "{number} {args:x?}"
        );
    }
}

#[test]
fn paths_are_read_up_to_where_memory_ends_and_are_cleaned() {
    let end_of_page = Target(vec![(0x1ff0, b"/mnt/nas/a.bin\0x".to_vec())]);
    let args = [0, 0x1ff0, 0, 0, 0, 0];
    let Some(Subject::Path(found)) = told(libc::SYS_openat, args, &end_of_page) else {
        panic!("a path at the end of a page");
    };
    assert_eq!(found.path, "/mnt/nas/a.bin");
    let hostile = Target(vec![(0x1f00, b"/\x1b[2J".repeat(1000))]);
    let Some(Subject::Path(found)) = told(libc::SYS_openat, [0, 0x1f00, 0, 0, 0, 0], &hostile)
    else {
        panic!("a path without an end");
    };
    assert!(found.path.len() < 16 * 1024 && !found.path.contains('\x1b'));
}

#[test]
fn polls_of_a_few_descriptors() {
    let entry = |fd: i32, events: i16| {
        let mut bytes = fd.to_ne_bytes().to_vec();
        bytes.extend(events.to_ne_bytes());
        bytes.extend(0i16.to_ne_bytes());
        bytes
    };
    let polled = [entry(7, 1), entry(8, 4), entry(-1, 1), entry(9, 0)].concat();
    let memory = Target(vec![(0x1000, polled)]);
    let want = vec![(7, PipeEnd::Reads), (8, PipeEnd::Writes)];
    let poll = |count| told(libc::SYS_ppoll, [0x1000, count, 0, 0, 0, 0], &memory);
    assert_eq!(poll(4), Some(Subject::Descriptors(want)));
    assert_eq!(poll(9), None, "a loop");
    assert_eq!(poll(u64::MAX), None);
    assert_eq!(poll(0), None);
    let mut sets = [0u8; 16];
    sets[0] = 1;
    sets[8] = 0b1000_0000;
    let memory = Target(vec![(0x1000, sets.to_vec())]);
    let select = told(libc::SYS_pselect6, [8, 0x1000, 0x1008, 0, 0, 0], &memory);
    let want = vec![(0, PipeEnd::Reads), (7, PipeEnd::Writes)];
    assert_eq!(select, Some(Subject::Descriptors(want)));
    let sleep = told(libc::SYS_pselect6, [0; 6], &nothing());
    assert_eq!(sleep, Some(Subject::Descriptors(Vec::new())));
    let full = Target(vec![(0x1000, vec![0xff; 256])]);
    assert_eq!(
        told(libc::SYS_pselect6, [64, 0x1000, 0, 0, 0, 0], &full),
        None,
        "a loop"
    );
}

#[test]
fn addresses_that_are_connected_to() {
    let family = |number: i32| (number as u16).to_ne_bytes().to_vec();
    let v4 = [
        family(libc::AF_INET),
        vec![0x15, 0x38, 10, 0, 0, 5],
        vec![0; 8],
    ]
    .concat();
    let mut v6 = [
        family(libc::AF_INET6),
        vec![0x15, 0x38],
        vec![0; 20],
        vec![0; 4],
    ]
    .concat();
    v6[23] = 1;
    let unix = [family(libc::AF_UNIX), b"/run/pg.sock\0\0\0".to_vec()].concat();
    let hidden = [family(libc::AF_UNIX), b"\0name\x1b".to_vec()].concat();
    let inet = |text: &str| Some(Address::Inet(text.parse().unwrap(), 5432));
    assert_eq!(parse_address(&v4), inet("10.0.0.5"));
    assert_eq!(parse_address(&v6), inet("::1"));
    assert_eq!(
        parse_address(&unix),
        Some(Address::Unix("/run/pg.sock".into()))
    );
    assert_eq!(
        parse_address(&hidden),
        Some(Address::Unix("@name\\u{1b}".into()))
    );
    for bytes in [v4, v6, unix, hidden] {
        for length in 0..bytes.len() {
            let _ = parse_address(&bytes[..length]);
        }
    }
    let unread = told(libc::SYS_connect, [5, 0x1000, 16, 0, 0, 0], &nothing());
    assert_eq!(unread, Some(Subject::Connect(5, None)));
}

#[test]
fn locks_and_times() {
    let futex = |operation: u64, timeout| {
        let args = [0x5000, operation, 0, timeout, 0, 0];
        told(libc::SYS_futex, args, &nothing())
    };
    let want = |private, timed| {
        Some(Subject::Futex(Futex {
            address: 0x5000,
            private,
            timed,
        }))
    };
    assert_eq!(futex(128, 0), want(true, false), "FUTEX_WAIT_PRIVATE");
    assert_eq!(
        futex(128 | 256 | 9, 1),
        want(true, true),
        "FUTEX_WAIT_BITSET_PRIVATE with CLOCK_REALTIME"
    );
    assert_eq!(futex(0, 0), want(false, false));
    assert_eq!(futex(1, 0), None, "FUTEX_WAKE");
    let time = [3600i64.to_ne_bytes(), 5i64.to_ne_bytes()].concat();
    let memory = Target(vec![(0x1000, time)]);
    let sleep = |flags| {
        let args = [libc::CLOCK_MONOTONIC as u64, flags, 0x1000, 0, 0, 0];
        told(libc::SYS_clock_nanosleep, args, &memory)
    };
    let ns = 3_600_000_000_005;
    assert_eq!(
        sleep(1),
        Some(Subject::Sleep(Some(Until::Clock(
            libc::CLOCK_MONOTONIC,
            ns
        ))))
    );
    assert_eq!(sleep(0), Some(Subject::Sleep(Some(Until::FromStart(ns)))));
    assert_eq!(
        told(libc::SYS_nanosleep, [0; 6], &nothing()),
        Some(Subject::Sleep(None))
    );
}
