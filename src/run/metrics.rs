//! `metrics`: the collector on a thread of its own, a small HTTP server on the main one.
//!
//! ```text
//!   collector thread:  wait ─> look ─> Scene ─> Tally ──watch──> Seen <── scrape (tokio, this thread)
//! ```
//!
//! A scrape is answered from what was seen last, at once; it never waits for a look, nor makes one.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{oneshot, watch};

use super::{Watcher, complain};
use crate::cli::{ExitStatus, Metrics};
use crate::source::clock;
use crate::view::Scene;
use crate::view::metrics::Tally;

mod answer;
mod serve;

/// Between two looks at quiet processes.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a scrape is answered from.
#[derive(Debug)]
struct Seen {
    scene: Scene,
    tally: Tally,
}

impl Seen {
    /// Seconds since the look ended; `None` before the first one has.
    fn age_s(&self) -> Option<f64> {
        let at = self.scene.snapshot.as_ref()?.at;
        Some(clock::now().seconds_since(at))
    }
}

pub(super) fn metrics(arguments: &Metrics) -> Result<ExitStatus> {
    let listen = arguments.listen;
    // Before anything else is begun: an address that is taken is told at once.
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener
        .local_addr()
        .context("cannot tell where it listens")?;
    let (seen, ended) = collect()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the HTTP server")?;
    complain(&format!("steth: metrics at http://{address}/metrics"));
    runtime.block_on(async {
        tokio::select! {
            served = serve::serve(listener, seen) => served.map(|never| match never {}),
            // Only a panic ends the collector; whoever started this program starts it again.
            _ = ended => {
                complain("steth: the collector has failed: this is a bug in steth, not in what it looked at");
                Ok(ExitStatus::Unseen)
            }
        }
    })
}

/// Starts the collector: what it has seen last, and a channel that closes if it ends.
fn collect() -> Result<(watch::Receiver<Arc<Seen>>, oneshot::Receiver<()>)> {
    let first = Seen {
        scene: Scene::before_the_first_look(INTERVAL.as_secs_f64()),
        tally: Tally::default(),
    };
    let (scenes, seen) = watch::channel(Arc::new(first));
    let (alive, ended) = oneshot::channel();
    let mut watcher = Watcher::new(&[], INTERVAL);
    let mut tally = Tally::default();
    std::thread::Builder::new()
        .name("steth-collector".into())
        .spawn(move || {
            let _alive = alive;
            loop {
                let (scene, _) = watcher.look();
                tally.observe(&scene);
                let seen = Seen {
                    scene,
                    tally: tally.clone(),
                };
                if scenes.send(Arc::new(seen)).is_err() {
                    break;
                }
                watcher.wait(|_| false);
            }
        })
        .context("cannot start the collector")?;
    Ok((seen, ended))
}
