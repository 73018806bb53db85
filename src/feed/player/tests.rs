//! A place is the same place however one got there; what is damaged is passed over.

use super::*;
use crate::diagnosis::Phase;
use crate::feed::What;
use crate::recording::{Encoder, Frame, FrameMeta, ReadError};
use crate::snapshot::{Accepting, NetNs, ProcessKey};
use crate::testing;

/// Frames in memory, some of which cannot be read.
struct Reel {
    frames: Vec<Frame>,
    damaged: Vec<usize>,
}

impl Frames for Reel {
    fn count(&self) -> usize {
        self.frames.len()
    }

    fn meta(&self, i: usize) -> Option<FrameMeta> {
        self.frames.get(i).map(|f| f.meta)
    }

    fn frame(&self, i: usize) -> Result<Frame, ReadError> {
        let frame = self.frames.get(i).filter(|_| !self.damaged.contains(&i));
        frame.cloned().ok_or(ReadError::NoSuchFrame)
    }
}

/// A look each second at a server that listens from the hundredth second on, and accepts.
fn look(second: u64) -> Arc<Snapshot> {
    let mut snapshot = Snapshot::clone(
        testing::scene(Diagnosis::default(), vec![])
            .snapshot
            .as_ref()
            .unwrap(),
    );
    snapshot.at = crate::snapshot::Moment(testing::NOW.0 + second * 1_000_000_000);
    snapshot.wall_ms += i64::try_from(second).unwrap() * 1000;
    let mut process = testing::process(10, "python3 -m uvicorn app:app");
    process.sampled_at = snapshot.at;
    let mut listeners = Vec::new();
    if second >= 100 {
        listeners.push(testing::listener(8000));
        let inode = listeners[0].inode;
        process.accepting = Some(vec![Accepting { inode, tid: None }]);
        if let Some(fds) = &mut process.fds {
            fds.sockets = vec![inode];
        }
    }
    snapshot.processes = vec![Arc::new(process)];
    snapshot.netns = vec![Arc::new(NetNs {
        inode: 1,
        sampled_at: snapshot.at,
        listeners,
        bound_visible: true,
        counters: None,
        has_other_interface: Some(true),
        host: None,
        own: true,
        somaxconn: None,
    })];
    Arc::new(snapshot)
}

/// Looks of so many seconds, with a key frame every `apart` looks.
fn reel(seconds: u64, apart: u64) -> Reel {
    let mut encoder = Encoder::new().unwrap();
    let frames = (0..seconds).map(|second| {
        if second % apart == 0 {
            encoder.restart();
        }
        encoder.encode(&look(second)).unwrap()
    });
    Reel {
        frames: frames.collect(),
        damaged: Vec::new(),
    }
}

fn phases(seen: &Seen) -> Vec<(ProcessKey, Phase)> {
    let servers = seen.diagnosis.servers.iter();
    servers.map(|s| (s.root, s.phase)).collect()
}

#[test]
fn a_place_is_the_same_however_one_got_there() {
    let reel = Arc::new(reel(200, 30));
    let mut through = Player::new(reel.clone());
    let mut told = Vec::new();
    while let Some(seen) = through.read_on() {
        let whole = serde_json::to_value(&*seen.snapshot).unwrap();
        assert_eq!(
            whole,
            serde_json::to_value(&*look(seen.look as u64)).unwrap()
        );
        told.push((seen.look, phases(&seen)));
    }
    assert_eq!(told.len(), 200);
    assert_eq!(told[20].1[0].1, Phase::Importing);
    assert_eq!(told[150].1[0].1, Phase::Serving);
    let mut jumps = Player::new(reel);
    for look in [150, 3, 199, 198, 0, 1, 2, 99, 100, 101, 30, 29, 31] {
        let seen = jumps.seek(look).unwrap();
        assert_eq!((seen.look, phases(&seen)), told[look], "{look}");
    }
}

