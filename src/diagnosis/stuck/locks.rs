//! Can the lock that a thread waits for be released, and who would do it? From stacks and from what the kernel tells of the
//! wait; who owns a lock is not read, so most answers are likely and not proved.

use super::{Case, Stage, Stuck, is_event};
use crate::diagnosis::{Member, frames};
use crate::snapshot::{Activity, Frame, Process, Stack, Stacks, WaitTarget};

/// CPU time of a fork that has done nothing since it was made: to import an application takes more.
const NOTHING_DONE_NS: u64 = 200_000_000;
/// Frames that a fork has in common with its parent, at least.
const SHARED: usize = 2;

/// Who could release a lock.
#[derive(Debug, Clone)]
pub enum LockCase<'a> {
    /// Nobody: only threads of this process could, and it has no other. That is proved.
    Alone,
    /// A thread of another process, which shares the lock: of these, the nearest relatives that are in application code, it may
    /// be one.
    Shared(Vec<&'a Process>),
    /// Others wait for locks as well, and none runs application code: most likely for each other.
    Mutual(Vec<&'a Stack>),
    /// These run or wait for something else, in application code: one of them may have it.
    Held(Vec<&'a Stack>),
    /// Nobody that is in application code: whoever took it has ended, or does not mean to give it back.
    Nobody,
}

/// Who could release the lock that this thread waits for.
pub fn lock_case<'a>(case: &Case<'a>, stuck: &Stuck<'a>) -> LockCase<'a> {
    if stuck.member.process.thread_count == 1 && is_private(stuck) {
        return LockCase::Alone;
    }
    if is_shared(stuck) {
        return LockCase::Shared(relatives(case, &stuck.member.process));
    }
    let stacks = stuck.member.process.python.as_ref();
    let stacks = stacks.and_then(|p| p.stacks.as_ref());
    if let Some(owner) = stacks.and_then(|s| owner_of(s, stuck.stack)) {
        return match waits_for_another(case, stuck, owner) {
            true => LockCase::Mutual(vec![owner]),
            false => LockCase::Held(vec![owner]),
        };
    }
    let others = stacks
        .iter()
        .flat_map(|s| &s.list)
        .filter(|stack| stack.tid != stuck.stack.tid && frames::application_frame(stack).is_some());
    let (waiting, others): (Vec<&Stack>, Vec<&Stack>) =
        others.partition(|stack| waits_for_another(case, stuck, stack));
    if !waiting.is_empty() {
        return LockCase::Mutual(waiting);
    }
    let active: Vec<&Stack> = others.into_iter().filter(|s| !rests(s)).collect();
    if active.is_empty() {
        LockCase::Nobody
    } else {
        LockCase::Held(active)
    }
}

/// The thread that has what this one waits for, where memory tells.
fn owner_of<'a>(stacks: &'a Stacks, stack: &Stack) -> Option<&'a Stack> {
    let owner = stacks.lock_of(stack.tid?)?.owner?;
    stacks.list.iter().find(|s| s.tid == Some(owner))
}

/// Who waits in the standard library for work, or for an event, is in no block that it took a lock for.
pub(super) fn rests(stack: &Stack) -> bool {
    matches!(stack.activity, Activity::Lock | Activity::Selector)
        && stack
            .leaf()
            .is_some_and(|f| is_event(f) || frames::is_library(f))
}

/// It stands in front of another lock than this thread; or this thread is what it waits for.
fn waits_for_another(case: &Case, stuck: &Stuck, other: &Stack) -> bool {
    if other.activity != Activity::Lock {
        return false;
    }
    if other.leaf().is_some_and(is_event) {
        return stuck.behind_main && other.tid == Some(stuck.member.process.key.pid);
    }
    let theirs = Stuck {
        stack: other,
        wait: other.tid.and_then(|tid| stuck.member.process.wait(tid)),
        ..*stuck
    };
    theirs.stands(case) && !waits_for_same(stuck, other)
}

fn is_private(stuck: &Stuck) -> bool {
    let on = stuck.wait.map(|wait| &wait.on);
    matches!(
        on,
        Some(WaitTarget::Futex {
            private: true,
            timed: false,
            ..
        })
    )
}

/// It lies in memory that several processes share: one of multiprocessing's.
fn is_shared(stuck: &Stuck) -> bool {
    let on = stuck.wait.map(|wait| &wait.on);
    matches!(on, Some(WaitTarget::Futex { private: false, .. }))
}

/// Parent, children and siblings in application code that do not wait for a lock themselves.
fn relatives<'a>(case: &Case<'a>, process: &Process) -> Vec<&'a Process> {
    let (pid, parent) = (process.key.pid, process.ppid);
    let related = |p: &Process| {
        p.key.pid == parent || p.ppid == pid || p.ppid == parent && parent > 1 && p.key.pid != pid
    };
    let works = |p: &Process| {
        let main = p.main_stack();
        main.is_some_and(|s| s.activity != Activity::Lock && frames::application_frame(s).is_some())
    };
    let all = case.snapshot.processes.iter().map(|p| &**p);
    all.filter(|p| related(p) && works(p)).collect()
}

/// Two that wait for one lock do not wait for each other. Up to Python 3.12 a lock is one word, from 3.13 on each waiting
/// thread has its own.
fn waits_for_same(stuck: &Stuck, other: &Stack) -> bool {
    let address = |tid: Option<u32>| match &stuck.member.process.wait(tid?)?.on {
        WaitTarget::Futex { address, .. } => Some(*address),
        _ => None,
    };
    let mine = address(stuck.stack.tid);
    mine.is_some() && mine == address(other.tid)
}

/// The process that this one was forked from, if it was and goes on from there: their stacks begin alike.
pub fn forked_from<'a>(case: &Case<'a>, member: &Member) -> Option<&'a Process> {
    let parent = case.snapshot.process(member.process.ppid)?;
    let (mine, theirs) = (member.process.main_stack()?, parent.main_stack()?);
    let same = |(a, b): &(&Frame, &Frame)| a.function == b.function && a.file == b.file;
    let shared = mine
        .frames
        .iter()
        .zip(&theirs.frames)
        .take_while(same)
        .count();
    (shared >= SHARED).then_some(parent)
}

/// True if a fork has waited since it was made, as far as can be told: it has used next to no CPU time of its own.
fn since_birth(process: &Process) -> bool {
    process.cpu_ns < NOTHING_DONE_NS
}

/// A fork waits for what another thread would do, and has none: it was made by a process of several, and only the one
/// that forked was copied. That nobody can end it is proved, as far as no signal does.
pub fn lacks_threads(case: &Case, stuck: &Stuck) -> bool {
    let waits = stuck.stack.leaf().is_some_and(is_event);
    let alone = stuck.member.process.thread_count == 1 && is_private(stuck);
    let parent = || forked_from(case, stuck.member);
    waits && alone && parent().is_some_and(|p| p.thread_count > 1)
}

/// A fork that has done nothing yet waits for a lock that none of its own threads seems to hold, or for threads that it has
/// not got.
pub fn has_inherited<'a>(case: &Case<'a>, stuck: &Stuck<'a>) -> bool {
    let unheld = || {
        !matches!(
            lock_case(case, stuck),
            LockCase::Held(_) | LockCase::Shared(_)
        )
    };
    lacks_threads(case, stuck)
        || stuck.stage != Stage::Service
            && since_birth(&stuck.member.process)
            && forked_from(case, stuck.member).is_some()
            && unheld()
}
