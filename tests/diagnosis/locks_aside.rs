//! Requests that stand in front of locks while their server takes others: what is told of them, and what is not a lock.

use std::sync::Arc;

use steth::diagnosis::{Code, Diagnosis, Severity};
use steth::snapshot::{Activity, LockObject, LockWait, WaitTarget};

use super::fleet;
use super::waits::{Waits, futex};
use super::world::{Build, World, codes, only};

const LOCKS: [Code; 2] = [Code::ThreadDeadlock, Code::LockWait];
const REQUEST: &str =
    "@thread | process_request_thread std+socketserver.py:683 | do_GET /srv/shop/web.py:40";
const SELL: &str = "sell /srv/shop/stock.py:6";
const REFUND: &str = "refund /srv/shop/stock.py:10";
const EVENT: &str = "Event.wait std+threading.py:629 | Condition.wait std+threading.py:327";

/// A thread of a request to `http.server`, pid 10, that stands there in front of this word of memory.
fn waits(w: &mut World, tid: u32, stack: &str, word: u64) {
    let stack = format!("{REQUEST} | {stack}");
    let now = w.now;
    w.p(10)
        .thread(tid, &format!("Thread-{}", tid - 20), &stack, Activity::Lock)
        .thread_waits(tid, libc::SYS_futex, None, futex(word));
    let all = Arc::make_mut(w.p(10).waits.as_mut().unwrap());
    all.last_mut().unwrap().since = now;
}

/// The same in memory that several processes share.
fn shared(word: u64) -> WaitTarget {
    WaitTarget::Futex {
        address: word,
        private: false,
        timed: false,
    }
}

/// Threads of the application's own that always sleep in a wait of C code, each in its own.
fn sleepers(w: &mut World) {
    for at in 0..2 {
        let stack = "@thread | mail /srv/shop/mail.py:4";
        let word = futex(0x8000 + 0x100 * u64::from(at));
        w.p(10)
            .thread(30 + at, "mailer", stack, Activity::Lock)
            .thread_waits(30 + at, libc::SYS_futex, None, word);
    }
    w.watch(30.0);
}

/// Memory tells what a thread waits for, and who has it.
fn knows(w: &mut World, tid: u32, kind: LockObject, id: u64, owner: Option<u32>) {
    let python = w.p(10).python.as_mut().unwrap();
    let stacks = Arc::make_mut(python.stacks.as_mut().unwrap());
    stacks.locks.push(LockWait {
        tid,
        kind,
        id,
        owner,
    });
}

/// Two requests, each in front of another lock.
fn abba(w: &mut World) {
    fleet::http_server(w);
    w.watch(1.0);
    waits(w, 21, SELL, 0x5000);
    waits(w, 22, REFUND, 0x6000);
}

struct Fires {
    name: &'static str,
    story: fn(&mut World) -> Diagnosis,
    code: Code,
    severity: Severity,
    says: &'static [&'static str],
}

