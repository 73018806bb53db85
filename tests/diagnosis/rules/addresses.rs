//! Servers that serve where nobody, or not everybody, gets to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use steth::diagnosis::{Code, Diagnosis, Severity};
use steth::snapshot::{Activity, Connections, Family, FdClasses, SocketFile};

use super::{check, fires};
use crate::fleet;
use crate::world::{Build, World};

const ALL: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ALL_6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// uvicorn on 127.0.0.1, in a container that is looked at from outside.
fn contained(w: &mut World) {
    w.netns.host = Some(false);
    w.netns.own = false;
    fleet::uvicorn(w);
}

/// A client of port 8000 that comes from there.
fn client(w: &mut World, from: IpAddr) {
    w.p(10).clients(7_000, 1, 8000);
    let mut open = Connections::clone(w.p(10).connections.as_ref().unwrap());
    open.list[0].peer.0 = from;
    w.p(10).connections = Some(Arc::new(open));
}

#[test]
fn loopback_only() {
    check(
        Code::LoopbackOnly,
        &[
            fires(
                "in a container",
                |w| {
                    contained(w);
                    w.watch(1.0)
                },
                Severity::Warning,
                None,
                &["127.0.0.1:8000 is on loopback"],
            ),
            fires(
                "IPv6's loopback",
                |w| {
                    contained(w);
                    let socket = w.socket(500);
                    socket.family = Family::Tcp6;
                    socket.address = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
                    w.watch(1.0)
                },
                Severity::Warning,
                None,
                &["[::1]:8000"],
            ),
            fires(
                "something else in there can be reached: it may be a proxy",
                |w| {
                    contained(w);
                    w.listen(900, 80).address = Some(ALL);
                    w.watch(1.0)
                },
                Severity::Info,
                None,
                &["127.0.0.1:8000"],
            ),
            fires(
                "somebody in there is connected to it",
                |w| {
                    contained(w);
                    client(w, IpAddr::V4(Ipv4Addr::LOCALHOST));
                    w.watch(1.0)
                },
                Severity::Info,
                None,
                &["127.0.0.1:8000"],
            ),
            fires(
                "this program runs in there too",
                |w| {
                    contained(w);
                    w.netns.own = true;
                    w.watch(1.0)
                },
                Severity::Info,
                None,
                &["127.0.0.1:8000"],
            ),
        ],
        &[
            ("on the machine itself", |w| {
                contained(w);
                w.netns.host = Some(true);
                w.watch(3.0)
            }),
            ("whose namespace it is cannot be told", |w| {
                contained(w);
                w.netns.host = None;
                w.watch(3.0)
            }),
            ("there is no other interface", |w| {
                contained(w);
                w.netns.has_other_interface = Some(false);
                w.watch(3.0)
            }),
            ("a published port", |w| {
                contained(w);
                w.socket(500).address = Some(ALL);
                w.watch(3.0)
            }),
            ("on another address as well", |w| {
                contained(w);
                w.listen(501, 8000).address = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
                w.p(10).holds(501).accepts(501);
                w.watch(3.0)
            }),
            ("it does not serve yet", |w| {
                w.netns.host = Some(false);
                super::bound(w, 4.0);
                w.watch(3.0)
            }),
        ],
    );
}

#[test]
fn ipv6_only() {
    fn on_ipv6(w: &mut World, v6only: Option<bool>) {
        fleet::uvicorn(w);
        let socket = w.socket(500);
        socket.family = Family::Tcp6;
        socket.address = Some(ALL_6);
        socket.v6only = v6only;
    }
    check(
        Code::Ipv6Only,
        &[
            fires(
                "no twin",
                |w| {
                    on_ipv6(w, Some(true));
                    w.watch(1.0)
                },
                Severity::Warning,
                None,
                &["[::]:8000 takes IPv6 only"],
            ),
            fires(
                "a twin on another port",
                |w| {
                    on_ipv6(w, Some(true));
                    w.listen(900, 8001).address = Some(ALL);
                    w.watch(1.0)
                },
                Severity::Warning,
                None,
                &["port 8000 over IPv4"],
            ),
            fires(
                "its clients come over IPv6",
                |w| {
                    on_ipv6(w, Some(true));
                    client(
                        w,
                        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
                    );
                    w.watch(1.0)
                },
                Severity::Info,
                None,
                &["[::]:8000"],
            ),
        ],
        &[
            ("for both", |w| {
                on_ipv6(w, Some(false));
                w.watch(3.0)
            }),
            ("not told", |w| {
                on_ipv6(w, None);
                w.watch(3.0)
            }),
            ("with a twin", |w| {
                on_ipv6(w, Some(true));
                w.listen(501, 8000).address = Some(ALL);
                w.watch(3.0)
            }),
            ("on one address only", |w| {
                on_ipv6(w, Some(true));
                w.socket(500).address = Some(IpAddr::V6(Ipv6Addr::LOCALHOST));
                w.watch(3.0)
            }),
        ],
    );
}

