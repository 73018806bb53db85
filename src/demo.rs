//! Which failing servers ship inside the program, and how is one started and ended again?
//!
//! A scenario is a Python script that needs the standard library only. It runs in a process group of its own, in a
//! scratch directory that goes away with it, and on loopback ports that the kernel chooses. Two ends are provided for:
//! [`Running`] ends the group when it is dropped, and the script's stdin is a pipe from here, so that the kernel ends
//! the group (SIGIO, asked for by the script) even when this program is killed.
//!
//! ```text
//!   this program ──stdin pipe──▶ python3 blocked_startup.py PORT ──stdout, stderr──▶ scratch/demo.log
//!        └── partner: a silent database, one visitor, or a crowd ──loopback──▲
//! ```
//!
//! Knows nothing of what the screen will say about a scenario.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

mod group;
mod partner;
mod python;

use group::Group;
use partner::Partner;

/// A small server that ships inside the program.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What is typed: `steth demo NAME`.
    pub name: &'static str,
    /// What happens, in one line.
    pub title: &'static str,
    /// The whole script.
    pub script: &'static str,
    /// The script's name in the scratch directory, as the screen will show it.
    file: &'static str,
    partner: Role,
}

/// What the demo itself plays beside the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Nobody,
    /// Accepts connections (the kernel does) and never says a word.
    SilentDatabase,
    /// A few requests each second, one at a time.
    Visitor,
    /// More connections at once than the accept queue can take, then one more try each second.
    Crowd,
}

/// All scenarios; the first is the one that `steth demo` starts without a name.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "blocked-startup",
        title: "says that it runs, but its startup waits for a database that never greets it",
        script: include_str!("../assets/demo/blocked_startup.py"),
        file: "blocked_startup.py",
        partner: Role::SilentDatabase,
    },
    Scenario {
        name: "queue-overflow",
        title: "one request holds the event loop, and the accept queue overflows",
        script: include_str!("../assets/demo/queue_overflow.py"),
        file: "queue_overflow.py",
        partner: Role::Crowd,
    },
    Scenario {
        name: "crash-loop",
        title: "a master listens while its workers die at boot and are started again",
        script: include_str!("../assets/demo/crash_loop.py"),
        file: "crash_loop.py",
        partner: Role::Nobody,
    },
    Scenario {
        name: "healthy",
        title: "serves, with a visitor now and then, for comparison",
        script: include_str!("../assets/demo/healthy.py"),
        file: "healthy.py",
        partner: Role::Visitor,
    },
];

/// Why a demo could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The name is none of [`SCENARIOS`].
    #[error("no demo is called `{name}`; there are {}", names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Neither `python3` nor `python` on the PATH is at least 3.8.
    #[error(
        "the demo needs Python 3.8 or newer as python3 or python on the PATH, and found {found}"
    )]
    NoPython {
        /// What was there instead: `none`, or paths with versions.
        found: String,
    },
    /// The scratch directory, the log or the socket for the script could not be made.
    #[error("could not prepare the demo: {0}")]
    Prepare(#[source] io::Error),
    /// Python was found and could not be run.
    #[error("could not start {}: {source}", python.display())]
    Spawn {
        /// The interpreter.
        python: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A demo that runs. Dropping it ends every process that it started (SIGTERM, and SIGKILL for what is left within a
/// second) and removes its files.
#[derive(Debug)]
pub struct Running {
    /// The scenario's root process, and the number of its process group.
    pub pid: u32,
    /// What the script writes to stdout and stderr; gone when this is dropped.
    pub log: PathBuf,
    /// What runs.
    pub scenario: &'static Scenario,
    // Dropped in this order: first the load stops, then the processes end, then their files go.
    _partner: Partner,
    _group: Group,
    _scratch: TempDir,
}

/// Starts a scenario, by default the first one. Returns as soon as its process exists, not when it has failed.
pub fn start(name: Option<&str>) -> Result<Running, DemoError> {
    let scenario = find(name)?;
    let python = python::find()?;
    let scratch = tempfile::Builder::new()
        .prefix("steth-demo-")
        .tempdir()
        .map_err(DemoError::Prepare)?;
    let script = scratch.path().join(scenario.file);
    std::fs::write(&script, scenario.script).map_err(DemoError::Prepare)?;
    let log = scratch.path().join("demo.log");
    let output = File::options()
        .append(true)
        .create_new(true)
        .open(&log)
        .map_err(DemoError::Prepare)?;
    let errors = output.try_clone().map_err(DemoError::Prepare)?;
    let partner = Partner::new(scenario.partner, &log).map_err(DemoError::Prepare)?;
    let child = Command::new(&python)
        .args(["-I", "-u", scenario.file])
        .args(partner.port().map(|port| port.to_string()))
        .current_dir(scratch.path())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|source| DemoError::Spawn { python, source })?;
    Ok(Running {
        pid: child.id(),
        log,
        scenario,
        _partner: partner,
        _group: Group::new(child),
        _scratch: scratch,
    })
}

fn find(name: Option<&str>) -> Result<&'static Scenario, DemoError> {
    SCENARIOS
        .iter()
        .find(|scenario| name.is_none_or(|name| name == scenario.name))
        .ok_or_else(|| DemoError::Unknown {
            name: name.unwrap_or_default().to_owned(),
        })
}

fn names() -> String {
    let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
