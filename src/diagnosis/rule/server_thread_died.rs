//! The process lives and looks for changed files, but the thread that should serve has ended.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::{Code, Severity, frames};

pub(super) fn examine(case: &Case) -> Verdict {
    let gone = case.workers().find_map(|member| {
        let thread = &case.track(member)?.server_thread;
        Some((member, thread, thread.gone_since?))
    });
    let Some((member, thread, since)) = gone else {
        return Verdict::Clear;
    };
    let gone_s = case.at.seconds_since(since);
    if gone_s < case.thresholds.childless_s {
        return Verdict::NotYet;
    }
    let pid = member.process.key.pid;
    let place = thread.last.as_ref();
    let seen = place
        .map(|f| format!(", last seen in {}", frames::place(f)))
        .unwrap_or_default();
    let mut found = finding(
        Code::ServerThreadDied,
        Severity::Critical,
        format!(
            "pid {pid} lives, but the thread that should serve has ended{seen}: nothing serves until a file changes"
        ),
    );
    found.culprit = place.map(frames::culprit_of);
    found.evidence.push(format!(
        "for {} the main thread of pid {pid} has looked for changed files, and no other thread serves (Python stacks)",
        duration(gone_s)
    ));
    found.evidence.push(super::socket_evidence(case));
    found.remedy = "read the last traceback in its log, and save the corrected file".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}
