//! `record`: appends every snapshot that is made to a file, until it is ended.
//!
//! What is stored is all that was seen, whatever the target: a target only has to be there.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ending::Ending;
use super::{Watcher, complain, complain_of_unmatched};
use crate::cli::{ExitStatus, Record};
use crate::diagnosis::words::{count, duration};
use crate::recording::{EncodeError, Encoder, Header, Limits, SCHEMA, Writer};
use crate::snapshot::Snapshot;
use crate::source::{clock, secret};
use crate::view::format;

/// Looks may wait so long for stacks: nobody waits for the next frame.
const PATIENCE: Duration = Duration::from_millis(300);

pub(super) fn record(arguments: &Record) -> Result<ExitStatus> {
    if arguments.no_mask {
        secret::leave_in_clear();
    }
    let ending = Ending::listen()?;
    let mut watcher = Watcher::new(&arguments.targets, arguments.interval);
    watcher.wishes.patience = PATIENCE;
    let (mut scene, whole) = watcher.look();
    if let Some(status) =
        complain_of_unmatched(&whole, scene.snapshot.as_deref(), &arguments.targets)
    {
        return Ok(status);
    }
    let mut recorder = Recorder::begin(arguments)?;
    let is_over = |watcher: &Watcher| {
        let length = arguments.length;
        ending.signal().is_some() || length.is_some_and(|length| watcher.began.elapsed() >= length)
    };
    loop {
        if let Some(snapshot) = &scene.snapshot
            && let Err(error) = recorder.take(snapshot)
        {
            recorder.tell_end();
            return Err(error);
        }
        if is_over(&watcher) {
            break;
        }
        watcher.wait(|watcher| is_over(watcher));
        (scene, _) = watcher.look();
    }
    recorder.tell_end();
    Ok(ending
        .signal()
        .map_or(ExitStatus::Healthy, ExitStatus::Signalled))
}

/// What the first line of a recording or of a stream says.
pub(super) fn header(interval: Duration) -> Header {
    Header {
        schema: SCHEMA.to_owned(),
        steth: env!("CARGO_PKG_VERSION").to_owned(),
        host: clock::host_name(),
        kernel: clock::kernel_release(),
        boot_id: clock::boot_id(),
        wall_ms: clock::wall_ms(),
        interval_s: interval.as_secs_f64(),
        masked: Some(!secret::is_in_clear()),
    }
}

/// Stores snapshots and counts them.
struct Recorder<'a> {
    path: &'a Path,
    encoder: Encoder,
    writer: Writer,
    began: Instant,
    frames: u64,
    bytes: u64,
    has_complained: bool,
}

impl<'a> Recorder<'a> {
    fn begin(arguments: &'a Record) -> Result<Self> {
        let path = arguments.file.as_path();
        let limits = Limits {
            size: arguments.max_size,
            age_s: arguments.max_age.map(|age| age.as_secs()),
        };
        let named = || path.display().to_string();
        let writer = Writer::open(path, header(arguments.interval), limits).with_context(named)?;
        if writer.cut_bytes() > 0 {
            let cut = format::bytes(writer.cut_bytes());
            complain(&format!("steth: {}: cut off a torn end of {cut}", named()));
        }
        complain(&format!(
            "steth: recording every {} to {}, at most {}; ^C ends it",
            duration(arguments.interval.as_secs_f64()),
            named(),
            format::bytes(limits.size),
        ));
        Ok(Self {
            path,
            encoder: Encoder::new()?,
            writer,
            began: Instant::now(),
            frames: 0,
            bytes: 0,
            has_complained: false,
        })
    }

    fn take(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let frame = match self.encoder.encode(snapshot) {
            Ok(frame) => frame,
            Err(error @ EncodeError::TooLarge { .. }) => {
                if !std::mem::replace(&mut self.has_complained, true) {
                    complain(&format!("steth: {error}; such are left out"));
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = self.writer.write(&frame) {
            let path = self.path.display();
            let words = match error.is_full() {
                true => format!("{path}: no room is left; it is valid up to the last whole frame"),
                false => format!("{path}: cannot be written"),
            };
            return Err(anyhow::Error::new(error).context(words));
        }
        self.frames += 1;
        self.bytes += frame.payload.len() as u64;
        Ok(())
    }

    fn tell_end(&self) {
        complain(&format!(
            "steth: {} in {}, {}; {} has {}",
            count(usize::try_from(self.frames).unwrap_or(usize::MAX), "frame"),
            duration(self.began.elapsed().as_secs_f64()),
            format::bytes(self.bytes),
            self.path.display(),
            format::bytes(self.writer.size()),
        ));
    }
}
