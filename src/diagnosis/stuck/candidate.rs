//! Which thread keeps a server from serving? The one that imports or starts the application, the one that should turn the
//! loop or take the next request; or another that this one waits for.

use super::{Case, Reason, Stage, Stuck, is_event, reason};
use crate::diagnosis::history::Track;
use crate::diagnosis::task::{self, suspect};
use crate::diagnosis::{Member, Phase, Severity, frames, kind, phase};
use crate::snapshot::{Activity, Frame, JobState, Process, Stack, ThreadWait, WaitOn};

/// Whether somebody is stuck.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen<'a> {
    /// Nobody.
    Nobody,
    /// Not for long enough to tell.
    NotYet,
    /// This one, who was first.
    This(Stuck<'a>),
}

/// The thread that keeps the server from serving.
pub(super) fn find<'a>(case: &Case<'a>) -> Seen<'a> {
    let mut seen = Seen::Nobody;
    for candidate in [importing(case), starting(case), serving(case)] {
        match candidate {
            Seen::This(stuck) if stuck.behind_main => return Seen::This(stuck),
            Seen::This(stuck) => return Seen::This(behind(case, stuck)),
            Seen::NotYet => seen = Seen::NotYet,
            Seen::Nobody => {}
        }
    }
    seen
}

fn importing<'a>(case: &Case<'a>) -> Seen<'a> {
    let Some((member, track)) = case.boots(Phase::Importing) else {
        return Seen::Nobody;
    };
    let old = case.age_s(member) >= case.thresholds.slow_boot_s
        && case.observed_s() >= case.thresholds.observed_s;
    standing(case, member, track, Stage::Import, old)
}

fn starting<'a>(case: &Case<'a>) -> Seen<'a> {
    let Some((member, track)) = case.boots(Phase::Starting) else {
        return Seen::Nobody;
    };
    match standing(case, member, track, Stage::Startup, true) {
        Seen::Nobody => awaiting_job(case, member, track).map_or(Seen::Nobody, Seen::This),
        seen => seen,
    }
}

/// The loop idles because startup awaits a job that a pool's thread does.
fn awaiting_job<'a>(case: &Case<'a>, member: &'a Member, track: &'a Track) -> Option<Stuck<'a>> {
    let graph = track.standing.graph()?;
    let way = graph.way_from(suspect::startup(graph)?);
    let end = graph.task(*way.last()?)?;
    let running = WaitOn::Job {
        state: JobState::Running,
    };
    task::waits(end).filter(|wait| wait.on == running)?;
    let mut tasks = way.iter().rev().filter_map(|at| graph.task(*at));
    let awaited_in = tasks.find_map(task::own_frame);
    let of_thread = |stack: &'a Stack| Stuck {
        member,
        track,
        stack,
        behind_main: true,
        awaited_in,
        wait: wait_of(member, stack),
        stage: Stage::Startup,
        stood_s: track.standing.stood_s(end.id),
        severity: case.severity_of_delay(case.age_s(member)),
    };
    let mut busy = at_work(&member.process).map(of_thread);
    let first = busy.next()?;
    // Which of several has the job cannot be told, unless all of them stand for the same reason in the same function.
    let same = |other: Stuck| {
        let place = |s: &Stuck| s.frame().map(|f| (f.function.clone(), f.file.clone()));
        reason(case, &other) == reason(case, &first) && place(&other) == place(&first)
    };
    busy.all(same).then_some(first)
}

/// Threads of pools that do a job. One that is done in C alone has no frame of its own: the thread stands in the pool's call
/// of it, and no more in the loop that takes jobs.
fn at_work(process: &Process) -> impl Iterator<Item = &Stack> {
    let pools = |f: &Frame| {
        f.file.ends_with("/concurrent/futures/thread.py")
            || f.file.ends_with("/anyio/_backends/_asyncio.py")
    };
    let calls = move |leaf: &Frame| pools(leaf) && task::short_name(leaf) == "run";
    let rests = move |leaf: &Frame| !calls(leaf) && (pools(leaf) || is_event(leaf));
    let busy = move |s: &&Stack| {
        let works = frames::application_frame(s).is_some() || !s.leaf().is_some_and(rests);
        s.tid != Some(process.key.pid) && s.frames.iter().any(pools) && works
    };
    let stacks = process.python.as_ref().and_then(|p| p.stacks.as_ref());
    stacks.into_iter().flat_map(|s| &s.list).filter(busy)
}

