//! What does a recording of fifty servers cost, beside storing each snapshot by itself as JSON that zstd has compressed?
//!
//!     cargo bench --bench recording            everything, about four minutes
//!     cargo bench --bench recording -- store   one of: store, open, program
//!
//! Prints measurements and ratios; asserts nothing.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the bench"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../support/mod.rs"]
mod measure;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use measure::cost::{cpu_of, cpu_of_pid, resident};
use measure::{heading, row, wanted};
use steth::diagnosis::Analyst;
use steth::recording::{
    Decoder, Encoder, Frame, FrameKind, Frames, Header, Limits, LineEncoder, Recording, SCHEMA,
    Writer,
};
use steth::snapshot::Snapshot;
use steth::source::sampler::{Sampler, Wishes};
use support::python::any;
use support::server::Server;

const SERVERS: usize = 50;
const STETH: &str = env!("CARGO_BIN_EXE_steth");
/// Snapshots that are taken, one a second: those of one segment.
const TAKEN: usize = 120;
const HOUR: f64 = 3600.0;

fn main() {
    heading("JSON + zstd");
    let farm = farm();
    if wanted("store") || wanted("open") {
        let snapshots = taken();
        if wanted("store") {
            store(&snapshots);
        }
        if wanted("open") {
            open(&snapshots);
        }
    }
    if wanted("program") {
        program();
    }
    drop(farm);
}