#[test]
fn backlog_clamped() {
    fn asks(w: &mut World, cmdline: &str, somaxconn: Option<u32>, backlog: u32) {
        w.netns.somaxconn = somaxconn;
        fleet::uvicorn(w);
        w.p(10).cmdline = cmdline.split(' ').map(str::to_owned).collect();
        w.socket(500).backlog = Some(backlog);
    }
    check(
        Code::BacklogClamped,
        &[
            fires(
                "more than the kernel allows",
                |w| {
                    asks(
                        w,
                        "/venv/bin/uvicorn a:b --port 8000 --backlog 8192",
                        Some(512),
                        512,
                    );
                    w.watch(1.0)
                },
                Severity::Info,
                None,
                &["a backlog of 512, not the 8192"],
            ),
            fires(
                "what the kernel allows is not seen, but is most likely this",
                |w| {
                    asks(
                        w,
                        "/venv/bin/uvicorn a:b --port 8000 --backlog=8192",
                        None,
                        4096,
                    );
                    w.watch(1.0)
                },
                Severity::Info,
                None,
                &["a backlog of 4096, not the 8192"],
            ),
        ],
        &[
            ("nobody has asked", |w| {
                asks(w, "/venv/bin/uvicorn a:b --port 8000", Some(512), 512);
                w.watch(1.0)
            }),
            ("as much as was asked for", |w| {
                asks(
                    w,
                    "/venv/bin/uvicorn a:b --port 8000 --backlog 512",
                    Some(512),
                    512,
                );
                w.watch(1.0)
            }),
            ("less, for another reason", |w| {
                asks(
                    w,
                    "/venv/bin/uvicorn a:b --port 8000 --backlog 2048",
                    Some(4096),
                    100,
                );
                w.watch(1.0)
            }),
        ],
    );
}

#[test]
fn socket_permission() {
    fn on_unix(w: &mut World, mode: u32) {
        fleet::uvicorn(w);
        w.close(500);
        w.listen_unix(501, "/run/shop/api.sock");
        w.p(10).holds(501).accepts(501);
        w.socket_files = vec![SocketFile {
            inode: 501,
            mode,
            uid: 1000,
            gid: 1000,
        }];
    }
    check(
        Code::SocketPermission,
        &[fires(
            "as the umask has it",
            |w| {
                on_unix(w, 0o755);
                w.watch(1.0)
            },
            Severity::Info,
            None,
            &["only uid 1000 and root", "unix:/run/shop/api.sock", "0755"],
        )],
        &[
            ("for the group", |w| {
                on_unix(w, 0o770);
                w.watch(2.0)
            }),
            ("for everybody", |w| {
                on_unix(w, 0o666);
                w.watch(2.0)
            }),
            ("not seen", |w| {
                on_unix(w, 0o755);
                w.socket_files.clear();
                w.watch(2.0)
            }),
            ("a manager's private socket", |w| {
                fleet::gunicorn_sync(w);
                w.socket_files = vec![SocketFile {
                    inode: 501,
                    mode: 0o600,
                    uid: 1000,
                    gid: 1000,
                }];
                w.watch(2.0)
            }),
        ],
    );
}

