//! Every thread of a worker pool is taken, and work waits.

use super::{Case, Verdict, count, duration, finding};
use crate::diagnosis::pool::{self, Waiting};
use crate::diagnosis::{Code, Phase, Severity, frames};

pub(super) fn examine(case: &Case) -> Verdict {
    let found = case.workers().find_map(|member| {
        let track = case.track(member)?;
        let taken = pool::exhausted(&member.process, track, case.at, case.thresholds)?;
        Some((member, taken))
    });
    let Some((member, taken)) = found else {
        return Verdict::Clear;
    };
    let severity = if case.server.phase == Phase::Serving {
        Severity::Warning
    } else {
        Severity::Critical
    };
    let stood = duration(case.at.seconds_since(taken.since));
    let mut found = finding(
        Code::ThreadpoolExhausted,
        severity,
        format!(
            "all {} threads of the {} pool are taken: {} stand in {} for at least {stood}, further requests wait",
            taken.threads,
            taken.pool,
            taken.there,
            frames::place(&taken.standing),
        ),
    );
    let pid = member.process.key.pid;
    found.culprit = Some(frames::culprit_of(&taken.standing));
    found.evidence.push(match taken.waiting {
        Waiting::Connections(open) => format!(
            "{open} connections are open for {} threads (sock_diag)",
            taken.threads
        ),
        Waiting::Unread(n) => format!(
            "{} sent a request that nobody reads (sock_diag, recv_q)",
            count(n, "client")
        ),
    });
    found.evidence.push(format!(
        "no pool thread of pid {pid} has moved for {stood} (Python stacks)"
    ));
    found.evidence.push(super::socket_evidence(case));
    found.remedy =
        "give what they wait for a time-out, or make the pool larger than what it waits for".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}
