//! Which Python can run the demo's scripts?
//!
//! Asks each `python3`, then each `python` on the PATH, and takes the first that is new enough. It answers with
//! `sys.executable`, so that a version manager's shim is not started a second time.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::DemoError;

/// Major and minor.
type Version = (u32, u32);

/// The oldest Python that the scripts are written for.
const OLDEST: Version = (3, 8);
/// How long an interpreter may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);
const QUESTION: &str =
    "import sys; print(sys.version_info[0], sys.version_info[1], sys.executable)";

/// Finds an interpreter that can run the scripts.
pub(super) fn find() -> Result<PathBuf, DemoError> {
    find_in(&std::env::var_os("PATH").unwrap_or_default(), ask)
}

fn find_in(
    path: &OsStr,
    ask: impl Fn(&Path) -> Option<(Version, PathBuf)>,
) -> Result<PathBuf, DemoError> {
    let mut rejected = Vec::new();
    for name in ["python3", "python"] {
        for candidate in std::env::split_paths(path).map(|folder| folder.join(name)) {
            match ask(&candidate) {
                Some((version, executable)) if version >= OLDEST => return Ok(executable),
                Some(((major, minor), _)) => {
                    rejected.push(format!("{} {major}.{minor}", candidate.display()));
                }
                None => {}
            }
        }
    }
    if rejected.is_empty() {
        rejected.push("none".to_owned());
    }
    Err(DemoError::NoPython {
        found: rejected.join(", "),
    })
}

/// Version and real path of an interpreter; `None` if there is none, or if it does not answer in time.
fn ask(candidate: &Path) -> Option<(Version, PathBuf)> {
    if !candidate.is_file() {
        return None;
    }
    let mut child = Command::new(candidate)
        .args(["-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() >= deadline {
            // The child may end between the two: there is nothing more to do about it then.
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut answer = String::new();
    let stdout = child.stdout.take()?;
    stdout.take(4096).read_to_string(&mut answer).ok()?;
    parse(&answer)
}

fn parse(answer: &str) -> Option<(Version, PathBuf)> {
    let mut words = answer.trim_end().splitn(3, ' ');
    let major = words.next()?.parse().ok()?;
    let minor = words.next()?.parse().ok()?;
    let executable = words.next().filter(|path| path.starts_with('/'))?;
    Some(((major, minor), PathBuf::from(executable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_version_and_path_with_spaces() {
        let (version, path) = parse("3 11 /opt/my python/bin/python3\n").unwrap();
        assert_eq!(version, (3, 11));
        assert_eq!(path, PathBuf::from("/opt/my python/bin/python3"));
    }

    #[test]
    fn an_answer_that_is_none_is_no_python() {
        for answer in ["", "3", "3 x /usr/bin/python3", "3 11 python3", "3 11 "] {
            assert_eq!(parse(answer), None, "{answer:?}");
        }
    }

    #[test]
    fn an_empty_path_is_a_plain_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let error = find_in(folder.path().as_os_str(), ask).unwrap_err();
        assert!(error.to_string().ends_with("found none"), "{error}");
    }

    #[test]
    fn an_old_python_is_named_and_a_new_one_further_on_is_taken() {
        let old = |path: &Path| path.starts_with("/old").then(|| ((3, 6), path.to_owned()));
        let error = find_in(OsStr::new("/old:/none"), old).unwrap_err();
        assert!(error.to_string().contains("/old/python3 3.6"), "{error}");
        let both = |path: &Path| {
            let version = if path.starts_with("/old") { 7 } else { 8 };
            Some(((3, version), path.to_owned()))
        };
        let found = find_in(OsStr::new("/old:/new"), both).unwrap();
        assert_eq!(found, Path::new("/new/python3"));
    }
}