const FIRES: &[Fires] = &[
    Fires {
        name: "two requests want each other's locks, others are served",
        story: |w| {
            abba(w);
            w.watch(3.0)
        },
        code: Code::ThreadDeadlock,
        severity: Severity::Warning,
        says: &[
            "2 threads of pid 10",
            "sell (shop/stock.py:6) on thread Thread-1 and refund (shop/stock.py:10) on thread Thread-2",
            "most likely each has what the other wants",
            "likely, not proved",
        ],
    },
    Fires {
        name: "by one function, which the standard library takes locks for",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            let take = "take /srv/shop/stock.py:6 | ExitStack.enter_context std+contextlib.py:517";
            waits(w, 21, take, 0x5000);
            waits(w, 22, take, 0x6000);
            w.watch(3.0)
        },
        code: Code::ThreadDeadlock,
        severity: Severity::Warning,
        says: &["take (shop/stock.py:6) on thread Thread-1"],
    },
    Fires {
        name: "on one line, and memory tells of two locks and who has them",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            waits(w, 21, SELL, 0x5000);
            waits(w, 22, SELL, 0x6000);
            knows(w, 21, LockObject::Reentrant, 0x9100, Some(22));
            knows(w, 22, LockObject::Reentrant, 0x9200, Some(21));
            w.watch(3.0)
        },
        code: Code::ThreadDeadlock,
        severity: Severity::Warning,
        says: &[
            "2 threads of pid 10 have waited",
            "thread 22 has the lock that thread 21 waits for (Python memory)",
        ],
    },
    Fires {
        name: "a lock that a thread at work has, as memory tells: others there have nothing to do with it",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            let asks = format!("{REQUEST} | {SELL} | ask /srv/shop/bank.py:8");
            w.p(10)
                .thread(23, "Thread-3", &asks, Activity::Syscall(45))
                .thread(
                    24,
                    "Thread-4",
                    "@thread | mail /srv/shop/mail.py:4",
                    Activity::Syscall(45),
                );
            waits(w, 21, REFUND, 0x5000);
            knows(w, 21, LockObject::Reentrant, 0x9100, Some(24));
            w.watch(3.0)
        },
        code: Code::LockWait,
        severity: Severity::Info,
        says: &["perhaps mail (shop/mail.py:4) on thread Thread-4;"],
    },
    Fires {
        name: "a lock taken twice, as memory tells that it is one",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            waits(w, 21, SELL, 0x5000);
            knows(w, 21, LockObject::Lock, 0x9100, None);
            w.watch(3.0)
        },
        code: Code::ThreadDeadlock,
        severity: Severity::Info,
        says: &["1 thread of pid 10 has waited", "or wants it twice"],
    },
    Fires {
        name: "a lock that nobody gives back",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            waits(w, 21, SELL, 0x5000);
            waits(w, 22, SELL, 0x5000);
            w.watch(12.0)
        },
        code: Code::ThreadDeadlock,
        severity: Severity::Warning,
        says: &["for one lock", "no running thread seems to hold it"],
    },
    Fires {
        name: "a request that asks somebody has the lock",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            let asks = format!("{REQUEST} | {SELL} | ask /srv/shop/bank.py:8");
            w.p(10).thread(23, "Thread-3", &asks, Activity::Syscall(45));
            waits(w, 21, SELL, 0x5000);
            waits(w, 22, REFUND, 0x5000);
            w.watch(3.0)
        },
        code: Code::LockWait,
        severity: Severity::Info,
        says: &[
            "sell (shop/stock.py:6) on thread Thread-1, and 1 more after it, has waited at least",
            "perhaps ask (shop/bank.py:8) on thread Thread-3",
        ],
    },
    Fires {
        name: "a request at work has the lock, and threads beside it always sleep in C code",
        story: |w| {
            fleet::http_server(w);
            sleepers(w);
            let asks = format!("{REQUEST} | {SELL} | ask /srv/shop/bank.py:8");
            w.p(10).thread(23, "Thread-3", &asks, Activity::Syscall(45));
            waits(w, 21, REFUND, 0x5000);
            w.watch(3.0)
        },
        code: Code::LockWait,
        severity: Severity::Info,
        says: &[
            "refund (shop/stock.py:10) on thread Thread-1 has waited",
            "perhaps ask (shop/bank.py:8) on thread Thread-3;",
        ],
    },
    Fires {
        name: "of two locks one is held, and who waits for it waits for nothing of the other's",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            waits(w, 22, SELL, 0x6000);
            knows(w, 22, LockObject::Lock, 0x9200, None);
            w.watch(20.0);
            let asks = format!("{REQUEST} | {SELL} | ask /srv/shop/bank.py:8");
            w.p(10).thread(23, "Thread-3", &asks, Activity::Syscall(45));
            w.watch(2.0);
            waits(w, 21, REFUND, 0x5000);
            w.watch(3.0)
        },
        code: Code::ThreadDeadlock,
        severity: Severity::Info,
        says: &[
            "1 thread of pid 10 has waited",
            "sell (shop/stock.py:6) on thread Thread-2",
        ],
    },
    Fires {
        name: "a thread of the application's own computes under the lock",
        story: |w| {
            fleet::http_server(w);
            w.watch(1.0);
            waits(w, 21, SELL, 0x5000);
            w.watch_while(9.0, |w, turn| {
                let stack = format!("@thread | report /srv/shop/report.py:{}", turn % 7);
                w.p(10).thread(30, "report", &stack, Activity::Running);
            })
        },
        code: Code::LockWait,
        severity: Severity::Info,
        says: &["perhaps report (shop/report.py:"],
    },
];

