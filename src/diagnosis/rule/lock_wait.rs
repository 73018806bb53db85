//! A lock that somebody else holds: another process by a file, or a thread that is still at work.

use super::thread_deadlock::{stands, thread};
use super::{Case, Verdict, duration, finding, shell_word};
use crate::diagnosis::stuck::{self, LockCase, Reason, Stuck};
use crate::diagnosis::{Code, Finding, frames, waits};
use crate::snapshot::{LockKind, Process, WaitTarget};

pub(super) fn examine(case: &Case) -> Verdict {
    match stuck::because(case, Reason::FileLock) {
        Ok(stuck) => {
            return of_file(case, &stuck).map_or(Verdict::Clear, |f| Verdict::Found(Box::new(f)));
        }
        Err(Verdict::NotYet) => return Verdict::NotYet,
        Err(_) => {}
    }
    let stuck = match stuck::because(case, Reason::Lock) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let others = match stuck::lock_case(case, &stuck) {
        LockCase::Held(others) => others,
        LockCase::Shared(relatives) => {
            return Verdict::Found(Box::new(of_processes(case, &stuck, &relatives)));
        }
        LockCase::Alone | LockCase::Mutual(_) | LockCase::Nobody => return Verdict::Clear,
    };
    let pid = stuck.member.process.key.pid;
    let who = others
        .iter()
        .take(2)
        .map(|s| thread(s))
        .collect::<Vec<_>>()
        .join(" or ");
    let mut found = finding(
        Code::LockWait,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for a lock that another thread holds, perhaps {who}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.stood_s),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.evidence.extend(
        others
            .iter()
            .take(4)
            .filter_map(|s| stands(case, &stuck, s)),
    );
    found.remedy = "look at what the other thread does while it holds the lock, do slow work outside of it, and give acquire() a timeout=".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}

/// A lock of multiprocessing's, which has no name that anybody could ask for.
fn of_processes(case: &Case, stuck: &Stuck, relatives: &[&Process]) -> Finding {
    let pid = stuck.member.process.key.pid;
    let perhaps = match relatives.first().and_then(|p| at_work(p)) {
        Some(who) => format!(", perhaps {who}"),
        None => String::new(),
    };
    let mut found = finding(
        Code::LockWait,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for a lock that several processes share, which another one holds{perhaps}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.lasted_s(case)),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found
        .evidence
        .push(format!("the word of memory that it waits at may be changed by other processes (no FUTEX_PRIVATE_FLAG, /proc/{pid}/syscall)"));
    let working = relatives.iter().take(4).filter_map(|p| at_work(p));
    found
        .evidence
        .extend(working.map(|who| format!("in application code meanwhile: {who} (Python stack)")));
    found.remedy = "look at what the other process does while it holds the lock, or whether one has died with it (then nobody gives it back); do slow work outside of it, and give acquire() a timeout=".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    found
}

/// `rebuild (shop/index.py:4) of pid 77`
fn at_work(process: &Process) -> Option<String> {
    let (_, frame) = frames::application_frame(process.main_stack()?)?;
    Some(format!(
        "{} of pid {}",
        frames::place(frame),
        process.key.pid
    ))
}

fn of_file(case: &Case, stuck: &Stuck) -> Option<Finding> {
    let wait = stuck.wait?;
    let WaitTarget::FileLock {
        path,
        kind,
        holders,
    } = &wait.on
    else {
        return None;
    };
    let pid = stuck.member.process.key.pid;
    let what = match kind {
        LockKind::Flock | LockKind::Record => format!("the lock on {path}"),
        LockKind::Sqlite => format!("the SQLite database {path}, which is locked"),
    };
    let mut found = finding(
        Code::LockWait,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for {what}, {}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.stood_s),
            waits::held_by(holders),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.remedy = match kind {
        LockKind::Flock => "find out why the holder does not let go, or end it; ask with LOCK_NB and give up after a while".into(),
        LockKind::Record => "find out why the holder does not let go, or end it; ask without waiting (LOCK_NB) and give up after a while".into(),
        LockKind::Sqlite => "let the holder commit, or end it; keep transactions short, use a time-out of seconds (sqlite3.connect(timeout=…)) and journal_mode=WAL".into(),
    };
    let path = shell_word(path);
    found.confirm = format!("cat /proc/locks; ls -l /proc/{pid}/fd | grep -F -- {path}");
    Some(found)
}
