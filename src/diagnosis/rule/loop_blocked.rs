//! A callback or coroutine holds the running event loop.

use super::{Case, Verdict, duration, fd_exhausted, finding};
use crate::diagnosis::history::Track;
use crate::diagnosis::{Code, Member, Severity, frames, phase};
use crate::snapshot::{Activity, Stack};

/// Bytes that came so long before the loop was first seen to be held may have come since: looks are apart.
const LOOKS_APART_S: f64 = 1.0;

pub(super) fn examine(case: &Case) -> Verdict {
    let Some((member, track, held)) = worst(case) else {
        return Verdict::Clear;
    };
    if held < case.thresholds.loop_blocked_s {
        return Verdict::NotYet;
    }
    let Some(main) = member.process.main_stack() else {
        return Verdict::NotYet;
    };
    let waiting = case.depth().unwrap_or(0);
    // Who waits for the loop: in the queue, or with bytes that it has not read.
    let unread_s = case.thresholds.loop_blocked_s / 2.0;
    let unread = unread_since(case, track, unread_s);
    let grave = waiting > 0 || unread > 0 || held >= case.thresholds.loop_blocked_critical_s;
    let severity = if grave {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let own = frames::request_frame(main).map(|(_, f)| f);
    // A loop that accepts in vain, and logs that, is busy with nothing else.
    if own.is_none() && matches!(fd_exhausted::examine(case), Verdict::Found(_)) {
        return Verdict::Clear;
    }
    let frame = own.or(main.leaf());
    let place = frame.map_or_else(|| "native code".into(), frames::place);
    let pid = member.process.key.pid;
    let clients = if waiting > 0 {
        format!(
            ", {} in the accept queue",
            super::count(waiting as usize, "connection")
        )
    } else {
        String::new()
    };
    let mut found = finding(
        Code::LoopBlocked,
        severity,
        format!(
            "the event loop of pid {pid} has not turned for at least {}: {place} holds it{clients}",
            duration(held)
        ),
    );
    found.culprit = frame.map(frames::culprit_of);
    found.evidence.push(format!(
        "main thread: {}, in the same functions at {} looks (Python stack)",
        doing(main),
        track.place.looks
    ));
    found.evidence.push(super::socket_evidence(case));
    if unread > 0 {
        let connections = super::count(unread, "connection");
        found.evidence.push(format!(
            "{connections} of clients with bytes that nobody has read for {} or longer (sock_diag)",
            duration(unread_s)
        ));
    }
    if let Some(cpu) = track.cpu_percent() {
        found.evidence.push(format!(
            "pid {pid} uses {cpu:.0} % of a core (/proc/{pid}/stat)"
        ));
    }
    found.remedy = "make the handler synchronous (def), or run the call off the loop: asyncio.to_thread, run_in_executor".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}

/// Connections with bytes that came since the loop was held, so many seconds ago at least. What a handler does not want yet
/// (a large upload) has been unread for longer, and nobody waits for it.
fn unread_since(case: &Case, track: &Track, seconds: f64) -> usize {
    let before = case.at.seconds_since(track.held_since()) + LOOKS_APART_S;
    let all = track.unread_for(seconds, case.at);
    all.saturating_sub(track.unread_for(before.max(seconds), case.at))
}

/// The worker whose loop has been held longest, of those that once accepted.
fn worst<'a>(case: &Case<'a>) -> Option<(&'a Member, &'a Track, f64)> {
    case.workers()
        .filter_map(|member| {
            let track = case.track(member).filter(|t| t.has_accepted)?;
            let held = phase::loop_blocked_s(&member.process, track)?;
            Some((member, track, held))
        })
        .max_by(|a, b| a.2.total_cmp(&b.2))
}

/// What a thread does, in words.
pub(super) fn doing(stack: &Stack) -> String {
    match stack.activity {
        Activity::Running => "computes".into(),
        Activity::Selector => "waits in its poll".into(),
        Activity::Gil => "waits for the GIL".into(),
        Activity::Lock => "waits for a lock".into(),
        Activity::Syscall(number) => format!("sleeps in {}", crate::snapshot::syscall_name(number)),
        Activity::Stopped => "is stopped".into(),
        Activity::Unknown => "does something that may not be seen".into(),
    }
}
