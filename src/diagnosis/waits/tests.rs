use std::net::Ipv4Addr;

use super::*;
use crate::snapshot::{ChildSleep, ProcessState};

const NOW: Moment = Moment(100_000_000_000);
const PEER: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), 5432);

fn wait(call: i64, fd: Option<u32>, on: WaitTarget) -> ThreadWait {
    ThreadWait {
        tid: 10,
        since: Moment(63_000_000_000),
        call,
        fd,
        on,
    }
}

fn tcp(state: TcpState) -> TcpWait {
    TcpWait {
        state,
        local: None,
        peer: PEER,
        retransmits: 4,
        recv_q: 0,
        send_q: 12,
        heard: None,
        sent: None,
    }
}

fn holder() -> Vec<Party> {
    vec![Party {
        pid: 99,
        command: "python backup.py".into(),
    }]
}

#[test]
fn what_threads_wait_for_is_said_as_an_engineer_would() {
    let heard = TcpWait {
        heard: Some(Moment(58_000_000_000)),
        sent: Some(Moment(60_000_000_000)),
        ..tcp(TcpState::Established)
    };
    let pipe = |end, others| WaitTarget::Pipe {
        path: None,
        end,
        others,
    };
    let path = || "/run/x".to_owned();
    let lock = |kind| WaitTarget::FileLock {
        path: path(),
        kind,
        holders: holder(),
    };
    let nas = Mount {
        at: "/mnt".into(),
        fs: "nfs4".into(),
        source: "nas:/export".into(),
    };
    let local = Mount {
        fs: "ext4".into(),
        ..nas.clone()
    };
    let file = |mount| WaitTarget::File {
        path: path(),
        mount: Some(mount),
    };
    let resolver = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 53);
    let child = Child {
        party: Party {
            pid: 77,
            command: "sh build.sh".into(),
        },
        started: None,
        state: ProcessState::Sleeping,
        sleeps: None,
        child: None,
    };
    let two = vec![child.clone(), child.clone()];
    let cases = [
        (
            libc::SYS_connect,
            WaitTarget::Tcp(tcp(TcpState::SynSent)),
            "in connect() to 10.0.0.5:5432, SYN-SENT, 4 retransmits, for 37 s",
        ),
        (
            libc::SYS_ppoll,
            WaitTarget::Tcp(tcp(TcpState::SynSent)),
            "in ppoll() for a connection to 10.0.0.5:5432, SYN-SENT, 4 retransmits, for 37 s",
        ),
        (
            libc::SYS_recvfrom,
            WaitTarget::Tcp(heard),
            "in recvfrom() from 10.0.0.5:5432 (ESTAB), which has sent nothing for 40 s",
        ),
        (
            libc::SYS_recvfrom,
            WaitTarget::Tcp(tcp(TcpState::CloseWait)),
            "in recvfrom() from 10.0.0.5:5432 (CLOSE-WAIT), for 37 s",
        ),
        (
            libc::SYS_sendto,
            WaitTarget::Tcp(tcp(TcpState::Established)),
            "in sendto() to 10.0.0.5:5432 (ESTAB), which has not acknowledged 12 bytes, for 37 s",
        ),
        (
            libc::SYS_connect,
            WaitTarget::Unix {
                path: Some(path()),
                pending: true,
            },
            "in connect() to unix socket /run/x, for 37 s",
        ),
        (
            libc::SYS_recvmsg,
            WaitTarget::Unix {
                path: None,
                pending: false,
            },
            "in recvmsg() on unix socket without a name, for 37 s",
        ),
        (
            libc::SYS_ppoll,
            WaitTarget::Udp {
                peer: Some(resolver),
            },
            "in ppoll(), asking name server 10.0.0.2:53, for 37 s",
        ),
        (
            libc::SYS_read,
            pipe(PipeEnd::Reads, Some(holder())),
            "in read() on a pipe, to be written by pid 99 (`python backup.py`), for 37 s",
        ),
        (
            libc::SYS_write,
            pipe(PipeEnd::Writes, Some(Vec::new())),
            "in write() on a pipe that nobody reads, for 37 s",
        ),
        (
            libc::SYS_read,
            pipe(PipeEnd::Reads, None),
            "in read() on a pipe, for 37 s",
        ),
        (
            libc::SYS_openat,
            WaitTarget::FifoOpen {
                path: path(),
                end: PipeEnd::Reads,
            },
            "in openat() on a FIFO nobody writes: /run/x, for 37 s",
        ),
        (
            libc::SYS_openat,
            file(nas),
            "in openat() on /run/x (nfs4 nas:/export at /mnt), for 37 s",
        ),
        (
            libc::SYS_fsync,
            file(local),
            "in fsync() on /run/x, for 37 s",
        ),
        (
            libc::SYS_read,
            WaitTarget::Terminal { path: path() },
            "in read() on terminal /run/x, for 37 s",
        ),
        (
            libc::SYS_wait4,
            WaitTarget::Children(vec![child]),
            "waits for its child `sh build.sh` (pid 77), for 37 s",
        ),
        (
            libc::SYS_wait4,
            WaitTarget::Children(two),
            "waits for any of its children, `sh build.sh` (pid 77) and 1 more, for 37 s",
        ),
        (
            libc::SYS_flock,
            lock(LockKind::Flock),
            "in flock() on /run/x, held by pid 99 (`python backup.py`), for 37 s",
        ),
        (
            libc::SYS_clock_nanosleep,
            lock(LockKind::Sqlite),
            "asks again and again for the SQLite database /run/x, held by pid 99 (`python backup.py`), for 37 s",
        ),
        (
            libc::SYS_clock_nanosleep,
            WaitTarget::Sleep {
                until: Some(Moment(142_000_000_000)),
            },
            "sleeps, 42 s left",
        ),
        (
            libc::SYS_clock_nanosleep,
            WaitTarget::Sleep {
                until: Some(Moment(1)),
            },
            "sleeps",
        ),
    ];
    for (call, on, want) in cases {
        assert_eq!(words(&wait(call, Some(7), on), NOW), want);
    }
}

