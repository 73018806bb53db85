//! Files that are torn, flipped, foreign or empty, and frames that mean ill.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::files::header;
use super::{encoded, incident};
use crate::recording::{
    DecodeError, Decoder, Encoder, Frame, Frames, Limits, LineDecoder, LineEncoder, MOST_BODY,
    ReadError, Recording, Writer,
};
use crate::snapshot::Snapshot;

/// Two segments of three small frames each, their snapshots, and where the first record begins.
fn small(folder: &Path) -> (PathBuf, Vec<Arc<Snapshot>>, usize) {
    let path = folder.join("small.steth");
    let mut writer = Writer::open(&path, header(), Limits::default()).expect("room");
    let start = usize::try_from(writer.size()).expect("small");
    let mut encoder = Encoder::new().expect("memory");
    let mut snapshots = Vec::new();
    for n in 0..6_u32 {
        let mut snapshot = super::empty();
        snapshot.at = snapshot.at.plus_seconds(f64::from(n));
        if n == 3 {
            encoder.restart();
        }
        let snapshot = Arc::new(snapshot);
        let frame = encoder.encode(&snapshot).expect("small");
        writer.write(&frame).expect("room");
        snapshots.push(snapshot);
    }
    (path, snapshots, start)
}

/// Opens what the bytes would be as a file.
fn open(folder: &Path, bytes: &[u8]) -> Result<Recording, ReadError> {
    let path = folder.join("tried.steth");
    let mut file = std::fs::File::create(&path).expect("room");
    file.write_all(bytes).expect("room");
    Recording::open(&path)
}

/// All frames that are there can be decoded, and are snapshots that were stored.
fn decoded(recording: &Recording, stored: &[Arc<Snapshot>]) -> usize {
    let mut decoder = Decoder::new().expect("memory");
    for i in 0..recording.count() {
        let frame = recording.frame(i).expect("it is in the index");
        let snapshot = decoder.decode(&frame).expect("so is all that it stands on");
        assert!(stored.contains(&snapshot), "frame {i} was never stored");
    }
    recording.count()
}

#[test]
fn every_bit_may_flip() {
    let folder = TempDir::new().expect("room");
    let (path, snapshots, start) = small(folder.path());
    let whole = std::fs::read(path).expect("just written");
    for position in 0..whole.len() {
        let bit = position % 8;
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << bit;
        let opened = open(folder.path(), &bytes);
        if position < start {
            // Not all of the first line matters.
            drop(opened.map(|recording| decoded(&recording, &snapshots)));
            continue;
        }
        let recording = opened.expect("the first line is whole");
        assert!(
            !recording.damages().is_empty(),
            "byte {position}, bit {bit} was flipped"
        );
        // One segment is whole at least, and of the other what comes before.
        let count = decoded(&recording, &snapshots);
        assert!((3..6).contains(&count), "byte {position}: {count} frames");
    }
}

