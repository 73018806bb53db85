//! Is this process Python? Asked of every process on the machine, so the answer is kept for each executable, and a process
//! that may yet load an interpreter is looked at again ever more rarely.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::StackError;
use super::binary::Binary;
use super::maps::Maps;
use super::status::Status;
use super::version::{is_libpython, version_in_name};

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// An interpreter, or a program that has one inside.
    Python {
        /// Such as `3.11`, if the name of its binary tells.
        version: Option<String>,
    },
    /// Something else, and that for as long as it runs this executable.
    NotPython,
    /// Nothing of Python so far, but it can load libraries: ask again.
    NotYet,
}

/// Remembers what was learned of executables.
#[derive(Debug, Default)]
pub struct Interpreters {
    /// By device and inode of the executable; bounded (4,096).
    executables: HashMap<(u64, u64), Executable>,
    /// Processes that could load an interpreter, and when to look again; bounded (16,384).
    candidates: HashMap<u32, Candidate>,
}

#[derive(Debug, Clone)]
enum Executable {
    /// Holds an interpreter, or is linked with one.
    Python(Option<String>),
    /// Cannot load anything after its start.
    Closed,
    /// Can.
    Open,
}

#[derive(Debug)]
struct Candidate {
    executable: (u64, u64),
    looked_at: Instant,
    pause: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Interpreters {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What this process is. Costs one stat(2) once its executable is known; a candidate also a look at its mappings, at
    /// most after a quarter of a second, then half, and so on up to once a minute.
    ///
    /// # Errors
    /// `Gone`; `NoPermission` where its executable may not be seen.
    pub fn is_python(&mut self, pid: u32) -> Result<Detected, StackError> {
        let Some(key) = executable_of(pid)? else {
            return Ok(Detected::NotPython);
        };
        if !self.executables.contains_key(&key) {
            if self.executables.len() >= 4096 {
                self.executables.clear();
            }
            let known = Executable::read(pid)?;
            self.executables.insert(key, known);
        }
        match self.executables.get(&key) {
            Some(Executable::Python(version)) => Ok(Detected::Python {
                version: version.clone(),
            }),
            Some(Executable::Closed) => Ok(Detected::NotPython),
            Some(Executable::Open) | None => self.look_for_library(pid, key),
        }
    }

    fn look_for_library(&mut self, pid: u32, key: (u64, u64)) -> Result<Detected, StackError> {
        let now = Instant::now();
        let known = self.candidates.get(&pid).filter(|c| c.executable == key);
        if known.is_some_and(|c| now.duration_since(c.looked_at) < c.pause) {
            return Ok(Detected::NotYet);
        }
        let pause = known.map_or(FIRST_PAUSE, |c| (c.pause * 2).min(LONGEST_PAUSE));
        let mut maps = Maps::open(pid)?;
        if let Some(library) = maps.first(|m| is_libpython(m.name())) {
            self.candidates.remove(&pid);
            let version = version_in_name(library.name()).map(|(version, _)| version);
            return Ok(Detected::Python { version });
        }
        if self.candidates.len() >= 16_384 {
            self.candidates.clear();
        }
        let candidate = Candidate {
            executable: key,
            looked_at: now,
            pause,
        };
        self.candidates.insert(pid, candidate);
        Ok(Detected::NotYet)
    }
}

impl Executable {
    fn read(pid: u32) -> Result<Self, StackError> {
        let link = format!("/proc/{pid}/exe");
        let file = fs::File::open(&link).map_err(|e| StackError::from_io(pid, &e))?;
        let Ok(binary) = Binary::read_exports(&file) else {
            // Not ELF as we know it: nothing that py-spy could read.
            return Ok(Self::Closed);
        };
        let library = binary.needed.iter().find(|name| is_libpython(name));
        if !binary.is_python && library.is_none() {
            // What it is linked with may itself be linked with libpython, so only a static program is closed.
            let is_closed = !binary.loads_libraries && binary.needed.is_empty();
            return Ok(if is_closed { Self::Closed } else { Self::Open });
        }
        let path = fs::read_link(&link).map_err(|e| StackError::from_io(pid, &e))?;
        let path = path.to_string_lossy().into_owned();
        let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
        let name = path.rsplit('/').next().unwrap_or(path);
        let version = version_in_name(name).or_else(|| version_in_name(library?));
        Ok(Self::Python(version.map(|(version, _)| version)))
    }
}

/// Device and inode of the executable; `None` for a kernel thread.
fn executable_of(pid: u32) -> Result<Option<(u64, u64)>, StackError> {
    let error = match fs::metadata(format!("/proc/{pid}/exe")) {
        Ok(meta) => return Ok(Some((meta.dev(), meta.ino()))),
        Err(error) => error,
    };
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    if missing && Status::read(pid).is_some_and(|s| !s.ends()) {
        return Ok(None);
    }
    Err(StackError::from_io(pid, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_might_load_python_and_is_not_looked_at_all_the_time() {
        let mut interpreters = Interpreters::new();
        let pid = std::process::id();
        assert_eq!(interpreters.is_python(pid), Ok(Detected::NotYet));
        let looked_at = interpreters.candidates[&pid].looked_at;
        assert_eq!(interpreters.is_python(pid), Ok(Detected::NotYet));
        assert_eq!(interpreters.candidates[&pid].looked_at, looked_at);
        let earlier = looked_at.checked_sub(FIRST_PAUSE).unwrap();
        interpreters.candidates.get_mut(&pid).unwrap().looked_at = earlier;
        assert_eq!(interpreters.is_python(pid), Ok(Detected::NotYet));
        assert_eq!(interpreters.candidates[&pid].pause, FIRST_PAUSE * 2);
    }

    #[test]
    fn a_process_that_is_gone_is_neither() {
        assert_eq!(
            Interpreters::new().is_python(4_194_305),
            Err(StackError::Gone)
        );
    }
}
