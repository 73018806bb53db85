//! Worlds at random: whatever is fed, the answer holds together and memory stays bounded.

use std::sync::Arc;
use std::time::Instant;

use steth::diagnosis::{Diagnosis, history::History};
use steth::snapshot::{Activity, Moment, Process, ProcessState, Snapshot};

use super::fleet::FLEET;
use super::world::{Build, End, World};

/// A linear congruential generator (Knuth's MMIX constants): the same worlds at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

const LINES: &[&str] = &[
    "/venv/bin/uvicorn a:b --port 8000",
    "/venv/bin/uvicorn a:b --reload",
    "/venv/bin/gunicorn -w 2 a:b",
    "gunicorn: worker [a]",
    "python manage.py runserver",
    "python",
    "",
    "python app.py",
    "python -c from multiprocessing.spawn import spawn_main",
    "celery -A a worker",
    "python -m -m -m",
    "-c",
];
const STACKS: &[&str] = &[
    "",
    "@uvicorn | @poll",
    "@uvicorn-load | <module> a.py:1",
    "@uvicorn | @lifespan | f a.py:2",
    "@uvicorn | @request | g a.py:3",
    "@uvicorn-reloader",
    "@arbiter-idle",
    "@sync-idle",
    "@sync-request | h a.py:4",
    "@gunicorn-load | <module> a.py:0",
    "@django-reloader",
    "@granian-master",
    "@hypercorn-cli | @hypercorn-serve | @poll",
    "@spawned | _process_worker std+concurrent/futures/process.py:249",
    "x y:0",
];
const ACTIVITIES: &[Activity] = &[
    Activity::Running,
    Activity::Selector,
    Activity::Gil,
    Activity::Lock,
    Activity::Syscall(7),
    Activity::Syscall(-1),
    Activity::Stopped,
    Activity::Unknown,
];
const STATES: &[ProcessState] = &[
    ProcessState::Sleeping,
    ProcessState::Running,
    ProcessState::DiskSleep,
    ProcessState::Stopped,
    ProcessState::Tracing,
    ProcessState::Dead,
    ProcessState::Idle,
    ProcessState::Unknown,
];

/// Pids that the dice use, and their sockets.
const PIDS: std::ops::Range<u64> = 2..40;
const INODES: std::ops::Range<u64> = 500..520;

fn pid(dice: &mut Dice) -> u32 {
    (PIDS.start + dice.roll(PIDS.end - PIDS.start)) as u32
}

