//! One thread keeps the GIL inside native code, and no other thread runs.

use super::{Case, Verdict, count, duration, finding};
use crate::diagnosis::history::Track;
use crate::diagnosis::{Code, Finding, Member, Phase, Severity, frames};
use crate::snapshot::{Activity, Frame, Stack};

pub(super) fn examine(case: &Case) -> Verdict {
    let held = case.server.own_members().filter(|m| m.exit.is_none());
    let held = held.filter_map(|member| {
        let track = case.track(member)?;
        Some((member, track, track.gil.holder()?.held_s()))
    });
    let Some((member, track, held)) = held.max_by(|a, b| a.2.total_cmp(&b.2)) else {
        return Verdict::Clear;
    };
    // Where a quota keeps the holder from running, it keeps the GIL for longer than it would.
    if matches!(super::cpu_throttled::examine(case), Verdict::Found(_)) {
        return Verdict::Clear;
    }
    let told = held >= case.thresholds.standing_s;
    let found = told.then(|| found(case, member, track, held)).flatten();
    found.map_or(Verdict::NotYet, |found| Verdict::Found(Box::new(found)))
}

fn found(case: &Case, member: &Member, track: &Track, held: f64) -> Option<Finding> {
    let holder = track.gil.holder().filter(|h| h.looks >= 3)?;
    let stacks = member.process.python.as_ref()?.stacks.as_ref()?;
    let of = |tid: u32| stacks.list.iter().find(|s| s.tid == Some(tid));
    let stack = of(holder.tid)?;
    let own = frames::application_frame(stack).map(|(_, f)| f);
    let frame = own.or(stack.leaf())?;
    let waiting: Vec<&Stack> = holder.kept_from().filter_map(of).collect();
    let pid = member.process.key.pid;
    let mut found = finding(
        Code::GilHeld,
        severity(case, member, held),
        format!(
            "{} of pid {pid} has kept the GIL for at least {} in {}{}: {} cannot run",
            thread(stack, pid),
            duration(held),
            frames::place(frame),
            native(stack, frame),
            count(waiting.len(), "other thread"),
        ),
    );
    found.culprit = Some(frames::culprit_of(frame));
    found.evidence.push(format!(
        "{} held the GIL at {} looks in a row, in the same frames (Python memory)",
        thread(stack, pid),
        holder.looks
    ));
    found.evidence.extend(waiting.iter().take(4).map(|s| {
        let at = frames::application_frame(s).map(|(_, f)| f).or(s.leaf());
        let at = at.map_or_else(String::new, |f| format!(" in {}", frames::place(f)));
        format!(
            "{} waits for it{at} (futex of _PyRuntime, /proc/{pid}/task)",
            thread(s, pid)
        )
    }));
    if let Some(cpu) = track.cpu_percent() {
        found.evidence.push(format!(
            "pid {pid} uses {cpu:.0} % of a core (/proc/{pid}/stat)"
        ));
    }
    if stack.activity != Activity::Running {
        found.evidence.push(format!(
            "the thread itself: {} (/proc/{pid}/task/{})",
            super::loop_blocked::doing(stack),
            holder.tid
        ));
    }
    found.remedy = remedy(stack).into();
    found.confirm =
        format!("py-spy dump --native --pid {pid}   # pauses it for a moment; top -H -p {pid}");
    Some(found)
}

fn severity(case: &Case, member: &Member, held: f64) -> Severity {
    let boots = matches!(
        case.server.phase,
        Phase::Importing | Phase::Starting | Phase::Bound | Phase::Listening
    );
    let own = if boots {
        case.severity_of_delay(case.age_s(member))
    } else if case.depth().unwrap_or(0) > 0 || held >= case.thresholds.loop_blocked_critical_s {
        Severity::Critical
    } else {
        Severity::Warning
    };
    // What it blocks is not worse than it is itself.
    match super::loop_blocked::examine(case) {
        Verdict::Found(blocked) => own.max(blocked.severity),
        Verdict::Clear | Verdict::NotYet => own,
    }
}

/// The library's frame that went into native code, where it is not the application's own.
fn native(stack: &Stack, frame: &Frame) -> String {
    match stack.leaf() {
        Some(leaf) if leaf != frame => {
            format!(", in native code below {}", frames::place(leaf))
        }
        _ => ", in native code".to_owned(),
    }
}

fn thread(stack: &Stack, pid: u32) -> String {
    match (&stack.name, stack.tid) {
        (_, Some(tid)) if tid == pid => "the main thread".to_owned(),
        (Some(name), _) => format!("thread {name}"),
        (None, Some(tid)) => format!("thread {tid}"),
        (None, None) => "a thread".to_owned(),
    }
}

fn remedy(stack: &Stack) -> &'static str {
    let leaf = stack.leaf().map_or("", |f| f.file.as_str());
    if leaf.ends_with("/re/__init__.py")
        || leaf.ends_with("/re.py")
        || leaf.ends_with("/re/_compiler.py")
    {
        "the pattern backtracks without end: rewrite it without nested repeats, bound the length of the input, or match in another process (ProcessPoolExecutor); a thread does not help, for it keeps the GIL"
    } else {
        "run it in another process (ProcessPoolExecutor); a thread does not help, for it keeps the GIL: release it in the extension (Py_BEGIN_ALLOW_THREADS, nogil)"
    }
}
