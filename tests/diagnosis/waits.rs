//! Rules about what threads wait for: each with worlds that fire it, and worlds that nearly do.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use steth::diagnosis::{Code, Diagnosis, Finding, Phase, Severity};
use steth::snapshot::{
    Activity, Child, ChildSleep, LockKind, Moment, Mount, Party, PipeEnd, Process, ProcessState,
    TcpState, TcpWait, ThreadWait, WaitTarget,
};

use super::fleet::{self, FLEET};
use super::world::{Build, World, codes, find, only};

/// Codes of the rules that are tried here.
const OURS: &[Code] = &[
    Code::ConnectHang,
    Code::PeerSilent,
    Code::DnsHang,
    Code::SubprocessWait,
    Code::FileWait,
    Code::StdinWait,
    Code::DebuggerWait,
    Code::LockWait,
    Code::ThreadDeadlock,
    Code::ForkDeadlock,
];

/// What must be found at the end, as the first finding.
struct Fires {
    name: &'static str,
    story: fn(&mut World) -> Diagnosis,
    severity: Severity,
    culprit: Option<&'static str>,
    says: &'static [&'static str],
}

/// What must never be found on the way.
type Nearly = (&'static str, fn(&mut World) -> Diagnosis);

fn check(code: Code, fires: &[Fires], nearly: &[Nearly]) {
    for case in fires {
        let name = case.name;
        let mut w = World::new();
        let seen = (case.story)(&mut w);
        let server = seen.servers.iter().find(|s| s.root.pid == 10).unwrap();
        let found = find(server, code);
        assert_eq!(
            server.findings.first().map(|f| f.code),
            Some(code),
            "{name}: the cause comes first: {:?}",
            codes(server)
        );
        assert_eq!(found.severity, case.severity, "{name}: {}", found.summary);
        let function = found.culprit.as_ref().map(|c| c.function.as_str());
        assert_eq!(function, case.culprit, "{name}: {}", found.summary);
        for word in case.says {
            assert!(
                text(found).contains(word),
                "{name}: no {word:?} in {found:#?}"
            );
        }
        let others: Vec<_> = OURS.iter().filter(|c| **c != code).collect();
        for other in others {
            assert!(!w.ever.contains_key(other), "{name}: also {}", other.word());
        }
    }
    for (name, story) in nearly {
        let mut w = World::new();
        story(&mut w);
        assert!(
            !w.ever.contains_key(&code),
            "{name}: a false {}",
            code.word()
        );
    }
}

fn text(found: &Finding) -> String {
    let all = [&found.summary, &found.remedy, &found.confirm];
    let all = all.into_iter().chain(&found.evidence);
    all.cloned().collect::<Vec<_>>().join("\n")
}

/// What the main thread of a process waits for, from now on.
pub trait Waits {
    fn waits(&mut self, call: i64, fd: Option<u32>, on: WaitTarget) -> &mut Self;
    /// All of its threads have run just before that moment.
    fn since(&mut self, at: Moment) -> &mut Self;
    fn thread_waits(&mut self, tid: u32, call: i64, fd: Option<u32>, on: WaitTarget) -> &mut Self;
}

impl Waits for Process {
    fn since(&mut self, at: Moment) -> &mut Self {
        for wait in Arc::make_mut(self.waits.as_mut().unwrap()) {
            wait.since = at;
        }
        self
    }

    fn waits(&mut self, call: i64, fd: Option<u32>, on: WaitTarget) -> &mut Self {
        self.thread_waits(self.key.pid, call, fd, on)
    }

    fn thread_waits(&mut self, tid: u32, call: i64, fd: Option<u32>, on: WaitTarget) -> &mut Self {
        let list = Arc::make_mut(self.waits.get_or_insert_default());
        list.retain(|w| w.tid != tid);
        list.push(ThreadWait {
            tid,
            // The world begins three hours after the machine has.
            since: Moment(0).plus_seconds(10_800.0),
            call,
            fd,
            on,
        });
        self
    }
}

/// uvicorn whose startup runs this, pid 10; the main thread sleeps in some system call.
fn startup<'a>(w: &'a mut World, age: f64, stack: &str) -> &'a mut Process {
    w.old(
        10,
        age,
        "/venv/bin/python /venv/bin/uvicorn shop.main:app --port 8000",
    )
    .main(&format!(
        "@uvicorn | @lifespan | lifespan /srv/shop/main.py:30 | {stack}"
    ))
}

/// A sync worker of gunicorn that has served and is in a request now; connections wait.
fn request<'a>(w: &'a mut World, stack: &str) -> &'a mut Process {
    fleet::gunicorn_sync(w);
    w.watch(1.0);
    for pid in [11, 12] {
        w.p(pid)
            .main(&format!(
                "@sync-request | show /srv/shop/views.py:20 | {stack}"
            ))
            .accepts_nothing()
            .clients(7_000 + u64::from(pid), 1, 8000);
    }
    w.waiting(500, 3);
    w.p(11)
}

const ASK: &str = "ask /srv/shop/db.py:12";
const PEER: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), 5432);
const HERE: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 41_000);

fn tcp(state: TcpState, retransmits: u8) -> TcpWait {
    TcpWait {
        state,
        local: Some(HERE),
        peer: PEER,
        retransmits,
        recv_q: 0,
        send_q: u32::from(state == TcpState::SynSent),
        heard: None,
        sent: None,
    }
}

fn syn(retransmits: u8) -> WaitTarget {
    WaitTarget::Tcp(tcp(TcpState::SynSent, retransmits))
}