#[test]
fn the_change_of_a_phase_is_noted_where_it_was() {
    let mut player = Player::new(Arc::new(reel(200, 30)));
    while player.read_on().is_some() {}
    let serving = |what: &What| matches!(what, What::Phase(Some(_), Phase::Serving));
    let changes = player.changes().list();
    let at: Vec<i64> = changes
        .iter()
        .filter(|c| serving(&c.what))
        .map(|c| c.wall_ms)
        .collect();
    let first = look(0).wall_ms;
    assert_eq!(at.len(), 1, "{changes:?}");
    let after_s = (at[0] - first) / 1000;
    assert!((100..=102).contains(&after_s), "{after_s}");
    assert_eq!(player.look_at(at[0]), usize::try_from(after_s).unwrap());
    assert_eq!(player.look_at(first - 1), 0);
    assert_eq!(player.look_at(i64::MAX), 199);
}

#[test]
fn what_is_damaged_is_passed_over_up_to_the_next_key_frame() {
    let mut reel = reel(120, 30);
    reel.damaged = vec![40];
    let mut player = Player::new(Arc::new(reel));
    let mut looks = Vec::new();
    while let Some(seen) = player.read_on() {
        looks.push(seen.look);
    }
    let want: Vec<usize> = (0..40).chain(60..120).collect();
    assert_eq!(looks, want);
    assert_eq!(player.unread(), 20);
    assert_eq!(player.seek(45).map(|s| s.look), Some(60));
    assert_eq!(player.seek(39).map(|s| s.look), Some(39));
}

#[test]
fn nothing_is_found_where_there_is_nothing() {
    let reel = Reel {
        frames: Vec::new(),
        damaged: Vec::new(),
    };
    let mut player = Player::new(Arc::new(reel));
    assert!(player.read_on().is_none());
    assert!(player.seek(0).is_none());
}

#[test]
fn looks_of_another_boot_are_judged_by_themselves() {
    let mut encoder = Encoder::new().unwrap();
    let mut frames: Vec<Frame> = (100..130)
        .map(|s| encoder.encode(&look(s)).unwrap())
        .collect();
    encoder.restart();
    let mut again = Snapshot::clone(&look(120));
    again.at = crate::snapshot::Moment(5);
    again.wall_ms += 60_000;
    frames.push(encoder.encode(&Arc::new(again)).unwrap());
    let mut player = Player::new(Arc::new(Reel {
        frames,
        damaged: Vec::new(),
    }));
    let seen = player.seek(30).unwrap();
    let server = &seen.diagnosis.servers[0];
    assert_eq!(server.timeline.len(), 1, "{:?}", server.timeline);
    // As one who goes through all of them has it: nothing of what was before.
    let through = player.changes().list();
    assert_eq!(seen.snapshot.at, crate::snapshot::Moment(5));
    assert_eq!(server.since, crate::snapshot::Moment(5), "{through:?}");
}

#[test]
fn a_pause_of_hours_in_one_file_is_no_hour_of_standing_still() {
    let mut encoder = Encoder::new().unwrap();
    let mut seconds: Vec<u64> = (100..130).collect();
    seconds.extend(30_000..30_030);
    let frames = seconds.iter().map(|second| {
        if *second == 30_000 {
            encoder.restart();
        }
        encoder.encode(&look(*second)).unwrap()
    });
    let reel = Arc::new(Reel {
        frames: frames.collect(),
        damaged: Vec::new(),
    });
    let mut through = Player::new(reel.clone());
    let mut told = Vec::new();
    while let Some(seen) = through.read_on() {
        told.push(seen.diagnosis.servers[0].since);
    }
    let mut jumps = Player::new(reel);
    for look in [59, 45, 30, 29, 31, 0] {
        let seen = jumps.seek(look).unwrap();
        assert_eq!(seen.diagnosis.servers[0].since, told[look], "{look}");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_turn_the_order_around() {
    let mut encoder = Encoder::new().unwrap();
    let frames = (0..20).map(|second| {
        let mut snapshot = Snapshot::clone(&look(second));
        if second >= 10 {
            snapshot.wall_ms -= 3_600_000;
        }
        encoder.encode(&Arc::new(snapshot)).unwrap()
    });
    let player = Player::new(Arc::new(Reel {
        frames: frames.collect(),
        damaged: Vec::new(),
    }));
    let times: Vec<i64> = (0..20)
        .map(|at| player.time_of(at) - player.time_of(0))
        .collect();
    assert_eq!(times, (0..20).map(|s| s * 1000).collect::<Vec<i64>>());
    assert_eq!(player.look_at(player.time_of(15)), 15);
}
