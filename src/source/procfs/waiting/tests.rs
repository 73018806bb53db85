use super::*;
use crate::snapshot::PipeEnd;
use crate::source::procfs::held::Shelf;
use crate::source::procfs::pulse::Pulse;
use crate::source::procfs::threads::read_threads;

const FUTEX: i64 = libc::SYS_futex;

fn thread(state: char, number: i64, switches: u64) -> Thread {
    Thread {
        tid: 10,
        name: "python".into(),
        state: ProcessState::from_letter(state),
        syscall: Some(Syscall {
            number,
            args: [0x5000, 128, 0, 0, 0, 0],
        }),
        syscall_seen: true,
        run_ns: switches,
        waited_ns: 0,
        switches,
        waits_on: None,
    }
}

struct None_;

impl Sockets for None_ {
    fn connection(&mut self, _: u64) -> Option<Connection> {
        None
    }
    fn now(&mut self, _: &Connection) -> Option<TcpNow> {
        None
    }
    fn unix_peer(&mut self, _: u64) -> Option<UnixPeer> {
        None
    }
    fn udp(&mut self, _: u64) -> Option<Datagram> {
        None
    }
}

/// What is told of a thread that is looked at ten times a second, in these states.
fn told(reader: &mut WaitReader, from: u32, looks: &[Thread]) -> Vec<Vec<ThreadWait>> {
    let mut process = crate::testing::process(10, "python app.py");
    let look = |(at, thread): (u32, &Thread)| {
        process.threads = Some(vec![thread.clone()]);
        reader.read(&mut Asked {
            process: &process,
            now: Moment(0).plus_seconds(f64::from(at) / 10.0),
            memory: &|_, _| false,
            sockets: &mut None_,
        })
    };
    (from..).zip(looks).map(look).collect()
}

#[test]
fn a_wait_is_told_once_it_has_lasted_and_since_when_the_thread_has_not_run() {
    let still = thread('S', FUTEX, 5);
    let mut reader = WaitReader::default();
    let seen = told(&mut reader, 10, &vec![still; 5]);
    assert!(seen[..3].iter().all(Vec::is_empty), "{seen:?}");
    let [wait] = seen[3].as_slice() else {
        panic!("one wait: {seen:?}");
    };
    assert_eq!(
        (wait.tid, wait.since, wait.call),
        (10, Moment(1_000_000_000), FUTEX)
    );
    let want = WaitTarget::Futex {
        address: 0x5000,
        private: true,
        timed: false,
    };
    assert_eq!(wait.on, want);
    assert_eq!(
        seen[4], seen[3],
        "nothing has changed, and nothing is told anew"
    );
}

#[test]
fn a_thread_that_wakes_and_waits_again_for_the_same_keeps_its_target_and_begins_anew() {
    let mut reader = WaitReader::default();
    told(&mut reader, 10, &vec![thread('S', FUTEX, 5); 5]);
    let running = Thread {
        syscall: None,
        ..thread('R', FUTEX, 6)
    };
    assert_eq!(told(&mut reader, 15, &[running])[0], []);
    let again = &told(&mut reader, 16, &[thread('S', FUTEX, 7)])[0];
    assert_eq!(again.len(), 1, "known at once");
    assert_eq!(again[0].since, Moment(1_600_000_000));
    let other = &told(&mut reader, 17, &[thread('S', libc::SYS_fsync, 8)])[0];
    assert_eq!(other, &[], "another call, of which nothing is known yet");
}

/// How often it is asked what a thread waits for in 100 s of ten looks each, by how often its memory is read for that.
fn asked_about(thread_at: impl Fn(u64) -> Thread) -> u32 {
    let mut reader = WaitReader::default();
    let mut process = crate::testing::process(10, "python app.py");
    let reads = std::cell::Cell::new(0);
    for look in 10..1010u32 {
        process.threads = Some(vec![thread_at(u64::from(look))]);
        reader.read(&mut Asked {
            process: &process,
            now: Moment(0).plus_seconds(f64::from(look) / 10.0),
            memory: &|_, _| {
                reads.set(reads.get() + 1);
                false
            },
            sockets: &mut None_,
        });
    }
    reads.get()
}

#[test]
fn a_thread_that_sleeps_on_is_asked_about_less_and_less() {
    let polls = |switches| Thread {
        syscall: Some(Syscall {
            number: libc::SYS_ppoll,
            args: [0x5000, 1, 0, 0, 0, 0],
        }),
        ..thread('S', FUTEX, switches)
    };
    let sleeps = asked_about(|_| polls(5));
    let wakes = asked_about(polls);
    assert!((3..=8).contains(&sleeps), "{sleeps}");
    assert!(wakes >= 40, "{wakes}");
}

#[test]
fn memory_is_left_alone_while_a_thread_may_hold_its_map() {
    let all = |number: i64| [thread('S', FUTEX, 1), thread('D', number, 1)];
    assert!(may_read_memory(&all(libc::SYS_openat)));
    assert!(!may_read_memory(&all(libc::SYS_munmap)));
    let fault = Thread {
        syscall: None,
        ..thread('D', FUTEX, 1)
    };
    assert!(!may_read_memory(&[fault]));
}

#[test]
fn what_real_threads_of_this_process_wait_for_is_found() {
    // A pipe that nobody writes to, read by a thread of this test.
    let mut ends = [0i32; 2];
    // SAFETY: pipe(2) writes two descriptors into the array.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    let (sender, receiver) = std::sync::mpsc::channel();
    let [reads, writes] = ends;
    let reader = std::thread::spawn(move || {
        // SAFETY: gettid takes nothing; read(2) writes at most one byte into the buffer, which outlives the call.
        unsafe {
            sender.send(libc::gettid() as u32).unwrap();
            let mut byte = 0u8;
            libc::read(reads, (&raw mut byte).cast(), 1)
        }
    });
    let tid: u32 = receiver.recv().unwrap();
    let pid = std::process::id();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut known = WaitReader::default();
    let (mut pulse, shelf) = (Pulse::default(), Shelf::with_room(1));
    let found = loop {
        assert!(std::time::Instant::now() < deadline, "never found");
        let threads = read_threads(pid, 0, None, &mut pulse, &shelf).unwrap();
        let mut process = crate::testing::process(pid, "test");
        process.threads = Some(threads.into_iter().filter(|t| t.tid == tid).collect());
        let waits = known.read(&mut Asked {
            process: &process,
            now: crate::source::clock::now(),
            memory: &|_, _| false,
            sockets: &mut None_,
        });
        if let Some(wait) = waits.into_iter().find(|w| w.tid == tid) {
            break wait;
        }
        std::thread::yield_now();
    };
    // SAFETY: closing the only descriptor that writes ends the read.
    unsafe { libc::close(writes) };
    assert_eq!(reader.join().unwrap(), 0);
    assert_eq!((found.call, found.fd), (libc::SYS_read, Some(reads as u32)));
    let WaitTarget::Pipe { path, end, others } = found.on else {
        panic!("no pipe: {:?}", found.on);
    };
    assert_eq!((path, end), (None, PipeEnd::Reads));
    let others = others.expect("own descriptors may be seen");
    assert!(others.iter().any(|p| p.pid == pid), "{others:?}");
}
