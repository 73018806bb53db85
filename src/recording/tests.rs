//! What is stored is what was seen, whatever changes from one snapshot to the next.

use std::sync::Arc;

use super::{Decoder, Encoder, Frame, FrameKind};
use crate::snapshot::{Moment, ProcessKey, Snapshot};
use crate::testing::{NOW, diagnosis, log, process, scene};

mod damage;
mod files;
mod variety;

use variety::Variety;

/// Nothing but the frame around it.
fn empty() -> Snapshot {
    let snapshot = scene(diagnosis(vec![], vec![]), vec![]).snapshot;
    Arc::unwrap_or_clone(snapshot.expect("a scene has one"))
}

/// Ten snapshots, a second apart, of a machine on which everything happens.
fn incident(seed: u64, length: usize) -> Vec<Arc<Snapshot>> {
    let mut variety = Variety::new(seed);
    let mut now = empty();
    now.processes = (10..16)
        .map(|pid| Arc::new(process(pid, "uvicorn shop:app")))
        .collect();
    let next = |_| {
        now.at = Moment(now.at.0 + 1_000_000_000 + variety.below(1_000));
        now.wall_ms += 1_000;
        variety.stir(&mut now);
        Arc::new(now.clone())
    };
    (0..length).map(next).collect()
}

fn encoded(snapshots: &[Arc<Snapshot>]) -> Vec<Frame> {
    let mut encoder = Encoder::new().expect("memory");
    snapshots
        .iter()
        .map(|s| encoder.encode(s).expect("small enough"))
        .collect()
}

#[test]
fn what_is_decoded_is_what_was_encoded() {
    for seed in 0..12 {
        let snapshots = incident(seed, 40);
        let mut decoder = Decoder::new().expect("memory");
        for (i, (frame, want)) in encoded(&snapshots).iter().zip(&snapshots).enumerate() {
            let kind = if i == 0 {
                FrameKind::Key
            } else {
                FrameKind::Delta
            };
            assert_eq!((frame.meta.kind, frame.meta.at), (kind, want.at));
            let got = decoder.decode(frame).expect("whole");
            assert_eq!(got.as_ref(), want.as_ref(), "seed {seed}, frame {i}");
        }
    }
}

#[test]
fn what_has_not_changed_is_shared() {
    let mut snapshot = empty();
    snapshot.processes = (10..12)
        .map(|pid| Arc::new(process(pid, "uvicorn shop:app")))
        .collect();
    let key = |pid| ProcessKey {
        pid,
        start_time: 10_000,
    };
    snapshot.inquiries.logs = vec![log(&[key(10)], &[(None, "a"), (None, "b")])];
    let first = Arc::new(snapshot.clone());
    snapshot.at = snapshot.at.plus_seconds(1.0);
    Arc::make_mut(&mut snapshot.processes[1]).cpu_ns += 10_000_000;
    Arc::make_mut(&mut snapshot.inquiries.logs[0]).skipped = 1;
    let second = Arc::new(snapshot);
    let mut decoder = Decoder::new().expect("memory");
    let frames = encoded(&[first, second]);
    let [first, second] =
        [&frames[0], &frames[1]].map(|frame| decoder.decode(frame).expect("whole"));
    assert!(Arc::ptr_eq(&first.processes[0], &second.processes[0]));
    let stacks = |s: &Snapshot| {
        s.processes[1]
            .python
            .as_ref()
            .and_then(|p| p.stacks.clone())
            .expect("has some")
    };
    assert!(!Arc::ptr_eq(&first.processes[1], &second.processes[1]));
    assert!(Arc::ptr_eq(&stacks(&first), &stacks(&second)));
    let line = |s: &Snapshot| s.inquiries.logs[0].lines[1].clone();
    assert!(Arc::ptr_eq(&line(&first), &line(&second)));
}

#[test]
fn a_delta_stands_on_the_frame_before_it_and_on_no_other() {
    let snapshots = incident(1, 4);
    let frames = encoded(&snapshots);
    let mut decoder = Decoder::new().expect("memory");
    assert!(decoder.decode(&frames[1]).is_err(), "nothing before it");
    decoder
        .decode(&frames[0])
        .expect("a key frame stands alone");
    assert!(decoder.decode(&frames[2]).is_err(), "one is missing");
    // That has not confused it.
    let second = decoder.decode(&frames[1]).expect("the one that follows");
    assert_eq!(second, snapshots[1]);
    assert!(decoder.decode(&frames[1]).is_err(), "the same again");
    // A delta of the same number from another recording.
    let others = encoded(&incident(2, 4));
    assert!(decoder.decode(&others[2]).is_err(), "of another segment");
    assert!(
        decoder.decode(&frames[2]).is_err(),
        "only a key frame helps"
    );
    decoder.decode(&frames[0]).expect("which it does");
}

#[test]
fn a_key_frame_comes_again_and_again_and_after_a_loss() {
    let mut encoder = Encoder::new().expect("memory");
    let mut snapshot = empty();
    let mut keys = Vec::new();
    for second in 0..300_u32 {
        snapshot.at = NOW.plus_seconds(f64::from(second));
        if second == 50 {
            encoder.restart();
        }
        let frame = encoder.encode(&Arc::new(snapshot.clone())).expect("small");
        if frame.meta.kind == FrameKind::Key {
            keys.push(second);
        }
    }
    assert_eq!(keys, [0, 50, 170, 290]);
    // A clock that goes backwards belongs to another boot.
    snapshot.at = Moment(5);
    let frame = encoder.encode(&Arc::new(snapshot)).expect("small");
    assert_eq!(frame.meta.kind, FrameKind::Key);
}
