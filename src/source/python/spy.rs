//! py-spy's readers as a library, for versions and builds that this program's own reader does not know: 2.7, 3.6, 3.7.
//!
//! What they read of a running thread may be of several moments, so it is read, doubted, and read again.

use std::ops::Range;

use py_spy::python_process_info::{
    ContainsAddr, PythonProcessInfo, PythonProcessLayout, get_python_version,
};

use super::StackError;
use super::files::{Files, Image};
use super::names::ThreadNames;
use super::tid::Tids;
use super::version::Version;
use crate::source::memory;

mod donor;
mod readings;
mod roots;
mod stacks;

pub use donor::{Donor, config};
pub use roots::Roots;
pub use stacks::read_stacks;

/// A process whose interpreter py-spy has found.
pub struct Attached {
    /// Which process.
    pub pid: u32,
    /// Version of its interpreter.
    pub version: Version,
    /// Where `_PyRuntime` lies (3.7+).
    pub runtime: Option<Range<u64>>,
    /// True if its executable is not an interpreter but a program that has one inside.
    pub embeds: bool,
    /// What is known of its thread names.
    pub names: ThreadNames,
    /// Which threads they are.
    pub tids: Tids,
    /// What the stacks of its threads began with.
    pub roots: Roots,
    /// Where things lie.
    pub layout: PythonProcessLayout,
}

impl Attached {
    /// Searches by symbols, else through the data of the binaries.
    ///
    /// # Errors
    /// `Unsupported`; `NotReady` before there is an interpreter; `Torn` if the process was too busy to tell; those of reading memory.
    pub fn new(pid: u32, files: &Files, donor: &mut Donor) -> Result<Self, StackError> {
        donor.aim(pid);
        let (info, process) = (python_info(pid, files), &donor.spy.process);
        let read = get_python_version(&info, process).map_err(|e| failed(pid, &e))?;
        let version = Version {
            major: read.major,
            minor: read.minor,
            patch: read.patch,
            flags: read.release_flags.clone(),
        };
        if !version.is_supported() {
            return Err(StackError::Unsupported(format!("python {version}")));
        }
        let runtime = files.runtime();
        let is_37 = (version.major, version.minor) == (3, 7);
        let runtime_37 = runtime.as_ref().filter(|_| is_37);
        if word_37(pid, runtime_37, INTERPRETERS_37) == Some(0) {
            return Err(StackError::NotReady);
        }
        let layout = PythonProcessLayout::new(&info, process, &read, &donor.spy.config);
        let mut layout = layout.map_err(|e| failed(pid, &e))?;
        if let Some(main) = word_37(pid, runtime_37, INTERPRETERS_37 + 8) {
            to_main(&mut layout, main);
        }
        Ok(Self {
            pid,
            version,
            runtime,
            embeds: files.embeds,
            names: ThreadNames::default(),
            tids: Tids::default(),
            roots: Roots::default(),
            layout,
        })
    }
}

/// `_PyRuntime.interpreters` of 3.7 (Include/internal/pycore_state.h): the newest interpreter, and after it the main one.
const INTERPRETERS_37: u64 = 24;

fn word_37(pid: u32, runtime: Option<&Range<u64>>, at: u64) -> Option<u64> {
    memory::read_u64(pid, runtime?.start.checked_add(at)?).ok()
}

/// py-spy takes the newest interpreter; the threads that matter are in the main one.
fn to_main(layout: &mut PythonProcessLayout, main: u64) {
    let main = usize::try_from(main).unwrap_or(0);
    if main != 0 && layout.interpreter_address != main {
        let modules = layout.imports_modules_address;
        let offset = modules.wrapping_sub(layout.interpreter_address);
        layout.imports_modules_address = main.wrapping_add(offset);
        layout.interpreter_address = main;
    }
}

/// Addresses that are mapped.
struct Mapped(Vec<(u64, u64)>);

impl ContainsAddr for Mapped {
    fn contains_addr(&self, addr: usize) -> bool {
        let addr = addr as u64;
        let after = self.0.partition_point(|(start, _)| *start <= addr);
        let range = after.checked_sub(1).and_then(|at| self.0.get(at));
        range.is_some_and(|(_, end)| addr < *end)
    }
}

fn python_info(pid: u32, files: &Files) -> PythonProcessInfo {
    let info = |image: &Image| image.binary.relocated(image.bias);
    PythonProcessInfo {
        python_binary: files.exe.as_ref().map(info),
        libpython_binary: files.library.as_ref().map(info),
        maps: Box::new(Mapped(files.mapped.clone())),
        python_filename: format!("/proc/{pid}/exe").into(),
        dockerized: false,
    }
}

/// What an error of py-spy's means: the number that the kernel gave, if it came from there.
pub fn failed(pid: u32, error: &anyhow::Error) -> StackError {
    let numbered = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match numbered {
        Some(io) => match StackError::from_io(pid, io) {
            StackError::Failed(_) => StackError::Torn,
            other => other,
        },
        None if super::status::Status::read(pid).is_none_or(|s| s.ends()) => StackError::Gone,
        None => StackError::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_ranges() {
        let mapped = Mapped(vec![(10, 20), (20, 30), (50, 60)]);
        let inside = [10, 19, 20, 29, 50];
        let outside = [0, 9, 30, 49, 60, usize::MAX];
        assert!(inside.iter().all(|&a| mapped.contains_addr(a)));
        assert!(!outside.iter().any(|&a| mapped.contains_addr(a)));
    }
}