/// An established connection on which data came and went last at these moments.
fn established(heard: Moment, sent: Moment) -> WaitTarget {
    WaitTarget::Tcp(TcpWait {
        heard: Some(heard),
        sent: Some(sent),
        ..tcp(TcpState::Established, 0)
    })
}

/// A connection that a client has made to port 8000, and over which nothing comes.
fn client(at: Moment) -> WaitTarget {
    WaitTarget::Tcp(TcpWait {
        local: Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 8000)),
        peer: (IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
        heard: Some(at),
        sent: Some(at),
        ..tcp(TcpState::Established, 0)
    })
}

fn party(pid: u32, command: &str) -> Party {
    Party {
        pid,
        command: command.to_owned(),
    }
}

pub fn futex(address: u64) -> WaitTarget {
    WaitTarget::Futex {
        address,
        private: true,
        timed: false,
    }
}

#[test]
fn connect_hang() {
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: Some("ask"),
        says,
    };
    check(
        Code::ConnectHang,
        &[
            fires(
                "a database that does not answer",
                |w| {
                    startup(
                        w,
                        40.0,
                        &format!("{ASK} | create_connection std+socket.py:836"),
                    )
                    .waits(libc::SYS_connect, Some(7), syn(6));
                    w.watch(1.2)
                },
                Severity::Critical,
                &[
                    "10.0.0.5:5432 (SYN-SENT, 6 retransmits)",
                    "at least 7.0 s",
                    "in connect() to 10.0.0.5:5432",
                    "ss -tnop state syn-sent dst 10.0.0.5:5432",
                ],
            ),
            fires(
                "with a time-out, so that it polls",
                |w| {
                    startup(w, 5.0, ASK).waits(libc::SYS_ppoll, Some(7), syn(1));
                    w.watch(3.0)
                },
                Severity::Info,
                &["1 retransmit)", "in ppoll() for a connection to"],
            ),
            fires(
                "in an import",
                |w| {
                    w.old(
                        10,
                        12.0,
                        "/venv/bin/python /venv/bin/uvicorn shop.main:app --port 8000",
                    )
                    .main(&format!(
                        "@uvicorn-load | <module> /srv/shop/main.py:3 | {ASK}"
                    ))
                    .waits(libc::SYS_connect, Some(7), syn(3));
                    w.watch(3.0)
                },
                Severity::Warning,
                &["the import of module main in ask"],
            ),
            fires(
                "a unix socket whose queue is full",
                |w| {
                    let path = Some("/run/pg.sock".into());
                    startup(w, 5.0, ASK).waits(
                        libc::SYS_connect,
                        Some(7),
                        WaitTarget::Unix {
                            path,
                            pending: true,
                        },
                    );
                    w.watch(3.0)
                },
                Severity::Info,
                &["unix socket /run/pg.sock (nobody accepts it)"],
            ),
            fires(
                "to a port of this machine whose queue is full",
                |w| {
                    w.listen(900, 5432).accept_queue = Some(129);
                    let local = TcpWait {
                        peer: (IpAddr::V4(Ipv4Addr::LOCALHOST), 5432),
                        ..tcp(TcpState::SynSent, 2)
                    };
                    startup(w, 5.0, ASK).waits(libc::SYS_connect, Some(7), WaitTarget::Tcp(local));
                    w.watch(3.0)
                },
                Severity::Info,
                &["its accept queue is full: 129 wait, its backlog is 128"],
            ),
            fires(
                "on a thread that the main one waits for",
                |w| {
                    startup(w, 5.0, "lifespan /srv/shop/main.py:31 | Future.result std+concurrent/futures/_base.py:451 | Condition.wait std+threading.py:327")
                        .doing(Activity::Lock)
                        .thread(21, "pool_0", &format!("@thread | _worker std+concurrent/futures/thread.py:83 | {ASK}"), Activity::Syscall(42))
                        .thread_waits(21, libc::SYS_connect, Some(7), syn(2));
                    w.watch(3.0)
                },
                Severity::Info,
                &["in ask (shop/db.py:12) on thread pool_0"],
            ),
            fires(
                "on the thread that runs the server, beside a reloader",
                |w| {
                    w.old(
                        10,
                        40.0,
                        "/venv/bin/python manage.py runserver --nothreading",
                    )
                    .main("@django-watch")
                    .thread(
                        21,
                        "django-main-thread",
                        &format!("@django-thread | {ASK}"),
                        Activity::Syscall(42),
                    )
                    .thread_waits(21, libc::SYS_connect, Some(7), syn(3));
                    w.watch(3.0)
                },
                Severity::Critical,
                &["in ask (shop/db.py:12) on thread django-main-thread"],
            ),
        ],
        &[
            ("the first SYN is a moment old", |w| {
                startup(w, 40.0, ASK).waits(libc::SYS_connect, Some(7), syn(0));
                w.watch(1.8)
            }),
            ("the loop idles, and a task connects", |w| {
                w.old(
                    10,
                    40.0,
                    "/venv/bin/python /venv/bin/uvicorn shop.main:app --port 8000",
                )
                .main("@uvicorn | @poll")
                .at_rest()
                .waits(libc::SYS_epoll_pwait, Some(4), syn(4));
                w.watch(5.0)
            }),
            ("a connection after the other, each of which is made", |w| {
                startup(w, 40.0, ASK);
                w.watch_while(3.5, |w, _| {
                    w.p(10).waits(libc::SYS_connect, Some(7), syn(0));
                    let since = w.now;
                    w.p(10).since(since);
                })
            }),
            ("another place at every look", |w| {
                startup(w, 40.0, ASK);
                w.watch_while(5.0, |w, turn| {
                    let stack = format!("@uvicorn | @lifespan | lifespan /srv/shop/main.py:30 | step{turn} /srv/shop/db.py:3");
                    let since = w.now;
                    w.p(10).main(&stack).waits(libc::SYS_connect, Some(7), syn(0)).since(since);
                })
            }),
            ("it serves, and a thread of its pool connects", |w| {
                fleet::uvicorn(w);
                w.p(10)
                    .thread(
                        21,
                        "AnyIO worker thread",
                        &format!("@anyio-thread | {ASK}"),
                        Activity::Syscall(42),
                    )
                    .thread_waits(21, libc::SYS_connect, Some(7), syn(6));
                w.watch(9.0)
            }),
        ],
    );
}

