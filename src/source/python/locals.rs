//! Local variables of a process's frames, on request only: read by py-spy, without stopping the process.
//!
//! They may be anything, so names that tell secrets are masked, values are cut, and nothing of it is read unless somebody asks.

use py_spy::PythonSpy;
use py_spy::config::Config;

use super::status::Lifeline;
use super::{StackError, spy};
use crate::snapshot::{FrameLocals, Local, LocalsAnswer, ProcessKey, ThreadLocals};
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

/// Reads the locals of this very process, as an answer to who asked for them. For a thread of its own, as [`read_locals`].
pub fn locals_of(key: ProcessKey) -> LocalsAnswer {
    let lifeline = Lifeline::new(key, true);
    let read = match &lifeline {
        Some(_) => read_locals(key.pid),
        None => Err(StackError::Gone),
    };
    // Read between the end of one process and the start of another with its pid, they would be the other's.
    let is_right = lifeline.is_some_and(|lifeline| lifeline.holds());
    let read = read.and_then(|threads| match is_right {
        true => Ok(threads),
        false => Err(StackError::Gone),
    });
    LocalsAnswer {
        key,
        at: clock::now(),
        result: read.map_err(|error| error.to_string()),
    }
}

/// Reads the locals of all frames of all threads. It may take a second on a busy process with large objects: for a thread of its own.
///
/// # Errors
/// Those of reading stacks; `Torn` if the process moved too much each time.
pub fn read_locals(pid: u32) -> Result<Vec<ThreadLocals>, StackError> {
    let number = i32::try_from(pid).map_err(|_| StackError::Gone)?;
    let config = Config {
        dump_locals: DETAIL,
        ..spy::config()
    };
    let mut spy =
        PythonSpy::retry_new(number, &config, TRIES as u64).map_err(|e| spy::failed(pid, &e))?;
    let mut last = StackError::Torn;
    for _ in 0..TRIES {
        match spy.get_stack_traces() {
            Ok(traces) => {
                let mut room = MOST_FRAMES;
                let threads = traces.into_iter().map(|trace| of_thread(trace, &mut room));
                return Ok(threads.collect());
            }
            Err(error) => last = spy::failed(pid, &error),
        }
        if last != StackError::Torn {
            break;
        }
    }
    Err(last)
}

fn of_thread(trace: py_spy::StackTrace, room: &mut usize) -> ThreadLocals {
    let frames = trace.frames.into_iter().take(*room);
    let mut frames: Vec<FrameLocals> = frames.map(of_frame).collect();
    *room -= frames.len();
    frames.reverse();
    let tid = trace.os_thread_id.and_then(|tid| u32::try_from(tid).ok());
    ThreadLocals { tid, frames }
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
        Some(_) if secret::is_secret(name) && !secret::is_in_clear() => secret::MASK.to_owned(),
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
