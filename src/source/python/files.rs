//! The files of a process that an interpreter may be in: its executable, and a libpython.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::ops::Range;
use std::sync::Arc;

use super::StackError;
use super::binary::{Binaries, Binary, Depth, FileKey};
use super::maps::{Mapping, Maps};
use super::version::is_libpython;

/// What was found.
pub struct Files {
    /// The executable.
    pub exe: Option<Image>,
    /// The libpython that is mapped; it is not looked for where the executable has `_PyRuntime`.
    pub library: Option<Image>,
    /// Address ranges that are mapped, in order; with [`Files::read_all`].
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
        let mut maps = Maps::open(pid)?;
        let mut files = Self::of_executable(pid, &mut maps, binaries)?;
        // An interpreter that exports no `_PyRuntime` has it among its local symbols, which are read once for each file.
        if files.runtime().is_none() && files.is_python() {
            files.add_symbols(pid, binaries);
        }
        if files.runtime().is_none() {
            files.add_library(pid, &mut maps, binaries)?;
        }
        if files.runtime().is_none() {
            files.add_symbols(pid, binaries);
        }
        Ok(files)
    }

    /// Reads all that may be of use: a libpython in any case, local symbols too, and what is mapped. A file that has gone meanwhile
    /// stays as it is known.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn read_all(pid: u32, binaries: &Binaries) -> Result<Self, StackError> {
        let mut maps = Maps::open(pid)?;
        let mut files = Self::of_executable(pid, &mut maps, binaries)?;
        files.add_library(pid, &mut maps, binaries)?;
        files.add_symbols(pid, binaries);
        files.mapped = maps.all().iter().map(|m| (m.start, m.end)).collect();
        Ok(files)
    }

    fn of_executable(
        pid: u32,
        maps: &mut Maps<BufReader<File>>,
        binaries: &Binaries,
    ) -> Result<Self, StackError> {
        let path = fs::read_link(exe_link(pid)).map_err(|e| StackError::from_io(pid, &e))?;
        let path = path.to_string_lossy();
        let mapping = maps.first(|m| m.path == path);
        let name = mapping.as_ref().map_or("", Mapping::name).to_owned();
        let image = mapping.and_then(|m| Image::read(pid, m, true, binaries).ok());
        Ok(Self {
            exe: image,
            library: None,
            mapped: Vec::new(),
            embeds: !name.starts_with("python"),
            name,
        })
    }

    fn add_library(
        &mut self,
        pid: u32,
        maps: &mut Maps<BufReader<File>>,
        binaries: &Binaries,
    ) -> Result<(), StackError> {
        let is_first_part = |m: &Mapping| m.offset == 0 && is_libpython(m.name());
        let mapping = maps.first(is_first_part).or_else(|| {
            let all = maps.all().iter().filter(|m| is_libpython(m.name()));
            all.min_by_key(|m| m.offset).cloned()
        });
        let Some(mapping) = mapping else {
            return Ok(());
        };
        mapping.name().clone_into(&mut self.name);
        let failed = |error: io::Error| match StackError::from_io(pid, &error) {
            StackError::Gone if error.kind() == io::ErrorKind::NotFound => {
                StackError::Failed("its libpython is not where it was".to_owned())
            }
            other => other,
        };
        let image = Image::read(pid, mapping, false, binaries).map_err(failed)?;
        self.library = Some(image);
        Ok(())
    }

    /// Reads local symbols too.
    fn add_symbols(&mut self, pid: u32, binaries: &Binaries) {
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

    /// The executable, and the library if `_PyRuntime` is in that one.
    pub fn holders(&self) -> Option<(&Image, Option<&Image>)> {
        let exe = self.exe.as_ref()?;
        match exe.binary.runtime(exe.bias) {
            Some(_) => Some((exe, None)),
            None => Some((exe, Some(self.library.as_ref()?))),
        }
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
    fn read(pid: u32, mapping: Mapping, is_exe: bool, binaries: &Binaries) -> io::Result<Self> {
        let meta = match is_exe {
            true => fs::metadata(exe_link(pid)),
            false => mapping.metadata(pid),
        };
        let mut image = Self {
            key: FileKey::of(&meta?),
            binary: Arc::default(),
            bias: 0,
            depth: Depth::Exports,
            mapping,
            is_exe,
        };
        image.binary = image.load(pid, Depth::Exports, binaries)?;
        let bias = image.binary.bias(&image.mapping);
        image.bias = bias.unwrap_or(image.mapping.start);
        Ok(image)
    }

    fn load(&self, pid: u32, depth: Depth, binaries: &Binaries) -> io::Result<Arc<Binary>> {
        binaries.read(self.key, depth, || match self.is_exe {
            true => File::open(exe_link(pid)),
            false => self.mapping.open(pid),
        })
    }
}

/// The kernel's link to the executable of a process.
pub fn exe_link(pid: u32) -> String {
    format!("/proc/{pid}/exe")
}