#[test]
fn peer_silent() {
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: Some("ask"),
        says,
    };
    check(
        Code::PeerSilent,
        &[
            fires(
                "a statement that waits for a lock in the database, since long before anybody looked",
                |w| {
                    let (heard, sent) = (w.ago(90.0), w.ago(37.0));
                    startup(w, 91.0, ASK).waits(
                        libc::SYS_recvfrom,
                        Some(7),
                        established(heard, sent),
                    );
                    w.watch(1.2)
                },
                Severity::Critical,
                &[
                    "has waited 38 s for an answer from 10.0.0.5:5432",
                    "everything sent is acknowledged",
                    "read time-out",
                ],
            ),
            fires(
                "nothing arrives there any more",
                |w| {
                    let at = w.ago(20.0);
                    let lost = TcpWait {
                        heard: Some(at),
                        sent: Some(at),
                        send_q: 48,
                        ..tcp(TcpState::Established, 5)
                    };
                    startup(w, 21.0, ASK).waits(libc::SYS_recvfrom, Some(7), WaitTarget::Tcp(lost));
                    w.watch(3.0)
                },
                Severity::Warning,
                &[
                    "48 bytes are not acknowledged after 5 retransmits",
                    "the network between",
                ],
            ),
            fires(
                "by a unix socket",
                |w| {
                    let path = Some("/run/pg.sock".into());
                    startup(w, 5.0, ASK).waits(
                        libc::SYS_ppoll,
                        Some(7),
                        WaitTarget::Unix {
                            path,
                            pending: true,
                        },
                    );
                    w.watch(3.0)
                },
                Severity::Info,
                &["an answer from unix socket /run/pg.sock"],
            ),
            fires(
                "both sync workers read what their clients do not send",
                |w| {
                    let at = w.ago(0.0);
                    request(w, ASK);
                    for pid in [11, 12] {
                        w.p(pid).waits(libc::SYS_recvfrom, Some(9), client(at));
                    }
                    w.watch(20.0)
                },
                Severity::Critical,
                &[
                    "for what its client would send from 127.0.0.1:40000",
                    "must not hold up all others",
                ],
            ),
            fires(
                "both sync workers ask the server that they are",
                |w| {
                    let at = w.ago(0.0);
                    request(w, ASK);
                    let listener = w.socket(500);
                    listener.address = Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                    let port = listener.port;
                    for pid in [11, 12] {
                        let own = TcpWait {
                            local: Some((HERE.0, 40_000)),
                            peer: (HERE.0, port),
                            heard: Some(at),
                            sent: Some(at),
                            ..tcp(TcpState::Established, 0)
                        };
                        w.p(pid)
                            .waits(libc::SYS_recvfrom, Some(7), WaitTarget::Tcp(own));
                    }
                    w.watch(20.0)
                },
                Severity::Critical,
                &[
                    "which is this server itself",
                    "must not wait for another request",
                ],
            ),
            fires(
                "both sync workers in a request",
                |w| {
                    let at = w.ago(0.0);
                    request(w, ASK);
                    for pid in [11, 12] {
                        w.p(pid)
                            .waits(libc::SYS_recvfrom, Some(7), established(at, at));
                    }
                    w.watch(20.0)
                },
                Severity::Critical,
                &["10.0.0.5:5432", "3 connections in the accept queue"],
            ),
        ],
        &[
            ("data comes, slowly", |w| {
                startup(w, 40.0, ASK);
                w.watch_while(6.0, |w, turn| {
                    let at = w.ago((turn % 5) as f64 / 10.0);
                    w.p(10)
                        .waits(libc::SYS_recvfrom, Some(7), established(at, at));
                })
            }),
            (
                "one of two workers reads from its client, the other serves",
                |w| {
                    let at = w.ago(0.0);
                    fleet::gunicorn_sync(w);
                    w.watch(1.0);
                    w.p(11)
                        .main(&format!("@sync-request | {ASK}"))
                        .accepts_nothing()
                        .waits(libc::SYS_recvfrom, Some(9), client(at));
                    w.watch(20.0)
                },
            ),
            ("a thread of a pool reads from its client", |w| {
                let at = w.ago(0.0);
                fleet::waitress(w);
                w.p(10)
                    .thread(
                        9_000,
                        "waitress-0",
                        &format!("@waitress-task | {ASK}"),
                        Activity::Syscall(45),
                    )
                    .thread_waits(9_000, libc::SYS_recvfrom, Some(9), client(at));
                w.watch(20.0)
            }),
            ("one of two workers waits, the other serves", |w| {
                let at = w.ago(0.0);
                fleet::gunicorn_sync(w);
                w.watch(1.0);
                w.p(11)
                    .main(&format!("@sync-request | {ASK}"))
                    .accepts_nothing()
                    .waits(libc::SYS_recvfrom, Some(7), established(at, at));
                w.watch(30.0)
            }),
        ],
    );
}

