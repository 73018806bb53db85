//! Requests that stand in front of locks while their server takes others: for each other's, for one that nobody gives back,
//! or for one that somebody has who is still at work.

use super::thread_deadlock::{stands, thread};
use super::{Case, Verdict, count, duration, finding, lock_wait, socket_evidence, thread_deadlock};
use crate::diagnosis::stuck::{self, Aside, AsideCase, Stuck};
use crate::diagnosis::{Code, Finding, Phase, Severity, frames};
use crate::snapshot::Stack;

/// Threads that are named in one sentence, and as evidence.
const NAMED: usize = 4;

/// They wait for each other: that is why their pool is taken, where they belong to one.
pub(super) fn examine_mutual(case: &Case) -> Verdict {
    match stuck::aside(case) {
        Some(aside) if matches!(aside.case, AsideCase::Mutual) => told(case, &aside, mutual),
        _ => Verdict::Clear,
    }
}

/// They wait for one that holds a lock, or for nobody who can be seen.
pub(super) fn examine_other(case: &Case) -> Verdict {
    let Some(aside) = stuck::aside(case) else {
        return Verdict::Clear;
    };
    match &aside.case {
        AsideCase::Mutual => Verdict::Clear,
        AsideCase::Nobody => told(case, &aside, unheld),
        AsideCase::Held(holders) => told(case, &aside, |case, aside| held(case, aside, holders)),
    }
}

/// What keeps the whole server is told by the rules of its main thread, and is worse.
fn told<'a>(
    case: &Case<'a>,
    aside: &Aside<'a>,
    tell: impl Fn(&Case<'a>, &Aside<'a>) -> Option<Finding>,
) -> Verdict {
    let found = |verdict| matches!(verdict, Verdict::Found(_));
    if found(thread_deadlock::examine(case)) || found(lock_wait::examine(case)) {
        return Verdict::Clear;
    }
    let told = tell(case, aside).map(|found| completed(case, aside, found));
    told.map_or(Verdict::Clear, |found| Verdict::Found(Box::new(found)))
}

fn mutual(case: &Case, aside: &Aside) -> Option<Finding> {
    let who: Vec<String> = aside.waiting.iter().map(|w| thread(w.stack)).collect();
    let severity = match case.server.phase {
        Phase::Serving => Severity::Warning,
        _ => Severity::Critical,
    };
    Some(finding(
        Code::ThreadDeadlock,
        severity,
        format!(
            "{} of pid {} have waited at least {} for different locks, {}: most likely each has what the other wants; their clients get no answer",
            count(aside.waiting.len(), "thread"),
            aside.waiting.first()?.member.process.key.pid,
            duration(aside.waiting.get(1)?.stood_s),
            and(&who),
        ),
    ))
}

fn unheld(case: &Case, aside: &Aside) -> Option<Finding> {
    let first = aside.waiting.first()?;
    Some(finding(
        Code::ThreadDeadlock,
        severity(case, aside),
        format!(
            "{} of pid {} {} waited at least {} for one lock, first {}, and no running thread seems to hold it: most likely whoever took it has ended or keeps it, or wants it twice; no answer comes",
            count(aside.waiting.len(), "thread"),
            first.member.process.key.pid,
            if aside.waiting.len() == 1 {
                "has"
            } else {
                "have"
            },
            duration(first.stood_s),
            thread(first.stack),
        ),
    ))
}

fn held(case: &Case, aside: &Aside, holders: &[&Stack]) -> Option<Finding> {
    let first = aside.waiting.first()?;
    let who: Vec<String> = holders.iter().take(2).map(|s| thread(s)).collect();
    let more = match aside.waiting.len() {
        1 => String::new(),
        n => format!(", and {} more after it,", n - 1),
    };
    let mut found = finding(
        Code::LockWait,
        severity(case, aside),
        format!(
            "{}{more} has waited at least {} for a lock that another thread of pid {} holds, perhaps {}; the client gets no answer meanwhile",
            thread(first.stack),
            duration(first.stood_s),
            first.member.process.key.pid,
            who.join(" or "),
        ),
    );
    let facts = holders.iter().take(NAMED);
    found
        .evidence
        .extend(facts.filter_map(|s| stands(case, first, s)));
    Some(found)
}

/// One that waits alone may have to wait; several that have waited for long are a failure of the server.
fn severity(case: &Case, aside: &Aside) -> Severity {
    let several = aside.waiting.len() > 1;
    match case.server.phase {
        Phase::Serving if !several => Severity::Info,
        _ => case.severity_of_delay(aside.lasted_s()),
    }
}

/// Fills in what all of them have.
fn completed(case: &Case, aside: &Aside, mut found: Finding) -> Finding {
    let Some(first) = aside.waiting.first() else {
        return found;
    };
    let pid = first.member.process.key.pid;
    found.culprit = frames::culprit(first.stack);
    let waits = |w: &Stuck| stands(case, first, w.stack);
    let mut evidence: Vec<String> = aside.waiting.iter().take(NAMED).filter_map(waits).collect();
    evidence.append(&mut found.evidence);
    let (told, untold): (Vec<&Stuck>, Vec<&Stuck>) = aside
        .waiting
        .iter()
        .partition(|w| aside.owner_of(w).is_some());
    evidence.extend(told.iter().take(NAMED).filter_map(|w| {
        let owner = aside.owner_of(w)?;
        Some(format!(
            "thread {owner} has the lock that thread {} waits for (Python memory)",
            w.stack.tid?
        ))
    }));
    if !untold.is_empty() {
        evidence.push(
            "who holds which lock was not read: that is likely, not proved (Python stacks)".into(),
        );
    }
    evidence.push(socket_evidence(case));
    found.evidence = evidence;
    found.remedy = "take locks in the same order everywhere, hold them only as long as needed (with), do slow work outside of them, and give acquire() a timeout= so that a request fails instead of standing".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    found
}

/// `sell (shop.py:6) on thread Thread-1 and refund (shop.py:10) on thread Thread-2`
fn and(who: &[String]) -> String {
    match who {
        [] => String::new(),
        [only] => only.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    }
}
