//! Files that are written, appended to and kept within limits; and the tape.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use crate::recording::{
    Decoder, Encoder, FrameKind, Frames, Header, Limits, Recording, SCHEMA, Tape, TapeLimits,
    WriteError, Writer,
};
use crate::snapshot::Snapshot;

pub fn header() -> Header {
    Header {
        schema: SCHEMA.into(),
        steth: "0.1.0".into(),
        host: "web-3".into(),
        kernel: Some("6.8.0".into()),
        boot_id: Some("b".into()),
        wall_ms: 1_763_647_331_120,
        interval_s: 1.0,
        masked: Some(true),
    }
}

/// Snapshots one second apart, each with so many bytes that cannot be compressed much; a key frame every ten.
fn fill(writer: &mut Writer, from: u64, count: u64, noise: usize) -> Result<(), WriteError> {
    let mut encoder = Encoder::new().expect("memory");
    for n in from..from + count {
        if n.is_multiple_of(10) {
            encoder.restart();
        }
        writer.write(&encoder.encode(&at_second(n, noise)).expect("small"))?;
    }
    Ok(())
}

fn at_second(n: u64, noise: usize) -> Arc<Snapshot> {
    let mut snapshot = super::empty();
    snapshot.at.0 += n * 1_000_000_000;
    snapshot.wall_ms += n as i64 * 1_000;
    let mut variety = super::variety::Variety::new(n + 1);
    snapshot.host = (0..noise)
        .map(|_| char::from(b'!' + variety.below(90) as u8))
        .collect();
    Arc::new(snapshot)
}

/// The seconds that a recording has.
fn seconds(path: &Path) -> Vec<u64> {
    let recording = Recording::open(path).expect("whole");
    assert_eq!(recording.damages(), []);
    let mut decoder = Decoder::new().expect("memory");
    let second = |i| {
        let snapshot = decoder
            .decode(&recording.frame(i).expect("whole"))
            .expect("whole");
        (snapshot.at.0 - super::empty().at.0) / 1_000_000_000
    };
    (0..recording.count()).map(second).collect()
}

#[test]
fn a_file_is_its_owners_and_begins_with_a_line_for_people() {
    let folder = TempDir::new().expect("room");
    let path = folder.path().join("a.steth");
    let mut writer = Writer::open(&path, header(), Limits::default()).expect("room");
    let mut encoder = Encoder::new().expect("memory");
    let frames = [0, 1].map(|n| encoder.encode(&at_second(n, 0)).expect("small"));
    assert!(matches!(writer.write(&frames[1]), Err(WriteError::NoKey)));
    for frame in &frames {
        writer.write(frame).expect("room");
    }
    let meta = std::fs::metadata(&path).expect("just made");
    assert_eq!(
        (meta.permissions().mode() & 0o777, meta.len()),
        (0o600, writer.size())
    );
    let bytes = std::fs::read(&path).expect("just made");
    let line = bytes.split(|b| *b == b'\n').next().expect("there is one");
    let line = std::str::from_utf8(line).expect("text");
    assert!(
        line.starts_with("{\"schema\":\"steth.recording/1\""),
        "{line}"
    );
    assert_eq!(Recording::open(&path).expect("whole").header(), &header());
    assert_eq!(seconds(&path), [0, 1]);
}

