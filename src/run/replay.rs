//! `replay`: the live screen over a recording. What was stored are observations: what they mean is said anew, by the rules of today.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};

use super::past::{self, Answers, Order};
use super::{complain, live};
use crate::cli::{ExitStatus, Replay};
use crate::recording::{Frames, Recording};
use crate::view::{Scene, tui};

pub(super) fn replay(arguments: &Replay) -> Result<ExitStatus> {
    let name = arguments.file.display().to_string();
    let recording = Recording::open(&arguments.file).with_context(|| name.clone())?;
    if recording.count() == 0 {
        complain(&format!("steth: {name}: no look was recorded"));
        return Ok(ExitStatus::Usage);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        complain("steth: a replay needs a terminal");
        return Ok(ExitStatus::Usage);
    }
    let (scenes, seen) = watch::channel(Arc::new(Scene::before_the_first_look(1.0)));
    // There is no present beside the recording: this one stays silent, and has to live as long as the screen.
    let (_present, no_past) = watch::channel(None);
    let (notices, noticed) = mpsc::unbounded_channel();
    let answers = Answers {
        show: Box::new(move |scene| {
            if let Some(scene) = scene {
                let _ = scenes.send(scene);
            }
        }),
        notices,
    };
    let orders = past::over_recording(recording, name, answers)
        .context("cannot start the thread that reads the recording")?;
    let ask = move |request| match request {
        tui::Request::Travel(to) => drop(orders.send(Order::Travel(to))),
        tui::Request::SaveView(text) => drop(orders.send(Order::SaveView(text))),
        // Nobody collects.
        tui::Request::Collect(_) | tui::Request::SaveLooks => {}
    };
    live::show(tui::Links {
        scenes: seen,
        past: no_past,
        notices: noticed,
        ask: Box::new(ask),
    })
}