#[test]
fn it_may_end_anywhere() {
    let folder = TempDir::new().expect("room");
    let (path, snapshots, start) = small(folder.path());
    let whole = std::fs::read(path).expect("just written");
    let all = open(folder.path(), &whole).expect("it is whole");
    assert_eq!((decoded(&all, &snapshots), all.torn_bytes()), (6, 0));
    let mut counts = Vec::new();
    for length in 0..whole.len() {
        let opened = open(folder.path(), &whole[..length]);
        if length < start {
            assert!(matches!(opened, Err(ReadError::Foreign)), "{length} bytes");
            continue;
        }
        let recording = opened.expect("the first line is whole");
        let count = decoded(&recording, &snapshots);
        counts.push(count);
        assert_eq!(
            recording.torn_bytes(),
            length as u64 - recording.index().end
        );
        assert_eq!(recording.damages().is_empty(), recording.torn_bytes() == 0);
    }
    assert!(counts.is_sorted());
    counts.dedup();
    assert_eq!(counts, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_is_lost_in_the_middle_is_told() {
    let folder = TempDir::new().expect("room");
    let (path, snapshots, _) = small(folder.path());
    let recording = Recording::open(&path).expect("whole");
    let second = recording.index().offset(1).expect("there are six");
    let fourth = recording.index().offset(3).expect("there are six");
    let mut bytes = std::fs::read(path).expect("just written");
    bytes[second as usize + 45] ^= 1;
    let recording = open(folder.path(), &bytes).expect("the first line is whole");
    // Of the first segment the key frame is left.
    assert_eq!(decoded(&recording, &snapshots), 4);
    let [damage] = recording.damages() else {
        panic!("{:?}", recording.damages());
    };
    assert_eq!(
        (damage.before, damage.offset, damage.bytes),
        (1, second, fourth - second)
    );
    assert_eq!(recording.torn_bytes(), 0);
}

#[test]
fn other_files_are_told_apart() {
    let folder = TempDir::new().expect("room");
    let open = |bytes: &[u8]| open(folder.path(), bytes).map(|_| ());
    for (what, bytes) in [
        ("empty", &b""[..]),
        ("text", b"hello\nworld\n"),
        ("other JSON", b"{\"schema\":\"steth.check/1\"}\n"),
        ("no line", b"{\"schema\":\"steth.recording/1\""),
        ("a long line", &[b' '; 100_000]),
        ("zeros", &[0; 5_000]),
    ] {
        assert!(matches!(open(bytes), Err(ReadError::Foreign)), "{what}");
    }
    let newer = b"{\"schema\":\"steth.recording/2\",\"all\":\"new\"}\n";
    let Err(ReadError::Version { version }) = open(newer) else {
        panic!("a newer version was read");
    };
    assert_eq!(version, "2");
    assert!(matches!(
        Recording::open(folder.path()),
        Err(ReadError::NotAFile)
    ));
    assert!(matches!(
        Recording::open(&folder.path().join("none")),
        Err(ReadError::Io(_))
    ));
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = TempDir::new().expect("room");
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo").success());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(Recording::open(&path).map(|_| ())));
    let opened = told.recv_timeout(std::time::Duration::from_secs(30));
    assert!(matches!(opened, Ok(Err(ReadError::NotAFile))), "{opened:?}");
}

#[test]
fn marks_without_end_are_no_work_without_end() {
    let folder = TempDir::new().expect("room");
    let mut bytes = header().line().expect("plain");
    bytes.extend(b"\x9fSTF".repeat(100_000));
    let recording = open(folder.path(), &bytes).expect("the first line is whole");
    assert_eq!((recording.count(), recording.torn_bytes()), (0, 400_000));
}

#[test]
fn what_swells_is_not_unpacked() {
    let bomb = zstd::bulk::compress(&vec![b' '; MOST_BODY + 4096], 1).expect("memory");
    let first = encoded(&incident(1, 1)).remove(0);
    let frame = Frame {
        payload: bomb.into(),
        ..first
    };
    let mut decoder = Decoder::new().expect("memory");
    let decoded = decoder.decode(&frame);
    assert!(matches!(decoded, Err(DecodeError::TooLarge)), "{decoded:?}");
    let mut lines = LineDecoder::default();
    let deep = format!("{{\"key\":{}", "[".repeat(100_000));
    assert!(lines.decode(deep.as_bytes()).is_err());
}

#[test]
fn changes_that_mean_ill_are_errors() {
    let snapshots = incident(5, 2);
    let mut encoder = LineEncoder::default();
    let (_, key) = encoder.encode(&snapshots[0]).expect("small");
    let (_, delta) = encoder.encode(&snapshots[1]).expect("small");
    let after = snapshots[0].at.0;
    let decode = |body: &[u8]| {
        let mut decoder = LineDecoder::default();
        decoder.decode(&key).expect("whole");
        decoder.decode(body)
    };
    assert_eq!(decode(&delta).expect("whole"), snapshots[1]);
    for change in [
        "{\"processes\":[1000000]}",
        "{\"processes\":[-100]}",
        "{\"processes\":[-9223372036854775808]}",
        "{\"processes\":[-3,-100]}",
        "{\"processes\":[{\"+\":{}}]}",
        "{\"processes\":[{\"?\":{}}]}",
        "{\"processes\":{}}",
        "{\"at\":null}",
        "[]",
    ] {
        let body = format!("{{\"after\":{after},\"delta\":{change}}}\n");
        assert!(decode(body.as_bytes()).is_err(), "{change}");
    }
    // What a later version may add.
    let body = format!(
        "{{\"after\":{after},\"new\":[1],\"delta\":{{\"fine\":{{}},\"processes\":[{{\"~\":{{\"new\":1}}}}]}}}}\n"
    );
    assert_eq!(
        decode(body.as_bytes()).expect("unknown fields are ignored"),
        snapshots[0]
    );
    for position in 0..delta.len() {
        let mut body = delta.clone();
        body[position] ^= 4;
        // Whatever comes of it is no panic.
        drop(decode(&body));
    }
}