/// Something happens.
fn stir(w: &mut World, dice: &mut Dice) {
    let pid = pid(dice);
    let inode = INODES.start + dice.roll(INODES.end - INODES.start);
    let has = w.has(pid);
    match dice.roll(12) {
        0 | 1 if !has => {
            let parent = self::pid(dice);
            let line = dice.pick(LINES);
            let process = if dice.chance(15) {
                w.other(pid, line)
            } else {
                w.start(pid, line)
            };
            process.parent(if dice.chance(30) { 1 } else { parent });
        }
        2 if has && dice.chance(30) => w.end(
            pid,
            dice.pick(&[
                End::Code(3),
                End::Code(-7),
                End::Signal(9),
                End::Signal(-3),
                End::Unseen,
            ]),
        ),
        3 if has && w.p(pid).is_python() && dice.chance(10) => {
            w.leave_zombie(pid, dice.roll(70_000) as i32)
        }
        4 => {
            let port = 8000 + dice.roll(4) as u16;
            match dice.roll(4) {
                0 => w.bind(inode, port),
                1 => w.listen_unix(
                    inode,
                    dice.pick(&["/run/a.sock", "@", "", "/tmp/pymp-1/listener-2"]),
                ),
                _ => w.listen(inode, port),
            };
        }
        5 if dice.chance(20) => w.close(inode),
        6 => w.disturb(
            inode,
            dice.roll(400) as u32,
            dice.roll(u64::from(u32::MAX)) as u32,
            dice.chance(20),
        ),
        _ if !has => {}
        7 if w.p(pid).is_python() && w.p(pid).python.as_ref().unwrap().stacks.is_some() => {
            let (stack, activity) = (dice.pick(STACKS), dice.pick(ACTIVITIES));
            let tid = if dice.chance(70) {
                pid
            } else {
                9_000 + dice.roll(50) as u32
            };
            w.p(pid).thread(
                tid,
                dice.pick(&["MainThread", "AnyIO worker thread", "waitress-1", ""]),
                stack,
                activity,
            );
        }
        8 if w.p(pid).fds.is_some() => {
            match dice.roll(4) {
                0 => w.p(pid).drops(inode),
                1 => w.p(pid).holds(inode).armed(inode),
                _ => w.p(pid).holds(inode).accepts(inode),
            };
        }
        9 => w.p(pid).state = dice.pick(STATES),
        10 => {
            let process = w.p(pid);
            process.clients(
                dice.roll(1 << 40),
                dice.roll(300),
                8000 + dice.roll(4) as u16,
            );
            process.cpu_ns = dice.roll(1 << 50);
            process.frozen = dice.pick(&[None, Some(false), Some(false), Some(true)]);
            process.thread_count = dice.roll(500) as u32;
        }
        _ => {
            let process = w.p(pid);
            match dice.roll(6) {
                0 => process.accepting = None,
                1 => process.connections = None,
                2 => process.ppid = dice.roll(60) as u32,
                3 => process.netns = dice.pick(&[None, Some(7), process.netns]),
                4 => process.cmdline = dice.pick(LINES).split(' ').map(str::to_owned).collect(),
                _ => {
                    if let Some(fds) = &mut process.fds {
                        fds.open = dice.roll(2_000);
                        fds.limit = dice.pick(&[None, Some(0), Some(1024), Some(u64::MAX)]);
                    }
                }
            }
        }
    }
}

/// Seconds between looks: mostly a tenth, sometimes nothing at all, sometimes long.
fn pause(dice: &mut Dice) -> f64 {
    match dice.roll(100) {
        0 => 0.0,
        1 => 45.0,
        2 => 400.0,
        3..=9 => 1.0,
        _ => 0.1,
    }
}

#[test]
fn thousands_of_random_looks_hold_together() {
    for seed in 1..=4 {
        let mut dice = Dice(seed);
        let mut w = World::new();
        let mut history = History::default();
        let mut served = 0;
        for _ in 0..1_000 {
            for _ in 0..dice.roll(8) {
                stir(&mut w, &mut dice);
            }
            w.pass(pause(&mut dice));
            let (seen, snapshot): (Diagnosis, Snapshot) = w.look_and_keep();
            history.observe(&snapshot);
            bounded(&history, &snapshot);
            served += seen.servers.len();
        }
        assert!(served > 1_000, "seed {seed} has made only {served} servers");
    }
}

fn bounded(history: &History, snapshot: &Snapshot) {
    // Every pid may have had several lives in the minute that the gone are kept.
    assert!(
        history.tracks.len() <= 2_000,
        "{} tracks",
        history.tracks.len()
    );
    assert!(
        history.queues.len() <= 200,
        "{} queues",
        history.queues.len()
    );
    for queue in history.queues.values() {
        assert!(queue.depths.len() <= 64);
    }
    for (key, track) in &history.tracks {
        assert!(track.modules.len() <= 12);
        let present = snapshot.processes.iter().any(|p| p.key == *key);
        assert!(
            present || snapshot.at.seconds_since(track.process.sampled_at) < 60.0,
            "{key:?} is kept for too long"
        );
    }
}

