//! Threads wait for each other's locks, or for one that nobody will release.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::stuck::{self, LockCase, Reason, Stuck};
use crate::diagnosis::{Code, frames, waits};
use crate::snapshot::Stack;

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Lock) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let process = &stuck.member.process;
    let (whom, likely) = match stuck::lock_case(case, &stuck) {
        _ if stuck::has_inherited(case, &stuck) => return Verdict::Clear,
        LockCase::Alone => (
            "that nobody can release: it is the only thread of its process".to_owned(),
            "",
        ),
        LockCase::Mutual(others) => (
            if stuck.behind_main && others.iter().all(|s| s.tid == Some(process.key.pid)) {
                format!("while {} for this thread", others_wait(&others))
            } else {
                format!("while {} for another one", others_wait(&others))
            },
            "most likely each has what the other wants; ",
        ),
        LockCase::Nobody => (
            "that no running thread seems to hold".to_owned(),
            "most likely whoever took it has ended or keeps it; ",
        ),
        LockCase::Held(_) | LockCase::Shared(_) => return Verdict::Clear,
    };
    let pid = process.key.pid;
    let mut found = finding(
        Code::ThreadDeadlock,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for a lock {whom}: {likely}{}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.lasted_s(case)),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.evidence.extend(proof(case, &stuck));
    found.remedy = "take locks in the same order everywhere, hold them only as long as needed (with), and give acquire() a timeout= so that it fails instead of standing".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}

/// What speaks for it, and how much.
pub(super) fn proof<'a>(case: &Case<'a>, stuck: &Stuck<'a>) -> Vec<String> {
    let pid = stuck.member.process.key.pid;
    match stuck::lock_case(case, stuck) {
        LockCase::Alone => vec![format!(
            "pid {pid} has one thread, and it waits without a time limit for a word of memory that only threads of its own process can change (/proc/{pid}/task, /proc/{pid}/syscall)"
        )],
        LockCase::Mutual(others) => {
            let mut facts: Vec<String> = others.iter().take(4).filter_map(|s| stands(case, stuck, s)).collect();
            facts.push("who holds which lock was not read: that they wait for each other is likely, not proved (Python stacks)".into());
            facts
        }
        LockCase::Nobody => vec![
            "no other thread that runs application code could be seen: that nobody releases the lock is likely, not proved (Python stacks)".into(),
        ],
        LockCase::Held(_) | LockCase::Shared(_) => Vec::new(),
    }
}

/// `refresh_cache (app.py:15) on thread cache-refresher waits`
fn others_wait(others: &[&Stack]) -> String {
    let first = others.first().map(|s| thread(s)).unwrap_or_default();
    match others.len() {
        0 | 1 => format!("{first} waits"),
        n => format!("{first} and {} more wait", n - 1),
    }
}

/// `refresh_cache (app.py:15) on thread cache-refresher`
pub(super) fn thread(stack: &Stack) -> String {
    let place = frames::application_frame(stack)
        .map_or_else(|| "another".into(), |(_, f)| frames::place(f));
    match &stack.name {
        Some(name) => format!("{place} on thread {name}"),
        None => place,
    }
}

/// The same with what it does.
pub(super) fn stands(case: &Case, stuck: &Stuck, stack: &Stack) -> Option<String> {
    let tid = stack.tid?;
    let words = match stuck.member.process.wait(tid) {
        Some(wait) => waits::words(wait, case.at),
        None => super::loop_blocked::doing(stack),
    };
    Some(format!("{}: {words} (Python stack, /proc)", thread(stack)))
}