#[test]
fn dns_hang() {
    fn asks(port: u16) -> WaitTarget {
        WaitTarget::Udp {
            peer: Some((IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), port)),
        }
    }
    let fires = |name, story, says| Fires {
        name,
        story,
        severity: Severity::Info,
        culprit: Some("ask"),
        says,
    };
    check(
        Code::DnsHang,
        &[
            fires(
                "getaddrinfo",
                |w| {
                    startup(w, 5.0, &format!("{ASK} | getaddrinfo std+socket.py:962")).waits(
                        libc::SYS_poll,
                        Some(7),
                        asks(53),
                    );
                    w.watch(3.0)
                },
                &[
                    "for a name to resolve, asking 10.0.0.2:53",
                    "in poll(), asking name server",
                ],
            ),
            fires(
                "a call written in C, told by whom it asks",
                |w| {
                    startup(w, 5.0, ASK).waits(libc::SYS_poll, Some(7), asks(53));
                    w.watch(3.0)
                },
                &["10.0.0.2:53"],
            ),
            fires(
                "by frames alone, where the call may not be seen",
                |w| {
                    startup(w, 5.0, &format!("{ASK} | getfqdn std+socket.py:791"))
                        .doing(Activity::Unknown);
                    w.watch(3.0)
                },
                &["for a name to resolve: "],
            ),
            fires(
                "by way of systemd-resolved",
                |w| {
                    let path = Some("/run/systemd/resolve/io.systemd.Resolve".into());
                    startup(w, 5.0, &format!("{ASK} | getaddrinfo std+socket.py:962")).waits(
                        libc::SYS_ppoll,
                        Some(7),
                        WaitTarget::Unix {
                            path,
                            pending: true,
                        },
                    );
                    w.watch(3.0)
                },
                &["asking /run/systemd/resolve/io.systemd.Resolve"],
            ),
        ],
        &[
            ("another datagram", |w| {
                startup(w, 40.0, ASK).waits(libc::SYS_poll, Some(7), asks(514));
                w.watch(5.0)
            }),
            ("it takes a second", |w| {
                startup(w, 40.0, &format!("{ASK} | getaddrinfo std+socket.py:962")).waits(
                    libc::SYS_poll,
                    Some(7),
                    asks(53),
                );
                w.watch(1.8)
            }),
            ("it computes", |w| {
                startup(w, 40.0, &format!("{ASK} | getaddrinfo std+socket.py:962"))
                    .doing(Activity::Running);
                w.burns(10, 100.0);
                w.watch(5.0)
            }),
        ],
    );
}

fn child(pid: u32, command: &str, sleeps: Option<ChildSleep>) -> Child {
    Child {
        party: party(pid, command),
        started: Some(Moment(0).plus_seconds(10_790.0)),
        state: ProcessState::Sleeping,
        sleeps,
        child: None,
    }
}

fn reads_stdin() -> Option<ChildSleep> {
    Some(ChildSleep {
        call: libc::SYS_read,
        fd: Some(0),
        on: Some("pipe:[55]".into()),
    })
}

#[test]
fn subprocess_wait() {
    let fires = |name, story, says| Fires {
        name,
        story,
        severity: Severity::Info,
        culprit: Some("build"),
        says,
    };
    const BUILD: &str = "build /srv/shop/assets.py:12";
    const RUN: &str = "build /srv/shop/assets.py:12 | run std+subprocess.py:550 | Popen._try_wait std+subprocess.py:2004";
    check(
        Code::SubprocessWait,
        &[
            fires(
                "a script that asks a question",
                |w| {
                    let script = child(77, "sh build.sh", reads_stdin());
                    startup(w, 5.0, RUN).waits(
                        libc::SYS_wait4,
                        None,
                        WaitTarget::Children(vec![script]),
                    );
                    w.watch(3.0)
                },
                &[
                    "for its child `sh build.sh` (pid 77)",
                    "has run for 13 s",
                    "sleeps in read on pipe:[55], its standard input",
                    "stdin=subprocess.DEVNULL",
                ],
            ),
            fires(
                "a script that waits in turn",
                |w| {
                    let inner = child(78, "curl http://10.0.0.7/", None);
                    let script = Child {
                        child: Some(Box::new(inner)),
                        ..child(77, "sh fetch.sh", None)
                    };
                    startup(w, 5.0, BUILD).waits(
                        libc::SYS_wait4,
                        None,
                        WaitTarget::Children(vec![script]),
                    );
                    w.watch(3.0)
                },
                &[
                    "`sh fetch.sh` (pid 77)",
                    "in turn for `curl http://10.0.0.7/` (pid 78)",
                    "timeout=",
                ],
            ),
            fires(
                "its output, which a grandchild keeps open",
                |w| {
                    let pipe = WaitTarget::Pipe {
                        path: None,
                        end: PipeEnd::Reads,
                        others: Some(vec![party(79, "agent --daemon")]),
                    };
                    startup(w, 5.0, BUILD).waits(libc::SYS_read, Some(5), pipe);
                    w.watch(3.0)
                },
                &["for the output of `agent --daemon` (pid 79)"],
            ),
        ],
        &[
            ("a reloader waits for the server that it started", |w| {
                fleet::flask_debug(w);
                let server = child(11, "python wsgi.py", None);
                w.p(10)
                    .waits(libc::SYS_wait4, None, WaitTarget::Children(vec![server]));
                w.watch(9.0)
            }),
            ("for a second", |w| {
                let script = child(77, "sh build.sh", None);
                startup(w, 40.0, RUN).waits(
                    libc::SYS_wait4,
                    None,
                    WaitTarget::Children(vec![script]),
                );
                w.watch(1.8)
            }),
            ("one short command after the other", |w| {
                startup(w, 40.0, RUN);
                w.watch_while(6.0, |w, turn| {
                    let command = Child {
                        started: Some(w.ago((turn % 4) as f64 / 10.0)),
                        ..child(77 + turn as u32 / 4, "true", None)
                    };
                    let on = WaitTarget::Children(vec![command]);
                    w.p(10).waits(libc::SYS_wait4, None, on);
                })
            }),
            ("a pipe of its own, to wake itself", |w| {
                let pipe = WaitTarget::Pipe {
                    path: None,
                    end: PipeEnd::Reads,
                    others: Some(vec![party(10, "uvicorn")]),
                };
                startup(w, 40.0, BUILD).waits(libc::SYS_read, Some(5), pipe);
                w.watch(5.0)
            }),
        ],
    );
}

