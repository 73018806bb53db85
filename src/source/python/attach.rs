//! Where the interpreter lies in a process, and what all processes of one binary share of the answer.
//!
//! The first process of a binary is attached to by py-spy's own search. From what it finds a [`Template`] is made: the same
//! addresses relative to `_PyRuntime` and to the interpreter. Every further process of that binary needs its mappings and one read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use py_spy::python_process_info::{
    ContainsAddr, PythonProcessInfo, PythonProcessLayout, get_python_version,
};

use super::StackError;
use super::binary::{Binaries, Binary, FileKey};
use super::donor::Donor;
use super::maps::{Mapping, read_maps};
use super::names::ThreadNames;
use super::roots::Roots;
use super::template::{Interpreter, Template, head_offset};
use super::tid::Tids;
use super::version::{Version, is_libpython, version_in_name};
use crate::source::memory;

/// A process whose interpreter has been found.
pub struct Attachment {
    /// Which process.
    pub pid: u32,
    /// Device and inode of its executable; another one after exec.
    pub exe: (u64, u64),
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
    place: Place,
}

/// What processes share, by the files that their interpreter is in.
#[derive(Default)]
pub struct Library {
    binaries: Binaries,
    /// Bounded: forgotten all at once beyond 512.
    templates: Mutex<HashMap<(FileKey, Option<FileKey>), Template>>,
}

enum Place {
    /// 2.7 and 3.6: what py-spy found, for this process only.
    Fixed(PythonProcessLayout),
    /// 3.7 and newer.
    Runtime(Template, Range<u64>),
}

/// A mapped file of the process.
struct Image {
    key: FileKey,
    binary: Arc<Binary>,
    bias: u64,
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

impl Attachment {
    /// Finds the interpreter of a process.
    ///
    /// # Errors
    /// All but `Hanging`; `Torn` if the process was too busy to tell, which the next try may not meet.
    pub fn new(
        pid: u32,
        exe: (u64, u64),
        donor: &mut Donor,
        library: &Library,
    ) -> Result<Self, StackError> {
        let files = Files::read(pid, library)?;
        let runtime = files.runtime();
        let known = library.template(files.key());
        let (version, place) = match (known, &runtime) {
            (Some(template), Some(runtime)) => (
                template.version.clone(),
                Place::Runtime(template, runtime.clone()),
            ),
            _ => search(pid, &files, donor, library)?,
        };
        Ok(Self {
            pid,
            exe,
            version,
            runtime,
            embeds: files.embeds,
            names: ThreadNames::default(),
            tids: Tids::of(pid),
            roots: Roots::default(),
            place,
        })
    }

    /// The interpreters that live in the process now, the main one first; at most 17.
    ///
    /// # Errors
    /// `NotReady` before there is one; those of reading memory.
    pub fn interpreters(&self) -> Result<Vec<Interpreter>, StackError> {
        let (template, runtime) = match &self.place {
            Place::Fixed(layout) => {
                let layout = layout.clone();
                return Ok(vec![Interpreter {
                    layout,
                    is_main: true,
                }]);
            }
            Place::Runtime(template, runtime) => (template, runtime.start),
        };
        template.interpreters(self.pid, runtime)
    }
}

/// The files of a process that an interpreter may be in.
struct Files {
    exe: Option<Image>,
    library: Option<Image>,
    mapped: Mapped,
    /// Name of the binary that ought to hold the interpreter.
    name: String,
    embeds: bool,
}

impl Files {
    fn read(pid: u32, library: &Library) -> Result<Self, StackError> {
        let maps = read_maps(pid)?;
        let link = format!("/proc/{pid}/exe");
        let path = fs::read_link(&link).map_err(|e| StackError::from_io(pid, &e))?;
        let path = path.to_string_lossy();
        let exe_map = maps.iter().find(|m| m.path == path);
        let lib_map = maps.iter().filter(|m| is_libpython(m.name()));
        let lib_map = lib_map.min_by_key(|m| m.offset);
        let exe_name = exe_map.map_or("", Mapping::name).to_owned();
        let image = |mapping: &Mapping, file: std::io::Result<File>| {
            let (key, binary) = file.and_then(|file| library.binaries.read(&file))?;
            let bias = binary.bias(mapping).unwrap_or(mapping.start);
            Ok(Image { key, binary, bias })
        };
        let failed = |error: std::io::Error| match StackError::from_io(pid, &error) {
            StackError::Gone if error.kind() == std::io::ErrorKind::NotFound => {
                StackError::Failed("its libpython is not where it was".to_owned())
            }
            other => other,
        };
        let in_library = lib_map
            .map(|m| image(m, m.open(pid)).map_err(failed))
            .transpose()?;
        let in_exe = exe_map.and_then(|m| image(m, File::open(&link)).ok());
        Ok(Self {
            exe: in_exe,
            library: in_library,
            mapped: Mapped(maps.iter().map(|m| (m.start, m.end)).collect()),
            name: lib_map.map_or_else(|| exe_name.clone(), |m| m.name().to_owned()),
            embeds: !exe_name.starts_with("python"),
        })
    }

