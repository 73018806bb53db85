//! `stream`: prints every snapshot that is made as a line of JSON, for whoever shows it elsewhere.
//!
//! ```text
//!  {"schema":"steth.recording/1","steth":"…","host":"…",…}      a recording's header, once
//!  {"key": Snapshot}                                            all of it
//!  {"after": MOMENT, "delta": {…}}                              what has changed since the line before, of that moment
//! ```
//!
//! [`LineDecoder`](crate::recording::LineDecoder) reads all lines but the first. A line is written when there is room for it, and
//! nobody looks meanwhile: what comes late through a slow pipe is never more than what the pipe holds.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::Watcher;
use super::record::header;
use crate::cli::{ExitStatus, Stream};
use crate::recording::LineEncoder;
use crate::source::secret;

/// Looks may wait so long for stacks.
const PATIENCE: Duration = Duration::from_millis(60);

pub(super) fn stream(arguments: &Stream) -> Result<ExitStatus> {
    if arguments.no_mask {
        secret::leave_in_clear();
    }
    let is_closed = listener_to_stdin();
    write(&header(arguments.interval).line()?)?;
    let mut watcher = Watcher::new(&[], arguments.interval);
    watcher.wishes.patience = PATIENCE;
    let mut lines = LineEncoder::default();
    while !is_closed.load(Ordering::Relaxed) {
        let (scene, _) = watcher.look();
        // One that is too large is left out; the next line is a whole snapshot then.
        if let Some((_, line)) = scene.snapshot.and_then(|s| lines.encode(&s).ok()) {
            write(&line)?;
        }
        watcher.wait(|_| is_closed.load(Ordering::Relaxed));
    }
    Ok(ExitStatus::Healthy)
}

fn write(line: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(line)?;
    out.flush()
}

/// Tells when a standard input that is a pipe or a socket is closed: then whoever started this over ssh has gone.
fn listener_to_stdin() -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(false));
    let told = closed.clone();
    let kind = std::fs::metadata("/proc/self/fd/0").map(|meta| meta.file_type());
    let is_pipe = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket());
    if is_pipe && !std::io::stdin().is_terminal() {
        let listen = move || {
            let mut room = [0; 4096];
            while std::io::stdin()
                .lock()
                .read(&mut room)
                .is_ok_and(|read| read > 0)
            {}
            told.store(true, Ordering::Relaxed);
        };
        // Without the thread it ends when its output is closed.
        let _ = std::thread::Builder::new()
            .name("steth-stdin".into())
            .spawn(listen);
    }
    closed
}
