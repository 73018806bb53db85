//! The composition root: the one file that names both sources and views. Threads, channels, signals, exit codes.
//!
//! ```text
//!   collector thread:  wait ─> look ─> observe ─> select ─> Scene ──watch──> screen (tokio, this thread)
//!                        ^                                                     │
//!                        └───────────── interval, focus  <──mpsc───────────────┘
//! ```
//!
//! Collecting never waits for drawing, nor drawing for collecting: the newest scene wins.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};

use crate::cli::{Check, Cli, Command, ExitStatus, Target};
use crate::diagnosis::{Diagnosis, Member, Phase, Role, Severity};
use crate::select;
use crate::snapshot::Snapshot;
use crate::source::sampler::NOT_READ_YET;
use crate::view::{Scene, check, json};

mod doctor;
mod ending;
mod first;
mod live;
mod locals;
mod metrics;
mod past;
mod record;
mod replay;
mod report;
mod stream;
mod wait;
mod watcher;

use watcher::Watcher;

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => live::live(&cli.live),
        Some(Command::Check(arguments)) => {
            first::end_by_signals();
            verdict(&arguments)
        }
        Some(Command::Wait(arguments)) => {
            first::end_by_signals();
            wait::wait(&arguments)
        }
        Some(Command::Replay(arguments)) => replay::replay(&arguments),
        Some(Command::Report(arguments)) => {
            first::end_by_signals();
            report::report(&arguments)
        }
        Some(Command::Record(arguments)) => record::record(&arguments),
        Some(Command::Stream(arguments)) => {
            first::end_by_signals();
            stream::stream(&arguments)
        }
        Some(Command::Metrics(arguments)) => {
            first::end_by_signals();
            metrics::metrics(&arguments)
        }
        Some(Command::Doctor) => doctor::doctor(),
        Some(Command::Demo(arguments)) => live::demonstrate(&arguments),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Man) => manual(),
    };
    match done {
        Ok(status) => ExitCode::from(status.code()),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "steth: {error:#}");
            ExitCode::from(ExitStatus::Usage.code())
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Writes to standard output; a closed pipe is no error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

