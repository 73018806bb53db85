//! What one executable or library tells about Python: the few symbols that a reader of stacks needs, whether it is an
//! interpreter, whether it could load one. Read once for each file and shared by all processes that map it.
//!
//! The file is read in pieces, never mapped: a target may truncate its own binary at any time. All sizes are bounded.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex, PoisonError};

use goblin::container::Ctx;
use goblin::elf::dynamic::{DT_NEEDED, Dynamic};
use goblin::elf::header::{EM_AARCH64, EM_X86_64};
use goblin::elf::section_header::{SHN_UNDEF, SHT_DYNSYM, SHT_NOBITS, SHT_SYMTAB};
use goblin::elf::{Elf, Header, ProgramHeader, SectionHeader, Symtab, program_header};
use py_spy::binary_parser::BinaryInfo;

use super::loader::{MOST_NOTE, Marks};
use super::maps::Mapping;

/// The data symbols that py-spy's readers ask for (0.4.3).
const WANTED: [&str; 6] = [
    "_PyRuntime",
    "Py_Version",
    "Py_GetVersion.version",
    "version",
    "interp_head",
    "_PyThreadState_Current",
];

/// A function that every CPython exports, and one that its runtime state has since 3.7.
const MARKS: [&str; 2] = ["Py_GetVersion", "_PyRuntime"];

/// A function that only builds with Py_REF_DEBUG have (Objects/object.c).
const DEBUG_MARK: &[u8] = b"_Py_NegativeRefcount";

/// The machine that this program is for; 0, which no file has, where our own reader knows no layouts.
const NATIVE: u16 = match () {
    _ if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) => EM_X86_64,
    _ if cfg!(target_arch = "aarch64") => EM_AARCH64,
    _ => 0,
};

const PAGE: u64 = 4096;

/// Identity of a file's contents: a rebuilt interpreter has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
}

impl FileKey {
    /// By what stat(2) tells.
    pub fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        }
    }
}

/// Addresses here are those of the file; a process adds the base at which it has mapped it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binary {
    /// Loadable segments: page-aligned file offset and address.
    segments: Vec<(u64, u64)>,
    /// Those of `WANTED` that it defines, with address and size.
    symbols: HashMap<&'static str, (u64, u64)>,
    /// Address and size of the largest `.bss`.
    bss: (u64, u64),
    /// Address and size of the section `.PyRuntime` (3.10+).
    runtime_section: (u64, u64),
    /// What tells where it is loaded.
    pub marks: Marks,
    /// True if it is for another machine than this program: 32-bit, say.
    pub is_foreign: bool,
    /// True if it holds an interpreter.
    pub is_python: bool,
    /// True if that is a debug build.
    pub is_debug: bool,
    /// True if it can load libraries while it runs.
    pub loads_libraries: bool,
    /// Names of the libraries that it is linked with.
    pub needed: Vec<String>,
}

impl Binary {
    /// Reads what is needed of an ELF file to find the interpreter in a process.
    ///
    /// # Errors
    /// Those of reading it; `InvalidData` if it is not ELF or is damaged.
    pub fn read(file: &File) -> io::Result<Self> {
        Self::read_tables(file, &[SHT_DYNSYM, SHT_SYMTAB])
    }

    /// Reads no more than tells whether it is an interpreter: what it exports. Local symbols of other programs may be large.
    ///
    /// # Errors
    /// As [`Binary::read`].
    pub fn read_exports(file: &File) -> io::Result<Self> {
        Self::read_tables(file, &[SHT_DYNSYM])
    }

    fn read_tables(file: &File, tables: &[u32]) -> io::Result<Self> {
        let header = Elf::parse_header(&read_at(file, 0, 64)?).map_err(invalid)?;
        let ctx = Ctx::new(
            header.container().map_err(invalid)?,
            header.endianness().map_err(invalid)?,
        );
        let mut binary = Self {
            is_foreign: header.e_machine != NATIVE || !ctx.container.is_big(),
            ..Self::default()
        };
        binary.read_segments(file, &header, ctx)?;
        binary.read_sections(file, &header, ctx, tables)?;
        Ok(binary)
    }