#[test]
fn requests_in_front_of_locks() {
    for case in FIRES {
        let mut w = World::new();
        let seen = (case.story)(&mut w);
        let server = only(&seen);
        let name = case.name;
        let first = server.findings.first();
        let first = first.unwrap_or_else(|| panic!("{name}: no finding"));
        assert_eq!(
            (first.code, first.severity),
            (case.code, case.severity),
            "{name}: {:?}",
            codes(server)
        );
        let text = format!("{} {}", first.summary, first.evidence.join(" "));
        for word in case.says {
            assert!(text.contains(word), "{name}: no {word:?} in {text}");
        }
        let others = server
            .findings
            .iter()
            .skip(1)
            .filter(|f| LOCKS.contains(&f.code));
        assert_eq!(others.count(), 0, "{name}: told twice");
    }
}

/// The deadlock comes before the pool that it takes.
#[test]
fn a_deadlock_that_takes_a_pool_is_the_cause() {
    let mut w = World::new();
    fleet::waitress(&mut w);
    w.watch(1.0);
    for at in 0..4 {
        let (place, word) = if at == 0 {
            (SELL, 0x5000)
        } else {
            (REFUND, 0x6000)
        };
        let stack = format!("@waitress-task | {place}");
        w.p(10)
            .thread(
                9_000 + at,
                &format!("waitress-{at}"),
                &stack,
                Activity::Lock,
            )
            .thread_waits(9_000 + at, libc::SYS_futex, None, futex(word));
    }
    w.p(10).clients(7_000, 9, 8080);
    let seen = w.watch(4.0);
    let found = codes(only(&seen));
    assert_eq!(found.first(), Some(&"thread-deadlock"), "{found:?}");
    assert!(found.contains(&"threadpool-exhausted"), "{found:?}");
}

/// The main thread wants what a thread has that sleeps; a third waits for something else.
#[test]
fn who_has_the_lock_is_told_by_memory_and_not_by_who_waits_too() {
    let mut w = World::new();
    fleet::http_server(&mut w);
    w.watch(1.0);
    waits(&mut w, 22, REFUND, 0x6000);
    let since = w.now;
    w.p(10)
        .main(&format!("<module> std+http/server.py:1313 | BaseServer.serve_forever std+socketserver.py:238 | BaseServer._handle_request_noblock std+socketserver.py:316 | {SELL}"))
        .doing(Activity::Lock)
        .accepts_nothing()
        .waits(libc::SYS_futex, None, futex(0x5000))
        .thread(30, "tariffs", "@thread | keep /srv/shop/tariffs.py:4", Activity::Syscall(230));
    w.p(10).since(since);
    knows(&mut w, 10, LockObject::Reentrant, 0x9100, Some(30));
    w.waiting(500, 2);
    let seen = w.watch(6.0);
    let first = &only(&seen).findings[0];
    assert_eq!(first.code, Code::LockWait, "{:?}", codes(only(&seen)));
    assert!(
        first.summary.contains("keep (shop/tariffs.py:4)"),
        "{}",
        first.summary
    );
}

