//! One reading of all stacks of a process, without stopping it: read, doubt, read again, and leave out what stays doubtful.

use std::collections::HashMap;

use py_spy::StackTrace;

use super::super::StackError;
use super::super::shape::{self, About, MOST_THREADS};
use super::super::tid::{find_main, read_pthread_tids};
use super::donor::Donor;
use super::readings::{Readings, Sleepers};
use super::roots::{Belief, During};
use super::{Attached, failed};
use crate::snapshot::{Frame, ReadBy, Stacks, Thread};
use crate::source::text::clean;

/// Readings of one process for one answer, at most. Half of them may fail on a target of three tight threads.
const TRIES: u32 = 6;

/// Reads the stacks; `threads` are those of the process as just read.
///
/// # Errors
/// `NotReady` where there are no threads; `Torn` if no try succeeded; those of reading memory.
pub fn read_stacks(
    donor: &mut Donor,
    attached: &mut Attached,
    threads: &[Thread],
) -> Result<Stacks, StackError> {
    attached.names.refresh(threads);
    let mut sleepers = Sleepers::before(attached.pid, threads);
    let mut readings: HashMap<u64, Readings> = HashMap::new();
    let mut order: Option<Vec<u64>> = None;
    for attempt in 0..TRIES {
        if attempt > 2 {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        match read_once(donor, attached) {
            Ok(traces) => {
                order = Some(traces.iter().map(|t| t.thread_id).collect());
                weigh(attached, threads, &mut sleepers, traces, &mut readings);
                if readings.values().all(Readings::is_enough) {
                    break;
                }
            }
            Err(StackError::Torn) => {}
            Err(error) => return Err(error),
        }
    }
    let order = order.ok_or(StackError::Torn)?;
    if order.is_empty() {
        return Err(StackError::NotReady);
    }
    Ok(assemble(attached, threads, &order, readings))
}

fn read_once(donor: &mut Donor, attached: &mut Attached) -> Result<Vec<StackTrace>, StackError> {
    let read = donor.read(attached);
    let mut traces = read.map_err(|error| failed(attached.pid, &error))?;
    traces.truncate(MOST_THREADS);
    Ok(traces)
}

fn weigh(
    attached: &mut Attached,
    threads: &[Thread],
    sleepers: &mut Sleepers,
    traces: Vec<StackTrace>,
    readings: &mut HashMap<u64, Readings>,
) {
    let tids = outer_tids(attached, threads, &traces);
    for (mut trace, tid) in traces.into_iter().zip(tids) {
        trace.os_thread_id = tid.map(u64::from);
        let known = readings.entry(trace.thread_id).or_default();
        known.holds_gil = trace.owns_gil;
        if known.is_enough() {
            continue;
        }
        let during = tid.map_or(During::Awake, |tid| sleepers.during(tid));
        let (thread, embeds) = (trace.thread_id, attached.embeds);
        if attached.roots.judge(thread, &trace.frames, embeds, during) == Belief::Right {
            known.add(trace, during);
        }
    }
}

/// The kernel's thread ids, in the order of the traces; each at most once.
fn outer_tids(
    attached: &mut Attached,
    threads: &[Thread],
    traces: &[StackTrace],
) -> Vec<Option<u32>> {
    let pid = attached.pid;
    let unknown = |t: &&StackTrace| t.os_thread_id.is_none();
    let pthreads: Vec<u64> = traces.iter().filter(unknown).map(|t| t.thread_id).collect();
    let mut read = read_pthread_tids(pid, &pthreads).into_iter();
    let mut outer = |trace: &StackTrace| {
        let inner = match trace.os_thread_id {
            Some(id) => u32::try_from(id).ok(),
            None => read.next(),
        };
        attached.tids.outer(pid, inner?, threads)
    };
    let mut tids: Vec<Option<u32>> = traces.iter().map(&mut outer).collect();
    find_main(pid, &mut tids, threads, |at| {
        let name = traces.get(at).and_then(|t| t.thread_name.as_deref());
        name == Some("MainThread")
    });
    tids
}

/// `order` is that of the last reading, newest thread first.
fn assemble(
    attached: &Attached,
    threads: &[Thread],
    order: &[u64],
    mut readings: HashMap<u64, Readings>,
) -> Stacks {
    let most = shape::most_frames(order.len());
    let mut torn = 0;
    let mut list = Vec::with_capacity(order.len());
    for thread in order.iter().rev() {
        let Some(readings) = readings.remove(thread) else {
            continue;
        };
        let holds_gil = readings.holds_gil;
        let Some(trace) = readings.into_stack() else {
            torn += 1;
            continue;
        };
        let about = About {
            tid: trace.os_thread_id.and_then(|tid| u32::try_from(tid).ok()),
            name: trace.thread_name.map(|name| clean(&name, 128)),
            daemon: None,
            holds_gil,
        };
        let frames = outermost_first(&trace.frames, most);
        let stack = shape::stack(about, frames, threads, attached.runtime.as_ref());
        list.push(stack);
    }
    shape::stacks(attached.pid, list, torn, ReadBy::PySpy)
}

/// py-spy gives the innermost first.
fn outermost_first(frames: &[py_spy::Frame], most: usize) -> Vec<Frame> {
    let kept = shape::kept(frames.len(), most);
    let from_outermost = kept.filter_map(|at| frames.get(frames.len() - 1 - at));
    from_outermost
        .map(|frame| Frame {
            function: clean(&frame.name, 256),
            file: clean(&frame.filename, 512),
            line: u32::try_from(frame.line).unwrap_or(0),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(line: i32) -> py_spy::Frame {
        py_spy::Frame {
            name: "f\x1b[2J".to_owned(),
            filename: "a.py".to_owned(),
            module: None,
            short_filename: None,
            line,
            locals: None,
            is_entry: false,
            is_shim_entry: false,
        }
    }

    #[test]
    fn the_outermost_comes_first() {
        let lines = |most| {
            let frames = outermost_first(&[frame(3), frame(2), frame(1)], most);
            frames.iter().map(|f| f.line).collect::<Vec<_>>()
        };
        assert_eq!(lines(1000), [1, 2, 3]);
        assert_eq!(lines(2), [1, 3]);
    }

    #[test]
    fn names_are_harmless_and_strange_lines_are_unknown() {
        let kept = outermost_first(&[frame(-1)], 10);
        assert_eq!(kept[0].function, "f\\u{1b}[2J");
        assert_eq!(kept[0].line, 0);
    }
}