fn complain(text: &str) {
    // One write for a whole line. Nothing is left to be done if standard error is closed.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

fn verdict(arguments: &Check) -> Result<ExitStatus> {
    let (scene, whole) = observe(&arguments.targets, arguments.observe, |_| {});
    if let Some(status) =
        complain_of_unmatched(&whole, scene.snapshot.as_deref(), &arguments.targets)
    {
        return Ok(status);
    }
    if arguments.json {
        let document =
            serde_json::to_string_pretty(&json::document(&scene)).context("cannot write JSON")?;
        print(&document)?;
        print("\n")?;
    } else {
        print(&check::text(&scene))?;
    }
    Ok(judge(&scene, &arguments.targets))
}

/// At most so long, where processes come and go.
const LONGEST: Duration = Duration::from_secs(10);

/// Looks for the time given, and on where it cannot be told yet.
fn observe(
    targets: &[Target],
    length: Duration,
    mut each: impl FnMut(&Scene),
) -> (Scene, Diagnosis) {
    let mut watcher = Watcher::new(targets, Duration::from_secs(1));
    watcher.wishes.patience = Duration::from_millis(300);
    let mut looks = 0;
    loop {
        let (scene, whole) = watcher.look();
        each(&scene);
        looks += 1;
        let observed = watcher.began.elapsed();
        let late = observed >= LONGEST.max(length);
        let few = looks < LOOKS.min(looks_in(length));
        let silent = observed < length + SILENCE && is_silent(&scene.diagnosis);
        let unread = observed < length + UNREAD && is_unread(&scene);
        let enough = observed >= length
            && (late || !few && !silent && !unread && !is_undecided(&scene.diagnosis));
        if enough {
            return (scene, whole);
        }
        watcher.wait(|_| false);
    }
}

/// On a machine so busy that a look takes seconds, fewer than this have seen nothing stand still.
const LOOKS: u32 = 4;

/// The looks that there are in so long a time at the least, on a machine that has time for them.
fn looks_in(length: Duration) -> u32 {
    u32::try_from(length.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

/// So much longer where a server has not got there and no rule has seen enough to say why.
const SILENCE: Duration = Duration::from_secs(2);

fn is_silent(diagnosis: &Diagnosis) -> bool {
    let waits = |p| {
        matches!(
            p,
            Phase::Importing | Phase::Starting | Phase::Bound | Phase::Listening | Phase::Stalled
        )
    };
    diagnosis
        .servers
        .iter()
        .any(|s| waits(s.phase) && s.findings.is_empty())
}

/// So much longer for stacks: a target that hangs is told of after a second.
const UNREAD: Duration = Duration::from_secs(5);

/// Stacks have been asked for, and no answer has come.
fn is_unread(scene: &Scene) -> bool {
    let gaps = scene
        .snapshot
        .iter()
        .flat_map(|snapshot| json::gaps_of(snapshot, &scene.diagnosis));
    gaps.into_iter().any(|gap| gap.cause == NOT_READ_YET)
}

/// Somebody has died and it cannot be told yet whether it is a loop.
fn is_undecided(diagnosis: &Diagnosis) -> bool {
    diagnosis.servers.iter().any(|s| s.unsettled)
}

/// The exit code of a verdict: what is broken, else what could not be judged.
fn judge(scene: &Scene, targets: &[Target]) -> ExitStatus {
    let servers = &scene.diagnosis.servers;
    if servers
        .iter()
        .any(|s| s.findings.iter().any(|f| f.severity == Severity::Critical))
    {
        return ExitStatus::Critical;
    }
    let Some(snapshot) = &scene.snapshot else {
        return ExitStatus::Unseen;
    };
    let hidden = |pid: u32| {
        snapshot.gaps.iter().any(|g| {
            let source = g.source.as_str();
            // What no right would show (a Python that is not supported) does not leave the answer to this user's rights.
            let matters = matches!(source, "fd" | "sock_diag" | "ns/net")
                || source == "python-stack" && g.unlock.is_some();
            g.pid == Some(pid) && matters
        })
    };
    let unseen = servers.iter().any(|s| {
        let counts = |m: &&Member| m.role != Role::Helper;
        s.own_members()
            .filter(counts)
            .any(|m| hidden(m.process.key.pid))
    });
    // A machine is not in doubt because another user runs scripts on it; a script that was asked for may be a server.
    let outsiders = &scene.diagnosis.outsiders;
    let asked_in_vain = !targets.is_empty() && outsiders.iter().any(|o| hidden(o.process.key.pid));
    let nothing_to_see = servers.is_empty()
        && outsiders.is_empty()
        && snapshot.gaps.iter().any(|g| g.source == "/proc");
    if unseen || asked_in_vain || nothing_to_see {
        ExitStatus::Unseen
    } else {
        ExitStatus::Healthy
    }
}

fn complain_of_unmatched(
    whole: &Diagnosis,
    snapshot: Option<&Snapshot>,
    targets: &[Target],
) -> Option<ExitStatus> {
    let unmatched = select::unmatched(whole, targets);
    let first = unmatched.first()?;
    let blind = snapshot.is_some_and(|s| {
        s.gaps
            .iter()
            .any(|g| g.source == "fd" || g.source == "/proc")
    });
    if blind && snapshot.is_some_and(|s| select::is_somebodys(s, first)) {
        complain(&format!(
            "steth: something listens on {first}, but whose it is this user may not see: try sudo steth"
        ));
        return Some(ExitStatus::Unseen);
    }
    let choices = select::choices(whole);
    let what = match first {
        Target::Pid(pid) => format!("no Python process with pid {pid}"),
        Target::Port(port) => format!("no Python server listens on port {port}"),
        Target::Path(path) => format!("no Python server listens on {path}"),
        Target::Name(name) => format!("no Python process has '{name}' in its command line"),
    };
    if choices.is_empty() {
        complain(&format!(
            "steth: {what}; there is no Python process that this user can see (steth doctor tells more)"
        ));
    } else {
        complain(&format!(
            "steth: {what}; there are:\n{}",
            choices.join("\n")
        ));
    }
    Some(ExitStatus::Usage)
}

fn completions(shell: clap_complete::Shell) -> Result<ExitStatus> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "steth", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitStatus::Healthy)
}

fn manual() -> Result<ExitStatus> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitStatus::Healthy)
}

#[cfg(test)]
mod tests;
