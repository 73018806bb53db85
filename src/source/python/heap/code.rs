//! Code objects: of which file and function an instruction is, and of which line. They hardly ever change, so they are kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lines::line_of;
use super::{Heap, is_pointer};

/// What is needed of a `PyCodeObject`.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Where it is.
    pub addr: u64,
    /// `co_filename`, harmless.
    pub file: Arc<str>,
    /// `co_qualname`, up to 3.10 `co_name`, harmless.
    pub function: Arc<str>,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// `co_flags`.
    pub flags: u32,
    /// Number of locals, cells and free variables: where the value stack begins.
    pub locals: u32,
    /// `co_stacksize`.
    pub stack_size: u32,
    /// Address of its first instruction.
    pub instructions: u64,
    /// The bytes of the line table.
    table: Vec<u8>,
    /// What tells this code object from another that came to lie in its place.
    identity: [u64; 4],
}

/// Code objects met so far.
#[derive(Debug, Default)]
pub struct Codes {
    known: HashMap<u64, (Arc<Code>, Instant)>,
}

const MOST_CODES: usize = 65_536;
const MOST_FILE: usize = 1024;
const MOST_FUNCTION: usize = 256;
const MOST_TABLE: usize = 1 << 20;
/// For so long a code object is believed to be what it was.
const TRUSTED: Duration = Duration::from_secs(1);

impl Code {
    /// The line of the instruction at this offset in bytes from the first; `None` if the table knows none.
    pub fn line(&self, minor: u32, offset: u64) -> Option<u32> {
        line_of(minor, &self.table, self.first_line, offset)
    }
}

impl Heap {
    /// The code object at this address; `None` if there is none.
    pub fn code(&mut self, addr: u64) -> Option<Arc<Code>> {
        let known = self.codes.known.get(&addr).cloned();
        if let Some((code, checked)) = known {
            if checked.elapsed() < TRUSTED {
                return Some(code);
            }
            if self.identity(addr) == Some(code.identity) {
                self.codes
                    .known
                    .insert(addr, (Arc::clone(&code), Instant::now()));
                return Some(code);
            }
        }
        let code = Arc::new(self.read_code(addr)?);
        if self.codes.known.len() >= MOST_CODES {
            self.codes.known.clear();
        }
        self.codes
            .known
            .insert(addr, (Arc::clone(&code), Instant::now()));
        Some(code)
    }

    /// True if this code object is known: reading it needs no memory.
    pub fn knows_code(&self, addr: u64) -> bool {
        self.codes.known.contains_key(&addr)
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
        self.prepare([file, name, lines], 128);
        let function = self
            .u64_in(addr, fields.qualname)
            .filter(|q| is_pointer(*q))
            .unwrap_or(name);
        Some(Code {
            addr,
            file: self.text(file, MOST_FILE)?.into(),
            function: self.text(function, MOST_FUNCTION)?.into(),
            first_line: u32::try_from(first).ok()?,
            flags: self.i32_in(addr, fields.flags)?.cast_unsigned(),
            locals: self.count_locals(addr)?,
            stack_size: u32::try_from(self.i32_in(addr, fields.stack_size)?).ok()?,
            instructions: match fields.adaptive.of(addr) {
                Some(instructions) => instructions,
                // Up to 3.10 they are in a `bytes` object.
                None => self.pointer_in(addr, fields.code)?.checked_add(32)?,
            },
            table: self.bytes_of(lines, MOST_TABLE)?,
            identity,
        })
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
