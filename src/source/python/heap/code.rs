//! Code objects: of which file and function an instruction is, and of which line. They hardly ever change, so they are kept.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::lines::line_of;
use super::{AddressHasher, Heap, is_pointer};

/// What is needed of a `PyCodeObject`.
#[derive(Debug)]
pub struct Code {
    /// Where it is.
    pub addr: u64,
    /// `co_filename`, harmless.
    pub file: Arc<str>,
    /// `co_qualname`, up to 3.10 `co_name`, harmless.
    pub function: Arc<str>,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// Number of locals, cells and free variables: where the value stack begins.
    pub locals: u32,
    /// `co_stacksize`.
    pub stack_size: u32,
    /// Address of its first instruction.
    pub instructions: u64,
    /// Bytes of its instructions.
    pub length: u64,
    /// Bytes of those before the function has begun: they make room for its variables (3.11+).
    pub prologue: u64,
    /// The bytes of the line table.
    table: Vec<u8>,
    /// What tells this code object from another that came to lie in its place.
    identity: [u64; 4],
    /// The offset that was last asked for and its line, 0 for none: a thread that waits is asked for again.
    last: AtomicU64,
}

/// Code objects met so far.
#[derive(Debug, Default)]
pub struct Codes {
    known: HashMap<u64, (Arc<Code>, Instant), BuildHasherDefault<AddressHasher>>,
    /// Bytes that they hold.
    bytes: usize,
}

/// Bytes of code objects that are remembered: more than a thousand functions. Beyond that all are forgotten.
const MOST_BYTES: usize = 1 << 20;
/// Bytes of a code object up to its instructions, at most.
const SIZE: usize = 216;
const MOST_FILE: usize = 1024;
const MOST_FUNCTION: usize = 256;
const MOST_TABLE: usize = 1 << 19;
/// For so long a code object is believed to be what it was.
const TRUSTED: Duration = Duration::from_secs(1);

impl Code {
    /// The line of the instruction at this offset in bytes from the first; `None` if the table knows none.
    pub fn line(&self, minor: u32, offset: u64) -> Option<u32> {
        let known = self.last.load(Ordering::Relaxed);
        let (known_offset, known_line) = (known >> 32, known as u32);
        if known_line != 0 && known_offset == offset {
            return Some(known_line);
        }
        let line = line_of(minor, &self.table, self.first_line, offset)?;
        if offset <= u64::from(u32::MAX) {
            let both = offset << 32 | u64::from(line);
            self.last.store(both, Ordering::Relaxed);
        }
        Some(line)
    }

    fn bytes(&self) -> usize {
        256 + self.file.len() + self.function.len() + self.table.len()
    }
}

impl Codes {
    fn keep(&mut self, code: &Arc<Code>, now: Instant) {
        if self.bytes >= MOST_BYTES {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += code.bytes();
        let known = self.known.insert(code.addr, (Arc::clone(code), now));
        self.bytes -= known.map_or(0, |(before, _)| before.bytes());
    }
}

impl Heap {
    /// The code object at this address; `None` if there is none.
    pub fn code(&mut self, addr: u64) -> Option<Arc<Code>> {
        let now = self.renewed_at;
        if let Some((code, checked)) = self.codes.known.get(&addr) {
            if now.saturating_duration_since(*checked) < TRUSTED {
                return Some(Arc::clone(code));
            }
            let code = Arc::clone(code);
            if self.identity(addr) == Some(code.identity) {
                self.codes.keep(&code, now);
                return Some(code);
            }
        }
        let code = Arc::new(self.read_code(addr)?);
        self.codes.keep(&code, now);
        Some(code)
    }

    /// These code objects are about to be looked up: of those that are not known, what is needed is fetched with few calls.
    pub fn prepare_codes(&mut self, codes: impl IntoIterator<Item = u64>) {
        let known = &self.codes.known;
        let new = codes.into_iter().filter(|code| !known.contains_key(code));
        let mut new: Vec<u64> = new.filter(|code| is_pointer(*code)).collect();
        if new.is_empty() {
            return;
        }
        new.sort_unstable();
        new.dedup();
        self.prepare(new.iter().copied(), SIZE);
        let fields = &self.layout.code;
        let parts = [
            fields.filename,
            fields.name,
            fields.qualname,
            fields.lines,
            fields.code,
        ];
        let mut objects = Vec::with_capacity(parts.len() * new.len());
        for code in new {
            objects.extend(parts.iter().filter_map(|part| self.u64_in(code, *part)));
        }
        self.prepare(objects, 512);
    }