/// What is gone is forgotten: a machine on which everything changes needs no more memory than one on which nothing does.
#[test]
fn churn_is_forgotten() {
    let mut w = World::new();
    let mut history = History::default();
    let mut most = 0;
    for turn in 0..3_000_u32 {
        let pid = 100 + turn % 30_000;
        w.listen(10_000 + u64::from(turn), 8000);
        w.start(pid, "python app.py")
            .main("@asyncio | @poll")
            .holds(10_000 + u64::from(turn))
            .accepts(10_000 + u64::from(turn));
        w.pass(0.1);
        let (seen, snapshot) = w.look_and_keep();
        history.observe(&snapshot);
        most = most.max(history.tracks.len());
        assert!(
            history.tracks.len() <= 620,
            "{} tracks",
            history.tracks.len()
        );
        assert!(
            history.queues.len() <= 60,
            "{} queues",
            history.queues.len()
        );
        assert!(seen.servers.len() <= 310, "{} servers", seen.servers.len());
        w.end(pid, End::Code(0));
        w.close(10_000 + u64::from(turn));
    }
    assert!(most > 500, "nothing was kept for a minute");
}

/// Clocks that stand still or go back, and snapshots of nothing.
#[test]
fn a_clock_that_goes_back_breaks_nothing() {
    for (name, build, ..) in FLEET {
        let mut w = World::new();
        build(&mut w);
        let mut analyst = steth::diagnosis::Analyst::default();
        let snapshot = w.snapshot();
        for back in [0, 0, 5, 3_600, 1, 20_000] {
            let at = Moment(snapshot.at.0.saturating_sub(back * 1_000_000_000));
            let mut earlier = Snapshot {
                at,
                ..snapshot.clone()
            };
            assert_eq!(analyst.observe(&earlier).servers.len(), 1, "{name}");
            earlier.processes.clear();
            earlier.netns.clear();
            analyst.observe(&earlier);
        }
    }
}

/// A thousand looks at fifty processes. The time is printed, not judged: machines differ.
#[test]
fn how_long_a_thousand_looks_take() {
    let mut w = World::new();
    for server in 0..10 {
        let base = 100 + server * 10;
        let inode = 500 + u64::from(server);
        w.listen(inode, 8000 + server as u16);
        let line = format!("/venv/bin/gunicorn -w 4 -b 127.0.0.1:{} a:b", 8000 + server);
        w.old(base, 900.0, &line).main("@arbiter-idle").holds(inode);
        for at in 1..5 {
            w.old(base + at, 800.0, &line)
                .parent(base)
                .main("@gunicorn-uvicorn | @poll")
                .at_rest()
                .holds(inode)
                .accepts(inode)
                .clients(7_000, 200, 8000);
        }
    }
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for turn in 0..1_000_u64 {
        w.pass(0.1);
        let busy = 101 + (turn % 10) as u32 * 10;
        let stack = if turn % 20 < 10 {
            "@gunicorn-uvicorn | @request | f a.py:1"
        } else {
            "@gunicorn-uvicorn | @poll"
        };
        w.p(busy).main(stack).clients(7_000 + turn, 200, 8000);
        let mut snapshot = w.snapshot();
        // What has not changed is shared with the look before, as the sampler does it.
        if let Some(last) = snapshots.last() {
            for (now, before) in snapshot.processes.iter_mut().zip(&last.processes) {
                if now.key.pid != busy {
                    *now = same_but_younger(before, now);
                }
            }
        }
        snapshots.push(snapshot);
    }
    let mut analyst = steth::diagnosis::Analyst::default();
    let begun = Instant::now();
    let mut servers = 0;
    for snapshot in &snapshots {
        servers += analyst.observe(snapshot).servers.len();
    }
    let took = begun.elapsed();
    assert_eq!(servers, 10_000);
    println!(
        "1,000 looks at 50 processes with 200 connections each: {took:.1?}, {:.1?} per look",
        took / 1_000
    );
}

fn same_but_younger(before: &Arc<Process>, now: &Arc<Process>) -> Arc<Process> {
    if before.main_stack() == now.main_stack() {
        before.clone()
    } else {
        now.clone()
    }
}