type Nearly = (&'static str, fn(&mut World));

const NEARLY: &[Nearly] = &[
    ("not for long", |w| {
        abba(w);
        w.watch(1.8);
    }),
    ("got again and again", |w| {
        abba(w);
        w.watch_while(9.0, |w, turn| {
            let since = w.ago((turn % 12) as f64 / 10.0);
            w.p(10).since(since);
        });
    }),
    ("each request waits for an event", |w| {
        fleet::http_server(w);
        w.watch(1.0);
        waits(w, 21, &format!("{SELL} | {EVENT}"), 0x5000);
        waits(w, 22, &format!("{REFUND} | {EVENT}"), 0x6000);
        w.watch(20.0);
    }),
    (
        "streams that wait for news of their own, each in a queue of C code",
        |w| {
            fleet::http_server(w);
            w.watch(1.0);
            for at in 0..5 {
                waits(
                    w,
                    21 + at,
                    "news /srv/shop/news.py:12",
                    0x5000 + 0x100 * u64::from(at),
                );
            }
            w.watch(60.0);
        },
    ),
    (
        "requests of several kinds that wait for news, as memory tells",
        |w| {
            fleet::http_server(w);
            w.watch(1.0);
            waits(w, 21, SELL, 0x5000);
            waits(w, 22, REFUND, 0x6000);
            knows(w, 21, LockObject::Queue, 0x9100, None);
            knows(w, 22, LockObject::Queue, 0x9200, None);
            w.watch(60.0);
        },
    ),
    ("a request alone in front of what may be a queue", |w| {
        fleet::http_server(w);
        w.watch(1.0);
        waits(w, 21, SELL, 0x5000);
        w.watch(60.0);
    }),
    (
        "workers of the application's own take work from one queue of C code",
        |w| {
            fleet::http_server(w);
            for at in 0..4 {
                w.p(10)
                    .thread(
                        30 + at,
                        "mailer",
                        "@thread | mail /srv/shop/mail.py:4",
                        Activity::Lock,
                    )
                    .thread_waits(30 + at, libc::SYS_futex, None, futex(0x5000));
            }
            w.watch(60.0);
        },
    ),
    (
        "a request alone, and threads beside it always sleep in C code",
        |w| {
            fleet::http_server(w);
            sleepers(w);
            waits(w, 21, SELL, 0x5000);
            w.watch(60.0);
        },
    ),
    (
        "requests in front of a lock that another process may hold",
        |w| {
            fleet::http_server(w);
            w.watch(1.0);
            for tid in [21, 22] {
                waits(w, tid, SELL, 0x5000);
            }
            for tid in [21, 22] {
                w.p(10)
                    .thread_waits(tid, libc::SYS_futex, None, shared(0x5000));
            }
            let now = w.now;
            w.p(10).since(now);
            w.watch(60.0);
        },
    ),
    ("readers of a queue between processes", |w| {
        fleet::http_server(w);
        w.watch(1.0);
        let pool = "@thread | _worker std+concurrent/futures/thread.py:83 | take /srv/shop/jobs.py:9 | Queue.get std+multiprocessing/queues.py:102";
        let read = format!("{pool} | Connection.recv_bytes std+multiprocessing/connection.py:216");
        w.p(10)
            .thread(30, "jobs_0", &read, Activity::Syscall(0))
            .thread(31, "jobs_1", pool, Activity::Lock)
            .thread(32, "jobs_2", pool, Activity::Lock)
            .thread_waits(31, libc::SYS_futex, None, futex(0x5000))
            .thread_waits(32, libc::SYS_futex, None, futex(0x5000));
        let now = w.now;
        w.p(10).since(now);
        w.watch(60.0);
    }),
    ("idle threads of pools", |w| {
        fleet::waitress(w);
        for at in 0..4 {
            w.p(10)
                .thread_waits(9_000 + at, libc::SYS_futex, None, futex(0x5000));
        }
        w.watch(60.0);
    }),
];

#[test]
fn what_only_looks_like_a_lock() {
    for (name, story) in NEARLY {
        let mut w = World::new();
        story(&mut w);
        for code in LOCKS {
            assert!(
                !w.ever.contains_key(&code),
                "{name}: a false {}",
                code.word()
            );
        }
    }
}