    fn key(&self) -> Option<(FileKey, Option<FileKey>)> {
        let keys = [&self.exe, &self.library].map(|image| image.as_ref().map(|i| i.key));
        let [exe, library] = keys;
        exe.map(|exe| (exe, library))
            .or_else(|| library.map(|library| (library, None)))
    }

    fn runtime(&self) -> Option<Range<u64>> {
        let runtime = |image: &Image| image.binary.runtime(image.bias);
        let images = [&self.exe, &self.library].into_iter().flatten();
        images.filter_map(runtime).next()
    }

    fn python_info(&self, pid: u32) -> PythonProcessInfo {
        let info = |image: &Image| image.binary.relocated(image.bias);
        PythonProcessInfo {
            python_binary: self.exe.as_ref().map(info),
            libpython_binary: self.library.as_ref().map(info),
            maps: Box::new(Mapped(self.mapped.0.clone())),
            python_filename: format!("/proc/{pid}/exe").into(),
            dockerized: false,
        }
    }
}

impl Library {
    fn template(&self, key: Option<(FileKey, Option<FileKey>)>) -> Option<Template> {
        let templates = self
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        templates.get(&key?).cloned()
    }

    fn remember(&self, key: Option<(FileKey, Option<FileKey>)>, template: Template) {
        let mut templates = self
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if templates.len() >= 512 {
            templates.clear();
        }
        if let Some(key) = key {
            templates.insert(key, template);
        }
    }

    /// Forgets the template of a process that it turned out not to fit.
    pub fn distrust(&self, pid: u32) {
        if let Ok(files) = Files::read(pid, self) {
            let mut templates = self
                .templates
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            files.key().map(|key| templates.remove(&key));
        }
    }
}

/// py-spy's own search: by symbols, else through the data of the binaries.
fn search(
    pid: u32,
    files: &Files,
    donor: &mut Donor,
    library: &Library,
) -> Result<(Version, Place), StackError> {
    let has_python = |image: &Option<Image>| image.as_ref().is_some_and(|i| i.binary.is_python);
    if !has_python(&files.exe) && !has_python(&files.library) {
        return Err(StackError::NotPython);
    }
    let runtime = files.runtime();
    refuse_free_threaded(pid, &files.name, runtime.as_ref())?;
    donor.aim(pid);
    let (info, process) = (files.python_info(pid), &donor.spy.process);
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
    if has_no_interpreter(pid, &version, runtime.as_ref()) {
        return Err(StackError::NotReady);
    }
    let layout = PythonProcessLayout::new(&info, process, &read, &donor.spy.config)
        .map_err(|e| failed(pid, &e))?;
    let Some(runtime) = runtime.filter(|_| version.at_least(7)) else {
        return Ok((version, Place::Fixed(layout)));
    };
    // On a busy target the search through data may take something else for the interpreter.
    let template = Template::derive(pid, &version, &runtime, &layout).ok_or(StackError::Torn)?;
    library.remember(files.key(), template.clone());
    Ok((version, Place::Runtime(template, runtime)))
}

fn has_no_interpreter(pid: u32, version: &Version, runtime: Option<&Range<u64>>) -> bool {
    let Some(runtime) = runtime.filter(|_| version.at_least(7)) else {
        return false;
    };
    let head = head_offset(pid, version, runtime).map(|head| runtime.start.wrapping_add(head));
    head.and_then(|head| memory::read_u64(pid, head).ok()) == Some(0)
}

/// Free-threaded builds have other structures: their name ends in `t`, and `_Py_DebugOffsets` says so at +16 (3.13+).
fn refuse_free_threaded(
    pid: u32,
    name: &str,
    runtime: Option<&Range<u64>>,
) -> Result<(), StackError> {
    let named = version_in_name(name).is_some_and(|(_, free_threaded)| free_threaded);
    let mut head = [0; 24];
    let told = runtime.is_some_and(|runtime| {
        memory::read_exact_at(pid, runtime.start, &mut head).is_ok()
            && head.starts_with(b"xdebugpy")
            && head.get(16).is_some_and(|flag| *flag != 0)
    });
    if named || told {
        return Err(StackError::Unsupported("free-threaded python".to_owned()));
    }
    Ok(())
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

    #[test]
    fn a_process_without_python_is_not_python() {
        let mut donor = Donor::new(0).unwrap();
        let own = Attachment::new(std::process::id(), (0, 0), &mut donor, &Library::default());
        assert_eq!(own.err(), Some(StackError::NotPython));
        let gone = Attachment::new(4_194_305, (0, 0), &mut donor, &Library::default());
        assert_eq!(gone.err(), Some(StackError::Gone));
    }
}