    /// The names of a code object's locals, cells and free variables, in the order of their places in a frame.
    pub fn local_names(&mut self, code: &Code) -> Option<Vec<String>> {
        let fields = &self.layout.code;
        let tuples = if fields.locals_plus_names.exists() {
            vec![fields.locals_plus_names]
        } else {
            vec![fields.varnames, fields.cellvars, fields.freevars]
        };
        let mut names = Vec::new();
        for field in tuples {
            let tuple = self.pointer_in(code.addr, field)?;
            let items = self.tuple(tuple)?;
            self.prepare(items.iter().copied(), 80);
            for name in items {
                names.push(self.text(name, MOST_FUNCTION)?);
            }
        }
        Some(names)
    }

    fn identity(&mut self, addr: u64) -> Option<[u64; 4]> {
        let fields = &self.layout.code;
        let (file, name, lines, first) = (
            fields.filename,
            fields.name,
            fields.lines,
            fields.first_line,
        );
        let line = self.i32_in(addr, first)?;
        Some([
            self.u64_in(addr, file)?,
            self.u64_in(addr, name)?,
            self.u64_in(addr, lines)?,
            u64::from(line.cast_unsigned()),
        ])
    }

    fn read_code(&mut self, addr: u64) -> Option<Code> {
        let kind = self.type_of(addr)?;
        (&*kind.name == "code").then_some(())?;
        let fields = &self.layout.code;
        let identity = self.identity(addr)?;
        let [file, name, lines, first] = identity;
        self.prepare([file, name, lines], 512);
        let function = self
            .u64_in(addr, fields.qualname)
            .filter(|q| is_pointer(*q))
            .unwrap_or(name);
        let (instructions, length) = self.instructions(addr)?;
        Some(Code {
            addr,
            file: self.text(file, MOST_FILE)?.into(),
            function: self.text(function, MOST_FUNCTION)?.into(),
            first_line: u32::try_from(first).ok()?,
            locals: self.count_locals(addr)?,
            stack_size: u32::try_from(self.i32_in(addr, fields.stack_size)?).ok()?,
            instructions,
            length,
            prologue: self.prologue(addr)?,
            table: self.bytes_of(lines, MOST_TABLE)?,
            identity,
            last: AtomicU64::new(0),
        })
    }

    /// Where its instructions are, and how many bytes of them.
    fn instructions(&mut self, addr: u64) -> Option<(u64, u64)> {
        let fields = &self.layout.code;
        let (at, units, unit) = match fields.adaptive.of(addr) {
            Some(instructions) => (instructions, self.pages.u64(addr.checked_add(16)?)?, 2),
            // Up to 3.10 they are in a `bytes` object.
            None => {
                let bytes = self.pointer_in(addr, fields.code)?;
                let size = self.pages.u64(bytes.checked_add(16)?)?;
                (bytes.checked_add(32)?, size, 1)
            }
        };
        (units < 1 << 30).then(|| (at, units * unit))
    }

    fn prologue(&mut self, addr: u64) -> Option<u64> {
        let field = self.layout.code.first_traceable;
        if !field.exists() {
            return Some(0);
        }
        u64::try_from(self.i32_in(addr, field)?)
            .ok()
            .map(|units| 2 * units)
    }

    fn count_locals(&mut self, addr: u64) -> Option<u32> {
        let fields = &self.layout.code;
        if fields.locals_plus.exists() {
            return u32::try_from(self.i32_in(addr, fields.locals_plus)?).ok();
        }
        let mut count = u64::from(u32::try_from(self.i32_in(addr, fields.locals)?).ok()?);
        for field in [fields.cellvars, fields.freevars] {
            let tuple = self.pointer_in(addr, field)?;
            count = count.checked_add(self.pages.u64(tuple.checked_add(16)?)?)?;
        }
        u32::try_from(count).ok()
    }
}