#[test]
fn what_exists_is_continued_or_left_alone() {
    let folder = TempDir::new().expect("room");
    let path = folder.path().join("a.steth");
    let open = |host: &str| {
        let header = Header {
            host: host.into(),
            ..header()
        };
        Writer::open(&path, header, Limits::default())
    };
    let mut first = open("one").expect("room");
    fill(&mut first, 0, 3, 0).expect("room");
    assert!(matches!(open("two"), Err(WriteError::Busy)));
    drop(first);
    // Its writer was killed in the middle of a frame.
    let bytes = std::fs::read(&path).expect("just made");
    std::fs::write(&path, &bytes[..bytes.len() - 5]).expect("room");
    let mut second = open("two").expect("it is a recording");
    assert!(second.cut_bytes() > 0);
    fill(&mut second, 20, 2, 0).expect("room");
    assert_eq!(seconds(&path), [0, 1, 20, 21]);
    let recording = Recording::open(&path).expect("whole");
    let [session] = recording.sessions() else {
        panic!("{:?}", recording.sessions());
    };
    assert_eq!((session.first, session.header.host.as_str()), (2, "two"));
    assert_eq!(recording.key_of(3), Some(2));

    for foreign in ["a letter\n", "{\"schema\":\"steth.recording/9\"}\n"] {
        let path = folder.path().join("foreign");
        std::fs::write(&path, foreign).expect("room");
        let opened = Writer::open(&path, header(), Limits::default());
        assert!(matches!(opened, Err(WriteError::Existing(_))), "{foreign}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), foreign);
    }
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let folder = TempDir::new().expect("room");
    let path = folder.path().join("a.steth");
    let limits = Limits {
        size: 100_000,
        age_s: None,
    };
    let one = |host: &str| Header {
        host: host.into(),
        ..header()
    };
    let mut writer = Writer::open(&path, one("one"), limits).expect("room");
    fill(&mut writer, 0, 30, 1_000).expect("room");
    drop(writer);
    let mut writer = Writer::open(&path, one("two"), limits).expect("room");
    let mut most = 0;
    for tens in 3..40 {
        fill(&mut writer, tens * 10, 10, 1_000).expect("room");
        most = most.max(writer.size());
    }
    // A quarter more, and one segment, which is not cut.
    assert!((100_000..140_000).contains(&most), "{most}");
    assert_eq!(
        writer.size(),
        std::fs::metadata(&path).expect("there").len()
    );
    let kept = seconds(&path);
    assert!(kept.len() > 50, "{kept:?}");
    assert_eq!(
        kept.first().map(|first| first % 10),
        Some(0),
        "whole segments"
    );
    assert!(
        kept.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{kept:?}"
    );
    assert_eq!(kept.last(), Some(&399));
    // What the first line says is true of what is left.
    let recording = Recording::open(&path).expect("whole");
    assert_eq!(
        (recording.header().host.as_str(), recording.sessions()),
        ("two", &[][..])
    );
    let left: Vec<_> = std::fs::read_dir(&folder).expect("there").collect();
    assert_eq!(left.len(), 1, "nothing lies beside it");
}

#[test]
fn who_may_read_it_still_may_when_the_oldest_have_gone() {
    let folder = TempDir::new().expect("room");
    let path = folder.path().join("a.steth");
    let limits = Limits {
        size: 100_000,
        age_s: None,
    };
    let mut writer = Writer::open(&path, header(), limits).expect("room");
    let shared = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(&path, shared).expect("own");
    fill(&mut writer, 0, 300, 1_000).expect("room");
    assert!(seconds(&path).first() > Some(&0), "nothing has gone");
    let mode = std::fs::metadata(&path).expect("there").permissions();
    assert_eq!(mode.mode() & 0o7777, 0o640);
}

#[test]
fn where_the_oldest_cannot_go_it_goes_on_and_tries_again() {
    let folder = TempDir::new().expect("room");
    let path = folder.path().join("a.steth");
    let limits = Limits {
        size: 100_000,
        age_s: None,
    };
    let mut writer = Writer::open(&path, header(), limits).expect("room");
    // The copy cannot be made.
    let name = format!("a.steth.{}.new", std::process::id());
    let beside = folder.path().join(name);
    std::fs::create_dir(&beside).expect("room");
    let mut n = 0;
    while writer.size() < 160_000 {
        fill(&mut writer, n, 10, 1_000).expect("it goes on");
        n += 10;
    }
    assert_eq!(seconds(&path), (0..n).collect::<Vec<_>>());
    std::fs::remove_dir(&beside).expect("there");
    fill(&mut writer, n, 10, 1_000).expect("room");
    assert!(writer.size() < 130_000, "{}", writer.size());
    assert_eq!(seconds(&path).last(), Some(&(n + 9)));
    // Not without end.
    std::fs::create_dir(&beside).expect("room");
    let failed = (1..100).find_map(|tens| fill(&mut writer, n + tens * 10, 10, 1_000).err());
    assert!(matches!(failed, Some(WriteError::Io(_))), "{failed:?}");
    assert!(writer.size() < 230_000, "{}", writer.size());
}

#[test]
fn the_oldest_go_when_they_are_too_old() {
    let folder = TempDir::new().expect("room");
    let path = folder.path().join("a.steth");
    let limits = Limits {
        size: 1 << 30,
        age_s: Some(40),
    };
    let mut writer = Writer::open(&path, header(), limits).expect("room");
    fill(&mut writer, 0, 51, 0).expect("room");
    assert_eq!(seconds(&path).first(), Some(&0), "a quarter more may stay");
    fill(&mut writer, 60, 1, 0).expect("room");
    assert_eq!(seconds(&path).first(), Some(&20));
}

#[test]
fn a_tape_keeps_the_newest() {
    let snapshots: Vec<_> = (0..300).map(|n| at_second(n, 500)).collect();
    let mut tape = Tape::new(TapeLimits {
        age_s: 100.0,
        bytes: 1 << 30,
    });
    let mut encoder = Encoder::new().expect("memory");
    let mut frames = Vec::new();
    for (n, snapshot) in snapshots.iter().enumerate() {
        if n % 10 == 0 {
            encoder.restart();
        }
        frames.push(encoder.encode(snapshot).expect("small"));
    }
    assert!(!tape.push(frames[1].clone()), "a delta of nothing");
    for frame in &frames {
        assert!(tape.push(frame.clone()));
    }
    assert!(!tape.push(frames[5].clone()), "a delta of something else");
    // The oldest segment has to reach back as far as was asked for.
    assert_eq!((tape.count(), tape.meta(0)), (110, Some(frames[190].meta)));
    assert_eq!(tape.meta(0).map(|meta| meta.kind), Some(FrameKind::Key));
    assert_eq!((tape.key_of(25), tape.key_of(30)), (Some(20), Some(30)));
    let kept = tape.clone();
    let mut decoder = Decoder::new().expect("memory");
    for (i, want) in snapshots[190..].iter().enumerate() {
        let got = decoder
            .decode(&kept.frame(i).expect("kept"))
            .expect("whole");
        assert_eq!(&got, want);
    }
    assert!(tape.frame(110).is_err());

    let mut small = Tape::new(TapeLimits {
        age_s: 1e9,
        bytes: 20_000,
    });
    for frame in &frames {
        small.push(frame.clone());
    }
    assert!(small.bytes() <= 20_000);
    assert!(small.count() > 10, "{}", small.count());
    assert_eq!(small.meta(small.count() - 1), Some(frames[299].meta));
}
