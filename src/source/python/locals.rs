//! Local variables of a process's frames, on request only: read by py-spy, without stopping the process.
//!
//! They may be anything, so names that tell secrets are masked, values are cut, and nothing of it is read unless somebody asks.

use py_spy::PythonSpy;
use py_spy::config::Config;

use super::{StackError, attach, donor};
use crate::snapshot::{FrameLocals, Local, Locals};
use crate::source::clock;
use crate::source::secret;
use crate::source::text::clean;

/// Multiples of 128 characters that py-spy writes of one value.
const DETAIL: u64 = 2;
/// Of one value, and of one name.
const MOST_CHARACTERS: usize = 200;
/// Variables of one frame.
const MOST_LOCALS: usize = 40;
/// Frames of the process, innermost ones of each thread first.
const MOST_FRAMES: usize = 4_096;
const TRIES: usize = 5;

/// Reads the locals of all frames of all threads. It may take a second on a busy process with large objects: for a thread of its own.
///
/// # Errors
/// Those of reading stacks; `Torn` if the process moved too much each time.
pub fn read_locals(pid: u32) -> Result<Locals, StackError> {
    let number = i32::try_from(pid).map_err(|_| StackError::Gone)?;
    let config = Config {
        dump_locals: DETAIL,
        ..donor::config()
    };
    let mut spy =
        PythonSpy::retry_new(number, &config, TRIES as u64).map_err(|e| attach::failed(pid, &e))?;
    let mut last = StackError::Torn;
    for _ in 0..TRIES {
        match spy.get_stack_traces() {
            Ok(traces) => {
                let frames = traces
                    .into_iter()
                    .flat_map(|trace| trace.frames)
                    .take(MOST_FRAMES);
                return Ok(Locals {
                    at: clock::now(),
                    frames: frames.map(of_frame).collect(),
                });
            }
            Err(error) => last = attach::failed(pid, &error),
        }
        if last != StackError::Torn {
            break;
        }
    }
    Err(last)
}

fn of_frame(frame: py_spy::Frame) -> FrameLocals {
    let locals = frame
        .locals
        .unwrap_or_default()
        .into_iter()
        .take(MOST_LOCALS);
    FrameLocals {
        function: clean(&frame.name, 256),
        file: clean(&frame.filename, 1024),
        line: u32::try_from(frame.line).unwrap_or(0),
        locals: locals
            .map(|local| one(&local.name, local.repr.as_deref()))
            .collect(),
    }
}

fn one(name: &str, value: Option<&str>) -> Local {
    let value = match value {
        Some(_) if secret::is_secret(name) => secret::MASK.to_owned(),
        Some(value) => clean(&secret::masked(value), MOST_CHARACTERS),
        None => "?".to_owned(),
    };
    Local {
        name: clean(name, MOST_CHARACTERS),
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_name_and_inside_values() {
        assert_eq!(one("db_password", Some("'hunter2'")).value, "•••");
        assert_eq!(
            one("config", Some("{'token': 'abc', 'n': 1}")).value,
            "{'token': '•••', 'n': 1}"
        );
        assert_eq!(one("x", None).value, "?");
        assert_eq!(one("evil\u{1b}", Some("\u{1b}[31m")).value, "\\u{1b}[31m");
    }
}
