//! Who reads a process: this program's own reader, or py-spy where that one does not know the interpreter. What was learned of a
//! binary is remembered for all other processes that run it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::binary::{Binaries, FileKey};
use super::files::Files;
use super::identity::Identity;
use super::own;
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
}

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
        let files = Files::read(pid, &library.binaries)?;
        if let Some(runtime) = files.runtime()
            && let Some(identity) = library.identify(pid, &files)?
        {
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
