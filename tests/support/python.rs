//! Where this machine keeps its Pythons and the virtual environments that tests/setup.sh made.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of a virtual environment: `main` is the zoo's, `live` is our own.
pub fn venv(label: &str, program: &str) -> Result<PathBuf, String> {
    let folder = std::env::var_os("STETH_VENVS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".zoo-venvs"),
        PathBuf::from,
    );
    let path = folder.join(label).join("bin").join(program);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("no {}: run tests/setup.sh", path.display()))
    }
}

/// An interpreter of this version, such as `3.9`: pyenv's, else one on the PATH that really runs.
pub fn interpreter(version: &str) -> Result<PathBuf, String> {
    let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".pyenv"),
        PathBuf::from,
    );
    let installed = std::fs::read_dir(pyenv.join("versions"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with(&format!("{version}."))
        })
        .map(|entry| entry.path().join("bin/python"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).map(|folder| folder.join(format!("python{version}")));
    installed
        .chain(on_path)
        .find(|candidate| runs(candidate, version))
        .ok_or_else(|| format!("no Python {version} under pyenv or on the PATH"))
}

fn runs(python: &Path, version: &str) -> bool {
    let question = "import sys; print('%d.%d' % sys.version_info[:2])";
    Command::new(python)
        .args(["-c", question])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == version)
}

/// Any interpreter for a script that needs the standard library only: the newest at hand.
pub fn any() -> Result<PathBuf, String> {
    let mut last = Err(String::new());
    for version in ["3.13", "3.12", "3.11", "3.10", "3.9", "3.8"] {
        last = interpreter(version);
        if last.is_ok() {
            break;
        }
    }
    last.map_err(|_| "no Python 3.8 to 3.13 at hand".to_owned())
}

/// The root directory that holds Pythons which this distribution lacks (tests/pythons/make_root.sh), if it has `version`.
pub fn root_with(version: &str) -> Result<PathBuf, String> {
    is_root()?;
    let root = std::env::var_os("STETH_PYTHON_ROOT")
        .map(PathBuf::from)
        .ok_or("STETH_PYTHON_ROOT is not set: run tests/pythons/make_root.sh DIR")?;
    if root.join(format!("usr/bin/python{version}")).exists() {
        Ok(root)
    } else {
        Err(format!("no python{version} in {}", root.display()))
    }
}

/// Some tests make namespaces or read what only root may.
pub fn is_root() -> Result<(), String> {
    // SAFETY: geteuid has no arguments and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        Ok(())
    } else {
        Err("needs root".to_owned())
    }
}
