//! Which threads stand in front of locks while the server goes on without them? A request that waits for a lock holds up its
//! client and nobody else, so the main thread shows nothing of it.
//!
//! A futex may be anything: a lock, a queue of C code, native threads at work. Where memory does not tell which, what is said
//! is bounded by that: two threads in two places, or two in front of one word, are locks; a lone one is, if somebody is
//! there who could hold it.

use super::{Case, Stage, Stuck, is_event};
use crate::diagnosis::framework;
use crate::diagnosis::history::Track;
use crate::diagnosis::{Member, Phase, Severity, frames, kind};
use crate::snapshot::{Activity, Frame, LockObject, LockWait, Moment, Stack, WaitTarget};

/// Who came into its place so long after another began to wait may still hold what that one wants: looks are apart.
const LOOKS_APART_S: f64 = 1.0;

/// Threads of one process that wait for locks beside its main thread.
#[derive(Debug, Clone)]
pub struct Aside<'a> {
    /// Those that wait, the one that has waited longest first; never empty, and one at least handles a request.
    pub waiting: Vec<Stuck<'a>>,
    /// What it is.
    pub case: AsideCase<'a>,
}

/// Who could release the locks.
#[derive(Debug, Clone)]
pub enum AsideCase<'a> {
    /// Those that wait, in different places for different locks: most likely for each other.
    Mutual,
    /// These have been in the application's code for as long: one of them may have the lock.
    Held(Vec<&'a Stack>),
    /// All wait for one lock, and nobody can be seen who would have it.
    Nobody,
}

/// One lock that threads of a process wait for, and who may have it.
struct Wanted<'a> {
    /// Those that handle requests, or of which memory tells that it is a lock: the one that has waited longest first.
    waiting: Vec<Stuck<'a>>,
    /// Others wait there as well.
    several: bool,
    /// Who may have it, and does not wait itself.
    holders: Vec<&'a Stack>,
}

/// The threads that wait for locks beside the main thread of a worker that has served; `None` where none does, or it
/// cannot be told that it is a lock.
pub fn aside<'a>(case: &Case<'a>) -> Option<Aside<'a>> {
    let serve = |m: &&Member| matches!(m.phase, Phase::Serving | Phase::Stalled);
    let found = case.workers().filter(serve).filter_map(|member| {
        let waiting = waiting(case, member)?;
        judge(wanted(case, member, &waiting))
    });
    found.max_by(|a, b| a.lasted_s().total_cmp(&b.lasted_s()))
}

impl Aside<'_> {
    /// The lock that a thread waits for, and who has it, where memory tells.
    pub fn owner_of(&self, stuck: &Stuck) -> Option<u32> {
        known(stuck.member, stuck.stack)?.owner
    }

    /// Seconds for which the first of them has waited, at least.
    pub fn lasted_s(&self) -> f64 {
        self.waiting.first().map_or(0.0, |w| w.stood_s)
    }
}

fn waiting<'a>(case: &Case<'a>, member: &'a Member) -> Option<Vec<Stuck<'a>>> {
    let track = case.track(member)?;
    let stacks = member.process.python.as_ref()?.stacks.as_ref()?;
    let others = stacks
        .list
        .iter()
        .filter(|s| s.tid != Some(member.process.key.pid));
    let mut waiting: Vec<Stuck> = others
        .filter_map(|stack| in_front_of_lock(case, member, track, stack))
        .filter(|stuck| stuck.stood_s >= case.thresholds.standing_s)
        .collect();
    waiting.sort_by(|a, b| b.stood_s.total_cmp(&a.stood_s));
    Some(waiting)
}

/// A thread of the application's own may always sleep in C code that waits for work, and nobody has what it waits for.
fn counts(stuck: &Stuck) -> bool {
    handles_request(stuck.stack) || known(stuck.member, stuck.stack).is_some()
}

fn in_front_of_lock<'a>(
    case: &Case<'a>,
    member: &'a Member,
    track: &'a Track,
    stack: &'a Stack,
) -> Option<Stuck<'a>> {
    frames::application_frame(stack)?;
    let lock = stack.activity == Activity::Lock && !stack.leaf().is_some_and(is_event);
    let wait = lock.then(|| member.process.wait(stack.tid?)).flatten()?;
    // What several processes share may be held by another of them.
    let on = &wait.on;
    let untimed = matches!(
        on,
        WaitTarget::Futex {
            timed: false,
            private: true,
            ..
        }
    );
    let queue = known(member, stack).is_some_and(|l| l.kind == LockObject::Queue)
        || stack.frames.iter().any(is_mp_queue);
    (untimed && !queue).then(|| Stuck {
        member,
        track,
        stack,
        behind_main: true,
        awaited_in: None,
        wait: Some(wait),
        stage: Stage::Service,
        stood_s: case.at.seconds_since(wait.since),
        severity: Severity::Info,
    })
}

