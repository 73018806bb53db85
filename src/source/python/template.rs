//! What one process teaches about all others of its binary: where things lie relative to `_PyRuntime` and to an interpreter.

use std::ops::Range;

use py_spy::python_process_info::PythonProcessLayout;

use super::StackError;
use super::version::Version;
use crate::source::memory;

/// One interpreter of a process.
pub struct Interpreter {
    /// py-spy's addresses.
    pub layout: PythonProcessLayout,
    /// False for subinterpreters.
    pub is_main: bool,
}

/// Where things lie relative to `_PyRuntime` and to an interpreter.
#[derive(Debug, Clone)]
pub struct Template {
    /// Of the interpreters.
    pub version: Version,
    /// Offset in `_PyRuntime` of `interpreters.head`; `interpreters.main` follows (3.7 to 3.15).
    head: u64,
    /// What tells the owner of the GIL.
    gil: Offset,
    /// `sys.modules`, from the interpreter.
    modules: u64,
    /// `next`, from the interpreter, where known.
    next: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Offset {
    Runtime(u64),
    Interpreter(u64),
    Unknown,
}

impl Template {
    /// The interpreters that live in a process now, the main one first; at most 17.
    ///
    /// # Errors
    /// `NotReady` before there is one; those of reading memory.
    pub fn interpreters(&self, pid: u32, runtime: u64) -> Result<Vec<Interpreter>, StackError> {
        let mut heads = [0; 16];
        memory::read_exact_at(pid, runtime.wrapping_add(self.head), &mut heads)
            .map_err(|e| StackError::from_io(pid, &e))?;
        let (head, main) = halves(heads);
        if head == 0 {
            return Err(StackError::NotReady);
        }
        let main = if main == 0 { head } else { main };
        let mut found = vec![self.interpreter(runtime, main, true)];
        let mut address = head;
        for _ in 0..16 {
            if address != main {
                found.push(self.interpreter(runtime, address, false));
            }
            let link = self.next.map(|offset| address.wrapping_add(offset));
            match link.and_then(|link| memory::read_u64(pid, link).ok()) {
                None | Some(0) => break,
                Some(next) => address = next,
            }
        }
        Ok(found)
    }

    fn interpreter(&self, runtime: u64, address: u64, is_main: bool) -> Interpreter {
        let gil = match self.gil {
            Offset::Runtime(offset) => runtime.wrapping_add(offset),
            Offset::Interpreter(offset) => address.wrapping_add(offset),
            Offset::Unknown => 0,
        };
        Interpreter {
            layout: PythonProcessLayout {
                interpreter_address: address as usize,
                threadstate_address: gil as usize,
                imports_modules_address: address.wrapping_add(self.modules) as usize,
            },
            is_main,
        }
    }

    /// From what py-spy found; `None` if that is not what the runtime itself names, or lies nowhere near.
    pub fn derive(
        pid: u32,
        version: &Version,
        runtime: &Range<u64>,
        layout: &PythonProcessLayout,
    ) -> Option<Self> {
        let head = head_offset(pid, version, runtime)?;
        let interpreter = layout.interpreter_address as u64;
        if memory::read_u64(pid, runtime.start.checked_add(head)?).ok()? != interpreter {
            return None;
        }
        // The structure is at most 400 KiB long (3.12).
        let within = |address: u64| address.checked_sub(interpreter).filter(|o| *o < 1 << 20);
        let gil = layout.threadstate_address as u64;
        let gil = if gil == 0 {
            Offset::Unknown
        } else if runtime.contains(&gil) {
            Offset::Runtime(gil - runtime.start)
        } else {
            Offset::Interpreter(within(gil)?)
        };
        let modules = within(layout.imports_modules_address as u64)?;
        let next = next_offset(pid, version, runtime);
        Some(Self {
            version: version.clone(),
            head,
            gil,
            modules,
            next,
        })
    }
}

/// Offset of `interpreters.head` in `_PyRuntime`: Include/internal/pycore_runtime.h of each version, on 64-bit machines; from
/// 3.13 on the process tells it itself, in `_Py_DebugOffsets.runtime_state.interpreters_head`.
pub fn head_offset(pid: u32, version: &Version, runtime: &Range<u64>) -> Option<u64> {
    match version.minor {
        7 => Some(24),
        8..=10 => Some(32),
        11 | 12 => Some(40),
        13.. => memory::read_u64(pid, runtime.start.checked_add(40)?)
            .ok()
            .filter(|offset| *offset < runtime.end - runtime.start),
        _ => None,
    }
}

/// Offset of `next` in `PyInterpreterState`; 3.13+: `_Py_DebugOffsets.interpreter_state.next`.
fn next_offset(pid: u32, version: &Version, runtime: &Range<u64>) -> Option<u64> {
    if !version.at_least(13) {
        return Some(0);
    }
    let offset = memory::read_u64(pid, runtime.start.checked_add(64)?).ok()?;
    (offset < 1 << 20).then_some(offset)
}

/// Two words of native order.
fn halves(bytes: [u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(bytes);
    ((both & u128::from(u64::MAX)) as u64, (both >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_in_order() {
        let mut bytes = [0; 16];
        bytes[0] = 1;
        bytes[8] = 2;
        assert_eq!(halves(bytes), (1, 2));
    }
}
