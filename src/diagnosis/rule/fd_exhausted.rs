//! A process has as many open files as it may have: accept() fails with EMFILE.

use super::{Case, Verdict, finding};
use crate::diagnosis::{Code, Member, Phase, Severity};

pub(super) fn examine(case: &Case) -> Verdict {
    let Some((member, open, limit)) = case.workers().find_map(at_limit) else {
        return Verdict::Clear;
    };
    let waiting = case.depth().unwrap_or(0);
    let severity = if waiting > 0 || case.server.phase == Phase::Stalled {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let pid = member.process.key.pid;
    let clients = if waiting > 0 {
        let waiting = super::count(waiting as usize, "connection");
        format!("{waiting} in the accept queue")
    } else {
        "new clients wait or are cut off".to_owned()
    };
    let mut found = finding(
        Code::FdExhausted,
        severity,
        format!("pid {pid} has {open} of {limit} files open: accept() fails, {clients}"),
    );
    found.evidence.push(format!("{open} descriptors are open, the soft limit is {limit} (/proc/{pid}/fd, /proc/{pid}/limits)"));
    if let Some(fds) = &member.process.fds {
        let c = fds.classes;
        let classes = [
            ("sockets", c.sockets),
            ("files", c.files),
            ("pipes", c.pipes),
        ];
        let (class, n) = classes
            .into_iter()
            .max_by_key(|(_, n)| *n)
            .unwrap_or(("sockets", 0));
        found
            .evidence
            .push(format!("most of them are {class}: {n} (/proc/{pid}/fd)"));
    }
    found.evidence.push(super::socket_evidence(case));
    found.remedy =
        "raise LimitNOFILE (ulimit -n) and find what is not closed: idle connections, leaked files"
            .into();
    found.confirm = format!("ls /proc/{pid}/fd | wc -l; grep 'open files' /proc/{pid}/limits");
    Verdict::Found(Box::new(found))
}

/// At the limit, or one below it: asyncio opens and closes one in vain.
fn at_limit(member: &Member) -> Option<(&Member, u64, u64)> {
    let fds = member.process.fds.as_ref()?;
    let limit = fds.limit?;
    (fds.open + 1 >= limit && limit > 0).then_some((member, fds.open, limit))
}
