//! What a cgroup and the GIL do to a server.

use std::sync::Arc;

use steth::diagnosis::{Code, Phase, Severity};
use steth::snapshot::{Activity, CgroupUse, CpuQuota, MemoryUse};

use super::{check, fires};
use crate::fleet;
use crate::world::{Build, End, World, only};

/// The counters of its cgroup as they are now, by how long the world has gone on, in tenths of a second.
fn reads(w: &mut World, pid: u32, turn: usize, throttled_of_ten: u64) {
    let periods = turn as u64;
    let throttled = periods * throttled_of_ten / 10;
    w.p(pid).cgroup_use = Some(Arc::new(CgroupUse {
        read_at: w.now,
        cpu: Some(CpuQuota {
            path: "/sys/fs/cgroup/shop".into(),
            quota_us: 2_000,
            period_us: 100_000,
            periods,
            throttled,
            throttled_ns: throttled * 95_000_000,
        }),
        memory: None,
    }));
}

fn importing(w: &mut World, age: f64) {
    w.old(10, age, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main("@uvicorn-load | <module> /srv/shop/main.py:3 | @import | <module> /srv/shop/prices.py:8");
    w.burns(10, 2.0);
}

#[test]
fn cpu_throttled() {
    check(
        Code::CpuThrottled,
        &[
            fires(
                "an import",
                |w| {
                    importing(w, 9.0);
                    w.watch_while(3.0, |w, t| reads(w, 10, t, 10))
                },
                Severity::Warning,
                None,
                &[
                    "2 % of a core",
                    "throttled in 29 of the last 29 periods, 2.8 s of 2.9 s",
                    "the import is slow for that reason",
                ],
            ),
            fires(
                "a server that serves all that it is asked for",
                |w| {
                    fleet::uvicorn(w);
                    w.watch_while(3.0, |w, t| reads(w, 10, t, 10))
                },
                Severity::Info,
                None,
                &["throttled in 29"],
            ),
            fires(
                "a loop that is blocked by it",
                |w| {
                    super::held(w);
                    w.watch_while(7.0, |w, t| reads(w, 10, t, 10))
                },
                Severity::Critical,
                None,
                &["throttled in 51"],
            ),
        ],
        &[
            ("four periods of ten", |w| {
                importing(w, 9.0);
                w.watch_while(6.0, |w, t| reads(w, 10, t, 4))
            }),
            ("a quota that is never reached", |w| {
                importing(w, 40.0);
                w.watch_while(6.0, |w, t| reads(w, 10, t, 0))
            }),
            ("counters of long ago", |w| {
                importing(w, 40.0);
                reads(w, 10, 600, 10);
                w.watch(6.0)
            }),
            ("not for long", |w| {
                importing(w, 9.0);
                w.watch_while(1.5, |w, t| reads(w, 10, t, 10))
            }),
        ],
    );
}

/// The throttled cgroup stands before the import that it slows down.
#[test]
fn the_quota_comes_before_what_it_slows_down() {
    let mut w = World::new();
    importing(&mut w, 12.0);
    w.burns(10, 40.0);
    let seen = w.watch_while(4.0, |w, t| reads(w, 10, t, 10));
    let server = crate::world::only(&seen);
    assert_eq!(
        crate::world::codes(server),
        ["cpu-throttled", "import-slow"],
        "{:?}",
        server.findings
    );
}

/// A thread that is kept from running stands still, and neither its import nor the GIL is to blame.
#[test]
fn a_quota_is_not_taken_for_something_else() {
    let mut w = World::new();
    importing(&mut w, 40.0);
    w.p(10).doing(Activity::Running).thread(
        9_000,
        "beat",
        "@thread | beat /srv/shop/beat.py:4",
        Activity::Gil,
    );
    holds(&mut w, 10, 10);
    let seen = w.watch_while(6.0, |w, t| reads(w, 10, t, 10));
    let server = crate::world::only(&seen);
    assert_eq!(
        crate::world::codes(server),
        ["cpu-throttled"],
        "{:?}",
        server.findings
    );
}

/// The cgroup of everybody has seen so many kills.
fn kills(w: &mut World, pids: &[u32], oom_kills: u64) {
    let read = Arc::new(CgroupUse {
        read_at: w.now,
        cpu: None,
        memory: Some(MemoryUse {
            path: "/sys/fs/cgroup/memory/shop".into(),
            oom_kills,
            limit: Some(256 << 20),
        }),
    });
    for pid in pids {
        w.p(*pid).cgroup_use = Some(read.clone());
    }
}

const HUNGRY: &str =
    "@gunicorn-load | <module> /srv/shop/wsgi.py:3 | load_table /srv/shop/table.py:9";

/// gunicorn, whose worker 11 is killed once a second, and a new one takes its place under the next pid.
fn replaces(w: &mut World, how: End, counted: fn(u64) -> u64) -> steth::diagnosis::Diagnosis {
    fleet::gunicorn_master(w);
    w.watch(0.5);
    let mut pid = 11;
    fleet::gunicorn_child(w, pid).main(HUNGRY).holds(500);
    let mut deaths = 0;
    w.watch_while(4.0, move |w, t| {
        if t % 10 == 5 {
            w.end(pid, how);
            pid += 1;
            deaths += 1;
            let now = w.now;
            fleet::gunicorn_child(w, pid).main(HUNGRY).holds(500);
            w.born(pid, now);
        }
        kills(w, &[10, pid], 7 + counted(deaths));
    })
}

#[test]
fn oom_loop() {
    check(
        Code::OomLoop,
        &[fires(
            "workers that need more than there is",
            |w| replaces(w, End::Signal(9), |deaths| deaths),
            Severity::Critical,
            Some("load_table"),
            &["limit of 256 MiB", "4 processes killed by SIGKILL"],
        )],
        &[
            ("killed by somebody else", |w| {
                replaces(w, End::Signal(9), |_| 0)
            }),
            ("somebody else is killed, they exit", |w| {
                replaces(w, End::Code(1), |deaths| deaths)
            }),
            ("kills of long ago, and a server that serves", |w| {
                fleet::gunicorn_sync(w);
                kills(w, &[10, 11, 12], 40);
                w.watch(5.0)
            }),
        ],
    );
}

/// What a thread holds in native code.
const MATCH: &str = "@uvicorn | @lifespan | lifespan /srv/shop/main.py:30 | check /srv/shop/rules.py:8 | match std+re/__init__.py:166";

fn holds(w: &mut World, pid: u32, holder: u32) {
    let python = w.p(pid).python.as_mut().unwrap();
    let stacks = Arc::make_mut(python.stacks.as_mut().unwrap());
    for stack in &mut stacks.list {
        stack.holds_gil = stack.tid == Some(holder);
    }
}

fn hog(w: &mut World, main: &str, beat: Activity) {
    w.old(10, 8.0, "/venv/bin/uvicorn shop.main:app --port 8000")
        .main(main)
        .doing(Activity::Running)
        .thread(9_000, "beat", "@thread | beat /srv/shop/beat.py:4", beat);
    holds(w, 10, 10);
    w.burns(10, 99.0);
}

#[test]
fn gil_held() {
    check(
        Code::GilHeld,
        &[
            fires(
                "a regular expression in the startup",
                |w| {
                    hog(w, MATCH, Activity::Gil);
                    w.watch(3.0)
                },
                Severity::Warning,
                Some("check"),
                &[
                    "the main thread of pid 10",
                    "at least 2.9 s in check (shop/rules.py:8)",
                    "below match (re/__init__.py:166): 1 other thread cannot run",
                ],
            ),
            fires(
                "the one that waits is about to ask again at some looks",
                |w| {
                    hog(w, MATCH, Activity::Gil);
                    w.watch_while(3.0, |w, t| {
                        let now = if t % 3 == 0 {
                            Activity::Running
                        } else {
                            Activity::Gil
                        };
                        w.p(10)
                            .thread(9_000, "beat", "@thread | beat /srv/shop/beat.py:4", now);
                    })
                },
                Severity::Warning,
                Some("check"),
                &["1 other thread"],
            ),
            fires(
                "a worker thread keeps the loop from turning",
                |w| {
                    fleet::uvicorn(w);
                    w.watch(1.0);
                    w.p(10)
                        .main("@uvicorn | @poll")
                        .doing(Activity::Gil)
                        .armed(500);
                    let stack = "@anyio-thread | pack /srv/shop/pack.py:5";
                    w.p(10)
                        .thread(9_001, "AnyIO worker thread", stack, Activity::Running);
                    holds(w, 10, 9_001);
                    w.watch(6.0)
                },
                Severity::Critical,
                Some("pack"),
                &["thread AnyIO worker thread of pid 10"],
            ),
        ],
        &[
            ("nobody waits for it", |w| {
                hog(w, MATCH, Activity::Syscall(230));
                w.watch(9.0)
            }),
            ("a loop in Python: whoever waits gets it in between", |w| {
                hog(w, MATCH, Activity::Gil);
                w.watch_while(9.0, |w, t| {
                    let now = if t % 8 == 7 {
                        Activity::Syscall(230)
                    } else {
                        Activity::Gil
                    };
                    w.p(10)
                        .thread(9_000, "beat", "@thread | beat /srv/shop/beat.py:4", now);
                })
            }),
            ("its lines change", |w| {
                hog(w, MATCH, Activity::Gil);
                w.watch_while(9.0, |w, t| {
                    let stack =
                        format!("@uvicorn | @lifespan | check /srv/shop/rules.py:{}", t % 5);
                    w.p(10).main(&stack).doing(Activity::Running);
                    holds(w, 10, 10);
                })
            }),
            ("two threads take turns", |w| {
                hog(w, MATCH, Activity::Gil);
                w.watch_while(9.0, |w, t| holds(w, 10, [10, 9_000][t / 9 % 2]))
            }),
            ("not for long", |w| {
                hog(w, MATCH, Activity::Gil);
                w.watch(2.0)
            }),
        ],
    );
}

/// waitress asks its sockets by poll(2): a look at a thread that waits for the GIL does not show that it accepts.
#[test]
fn a_loop_that_polls_and_waits_for_the_gil_has_begun_to_accept() {
    let mut w = World::new();
    fleet::waitress(&mut w);
    w.p(10).doing(Activity::Gil).accepts_nothing().thread(
        9_100,
        "sensors",
        "@thread | read /srv/shop/sensors.py:8",
        Activity::Syscall(230),
    );
    holds(&mut w, 10, 9_100);
    w.waiting(500, 1);
    let seen = w.watch(4.0);
    let server = only(&seen);
    assert_eq!(server.phase, Phase::Stalled, "{}", server.why);
    let found: Vec<_> = server.findings.iter().map(|f| f.code).collect();
    assert_eq!(found.first(), Some(&Code::GilHeld), "{found:?}");
    let said = server.findings.iter().map(|f| f.summary.clone());
    let said = said.collect::<Vec<_>>().join("; ");
    assert!(!said.contains("still starting"), "{said}");
}