#[test]
fn file_wait() {
    let fires = |name, story, severity, says| Fires {
        name,
        story,
        severity,
        culprit: Some("ask"),
        says,
    };
    fn fifo() -> WaitTarget {
        WaitTarget::FifoOpen {
            path: "/run/secret".into(),
            end: PipeEnd::Reads,
        }
    }
    fn share() -> WaitTarget {
        WaitTarget::File {
            path: "/mnt/nas/model.bin".into(),
            mount: Some(Mount {
                at: "/mnt/nas".into(),
                fs: "nfs4".into(),
                source: "nas:/export".into(),
            }),
        }
    }
    check(
        Code::FileWait,
        &[
            fires(
                "a FIFO that nobody writes",
                |w| {
                    startup(w, 12.0, ASK).waits(libc::SYS_openat, None, fifo());
                    w.watch(3.0)
                },
                Severity::Warning,
                &[
                    "in openat() on /run/secret, a FIFO that nobody writes",
                    "on a FIFO nobody writes: /run/secret",
                ],
            ),
            fires(
                "a mount that does not answer",
                |w| {
                    startup(w, 40.0, ASK).waits(libc::SYS_openat, None, share());
                    w.watch(3.0)
                },
                Severity::Critical,
                &[
                    "/mnt/nas/model.bin (nfs4 mount nas:/export at /mnt/nas)",
                    "bring back nas:/export",
                ],
            ),
            fires(
                "a log that nobody takes",
                |w| {
                    let pipe = WaitTarget::Pipe {
                        path: None,
                        end: PipeEnd::Writes,
                        others: Some(vec![party(5, "logger -t shop")]),
                    };
                    startup(w, 5.0, ASK).waits(libc::SYS_write, Some(2), pipe);
                    w.watch(3.0)
                },
                Severity::Info,
                &[
                    "in write() on its standard error, a pipe that pid 5 (`logger -t shop`) has open and does not read from",
                ],
            ),
        ],
        &[
            ("a large file that is being read, a piece at a time", |w| {
                startup(w, 40.0, ASK);
                w.watch_while(6.0, |w, _| {
                    let since = w.now;
                    w.p(10).waits(libc::SYS_read, Some(7), share());
                    w.p(10).since(since);
                })
            }),
            ("for a second", |w| {
                startup(w, 40.0, ASK).waits(libc::SYS_openat, None, fifo());
                w.watch(1.8)
            }),
        ],
    );
}

#[test]
fn stdin_wait() {
    let fires = |name, story, says| Fires {
        name,
        story,
        severity: Severity::Info,
        culprit: Some("ask"),
        says,
    };
    fn pipe() -> WaitTarget {
        WaitTarget::Pipe {
            path: None,
            end: PipeEnd::Reads,
            others: Some(vec![party(1, "init")]),
        }
    }
    fn terminal() -> WaitTarget {
        WaitTarget::Terminal {
            path: "/dev/pts/3".into(),
        }
    }
    check(
        Code::StdinWait,
        &[
            fires(
                "breakpoint(), with a pipe for standard input",
                |w| {
                    startup(
                        w,
                        5.0,
                        &format!(
                            "{ASK} | Pdb.user_line std+pdb.py:337 | Cmd.cmdloop std+cmd.py:126"
                        ),
                    )
                    .waits(libc::SYS_read, Some(0), pipe());
                    w.watch(1.5)
                },
                &[
                    "a debugger's prompt on standard input",
                    "PYTHONBREAKPOINT=0",
                ],
            ),
            fires(
                "input() on a terminal",
                |w| {
                    startup(w, 5.0, ASK).waits(libc::SYS_pselect6, Some(0), terminal());
                    w.watch(1.5)
                },
                &["for input on terminal /dev/pts/3", "/dev/null"],
            ),
            fires(
                "a password, from the terminal behind its back",
                |w| {
                    startup(
                        w,
                        5.0,
                        &format!(
                            "{ASK} | unix_getpass std+getpass.py:77 | _raw_input std+getpass.py:151"
                        ),
                    )
                    .waits(libc::SYS_read, Some(9), terminal());
                    w.watch(1.5)
                },
                &["for a password on terminal"],
            ),
        ],
        &[
            ("it writes to the terminal", |w| {
                startup(w, 40.0, ASK).waits(libc::SYS_write, Some(1), terminal());
                w.watch(5.0)
            }),
            ("another pipe", |w| {
                startup(w, 40.0, ASK).waits(libc::SYS_read, Some(3), pipe());
                w.watch(5.0)
            }),
            ("a moment", |w| {
                startup(w, 40.0, ASK).waits(libc::SYS_read, Some(0), terminal());
                w.watch(0.9)
            }),
            ("a server with a console that serves", |w| {
                fleet::uvicorn(w);
                w.p(10)
                    .thread(
                        21,
                        "console",
                        "@thread | console /srv/shop/console.py:3",
                        Activity::Syscall(0),
                    )
                    .thread_waits(21, libc::SYS_read, Some(0), terminal());
                w.watch(9.0)
            }),
        ],
    );
}

