//! Who reads a process: this program's own reader, or py-spy where that one does not know the interpreter. What was learned of a
//! binary is remembered for all other processes that run it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::binary::{Binaries, Binary, FileKey};
use super::files::{Files, exe_link};
use super::identity::Identity;
use super::loader::{bias_of_executable, bias_of_library};
use super::own;
use super::pages::Live;
use super::spy::{self, Donor, Roots};
use super::version::Version;
use super::{StackError, StackRequest};
use crate::snapshot::{Stacks, Tasks};

/// What a reading yields.
pub type Found = Result<(Stacks, Option<Tasks>), StackError>;

/// A process whose interpreter has been found.
pub enum Attachment {
    /// 3.8 to 3.15
    Own(Box<own::Attached>),
    /// 2.7, 3.6, 3.7, and what the own reader does not know.
    Spy(Box<spy::Attached>),
}

/// What a worker works with.
#[derive(Default)]
pub struct Tools {
    /// The bytes of snapshots, of what is read again, and of tasks: of one process after the other.
    pages: [Vec<u8>; 3],
    /// Made when py-spy is needed first.
    donor: Option<Donor>,
}

/// What processes share, by the files that their interpreter is in.
#[derive(Default)]
pub struct Library {
    binaries: Binaries,
    /// Bounded: forgotten all at once beyond 512.
    identities: Mutex<HashMap<(FileKey, Option<FileKey>), Identity>>,
    /// By executable; bounded in the same way.
    ways: Mutex<HashMap<FileKey, Arc<Way>>>,
}

/// How the interpreter of a process is found whose executable has been met.
struct Way {
    exe: Arc<Binary>,
    /// Where `_PyRuntime` is, if not in the executable.
    library: Option<Arc<Binary>>,
    identity: Identity,
}

/// Bytes of `/proc/PID/auxv` that are read; kernels write some four hundred.
const MOST_AUXV: usize = 1024;
/// Memory that a worker keeps for the next process.
const MOST_KEPT: usize = 4 << 20;

impl Tools {
    /// py-spy, to be pointed at a process.
    ///
    /// # Errors
    /// `Failed` if there is none to be had.
    pub fn donor(&mut self, pid: u32) -> Result<&mut Donor, StackError> {
        let made = match self.donor.take() {
            Some(donor) => Ok(donor),
            None => Donor::new(pid),
        };
        let failed = |_| StackError::Failed("py-spy could not be set up".to_owned());
        Ok(self.donor.insert(made.map_err(failed)?))
    }
}

impl Attachment {
    /// Finds the interpreter of a process.
    ///
    /// # Errors
    /// All but `Hanging`; `Torn` if the process was too busy to tell, which the next try may not meet.
    pub fn new(pid: u32, tools: &mut Tools, library: &Library) -> Result<Self, StackError> {
        if let Some((identity, runtime)) = library.by_known_way(pid) {
            let attached = own::Attached::new(pid, identity, runtime);
            return Ok(Self::Own(Box::new(attached)));
        }
        let files = Files::read(pid, &library.binaries)?;
        if let Some(runtime) = files.runtime()
            && let Some(identity) = library.identify(pid, &files)?
        {
            library.note_way(pid, &files, &identity, &runtime);
            let attached = own::Attached::new(pid, identity, runtime);
            return Ok(Self::Own(Box::new(attached)));
        }
        let files = Files::read_all(pid, &library.binaries)?;
        if !files.is_python() {
            return Err(StackError::NotPython);
        }
        let attached = spy::Attached::new(pid, &files, tools.donor(pid)?)?;
        Ok(Self::Spy(Box::new(attached)))
    }

    /// Version of its interpreter.
    pub fn version(&self) -> &Version {
        match self {
            Self::Own(own) => &own.version,
            Self::Spy(spy) => &spy.version,
        }
    }