fn standing<'a>(
    case: &Case<'a>,
    member: &'a Member,
    track: &'a Track,
    stage: Stage,
    old: bool,
) -> Seen<'a> {
    let Some(stack) = member.process.main_stack().filter(|s| !idles(s)) else {
        return Seen::Nobody;
    };
    let wait = wait_of(member, stack);
    // A thread that has not run stands where it stood, whether its stack was read then or not.
    let slept = wait.map_or(0.0, |wait| case.at.seconds_since(wait.since));
    let stood = track.same_place_s().unwrap_or(0.0);
    let told = track.place.looks >= 3 || slept >= case.thresholds.doubtless_s;
    let stood = stood.max(slept);
    if !old || !told || stood < case.thresholds.doubtless_s {
        return Seen::NotYet;
    }
    Seen::This(Stuck {
        member,
        track,
        stack,
        behind_main: false,
        awaited_in: None,
        wait,
        stage,
        stood_s: stood,
        severity: case.severity_of_delay(case.age_s(member)),
    })
}

/// The worker that has been held longest, of those that have served.
fn serving<'a>(case: &Case<'a>) -> Seen<'a> {
    let stalled = case.workers().filter(|m| m.phase == Phase::Stalled);
    let held = stalled.filter_map(|m| held(case, m));
    held.max_by(|a, b| a.stood_s.total_cmp(&b.stood_s))
        .map_or(Seen::Nobody, |stuck| {
            if stuck.stood_s < case.thresholds.loop_blocked_s {
                Seen::NotYet
            } else {
                Seen::This(stuck)
            }
        })
}

fn held<'a>(case: &Case<'a>, member: &'a Member) -> Option<Stuck<'a>> {
    let track = case.track(member)?;
    let stack = member.process.main_stack().filter(|s| !idles(s))?;
    if track.place.looks < 3 {
        return None;
    }
    let waiting = case.depth().unwrap_or(0) > 0;
    let wait = wait_of(member, stack);
    let (stood_s, severity) = match phase::loop_blocked_s(&member.process, track) {
        Some(held) => {
            let grave = waiting || held >= case.thresholds.loop_blocked_critical_s;
            let severity = if grave {
                Severity::Critical
            } else {
                Severity::Warning
            };
            let slept = wait.map_or(0.0, |wait| case.at.seconds_since(wait.since));
            (held.max(slept), severity)
        }
        // A worker without a loop is new each time its master has lost patience: the server has stood for longer than it.
        None => {
            let queue = case.listening().filter_map(|l| {
                let queue = case.history.queue(l.netns, l.socket.inode)?;
                Some(queue.stuck_s(case.at))
            });
            let stuck = queue.fold(case.at.seconds_since(member.since), f64::max);
            let stalled = match case.server.phase {
                Phase::Stalled => case.at.seconds_since(case.server.since).max(stuck),
                _ => stuck,
            };
            (stalled, case.severity_of_stall(stuck))
        }
    };
    Some(Stuck {
        member,
        track,
        stack,
        behind_main: false,
        awaited_in: None,
        wait,
        stage: Stage::Service,
        stood_s,
        severity,
    })
}

/// The loop waits in its poll: for whatever may come.
fn idles(stack: &Stack) -> bool {
    stack.activity == Activity::Stopped
        || stack.activity == Activity::Selector
            && frames::has_loop(stack)
            && !frames::loop_runs_application(stack)
}

fn wait_of<'a>(member: &'a Member, stack: &Stack) -> Option<&'a ThreadWait> {
    member.process.wait(stack.tid?)
}

/// Where the main thread waits for another thread (join, a future's result, a queue), that one is to blame, if it stands
/// and what it waits for is known. So is one that runs the server itself, while the main thread has other things to do.
fn behind<'a>(case: &Case<'a>, main: Stuck<'a>) -> Stuck<'a> {
    let joins = waits_for_thread(main.stack);
    if !joins && reason(case, &main).is_some() {
        return main;
    }
    let stacks = main.member.process.python.as_ref();
    let stacks = stacks.and_then(|p| p.stacks.as_ref());
    let others = stacks.iter().flat_map(|s| &s.list).filter_map(|stack| {
        let own = frames::application_frame(stack).is_some();
        if stack.tid == main.stack.tid || !(joins && own || kind::by_stack(stack).is_some()) {
            return None;
        }
        let other = Stuck {
            stack,
            behind_main: true,
            wait: wait_of(main.member, stack),
            ..main
        };
        let reason = reason(case, &other).filter(|_| other.stands(case))?;
        Some((reason == Reason::Lock, other))
    });
    others
        .min_by_key(|(lock, _)| *lock)
        .map_or(main, |(_, other)| other)
}

/// The thread waits in the standard library for another thread: to end, to answer, to set an event.
fn waits_for_thread(stack: &Stack) -> bool {
    stack.activity == Activity::Lock && stack.leaf().is_some_and(is_event)
}