#[test]
fn debugger_wait() {
    const ATTACH: &str = "wait_for_client pkg+debugpy/public_api.py:31 | wait_for_client pkg+debugpy/server/api.py:319 | Event.wait std+threading.py:629";
    check(
        Code::DebuggerWait,
        &[
            Fires {
                name: "debugpy.wait_for_client()",
                story: |w| {
                    w.listen(900, 5678);
                    startup(w, 12.0, &format!("{ASK} | {ATTACH}"))
                        .doing(Activity::Lock)
                        .waits(libc::SYS_futex, None, futex(0x5000));
                    w.watch(1.5)
                },
                severity: Severity::Warning,
                culprit: Some("ask"),
                says: &["for a debugger to attach", "--wait-for-client"],
            },
            Fires {
                name: "a port for a debugger, which is none of the server's",
                story: |w| {
                    const RDB: &str = "set_trace pkg+celery/contrib/rdb.py:187 | debugger pkg+celery/contrib/rdb.py:179 | Rdb.__init__ pkg+celery/contrib/rdb.py:108 | socket.accept std+socket.py:294";
                    w.bind(901, 8000);
                    w.listen(900, 6899);
                    startup(w, 12.0, &format!("{ASK} | {RDB}"))
                        .holds(900)
                        .holds(901)
                        .accepts_on(900, 10);
                    w.watch(1.5)
                },
                severity: Severity::Warning,
                culprit: Some("ask"),
                says: &["for a debugger to attach", "127.0.0.1:6899"],
            },
            Fires {
                name: "a breakpoint that was hit",
                story: |w| {
                    let stack = "PyDB.do_wait_suspend pkg+debugpy/_vendored/pydevd/pydevd.py:2070 | PyDB._do_wait_suspend pkg+debugpy/_vendored/pydevd/pydevd.py:2106";
                    startup(w, 5.0, &format!("{ASK} | {stack}")).doing(Activity::Lock);
                    w.watch(1.5)
                },
                severity: Severity::Info,
                culprit: Some("ask"),
                says: &["to let it go on from a breakpoint"],
            },
        ],
        &[
            (
                "it runs under a debugger, and something else holds it",
                |w| {
                    w.old(10, 40.0, "/venv/bin/python -m uvicorn shop.main:app --port 8000")
                    .main(&format!("main pkg+debugpy/server/cli.py:430 | PyDB.run pkg+debugpy/_vendored/pydevd/pydevd.py:1535 | @uvicorn | @lifespan | {ASK}"));
                    w.watch(5.0)
                },
            ),
            ("it serves under a debugger", |w| {
                fleet::uvicorn(w);
                w.p(10)
                    .main("main pkg+debugpy/server/cli.py:430 | @uvicorn | @poll")
                    .at_rest();
                w.watch(5.0)
            }),
        ],
    );
}

/// A lock in memory that several processes share.
fn shared() -> WaitTarget {
    WaitTarget::Futex {
        address: 0x7000,
        private: false,
        timed: false,
    }
}

fn on_lock<'a>(w: &'a mut World, age: f64, stack: &str) -> &'a mut Process {
    startup(w, age, stack)
        .doing(Activity::Lock)
        .waits(libc::SYS_futex, None, futex(0x5000))
}

const LOCK: &str = "take /srv/shop/cache.py:21";

