//! Signals that end what goes on until it is ended: heard, so that its last words can be said.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::ExitStatus;

/// Whether a signal has come.
#[derive(Debug, Clone)]
pub(super) struct Ending(Arc<AtomicI32>);

impl Ending {
    /// From here on SIGTERM is heard, and SIGINT and SIGHUP unless whoever started the program has them ignored (nohup(1), `&` in
    /// a script). The second of them ends the program at once.
    pub(super) fn listen() -> Result<Self> {
        let came = Arc::new(AtomicI32::new(0));
        let told = came.clone();
        let (ready, is_ready) = sync_channel(1);
        let listener = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let listened =
                runtime.map(|runtime| runtime.block_on(hear(&told, || ready.send(Ok(())))));
            if let Err(error) | Ok(Err(error)) = listened {
                let _ = ready.send(Err(error));
            }
        };
        std::thread::Builder::new()
            .name("steth-signals".into())
            .spawn(listener)
            .context("cannot listen to signals")?;
        is_ready
            .recv()
            .context("cannot listen to signals")?
            .context("cannot listen to signals")?;
        Ok(Self(came))
    }

    /// The signal that has come.
    pub(super) fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|number| *number != 0)
    }
}

async fn hear<T>(told: &AtomicI32, ready: impl FnOnce() -> T) -> std::io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted = |kind: SignalKind| {
        let is_wanted = !is_ignored(&status, kind.as_raw_value());
        is_wanted.then(|| signal(kind)).transpose()
    };
    let mut interrupt = wanted(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = wanted(SignalKind::hangup())?;
    ready();
    let mut next = async || {
        tokio::select! {
            () = received(interrupt.as_mut()) => libc::SIGINT,
            () = received(Some(&mut terminate)) => libc::SIGTERM,
            () = received(hangup.as_mut()) => libc::SIGHUP,
        }
    };
    told.store(next().await, Ordering::Relaxed);
    let second = next().await;
    std::process::exit(i32::from(ExitStatus::Signalled(second).code()));
}

/// One that is not listened to never comes.
async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// True if `SigIgn` of proc_pid_status(5) has this signal.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal - 1)
        .ok()
        .and_then(|n| 1_u64.checked_shl(n));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_is_ignored() {
        let nohup = "Name:\tsteth\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(nohup, libc::SIGHUP));
        assert!(!is_ignored(nohup, libc::SIGINT));
        assert!(!is_ignored(nohup, 65));
        assert!(!is_ignored("", libc::SIGHUP));
    }
}
