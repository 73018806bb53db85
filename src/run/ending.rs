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
    /// From here on SIGINT, SIGTERM and SIGHUP are heard. The second of them ends the program at once.
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
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    ready();
    let mut next = async || next_of(&mut interrupt, &mut terminate, &mut hangup).await;
    told.store(next().await, Ordering::Relaxed);
    let second = next().await;
    std::process::exit(i32::from(ExitStatus::Signalled(second).code()));
}

async fn next_of(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => libc::SIGINT,
        _ = terminate.recv() => libc::SIGTERM,
        _ = hangup.recv() => libc::SIGHUP,
    }
}