#[test]
fn lock_wait() {
    fn locked(kind: LockKind, path: &str) -> WaitTarget {
        WaitTarget::FileLock {
            path: path.into(),
            kind,
            holders: vec![party(99, "python backup.py")],
        }
    }
    let fires = |name, story, says| Fires {
        name,
        story,
        severity: Severity::Info,
        culprit: Some("take"),
        says,
    };
    check(
        Code::LockWait,
        &[
            fires(
                "flock",
                |w| {
                    let lock = locked(LockKind::Flock, "/var/x.lock");
                    startup(w, 5.0, LOCK).waits(libc::SYS_flock, Some(5), lock);
                    w.watch(3.0)
                },
                &[
                    "for the lock on /var/x.lock, held by pid 99 (`python backup.py`)",
                    "in flock() on /var/x.lock",
                    "LOCK_NB",
                ],
            ),
            fires(
                "a database that somebody has locked",
                |w| {
                    let lock = locked(LockKind::Sqlite, "/var/app.db");
                    startup(w, 5.0, LOCK).waits(libc::SYS_clock_nanosleep, None, lock);
                    w.watch(3.0)
                },
                &[
                    "the SQLite database /var/app.db, which is locked, held by pid 99",
                    "journal_mode=WAL",
                ],
            ),
            fires(
                "one of multiprocessing's, which a child has",
                |w| {
                    let stack =
                        format!("{LOCK} | SemLock.__enter__ std+multiprocessing/synchronize.py:95");
                    startup(w, 5.0, &stack).doing(Activity::Lock).waits(
                        libc::SYS_futex,
                        None,
                        shared(),
                    );
                    w.old(30, 4.0, "python rebuild.py")
                        .parent(10)
                        .main("<module> /srv/shop/rebuild.py:9 | rebuild /srv/shop/rebuild.py:4");
                    w.watch(3.0)
                },
                &[
                    "for a lock that several processes share",
                    "perhaps rebuild (shop/rebuild.py:4) of pid 30",
                    "no FUTEX_PRIVATE_FLAG",
                ],
            ),
            fires(
                "a thread that has the lock asks somebody",
                |w| {
                    on_lock(w, 5.0, LOCK)
                        .thread(
                            21,
                            "refresher",
                            &format!("@thread | refresh /srv/shop/cache.py:40 | {ASK}"),
                            Activity::Syscall(45),
                        )
                        .thread_waits(
                            21,
                            libc::SYS_recvfrom,
                            Some(7),
                            WaitTarget::Tcp(tcp(TcpState::Established, 0)),
                        );
                    w.watch(3.0)
                },
                &[
                    "a lock that another thread holds, perhaps ask (shop/db.py:12) on thread refresher",
                    "in recvfrom() from 10.0.0.5:5432",
                ],
            ),
        ],
        &[
            ("it waits for an event", |w| {
                on_lock(
                    w,
                    40.0,
                    &format!(
                        "{LOCK} | Event.wait std+threading.py:629 | Condition.wait std+threading.py:327"
                    ),
                );
                w.watch(5.0)
            }),
            ("an item of a queue between processes", |w| {
                let stack = format!(
                    "{LOCK} | Queue.get std+multiprocessing/queues.py:102 | SemLock.__enter__ std+multiprocessing/synchronize.py:95"
                );
                startup(w, 40.0, &stack).doing(Activity::Lock).waits(
                    libc::SYS_futex,
                    None,
                    shared(),
                );
                w.watch(5.0)
            }),
            ("an event of another process", |w| {
                let stack = format!(
                    "{LOCK} | Event.wait std+multiprocessing/synchronize.py:349 | Condition.wait std+multiprocessing/synchronize.py:261"
                );
                startup(w, 40.0, &stack).doing(Activity::Lock).waits(
                    libc::SYS_futex,
                    None,
                    shared(),
                );
                w.watch(5.0)
            }),
            ("for a limited time", |w| {
                let timed = WaitTarget::Futex {
                    address: 0x5000,
                    private: true,
                    timed: true,
                };
                on_lock(w, 40.0, LOCK)
                    .waits(libc::SYS_futex, None, timed)
                    .thread(
                        21,
                        "refresher",
                        &format!("@thread | {ASK}"),
                        Activity::Syscall(45),
                    );
                w.watch(5.0)
            }),
        ],
    );
}

#[test]
fn thread_deadlock() {
    let fires = |name, story, says| Fires {
        name,
        story,
        severity: Severity::Info,
        culprit: Some("take"),
        says,
    };
    const OTHER: &str = "@thread | refresh /srv/shop/cache.py:15";
    check(
        Code::ThreadDeadlock,
        &[
            fires(
                "two locks in opposite order",
                |w| {
                    on_lock(w, 5.0, LOCK)
                        .thread(21, "refresher", OTHER, Activity::Lock)
                        .thread_waits(21, libc::SYS_futex, None, futex(0x6000));
                    w.watch(3.0)
                },
                &[
                    "for a lock while refresh (shop/cache.py:15) on thread refresher waits for another one",
                    "most likely",
                    "likely, not proved",
                ],
            ),
            fires(
                "the same beside a thread that has nothing to do with it",
                |w| {
                    on_lock(w, 5.0, LOCK)
                        .thread(21, "refresher", OTHER, Activity::Lock)
                        .thread_waits(21, libc::SYS_futex, None, futex(0x6000));
                    w.watch_while(3.0, |w, turn| {
                        let stack = format!("@thread | beat{turn} /srv/shop/metrics.py:3");
                        w.p(10)
                            .thread(22, "metrics", &stack, Activity::Syscall(230));
                    })
                },
                &["on thread refresher waits for another one"],
            ),
            fires(
                "a lock taken twice by the only thread there is",
                |w| {
                    on_lock(w, 5.0, LOCK);
                    w.watch(1.5)
                },
                &[
                    "that nobody can release: it is the only thread of its process",
                    "only threads of its own process can change",
                ],
            ),
            fires(
                "a pool that rests cannot have it",
                |w| {
                    on_lock(w, 5.0, LOCK).thread(
                        21,
                        "pool_0",
                        "@thread | _worker std+concurrent/futures/thread.py:83",
                        Activity::Lock,
                    );
                    w.watch(3.0)
                },
                &["that no running thread seems to hold"],
            ),
        ],
        &[
            ("two threads want one lock, which a third has", |w| {
                on_lock(w, 40.0, LOCK)
                    .thread(21, "refresher", OTHER, Activity::Lock)
                    .thread_waits(21, libc::SYS_futex, None, futex(0x5000))
                    .thread(22, "loader", &format!("@thread | {ASK}"), Activity::Running);
                w.watch(5.0)
            }),
            ("not for long", |w| {
                on_lock(w, 40.0, LOCK)
                    .thread(21, "refresher", OTHER, Activity::Lock)
                    .thread_waits(21, libc::SYS_futex, None, futex(0x6000));
                w.watch(1.8)
            }),
            ("a lock that is got, again and again", |w| {
                on_lock(w, 40.0, LOCK);
                w.watch_while(6.0, |w, turn| {
                    w.p(10).thread(21, "refresher", OTHER, Activity::Lock);
                    let since = w.ago((turn % 3) as f64 / 10.0);
                    w.p(10).since(since);
                })
            }),
            ("a server that serves, with a pool at rest", |w| {
                fleet::uvicorn(w);
                w.p(10)
                    .thread(
                        21,
                        "pool_0",
                        "@thread | _worker std+concurrent/futures/thread.py:83",
                        Activity::Lock,
                    )
                    .thread_waits(21, libc::SYS_futex, None, futex(0x6000));
                w.watch(9.0)
            }),
        ],
    );
}