/// Each lock by itself, the one that has been waited for longest first.
fn wanted<'a>(case: &Case<'a>, member: &'a Member, waiting: &[Stuck<'a>]) -> Vec<Wanted<'a>> {
    let mut locks: Vec<Wanted> = Vec::new();
    for first in waiting.iter().filter(|w| counts(w)) {
        let is_there = |w: &&Stuck| address(w) == address(first);
        let mut told = locks.iter().flat_map(|lock| &lock.waiting);
        if told.any(|w| is_there(&w)) {
            continue;
        }
        let all = || waiting.iter().filter(is_there);
        locks.push(Wanted {
            waiting: all().filter(|w| counts(w)).copied().collect(),
            several: all().count() > 1,
            holders: who_has(case, member, waiting, first),
        });
    }
    locks
}

/// Who may have the lock that a thread waits for: its owner, or the owner of what that one waits for, and so on.
fn who_has<'a>(
    case: &Case<'a>,
    member: &'a Member,
    waiting: &[Stuck<'a>],
    first: &Stuck<'a>,
) -> Vec<&'a Stack> {
    let mut last = first;
    for _ in 0..waiting.len() {
        let owner = known(member, last.stack).and_then(|l| l.owner);
        let waits = |w: &&Stuck| counts(w) && w.stack.tid == owner;
        match owner.map(|tid| (waiting.iter().find(waits), stack_of(member, tid))) {
            Some((Some(next), _)) => last = next,
            Some((None, Some(stack))) => return vec![stack],
            Some((None, None)) | None => return holders(case, member, waiting, last),
        }
    }
    Vec::new()
}

/// Locks that nobody has who does not wait himself are a deadlock where there are several. Otherwise the one that has been
/// waited for longest is told.
fn judge(locks: Vec<Wanted>) -> Option<Aside> {
    let (held, open): (Vec<Wanted>, Vec<Wanted>) =
        locks.into_iter().partition(|lock| !lock.holders.is_empty());
    if let Some(waiting) = mutual(&open) {
        let case = AsideCase::Mutual;
        return Some(Aside { waiting, case });
    }
    let lock = |l: &Wanted| l.several || l.waiting.iter().any(is_lock);
    let requests = |l: &Wanted| l.waiting.iter().any(|w| handles_request(w.stack));
    let open = open.into_iter().filter(|l| lock(l));
    let told = held.into_iter().chain(open).filter(requests).map(|lock| {
        let case = match lock.holders.is_empty() {
            true => AsideCase::Nobody,
            false => AsideCase::Held(lock.holders),
        };
        Aside {
            waiting: lock.waiting,
            case,
        }
    });
    told.max_by(|a, b| a.lasted_s().total_cmp(&b.lasted_s()))
}

/// All that wait for these locks, if one of them waits for itself, or if the locks are different ones and one at least is
/// wanted by a request.
fn mutual<'a>(open: &[Wanted<'a>]) -> Option<Vec<Stuck<'a>>> {
    let firsts: Vec<&Stuck> = open
        .iter()
        .filter_map(|lock| lock.waiting.first())
        .collect();
    let another =
        |w: &Stuck, first: &Stuck| !ways(w).eq(ways(first)) || is_lock(w) && is_lock(first);
    let several = match firsts.as_slice() {
        [first, others @ ..] => others.iter().any(|w| another(w, first)),
        [] => false,
    };
    let mut all: Vec<Stuck> = open
        .iter()
        .flat_map(|lock| &lock.waiting)
        .copied()
        .collect();
    all.sort_by(|a, b| b.stood_s.total_cmp(&a.stood_s));
    let proved = all.iter().any(|w| waits_for_itself(w.member, w.stack));
    let requests = all.iter().any(|w| handles_request(w.stack));
    (requests && (several || proved)).then_some(all)
}

fn is_lock(stuck: &Stuck) -> bool {
    takes_lock(stuck.stack) || known(stuck.member, stuck.stack).is_some()
}