    fn read_segments(&mut self, file: &File, header: &Header, ctx: Ctx) -> io::Result<()> {
        let (count, each) = (usize::from(header.e_phnum), usize::from(header.e_phentsize));
        let bytes = read_at(file, header.e_phoff, count * each)?;
        let headers = ProgramHeader::parse(&bytes, 0, count, ctx).map_err(invalid)?;
        let loads = headers
            .iter()
            .filter(|h| h.p_type == program_header::PT_LOAD);
        let aligned = |h: &ProgramHeader| (h.p_offset & !(PAGE - 1), h.p_vaddr & !(PAGE - 1));
        self.segments = loads.map(aligned).collect();
        let first = |kind| headers.iter().find(|h| h.p_type == kind);
        self.marks.headers = first(program_header::PT_PHDR).map(|h| h.p_vaddr);
        let dynamic = first(program_header::PT_DYNAMIC);
        self.marks.dynamic = dynamic.map_or((0, 0), |h| (h.p_vaddr, h.p_memsz));
        Ok(())
    }

    fn read_sections(
        &mut self,
        file: &File,
        header: &Header,
        ctx: Ctx,
        tables: &[u32],
    ) -> io::Result<()> {
        let (count, each) = (usize::from(header.e_shnum), usize::from(header.e_shentsize));
        let bytes = read_at(file, header.e_shoff, count * each)?;
        let sections = SectionHeader::parse_from(&bytes, 0, count, ctx).map_err(invalid)?;
        let section_names = sections.get(usize::from(header.e_shstrndx));
        let names = section_names.map_or(Ok(Vec::new()), |s| read_section(file, s))?;
        for section in &sections {
            let name = name_at(&names, section.sh_name);
            if section.sh_type == SHT_NOBITS && name == b".bss" && section.sh_size > self.bss.1 {
                self.bss = (section.sh_addr, section.sh_size);
            } else if name == b".PyRuntime" {
                self.runtime_section = (section.sh_addr, section.sh_size);
            } else if tables.contains(&section.sh_type) {
                self.read_symbols(file, section, &sections, ctx)?;
            } else if name == b".note.gnu.build-id" && section.sh_size <= MOST_NOTE {
                self.marks.build_id = Some((section.sh_addr, read_section(file, section)?));
            } else if name == b".dynamic" {
                self.read_needed(file, section, &sections, ctx)?;
            }
        }
        self.is_python = self.is_python || self.runtime_section.1 != 0;
        Ok(())
    }

    fn read_symbols(
        &mut self,
        file: &File,
        table: &SectionHeader,
        sections: &[SectionHeader],
        ctx: Ctx,
    ) -> io::Result<()> {
        let Some(strings) = sections.get(table.sh_link as usize) else {
            return Ok(());
        };
        let (bytes, strings) = (read_section(file, table)?, read_section(file, strings)?);
        let each = usize::try_from(table.sh_entsize).unwrap_or(0).max(1);
        let symbols = Symtab::parse(&bytes, 0, bytes.len() / each, ctx).map_err(invalid)?;
        for symbol in symbols.iter() {
            let name = name_at(&strings, symbol.st_name);
            let defined = symbol.st_shndx != SHN_UNDEF as usize;
            self.loads_libraries |= name == b"dlopen";
            if !defined {
                continue;
            }
            self.is_python |= MARKS.iter().any(|mark| mark.as_bytes() == name);
            self.is_debug |= name == DEBUG_MARK;
            if let Some(wanted) = WANTED.iter().find(|w| w.as_bytes() == name) {
                self.symbols
                    .insert(wanted, (symbol.st_value, symbol.st_size));
            }
        }
        Ok(())
    }

    fn read_needed(
        &mut self,
        file: &File,
        table: &SectionHeader,
        sections: &[SectionHeader],
        ctx: Ctx,
    ) -> io::Result<()> {
        let Some(strings) = sections.get(table.sh_link as usize) else {
            return Ok(());
        };
        let (bytes, strings) = (read_section(file, table)?, read_section(file, strings)?);
        let whole = ProgramHeader {
            p_type: program_header::PT_DYNAMIC,
            p_filesz: bytes.len() as u64,
            ..ProgramHeader::default()
        };
        let Some(dynamic) = Dynamic::parse(&bytes, &[whole], ctx).map_err(invalid)? else {
            return Ok(());
        };
        let needed = dynamic.dyns.iter().filter(|d| d.d_tag == DT_NEEDED);
        let names = needed.map(|d| usize::try_from(d.d_val).unwrap_or(usize::MAX));
        let text = |at| String::from_utf8_lossy(name_at(&strings, at)).into_owned();
        self.needed = names.take(1024).map(text).collect();
        Ok(())
    }

    /// The distance between addresses in the file and in a process that has it mapped so.
    pub fn bias(&self, mapping: &Mapping) -> Option<u64> {
        let of_offset = |(offset, _): &&(u64, u64)| *offset == mapping.offset;
        let (_, address) = self.segments.iter().find(of_offset)?;
        Some(mapping.start.wrapping_sub(*address))
    }

