//! The supervisor kills workers that it has not heard of for too long, and the next ones go the same way.

use super::{Case, Verdict, count, crash_loop, duration, finding};
use crate::diagnosis::timeouts::{self, Kill};
use crate::diagnosis::{Code, Kind, Phase, Severity, frames};

pub(super) fn examine(case: &Case) -> Verdict {
    let living: Vec<_> = case.workers().filter_map(|m| case.track(m)).collect();
    let kills = timeouts::repeated(case.kills, &living, case.at);
    let (Some(last), Some(first)) = (kills.first(), kills.last()) else {
        return if case.kills.is_empty() {
            Verdict::Clear
        } else {
            Verdict::NotYet
        };
    };
    let severity = if case.server.phase == Phase::Serving {
        Severity::Warning
    } else {
        Severity::Critical
    };
    let place = kills.iter().find_map(|k| k.place.as_ref());
    let stood = place
        .map(|f| format!(", last seen in {}", frames::place(f)))
        .unwrap_or_default();
    let mut found = finding(
        Code::WorkerTimeoutLoop,
        severity,
        format!(
            "{} killed in the last {} for being silent, the last after {}{}{stood}; the next is no better",
            if kills.len() == 1 {
                "1 worker was".to_owned()
            } else {
                format!("{} were", count(kills.len(), "worker"))
            },
            duration(case.at.seconds_since(first.exit.at).max(1.0)),
            duration(last.silent_s),
            limit(last),
        ),
    );
    found.culprit = place.map(frames::culprit_of);
    found.evidence = kills.iter().take(4).map(|k| line(k, case)).collect();
    found.evidence.push(super::socket_evidence(case));
    found.remedy = remedy(case.server.kind);
    found.confirm = format!(
        "ps -o pid,etimes,stat,args --ppid {}   # worker pids change all the time",
        last.exit.ppid
    );
    Verdict::Found(Box::new(found))
}

fn limit(kill: &Kill) -> String {
    kill.limit_s
        .map(|s| format!(" (time-out {})", duration(s)))
        .unwrap_or_default()
}

fn line(kill: &Kill, case: &Case) -> String {
    format!(
        "worker {} ended {} ago, {} after its last sign of life: {} (process events; {})",
        kill.exit.key.pid,
        duration(case.at.seconds_since(kill.exit.at)),
        duration(kill.silent_s),
        crash_loop::how(&kill.exit),
        kill.source,
    )
}

fn remedy(kind: Kind) -> String {
    match kind {
        Kind::Uvicorn => "release the GIL there or move it to another process; --timeout-worker-healthcheck gives it longer".into(),
        _ => "give what it waits for a time-out shorter than gunicorn's, or use threads (gthread) for slow requests; SIGKILL here does not mean that memory ran out".into(),
    }
}