/// Who has what it waits for waits for one who waits, and so on, for this one: memory proves it.
fn waits_for_itself(member: &Member, stack: &Stack) -> bool {
    let mut next = known(member, stack).and_then(|l| l.owner);
    for _ in 0..member.process.thread_count {
        match next.and_then(|tid| stack_of(member, tid)) {
            Some(owner) if owner.tid == stack.tid => return true,
            Some(owner) => next = known(member, owner).and_then(|l| l.owner),
            None => return false,
        }
    }
    false
}

/// What a thread waits for, where memory tells.
fn known<'a>(member: &'a Member, stack: &Stack) -> Option<&'a LockWait> {
    let stacks = member.process.python.as_ref()?.stacks.as_ref()?;
    stacks.lock_of(stack.tid?)
}

fn stack_of(member: &Member, tid: u32) -> Option<&Stack> {
    let stacks = member.process.python.as_ref()?.stacks.as_ref()?;
    stacks.list.iter().find(|s| s.tid == Some(tid))
}

/// Threads that have been in the application's code since before the first began to wait for the lock of this one, and do
/// not wait for a lock or for work themselves.
fn holders<'a>(
    case: &Case<'a>,
    member: &'a Member,
    waiting: &[Stuck],
    stuck: &Stuck,
) -> Vec<&'a Stack> {
    let stacks = member.process.python.as_ref();
    let stacks = stacks.and_then(|p| p.stacks.as_ref());
    let (Some(track), Some(stacks)) = (case.track(member), stacks) else {
        return Vec::new();
    };
    let same = waiting.iter().filter(|w| address(w) == address(stuck));
    let since = same.filter_map(|w| w.wait.map(|wait| wait.since));
    let Some(since) = since.min() else {
        return Vec::new();
    };
    let waits = |s: &Stack| waiting.iter().any(|w| w.stack.tid == s.tid);
    let there = |s: &Stack| {
        let inside = inside_since(track, s, member.process.key.pid);
        inside.is_some_and(|at| at <= since.plus_seconds(LOOKS_APART_S))
    };
    let rests = |s: &Stack| {
        let queue = known(member, s).is_some_and(|l| l.kind == LockObject::Queue);
        queue || super::locks::rests(s)
    };
    let all = stacks.list.iter();
    all.filter(|s| !waits(s) && !rests(s) && there(s)).collect()
}

/// Since when a thread has been in the application's code; of the main thread, in the same function of it.
fn inside_since(track: &Track, stack: &Stack, pid: u32) -> Option<Moment> {
    frames::application_frame(stack)?;
    if stack.tid == Some(pid) {
        return Some(track.place.since);
    }
    track.standing.threads.of(stack.tid?)?.inside_since
}

fn handles_request(stack: &Stack) -> bool {
    framework::pool_of(stack).is_some() || kind::by_stack(stack).is_some()
}

/// The lock itself, or the word of memory that the kernel knows of it.
fn address(stuck: &Stuck) -> Option<u64> {
    if let Some(lock) = known(stuck.member, stuck.stack) {
        return Some(lock.id);
    }
    match &stuck.wait?.on {
        WaitTarget::Futex { address, .. } => Some(*address),
        _ => None,
    }
}

/// By which of the application's lines it has come to where it stands.
fn ways<'a>(stuck: &Stuck<'a>) -> impl Iterator<Item = (&'a str, u32)> {
    let own = stuck.stack.frames.iter().filter(|f| !f.is_library());
    own.map(|f| (f.file.as_str(), f.line))
}

/// Readers of such a queue stand in front of the one that reads its pipe.
fn is_mp_queue(frame: &Frame) -> bool {
    frame.is_library() && frame.file.ends_with("/multiprocessing/queues.py")
}

/// True where the standard library takes a lock for whoever called it, and waits for nothing else.
fn takes_lock(stack: &Stack) -> bool {
    const TAKES: &[(&str, &[&str])] = &[
        ("/contextlib.py", &["enter_context", "_enter_context"]),
        (
            "/logging/__init__.py",
            &["acquire", "handle", "_acquireLock"],
        ),
        ("/threading.py", &["acquire", "__enter__"]),
    ];
    stack.leaf().is_some_and(|leaf| {
        let name = leaf.function.rsplit('.').next().unwrap_or("");
        let takes =
            |(file, names): &(&str, &[&str])| leaf.file.ends_with(file) && names.contains(&name);
        leaf.is_library() && TAKES.iter().any(takes)
    })
}