#[test]
fn what_changes_from_look_to_look_is_not_in_the_brief_words() {
    let heard = TcpWait {
        heard: Some(Moment(58_000_000_000)),
        sent: Some(Moment(58_000_000_000)),
        ..tcp(TcpState::Established)
    };
    let on = WaitTarget::Tcp(heard);
    let words = brief(&wait(libc::SYS_recvfrom, Some(7), on));
    assert_eq!(words, "in recvfrom() from 10.0.0.5:5432 (ESTAB)");
    let until = Some(Moment(142_000_000_000));
    assert_eq!(
        brief(&wait(
            libc::SYS_nanosleep,
            None,
            WaitTarget::Sleep { until }
        )),
        "sleeps"
    );
}

#[test]
fn retransmits_tell_how_long_a_connection_has_been_tried_at_least() {
    let told: Vec<f64> = (0..=8).map(connecting_s).collect();
    assert_eq!(told, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0]);
    assert!(connecting_s(255).is_finite());
}

#[test]
fn addresses_are_written_as_people_write_them() {
    let at = |text: &str| address((text.parse().unwrap(), 80));
    assert_eq!(at("10.0.0.5"), "10.0.0.5:80");
    assert_eq!(at("::ffff:10.0.0.5"), "10.0.0.5:80");
    assert_eq!(at("2001:db8::1"), "[2001:db8::1]:80");
}

#[test]
fn the_last_of_those_who_wait_for_each_other_is_told_with_what_it_does() {
    let party = |pid, command: &str| Party {
        pid,
        command: command.into(),
    };
    let last = Child {
        party: party(78, "cat"),
        started: None,
        state: ProcessState::Sleeping,
        sleeps: Some(ChildSleep {
            call: libc::SYS_read,
            fd: Some(0),
            on: Some("pipe:[5]".into()),
        }),
        child: None,
    };
    let first = Child {
        party: party(77, "sh"),
        child: Some(Box::new(last.clone())),
        ..last.clone()
    };
    assert_eq!(innermost(&first), &last);
    let does = child_does(&last).unwrap();
    assert_eq!(does, "sleeps in read on pipe:[5], its standard input");
}
