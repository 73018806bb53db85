//! One reading of all stacks of a process, without stopping it: read, doubt, read again, and leave out what stays doubtful.

use std::collections::HashMap;

use py_spy::StackTrace;

use super::StackError;
use super::activity::activity_in;
use super::attach::{Attachment, failed};
use super::donor::Donor;
use super::readings::{Readings, Sleepers};
use super::roots::{Belief, During};
use super::tid::read_pthread_tids;
use crate::snapshot::{Activity, Frame, ReadBy, Stack, Stacks, Thread};
use crate::source::text::clean;

/// Readings of one process for one answer, at most. Half of them may fail on a target of three tight threads.
const TRIES: u32 = 6;
const MOST_THREADS: usize = 512;
/// Frames of one stack, and of all stacks of a process.
const MOST_FRAMES: usize = 1000;
const MOST_FRAMES_IN_ALL: usize = 32_768;
/// Of a stack that is too deep, how many of the outermost are kept.
const OUTERMOST: usize = 100;

/// Reads the stacks; `threads` are those of the process as just read.
///
/// # Errors
/// Those of [`Attachment::interpreters`]; `Torn` if no try succeeded.
pub fn read_stacks(
    donor: &mut Donor,
    attachment: &mut Attachment,
    threads: &[Thread],
) -> Result<Stacks, StackError> {
    attachment.names.refresh(threads);
    let mut sleepers = Sleepers::before(attachment.pid, threads);
    let mut readings: HashMap<u64, Readings> = HashMap::new();
    let mut order: Option<Vec<u64>> = None;
    for attempt in 0..TRIES {
        if attempt > 2 {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        match read_once(donor, attachment) {
            Ok(traces) => {
                order = Some(traces.iter().map(|t| t.thread_id).collect());
                weigh(attachment, threads, &mut sleepers, traces, &mut readings);
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
    Ok(assemble(attachment, threads, &order, readings))
}

/// All interpreters' threads; those of subinterpreters are left out if they cannot be read.
fn read_once(
    donor: &mut Donor,
    attachment: &mut Attachment,
) -> Result<Vec<StackTrace>, StackError> {
    let pid = attachment.pid;
    let mut traces = Vec::new();
    for which in attachment.interpreters()? {
        match donor.read(attachment, &which) {
            Ok(more) => traces.extend(more),
            Err(error) if which.is_main => return Err(failed(pid, &error)),
            Err(_) => {}
        }
    }
    traces.truncate(MOST_THREADS);
    Ok(traces)
}

fn weigh(
    attachment: &mut Attachment,
    threads: &[Thread],
    sleepers: &mut Sleepers,
    traces: Vec<StackTrace>,
    readings: &mut HashMap<u64, Readings>,
) {
    let tids = outer_tids(attachment, threads, &traces);
    for (mut trace, tid) in traces.into_iter().zip(tids) {
        trace.os_thread_id = tid.map(u64::from);
        let known = readings.entry(trace.thread_id).or_default();
        known.holds_gil = trace.owns_gil;
        if known.is_enough() {
            continue;
        }
        let during = tid.map_or(During::Awake, |tid| sleepers.during(tid));
        let (thread, embeds) = (trace.thread_id, attachment.embeds);
        if attachment
            .roots
            .judge(thread, &trace.frames, embeds, during)
            == Belief::Right
        {
            known.add(trace, during);
        }
    }
}

/// The kernel's thread ids, in the order of the traces; each at most once.
fn outer_tids(
    attachment: &mut Attachment,
    threads: &[Thread],
    traces: &[StackTrace],
) -> Vec<Option<u32>> {
    let pid = attachment.pid;
    let unknown = |t: &&StackTrace| t.os_thread_id.is_none();
    let pthreads: Vec<u64> = traces.iter().filter(unknown).map(|t| t.thread_id).collect();
    let mut read = read_pthread_tids(pid, &pthreads).into_iter();
    let mut outer = |trace: &StackTrace| {
        let inner = match trace.os_thread_id {
            Some(id) => u32::try_from(id).ok(),
            None => read.next(),
        };
        attachment.tids.outer(pid, inner?, threads)
    };
    let mut tids: Vec<Option<u32>> = traces.iter().map(&mut outer).collect();
    // The main thread's id is the pid; after a foreign fork it is the one that cannot be told.
    if !tids.contains(&Some(pid)) && threads.iter().any(|t| t.tid == pid) {
        let untold = || {
            tids.iter()
                .enumerate()
                .filter(|(_, tid)| tid.is_none())
                .map(|(at, _)| at)
        };
        let named = |at: &usize| {
            traces
                .get(*at)
                .is_some_and(|t| t.thread_name.as_deref() == Some("MainThread"))
        };
        let only = untold().next().filter(|_| untold().count() == 1);
        if let Some(tid) = only
            .or_else(|| untold().find(named))
            .and_then(|at| tids.get_mut(at))
        {
            *tid = Some(pid);
        }
    }
    tids
}

/// `order` is that of the last reading, newest thread first; the answer has the main thread first and then the oldest.
fn assemble(
    attachment: &Attachment,
    threads: &[Thread],
    order: &[u64],
    mut readings: HashMap<u64, Readings>,
) -> Stacks {
    let most = (MOST_FRAMES_IN_ALL / order.len().max(1)).clamp(64, MOST_FRAMES);
    let mut torn = 0;
    let mut list = Vec::with_capacity(order.len());
    for thread in order.iter().rev() {
        let Some(readings) = readings.remove(thread) else {
            continue;
        };
        let holds_gil = readings.holds_gil;
        match readings.into_stack() {
            Some(trace) => {
                let stack = stack(attachment, threads, trace, most);
                list.push(Stack { holds_gil, ..stack });
            }
            None => torn += 1,
        }
    }
    let is_main = |s: &Stack| s.tid == Some(attachment.pid);
    list.sort_by_key(|s| !is_main(s));
    Stacks {
        at: crate::source::clock::now(),
        list,
        torn,
        by: ReadBy::PySpy,
    }
}

fn stack(attachment: &Attachment, threads: &[Thread], trace: StackTrace, most: usize) -> Stack {
    let tid = trace.os_thread_id.and_then(|tid| u32::try_from(tid).ok());
    let frames = outermost_first(&trace.frames, most);
    let thread = tid.and_then(|tid| threads.iter().find(|t| t.tid == tid));
    let activity = thread.map_or(Activity::Unknown, |thread| {
        activity_in(thread, attachment.runtime.clone(), &frames)
    });
    Stack {
        tid,
        name: trace.thread_name.map(|name| clean(&name, 128)),
        activity,
        holds_gil: trace.owns_gil,
        frames,
    }
}

fn outermost_first(frames: &[py_spy::Frame], most: usize) -> Vec<Frame> {
    let outermost = OUTERMOST.min(most / 2);
    let middle = frames.len().saturating_sub(most);
    let kept = frames.iter().rev().enumerate();
    let kept = kept.filter(|(at, _)| *at < outermost || *at >= outermost + middle);
    kept.map(|(_, frame)| Frame {
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
    fn deep_stacks_keep_both_ends_and_order() {
        // py-spy gives the innermost first: line 1 is the outermost.
        let deep: Vec<_> = (1..=2000).rev().map(frame).collect();
        let kept = outermost_first(&deep, MOST_FRAMES);
        assert_eq!(kept.len(), 1000);
        let lines: Vec<u32> = kept.iter().map(|f| f.line).collect();
        assert_eq!(
            (lines[0], lines[99], lines[100], lines[999]),
            (1, 100, 1101, 2000)
        );
        let shallow: Vec<_> = (1..=3).rev().map(frame).collect();
        let lines: Vec<u32> = outermost_first(&shallow, 1000)
            .iter()
            .map(|f| f.line)
            .collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn names_are_harmless_and_strange_lines_are_unknown() {
        let kept = outermost_first(&[frame(-1)], 10);
        assert_eq!(kept[0].function, "f\\u{1b}[2J");
        assert_eq!(kept[0].line, 0);
    }
}