    /// Where `_PyRuntime` lies in a process with this bias (3.7+).
    pub fn runtime(&self, bias: u64) -> Option<std::ops::Range<u64>> {
        let (address, size) = match self.symbols.get("_PyRuntime") {
            Some(&(address, 0)) => (address, self.runtime_section.1.max(PAGE)),
            Some(&symbol) => symbol,
            None if self.runtime_section.1 != 0 => self.runtime_section,
            None => return None,
        };
        let start = address.wrapping_add(bias);
        Some(start..start.checked_add(size)?)
    }

    /// Where a symbol lies in a process with this bias.
    pub fn address_of(&self, symbol: &str, bias: u64) -> Option<u64> {
        let (address, _) = self.symbols.get(symbol)?;
        Some(address.wrapping_add(bias))
    }

    /// The same in py-spy's form, for one process.
    pub fn relocated(&self, bias: u64) -> BinaryInfo {
        let moved = |&(address, size): &(u64, u64)| match size {
            0 => (0, 0),
            _ => (address.wrapping_add(bias), size),
        };
        let ((bss_addr, bss_size), (pyruntime_addr, pyruntime_size)) =
            (moved(&self.bss), moved(&self.runtime_section));
        let symbols = self.symbols.iter();
        BinaryInfo {
            symbols: symbols
                .map(|(name, (address, _))| ((*name).to_owned(), address.wrapping_add(bias)))
                .collect(),
            bss_addr,
            bss_size,
            pyruntime_addr,
            pyruntime_size,
            addr: bias,
            size: 0,
        }
    }
}

/// Binaries by the identity of their file: at most 512, forgotten all at once beyond that. Shared by threads; no file is read
/// while the lock is held.
#[derive(Debug, Default)]
pub struct Binaries {
    known: Mutex<HashMap<(FileKey, Depth), Arc<Binary>>>,
}

/// How much of a binary is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// What it exports.
    Exports,
    /// Its local symbols too, which are many more.
    All,
}

impl Binaries {
    /// The binary in a file, from memory if it was read before.
    ///
    /// # Errors
    /// As [`Binary::read`], and those of `open`.
    pub fn read(
        &self,
        key: FileKey,
        depth: Depth,
        open: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Arc<Binary>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(binary) = known().get(&(key, depth)) {
            return Ok(Arc::clone(binary));
        }
        let file = open()?;
        let binary = match depth {
            Depth::Exports => Binary::read_exports(&file),
            Depth::All => Binary::read(&file),
        };
        let binary = Arc::new(binary?);
        let mut known = known();
        if known.len() >= 512 {
            known.clear();
        }
        known.insert((key, depth), Arc::clone(&binary));
        Ok(binary)
    }
}

fn name_at(strings: &[u8], at: usize) -> &[u8] {
    let rest = strings.get(at..).unwrap_or(&[]);
    rest.split(|&b| b == 0).next().unwrap_or(rest)
}

fn read_section(file: &File, section: &SectionHeader) -> io::Result<Vec<u8>> {
    let len = usize::try_from(section.sh_size).unwrap_or(usize::MAX);
    read_at(file, section.sh_offset, len)
}

fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    if len > 64 << 20 || offset.saturating_add(len as u64) > file.metadata()?.len() {
        return Err(invalid("a section lies outside of the file"));
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn invalid(cause: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_no_python_but_could_load_one() {
        let meta = std::fs::metadata("/proc/self/exe").unwrap();
        let open = || File::open("/proc/self/exe");
        let read = Binaries::default().read(FileKey::of(&meta), Depth::All, open);
        let binary = read.unwrap();
        assert!(!binary.is_python && !binary.is_debug && !binary.is_foreign);
        assert!(binary.symbols.is_empty(), "{:?}", binary.symbols);
        assert!(
            binary.needed.iter().any(|n| n.starts_with("libc.so")),
            "{:?}",
            binary.needed
        );
        assert!(!binary.segments.is_empty() && binary.bss.1 > 0);
    }

    #[test]
    fn foreign_files_are_errors() {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        assert!(Binary::read(&file).is_err(), "empty");
        file.write_all(b"#!/bin/sh\nexit 0\n").unwrap();
        file.write_all(&[0; 64]).unwrap();
        assert!(Binary::read(&file).is_err(), "a script");
        let mut head = std::fs::read("/proc/self/exe").unwrap();
        head.truncate(4096);
        let mut cut = tempfile::tempfile().unwrap();
        cut.write_all(&head).unwrap();
        assert!(Binary::read(&cut).is_err(), "sections beyond the end");
    }
}
