//! The files of a process that an interpreter may be in: its executable, and a libpython.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::StackError;
use super::binary::{Binaries, Binary, Depth, FileKey};
use super::maps::{Mapping, read_maps};
use super::version::is_libpython;

/// What was found.
pub struct Files {
    /// The executable.
    pub exe: Option<Image>,
    /// The libpython that is mapped.
    pub library: Option<Image>,
    /// Address ranges that are mapped, in order.
    pub mapped: Vec<(u64, u64)>,
    /// Name of the file that ought to hold the interpreter.
    pub name: String,
    /// True if the executable is not an interpreter but a program that has one inside.
    pub embeds: bool,
}

/// A mapped file of the process.
pub struct Image {
    /// Which file.
    pub key: FileKey,
    /// What it holds.
    pub binary: Arc<Binary>,
    /// The distance between addresses in it and in the process.
    pub bias: u64,
    /// How much of it was read.
    depth: Depth,
    mapping: Mapping,
    is_exe: bool,
}

impl Files {
    /// Reads as little of them as tells where `_PyRuntime` lies.
    ///
    /// # Errors
    /// `Gone`; `NoPermission`; `Failed` if the libpython that is mapped cannot be opened.
    pub fn read(pid: u32, binaries: &Binaries) -> Result<Self, StackError> {
        let mut files = Self::read_exports(pid, binaries)?;
        if files.runtime().is_none() {
            files.read_all(pid, binaries);
        }
        Ok(files)
    }

    fn read_exports(pid: u32, binaries: &Binaries) -> Result<Self, StackError> {
        let maps = read_maps(pid)?;
        let path = fs::read_link(exe_link(pid)).map_err(|e| StackError::from_io(pid, &e))?;
        let path = path.to_string_lossy();
        let exe_map = maps.iter().find(|m| m.path == path);
        let lib_map = maps.iter().filter(|m| is_libpython(m.name()));
        let lib_map = lib_map.min_by_key(|m| m.offset);
        let exe_name = exe_map.map_or("", Mapping::name).to_owned();
        let failed = |error: io::Error| match StackError::from_io(pid, &error) {
            StackError::Gone if error.kind() == io::ErrorKind::NotFound => {
                StackError::Failed("its libpython is not where it was".to_owned())
            }
            other => other,
        };
        let in_library = lib_map.map(|m| Image::read(pid, m, false, binaries).map_err(failed));
        let in_exe = exe_map.and_then(|m| Image::read(pid, m, true, binaries).ok());
        Ok(Self {
            exe: in_exe,
            library: in_library.transpose()?,
            name: lib_map.map_or_else(|| exe_name.clone(), |m| m.name().to_owned()),
            embeds: !exe_name.starts_with("python"),
            mapped: maps.iter().map(|m| (m.start, m.end)).collect(),
        })
    }

    /// Reads local symbols too. A file that has gone meanwhile stays as it is known.
    pub fn read_all(&mut self, pid: u32, binaries: &Binaries) {
        for image in [&mut self.exe, &mut self.library].into_iter().flatten() {
            if image.depth == Depth::Exports
                && let Ok(binary) = image.load(pid, Depth::All, binaries)
            {
                image.binary = binary;
                image.depth = Depth::All;
            }
        }
    }

    /// What tells them from others: all processes with the same files have the same Python.
    pub fn key(&self) -> Option<(FileKey, Option<FileKey>)> {
        let [exe, library] = [&self.exe, &self.library].map(|i| i.as_ref().map(|i| i.key));
        exe.map(|exe| (exe, library))
            .or_else(|| library.map(|library| (library, None)))
    }

    /// Where `_PyRuntime` lies (3.7+).
    pub fn runtime(&self) -> Option<Range<u64>> {
        let runtime = |image: &Image| image.binary.runtime(image.bias);
        self.images().filter_map(runtime).next()
    }

    /// Where a symbol lies.
    pub fn address_of(&self, symbol: &str) -> Option<u64> {
        let address = |image: &Image| image.binary.address_of(symbol, image.bias);
        self.images().filter_map(address).next()
    }

    /// True if they hold an interpreter.
    pub fn is_python(&self) -> bool {
        self.images().any(|image| image.binary.is_python)
    }

    /// True if that is a debug build.
    pub fn is_debug(&self) -> bool {
        self.images().any(|image| image.binary.is_debug)
    }

    /// True if they are for another machine than this program.
    pub fn is_foreign(&self) -> bool {
        self.images().any(|image| image.binary.is_foreign)
    }

    fn images(&self) -> impl Iterator<Item = &Image> {
        [&self.exe, &self.library].into_iter().flatten()
    }
}

impl Image {
    fn read(pid: u32, mapping: &Mapping, is_exe: bool, binaries: &Binaries) -> io::Result<Self> {
        let meta = match is_exe {
            true => fs::metadata(exe_link(pid)),
            false => mapping.metadata(pid),
        };
        let mut image = Self {
            key: FileKey::of(&meta?),
            binary: Arc::default(),
            bias: 0,
            depth: Depth::Exports,
            mapping: mapping.clone(),
            is_exe,
        };
        image.binary = image.load(pid, Depth::Exports, binaries)?;
        image.bias = image.binary.bias(mapping).unwrap_or(mapping.start);
        Ok(image)
    }

    fn load(&self, pid: u32, depth: Depth, binaries: &Binaries) -> io::Result<Arc<Binary>> {
        binaries.read(self.key, depth, || match self.is_exe {
            true => File::open(exe_link(pid)),
            false => self.mapping.open(pid),
        })
    }
}

fn exe_link(pid: u32) -> String {
    format!("/proc/{pid}/exe")
}