    /// Reads the stacks, and the tasks too if that is asked for.
    ///
    /// # Errors
    /// All but `Hanging`, `NotPython` and `Unsupported`.
    pub fn read(&mut self, tools: &mut Tools, request: &StackRequest) -> Found {
        match self {
            Self::Own(own) => {
                for (pages, bytes) in own.snapshots().into_iter().zip(&mut tools.pages) {
                    pages.work_in(std::mem::take(bytes));
                }
                let found = own.read(request);
                for (pages, bytes) in own.snapshots().into_iter().zip(&mut tools.pages) {
                    *bytes = Some(pages.rest())
                        .filter(|b| b.len() <= MOST_KEPT)
                        .unwrap_or_default();
                }
                found
            }
            Self::Spy(spy) => {
                let stacks = spy::read_stacks(tools.donor(spy.pid)?, spy, &request.threads);
                Ok((stacks?, None))
            }
        }
    }

    /// What was learned of the process that holds on for another attachment to it.
    pub fn into_roots(self) -> Roots {
        match self {
            Self::Own(_) => Roots::default(),
            Self::Spy(spy) => spy.roots,
        }
    }

    /// The same handed on.
    pub fn with_roots(mut self, roots: Roots) -> Self {
        if let Self::Spy(spy) = &mut self {
            spy.roots = roots;
        }
        self
    }
}

impl Library {
    /// Which Python it is, if the own reader knows it.
    fn identify(&self, pid: u32, files: &Files) -> Result<Option<Identity>, StackError> {
        let (Some(key), Some(runtime)) = (files.key(), files.runtime()) else {
            return Ok(None);
        };
        let identities = || {
            self.identities
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(identity) = identities().get(&key) {
            return Ok(Some(identity.clone()));
        }
        if files.is_foreign() {
            return Ok(None);
        }
        let Some(identity) = Identity::read(pid, files, &runtime)? else {
            return Ok(None);
        };
        let mut identities = identities();
        if identities.len() >= 512 {
            identities.clear();
        }
        identities.insert(key, identity.clone());
        Ok(Some(identity))
    }
}

impl Library {
    /// The interpreter of a process with files that are known, without its mappings. `None` if that is not sure.
    fn by_known_way(&self, pid: u32) -> Option<(Identity, Range<u64>)> {
        let key = FileKey::of(&fs::metadata(exe_link(pid)).ok()?);
        let way = Arc::clone(self.ways().get(&key)?);
        let runtime = way.runtime(pid)?;
        Some((way.identity.clone(), runtime))
    }

    /// Remembers how a process was found, if the short way leads to the same place in it.
    fn note_way(&self, pid: u32, files: &Files, identity: &Identity, runtime: &Range<u64>) {
        let Some((exe, library)) = files.holders() else {
            return;
        };
        let way = Way {
            exe: Arc::clone(&exe.binary),
            library: library.map(|library| Arc::clone(&library.binary)),
            identity: identity.clone(),
        };
        if way.runtime(pid).as_ref() == Some(runtime) {
            let mut ways = self.ways();
            if ways.len() >= 512 {
                ways.clear();
            }
            ways.insert(exe.key, Arc::new(way));
        }
    }

    fn ways(&self) -> MutexGuard<'_, HashMap<FileKey, Arc<Way>>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Way {
    /// Where `_PyRuntime` lies in a process.
    fn runtime(&self, pid: u32) -> Option<Range<u64>> {
        let memory = Live { pid };
        let mut auxv = [0; MOST_AUXV];
        let mut file = File::open(format!("/proc/{pid}/auxv")).ok()?;
        let count = file.read(&mut auxv).ok()?;
        let exe = &self.exe;
        let bias = bias_of_executable(auxv.get(..count)?, &exe.marks)?;
        let Some(library) = &self.library else {
            let is_there = exe.marks.are_at(&memory, bias);
            return exe.runtime(bias).filter(|_| is_there);
        };
        let bias = bias_of_library(&memory, (&exe.marks, bias), &library.marks)?;
        library.runtime(bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_python_is_not_python() {
        let mut tools = Tools::default();
        let own = Attachment::new(std::process::id(), &mut tools, &Library::default());
        assert_eq!(own.err(), Some(StackError::NotPython));
        let gone = Attachment::new(4_194_305, &mut tools, &Library::default());
        assert_eq!(gone.err(), Some(StackError::Gone));
    }
}
