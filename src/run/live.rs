//! The live screen and the demo: the collector on a thread of its own, the screen on the main one.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};

use super::past::{self, Answers, Order};
use super::{Watcher, complain, complain_of_unmatched, print};
use crate::cli::{Demo, ExitStatus, Live, Target};
use crate::demo;
use crate::source::clock;
use crate::view::Scene;
use crate::view::tui::{self, Wish};

pub(super) fn live(arguments: &Live) -> Result<ExitStatus> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        complain(
            "steth: the live screen needs a terminal; steth check prints the same for scripts",
        );
        return Ok(ExitStatus::Usage);
    }
    let mut watcher = Watcher::new(&arguments.targets, arguments.interval);
    watcher.memory = Some(Arc::default());
    let mut first = Scene::before_the_first_look(arguments.interval.as_secs_f64());
    if !arguments.targets.is_empty() {
        let (scene, whole) = watcher.look();
        if let Some(status) =
            complain_of_unmatched(&whole, scene.snapshot.as_deref(), &arguments.targets)
        {
            return Ok(status);
        }
        first = scene;
    }
    screen(watcher, first)
}

/// Runs the collector on a thread of its own and the screen on this one, until the user leaves.
fn screen(mut watcher: Watcher, first: Scene) -> Result<ExitStatus> {
    let (scenes, seen) = watch::channel(Arc::new(first));
    let (past, past_seen) = watch::channel(None);
    let (notices, noticed) = mpsc::unbounded_channel();
    let (asks, mut asked) = mpsc::unbounded_channel();
    let memory = Arc::clone(watcher.memory.get_or_insert_default());
    let answers = Answers {
        show: Box::new(move |scene| {
            let _ = past.send(scene);
        }),
        notices,
    };
    let orders = past::over_memory(memory, watcher.targets().to_vec(), answers)
        .context("cannot start the thread for what was seen before")?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let collector = std::thread::Builder::new()
        .name("steth-collector".into())
        .spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let (scene, _) = watcher.look();
                if scenes.send(Arc::new(scene)).is_err() {
                    break;
                }
                watcher.wait(|watcher| {
                    let mut any = stopped.load(Ordering::Relaxed) || watcher.locals.take();
                    while let Ok(wish) = asked.try_recv() {
                        any = true;
                        match wish {
                            Wish::Interval(seconds) => watcher.wishes.interval_s = seconds,
                            Wish::Focus(key) => watcher.focus_on(key),
                            Wish::Locals(keys) => watcher.locals.ask(keys),
                        }
                    }
                    any
                });
            }
        });
    let collector = collector.context("cannot start the collector")?;
    // Nobody may listen any more: then scenes end too, and the screen with them.
    let ask = move |request| match request {
        tui::Request::Collect(wish) => drop(asks.send(wish)),
        tui::Request::Travel(to) => drop(orders.send(Order::Travel(to))),
        tui::Request::SaveLooks => drop(orders.send(Order::SaveLooks)),
        tui::Request::SaveView(text) => drop(orders.send(Order::SaveView(text))),
    };
    let ended = show(tui::Links {
        scenes: seen,
        past: past_seen,
        notices: noticed,
        ask: Box::new(ask),
    });
    stop.store(true, Ordering::Relaxed);
    // The collector may be in the middle of a look at a process that hangs: it is not waited for.
    drop(collector);
    ended
}

/// Runs the screen on this thread, until the user leaves.
pub(super) fn show(links: tui::Links) -> Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the screen")?;
    let variable = |name: &str| std::env::var(name).ok();
    let options = tui::Options::from_environment(variable, clock::utc_offset_s());
    Ok(match runtime.block_on(tui::run(links, options))? {
        tui::Ended::Interrupted => ExitStatus::Signalled(libc::SIGINT),
        tui::Ended::Signal(signal) => ExitStatus::Signalled(signal),
        tui::Ended::Quit | tui::Ended::OutputClosed => ExitStatus::Healthy,
        // Only a panic ends whoever makes scenes before the screen, and while the screen is up panics of others print nothing.
        tui::Ended::ScenesEnded => {
            complain(
                "steth: the collector has failed: this is a bug in steth, not in what it looked at",
            );
            ExitStatus::Unseen
        }
    })
}

pub(super) fn demonstrate(arguments: &Demo) -> Result<ExitStatus> {
    if arguments.list {
        let lines: Vec<String> = demo::SCENARIOS
            .iter()
            .map(|s| format!("{:<18} {}\n", s.name, s.title))
            .collect();
        print(&lines.concat())?;
        return Ok(ExitStatus::Healthy);
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        complain(
            "steth: the demo opens the live screen, which needs a terminal; steth demo --list names the scenarios",
        );
        return Ok(ExitStatus::Usage);
    }
    let running = demo::start(arguments.scenario.as_deref())?;
    let watcher = Watcher::new(&[Target::Pid(running.pid)], Duration::from_secs(1));
    let ended = screen(watcher, Scene::before_the_first_look(1.0));
    drop(running);
    ended
}