#[test]
fn uneven_listeners() {
    check(
        Code::UnevenListeners,
        &[fires(
            "one of granian's workers is stuck",
            |w| {
                fleet::granian(w);
                w.watch(1.0);
                w.p(11)
                    .main("@granian-worker | pay /srv/shop/pay.py:9")
                    .doing(Activity::Lock);
                w.waiting(511, 4);
                w.watch(7.0)
            },
            Severity::Warning,
            Some("pay"),
            &[
                "one of 2 sockets on 127.0.0.1:8000",
                "4 connections wait in that of pid 11",
                "pay (shop/pay.py:9)",
            ],
        )],
        &[
            ("both are behind", |w| {
                fleet::granian(w);
                w.watch(1.0);
                w.waiting(511, 4);
                w.waiting(512, 2);
                w.watch(7.0)
            }),
            ("it is drained and filled again", |w| {
                fleet::granian(w);
                w.watch_while(9.0, |w, t| w.waiting(511, 5 - (t % 5) as u32))
            }),
            ("one socket for all", |w| {
                fleet::uvicorn_workers(w);
                w.watch(1.0);
                w.waiting(500, 4);
                w.watch(7.0)
            }),
        ],
    );
}

#[test]
fn loop_off_main_thread() {
    fn aside(w: &mut World, main: &str) {
        fleet::uvicorn(w);
        w.p(10)
            .main(main)
            .doing(Activity::Lock)
            .thread(
                9_001,
                "api",
                "@thread | @uvicorn-server | @poll",
                Activity::Selector,
            )
            .accepts_nothing()
            .accepts_on(500, 9_001);
    }
    check(
        Code::LoopOffMainThread,
        &[fires(
            "uvicorn in a thread",
            |w| {
                aside(
                    w,
                    "<module> /srv/shop/run.py:30 | watch /srv/shop/run.py:22 | Thread.join std+threading.py:1119",
                );
                w.watch(2.0)
            },
            Severity::Info,
            Some("watch"),
            &["thread api (9001)"],
        )],
        &[
            ("on the main thread, and another one beside it", |w| {
                aside(w, "@uvicorn | @poll");
                w.watch(2.0)
            }),
            ("a side port on another thread", |w| {
                fleet::uvicorn(w);
                w.listen(501, 9100);
                w.p(10)
                    .holds(501)
                    .thread(9_001, "metrics", "@exporter", Activity::Selector)
                    .accepts_on(501, 9_001);
                w.watch(2.0)
            }),
        ],
    );
}

#[test]
fn fd_growing() {
    /// Looks once a second.
    fn opens(w: &mut World, seconds: u64, classes: fn(u64) -> FdClasses) -> Diagnosis {
        fleet::uvicorn(w);
        let mut seen = Diagnosis::default();
        for second in 0..=seconds {
            w.pass(1.0);
            let fds = w.p(10).fds.as_mut().unwrap();
            fds.classes = classes(second);
            fds.open = 10 + fds.classes.files + fds.classes.sockets;
            seen = w.look();
        }
        seen
    }
    fn files(files: u64) -> FdClasses {
        FdClasses {
            files,
            ..FdClasses::default()
        }
    }
    check(
        Code::FdGrowing,
        &[
            fires(
                "files, and the limit is near",
                |w| opens(w, 130, |t| files(20 + t * 5 / 2)),
                Severity::Warning,
                None,
                &["pid 10 opens files", "the limit is reached in"],
            ),
            fires(
                "sockets may be clients",
                |w| {
                    opens(w, 130, |t| FdClasses {
                        sockets: 20 + t * 5 / 2,
                        ..FdClasses::default()
                    })
                },
                Severity::Info,
                None,
                &["opens sockets"],
            ),
        ],
        &[
            ("for two minutes", |w| {
                opens(w, 119, |t| files(20 + t * 5 / 2))
            }),
            ("they come and go", |w| {
                opens(w, 150, |t| files(20 + t * 5 / 2 - t / 20 * 10))
            }),
            ("many at once", |w| {
                opens(w, 150, |t| files(20 + t / 70 * 100))
            }),
            ("a few", |w| opens(w, 150, |t| files(20 + t / 6))),
            ("of very many", |w| opens(w, 150, |t| files(2_000 + t))),
        ],
    );
}
