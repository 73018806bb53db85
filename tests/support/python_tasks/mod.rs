//! Python processes whose tasks are read by the tests: which interpreters there are, and the scripts that they run.

pub mod rates;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::python::{any, interpreter, root_with, venv};
use super::targets::Target;

/// A Python that scripts can be run with.
#[derive(Debug)]
pub struct Python {
    /// Inside of its root.
    path: PathBuf,
    /// The root that it runs in, if not ours.
    root: Option<PathBuf>,
    /// Whether its root gets a /proc, in a mount namespace of its own.
    sees_proc: bool,
}

impl Python {
    /// Of this version: in a root of its own from 3.14 on, else pyenv's or the PATH's.
    pub fn of(version: &str) -> Result<Self, String> {
        if matches!(version, "3.14" | "3.15") {
            return Ok(Self {
                path: format!("/usr/bin/python{version}").into(),
                root: Some(root_with(version)?),
                sees_proc: false,
            });
        }
        interpreter(version).map(Self::here)
    }

    /// Of any version: the newest at hand.
    pub fn any() -> Result<Self, String> {
        any().map(Self::here)
    }

    /// Of this version, with uvloop: of an environment that tests/setup.sh makes, or wherever it happens to be installed.
    pub fn with_uvloop(version: &str) -> Result<Self, String> {
        let label = match version {
            "3.9" => "legacy",
            "3.11" => "main",
            "3.13" => "py313",
            _ => return Self::of(version).and_then(Self::if_it_has_uvloop),
        };
        let python = venv(label, "python").map(Self::here);
        python.and_then(Self::if_it_has_uvloop)
    }

    fn if_it_has_uvloop(self) -> Result<Self, String> {
        let tried = self.command().args(["-c", "import uvloop"]).output();
        match tried.is_ok_and(|output| output.status.success()) {
            true => Ok(self),
            false => Err(format!("no uvloop for {}", self.path.display())),
        }
    }

    fn here(path: PathBuf) -> Self {
        Self {
            path,
            root: None,
            sees_proc: false,
        }
    }

    /// A command that runs it, as the very process that is started.
    pub fn command(&self) -> Command {
        let Some(root) = &self.root else {
            return Command::new(&self.path);
        };
        let mut command = Command::new(if self.sees_proc { "unshare" } else { "chroot" });
        if self.sees_proc {
            let enter = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
            command.args(["--mount", "sh", "-c", enter]);
        }
        command.arg(root).arg(&self.path);
        command
    }

    /// The same with a /proc in its root: for tools that look at processes from there.
    #[allow(dead_code, reason = "the bench uses it")]
    pub fn seeing_proc(self) -> Self {
        Self {
            sees_proc: true,
            ..self
        }
    }

    /// Starts a script of this directory; the others lie beside it.
    pub fn start(&self, script: &str, args: &[&str]) -> Target {
        let folder = match &self.root {
            Some(root) => tempfile::tempdir_in(root.join("tmp")),
            None => tempfile::tempdir(),
        };
        let folder = folder.unwrap();
        for file in fs::read_dir("tests/support/python_tasks").unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|e| e == "py") {
                fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
            }
        }
        let inside = match &self.root {
            Some(root) => Path::new("/").join(folder.path().strip_prefix(root).unwrap()),
            None => folder.path().to_owned(),
        };
        let mut command = self.command();
        command.arg(inside.join(script)).args(args);
        Target::start(command, Some(folder))
    }
}

/// False for a version that the machine does not state to have; what it states, it must have.
pub fn is_stated(version: &str) -> bool {
    let stated = std::env::var("STETH_PYTHONS");
    stated.map_or(true, |all| all.split_whitespace().any(|one| one == version))
}