/// gunicorn that has loaded the application before it forked; its workers stand in a hook.
fn preloaded(w: &mut World, threads: u32) {
    fleet::gunicorn_master(w);
    for pid in [11, 12] {
        fleet::gunicorn_child(w, pid)
            .main("@arbiter | Arbiter.manage_workers pkg+gunicorn/arbiter.py:570 | Arbiter.spawn_worker pkg+gunicorn/arbiter.py:608 | post_fork /srv/shop/conf.py:8 | take /srv/shop/cache.py:21")
            .doing(Activity::Lock)
            .holds(500)
            .waits(libc::SYS_futex, None, futex(0x5000));
        w.born(pid, w.ago(5.0));
        w.p(pid).cpu_ns = 20_000_000;
    }
    w.p(10).thread_count = threads;
    w.born(10, w.ago(6.0));
}

/// The same, and each of them asks a pool that the master has made.
fn awaits_pool(w: &mut World, threads: u32) {
    preloaded(w, threads);
    for pid in [11, 12] {
        let main = "@arbiter | Arbiter.manage_workers pkg+gunicorn/arbiter.py:570 | Arbiter.spawn_worker pkg+gunicorn/arbiter.py:608 | post_fork /srv/shop/conf.py:8 | take /srv/shop/cache.py:21
            | Future.result std+concurrent/futures/_base.py:451 | Condition.wait std+threading.py:327";
        w.p(pid).main(main).doing(Activity::Lock);
        w.p(pid).cpu_ns = 2_000_000_000;
    }
}

#[test]
fn fork_deadlock() {
    check(
        Code::ForkDeadlock,
        &[
            Fires {
                name: "a lock that a thread of the master held",
                story: |w| {
                    preloaded(w, 3);
                    w.watch(3.0)
                },
                severity: Severity::Info,
                culprit: Some("take"),
                says: &[
                    "a fork of pid 10",
                    "and 1 worker alike",
                    "since it was made",
                    "has used 20 ms of CPU",
                    "pid 10 has 3 threads now",
                    "post_fork",
                ],
            },
            Fires {
                name: "an answer of a pool whose threads are the master's, after much work",
                story: |w| {
                    awaits_pool(w, 3);
                    w.watch(3.0)
                },
                severity: Severity::Info,
                culprit: Some("take"),
                says: &[
                    "for what another thread would do",
                    "has no other thread",
                    "post_fork",
                ],
            },
        ],
        &[
            (
                "an answer, and the master has never had another thread",
                |w| {
                    awaits_pool(w, 1);
                    w.watch(5.0)
                },
            ),
            ("an answer of a thread of its own", |w| {
                awaits_pool(w, 3);
                for pid in [11, 12] {
                    w.p(pid)
                        .thread(pid + 10, "pool_0", "@executor-thread", Activity::Lock);
                    w.p(pid).thread_count = 2;
                }
                w.watch(5.0)
            }),
            ("it has done much before", |w| {
                preloaded(w, 3);
                for pid in [11, 12] {
                    w.p(pid).cpu_ns = 2_000_000_000;
                }
                w.watch(5.0)
            }),
            ("a program of its own", |w| {
                w.bind(500, 8000);
                w.old(
                    10,
                    40.0,
                    "/venv/bin/uvicorn shop.main:app --port 8000 --workers 2",
                )
                .main("@uvicorn-supervisor")
                .holds(500);
                fleet::spawned(w, 11)
                    .main(&format!("@uvicorn-worker | @lifespan | {LOCK}"))
                    .doing(Activity::Lock)
                    .waits(libc::SYS_futex, None, futex(0x5000));
                w.born(11, w.ago(39.0));
                w.watch(5.0)
            }),
            ("a thread of its own is at work", |w| {
                preloaded(w, 3);
                for pid in [11, 12] {
                    w.p(pid).thread(
                        pid + 10,
                        "loader",
                        &format!("@thread | {ASK}"),
                        Activity::Running,
                    );
                }
                w.watch(5.0)
            }),
            ("not for long", |w| {
                preloaded(w, 3);
                w.watch(0.9)
            }),
        ],
    );
}

#[test]
fn whatever_the_threads_of_a_healthy_server_wait_for_is_no_finding() {
    let long_ago = Moment(0).plus_seconds(5_000.0);
    let targets: Vec<(i64, Option<u32>, WaitTarget)> = vec![
        (libc::SYS_connect, Some(7), syn(6)),
        (libc::SYS_recvfrom, Some(7), established(long_ago, long_ago)),
        (
            libc::SYS_read,
            Some(0),
            WaitTarget::Terminal {
                path: "/dev/pts/3".into(),
            },
        ),
        (
            libc::SYS_wait4,
            None,
            WaitTarget::Children(vec![child(77, "sh", reads_stdin())]),
        ),
        (libc::SYS_futex, None, futex(0x5000)),
        (
            libc::SYS_poll,
            Some(7),
            WaitTarget::Udp {
                peer: Some((PEER.0, 53)),
            },
        ),
    ];
    for (name, build, ..) in FLEET {
        for (call, fd, on) in &targets {
            let mut w = World::new();
            build(&mut w);
            for pid in 10..20 {
                if w.has(pid) {
                    w.p(pid).waits(*call, *fd, on.clone());
                }
            }
            let seen = w.watch(6.0);
            let server = only(&seen);
            assert_eq!(server.phase, Phase::Serving, "{name}, {on:?}");
            assert_eq!(codes(server), Vec::<&str>::new(), "{name}, {on:?}");
        }
    }
}