/// Fifty quiet servers of three threads each.
fn farm() -> Vec<Server> {
    let python = any().unwrap_or_else(|reason| panic!("{reason}"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/look");
    let start = |_| Server::start_in(&folder, &python, &["farm.py", "{port}"]);
    let farm: Vec<Server> = (0..SERVERS).map(start).collect();
    for server in &farm {
        server.wait_listens();
    }
    farm
}

/// Two minutes of the farm, once it is at rest.
fn taken() -> Vec<Arc<Snapshot>> {
    let (mut sampler, mut analyst) = (Sampler::new(), Analyst::default());
    let mut wishes = Wishes {
        interval_s: 1.0,
        patience: Duration::from_millis(300),
        ..Wishes::default()
    };
    let mut snapshots = Vec::new();
    const REST: usize = 15;
    for _ in 0..REST + TAKEN {
        let begun = Instant::now();
        let snapshot = Arc::new(sampler.look(&wishes));
        wishes.hot = analyst.observe(&snapshot).attention.into_iter().collect();
        snapshots.push(snapshot);
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
    snapshots.split_off(REST)
}

fn encoded(snapshots: &[Arc<Snapshot>]) -> Vec<Frame> {
    let mut encoder = Encoder::new().unwrap();
    snapshots
        .iter()
        .map(|s| encoder.encode(s).unwrap())
        .collect()
}

fn store(snapshots: &[Arc<Snapshot>]) {
    let frames = encoded(snapshots);
    let sizes = |kind| {
        let sizes = frames.iter().filter(|f| f.meta.kind == kind);
        let sizes: Vec<f64> = sizes.map(|f| f.payload.len() as f64).collect();
        sizes.iter().sum::<f64>() / sizes.len().max(1) as f64
    };
    let alone =
        |s: &Arc<Snapshot>| zstd::bulk::compress(&serde_json::to_vec(s).unwrap(), 1).unwrap();
    let plain = snapshots.iter().map(|s| alone(s).len()).sum::<usize>() as f64 / TAKEN as f64;
    let (key, delta) = (sizes(FrameKind::Key), sizes(FrameKind::Delta));
    let keys = HOUR / TAKEN as f64;
    let hour = keys * key + (HOUR - keys) * delta + 40.0 * HOUR;
    row(
        "an hour at 1 Hz",
        hour / 1e6,
        Some((plain + 40.0) * HOUR / 1e6),
        "MB",
    );
    row("a key frame", key, Some(plain), "B");
    row("a delta", delta, Some(plain), "B");
    let mut lines = LineEncoder::default();
    let bodies: Vec<_> = snapshots
        .iter()
        .map(|s| lines.encode(s).unwrap().1)
        .collect();
    let each = |body: &Vec<u8>| zstd::bulk::compress(body, 1).unwrap().len();
    let deltas = bodies.iter().skip(1);
    let apart = deltas.clone().map(each).sum::<usize>() as f64 / (TAKEN - 1) as f64;
    let length = deltas.map(Vec::len).sum::<usize>() as f64 / (TAKEN - 1) as f64;
    println!("  a delta is {length:.0} B of JSON; compressed by itself it would be {apart:.0} B");

    let mut encoder = Encoder::new().unwrap();
    encoder.encode(snapshots.first().unwrap()).unwrap();
    let ours = cpu_of(1, &mut || {
        for snapshot in snapshots.iter().skip(1) {
            encoder.encode(snapshot).unwrap();
        }
    });
    let theirs = cpu_of(1, &mut || {
        snapshots.iter().skip(1).for_each(|s| drop(alone(s)))
    });
    let each = |seconds: f64| seconds / (TAKEN - 1) as f64 * 1e3;
    row(
        "CPU to encode a delta",
        each(ours),
        Some(each(theirs)),
        "ms",
    );
    let first = snapshots.first().unwrap();
    let key = cpu_of(20, &mut || {
        encoder.restart();
        encoder.encode(first).unwrap();
    });
    row(
        "CPU to encode a key frame",
        key * 1e3,
        Some(each(theirs)),
        "ms",
    );
    let decode = cpu_of(10, &mut || {
        let mut decoder = Decoder::new().unwrap();
        for frame in &frames {
            decoder.decode(frame).unwrap();
        }
    });
    row(
        "CPU to decode a frame, one after the other",
        decode / TAKEN as f64 * 1e3,
        None,
        "ms",
    );
}

/// Opening a file and finding a place in it: of one hour, and of 1 GB.
fn open(snapshots: &[Arc<Snapshot>]) {
    let frames = encoded(snapshots);
    let folder = tempfile::TempDir::new().unwrap();
    for (what, most) in [("an hour", 30 * frames.len()), ("1 GB", usize::MAX)] {
        let path = folder.path().join(what);
        let limits = Limits {
            size: 4 << 30,
            age_s: None,
        };
        let mut writer = Writer::open(&path, header(), limits).unwrap();
        for (written, frame) in frames.iter().cycle().enumerate() {
            if written >= most || writer.size() >= 1_000_000_000 {
                break;
            }
            writer.write(frame).unwrap();
        }
        let size = writer.size();
        drop(writer);
        let (memory, begun) = (resident(), Instant::now());
        let recording = Recording::open(&path).unwrap();
        let took = begun.elapsed().as_secs_f64() * 1e3;
        println!(
            "{what}: {} frames, {} MB",
            recording.count(),
            size / 1_000_000
        );
        row("  to open it, wall", took, None, "ms");
        row(
            "  memory for its index",
            (resident() - memory) / 1e6,
            None,
            "MB",
        );
        let target = recording.count() / 2 / TAKEN * TAKEN + TAKEN - 1;
        let begun = Instant::now();
        let mut decoder = Decoder::new().unwrap();
        for i in recording.key_of(target).unwrap()..=target {
            decoder.decode(&recording.frame(i).unwrap()).unwrap();
        }
        let took = begun.elapsed().as_secs_f64() * 1e3;
        row(
            "  to the farthest frame of a segment, wall",
            took,
            None,
            "ms",
        );
        std::fs::remove_file(&path).unwrap();
    }
}

fn header() -> Header {
    Header {
        schema: SCHEMA.into(),
        steth: env!("CARGO_PKG_VERSION").into(),
        host: "bench".into(),
        kernel: None,
        boot_id: None,
        wall_ms: 0,
        interval_s: 1.0,
        masked: None,
    }
}

/// The program itself, with all that it looks at.
fn program() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("a.steth");
    let mut child = Command::new(STETH)
        .arg("record")
        .arg(&path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let size = || std::fs::metadata(&path).map_or(0, |meta| meta.len()) as f64;
    std::thread::sleep(Duration::from_secs(20));
    let (cpu, bytes) = (cpu_of_pid(child.id()), size());
    let span = 60.0;
    std::thread::sleep(Duration::from_secs_f64(span));
    let (cpu, bytes) = (cpu_of_pid(child.id()) - cpu, size() - bytes);
    child.kill().unwrap();
    child.wait().unwrap();
    row(
        "steth record: bytes in an hour at its rate",
        bytes / span * HOUR / 1e6,
        None,
        "MB",
    );
    row(
        "steth record: CPU of one core, looks included",
        100.0 * cpu / span,
        None,
        "%",
    );
    let frames = Recording::open(&path).unwrap().count();
    println!("  {frames} frames in {:.0} s", span + 20.0);
}
