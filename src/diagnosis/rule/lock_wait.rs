//! The application waits for a lock: one that a fork has inherited locked, one in a circle of threads, one that another
//! thread or another process holds.

use super::{Case, Verdict, count, finding, seconds};
use crate::diagnosis::stuck::{self, LockCase, Reason, Stage, Stuck};
use crate::diagnosis::{Code, Finding, frames, waits};
use crate::snapshot::{LockKind, Stack, WaitTarget};

/// A child that was made by fork waits for a lock since its birth: the thread that held it was not copied.
pub(super) fn examine_fork(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Lock) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let process = &stuck.member.process;
    let Some(parent) = stuck::forked_from(case, stuck.member) else {
        return Verdict::Clear;
    };
    if !inherited(case, &stuck) {
        return Verdict::Clear;
    }
    let (pid, master) = (process.key.pid, parent.key.pid);
    let alike = alike(case, &stuck);
    let more = match alike {
        0 | 1 => String::new(),
        n => format!(" (and {} alike)", count(n - 1, "worker")),
    };
    let mut found = finding(
        Code::ForkDeadlock,
        stuck.severity,
        format!(
            "{} {pid}{more}, a fork of pid {master}, has waited for a lock{} since it was made, at least {}: {}",
            stuck.member.role.word(),
            stuck.place(),
            seconds(stuck.stood_s),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.evidence.push(format!(
        "pid {pid} has used {} ms of CPU since it was made: it has waited from the beginning (/proc/{pid}/stat)",
        process.cpu_ns / 1_000_000
    ));
    found.evidence.push(format!(
        "pid {master} has {} now; fork copies the locks of all of them and only one thread (/proc/{master}/task)",
        count(parent.thread_count as usize, "thread")
    ));
    found.evidence.extend(proof(case, &stuck));
    found.remedy = "start no thread before the fork: create threads in post_fork or after the worker has booted, do not preload what starts one (gunicorn without --preload), or make the lock anew with os.register_at_fork(after_in_child=…)".into();
    found.confirm = format!(
        "ls /proc/{pid}/task; cat /proc/{pid}/wchan; py-spy dump --nonblocking --pid {pid}"
    );
    Verdict::Found(Box::new(found))
}

/// Threads wait for each other's locks, or for one that nobody will release.
pub(super) fn examine_deadlock(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Lock) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let process = &stuck.member.process;
    let forked = stuck::forked_from(case, stuck.member).is_some() && inherited(case, &stuck);
    let (whom, likely) = match stuck::lock_case(case, &stuck) {
        _ if forked => return Verdict::Clear,
        LockCase::Alone => (
            "that nobody can release: it is the only thread of its process".to_owned(),
            "",
        ),
        LockCase::Mutual(others) => (
            format!("while {} for another one", others_wait(&others)),
            "most likely each has what the other wants; ",
        ),
        LockCase::Nobody => (
            "that no running thread seems to hold".to_owned(),
            "most likely whoever took it has ended or keeps it; ",
        ),
        LockCase::Held(_) => return Verdict::Clear,
    };
    let pid = process.key.pid;
    let mut found = finding(
        Code::ThreadDeadlock,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for a lock {whom}: {likely}{}",
            stuck.subject(),
            stuck.place(),
            seconds(stuck.stood_s),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.evidence.extend(proof(case, &stuck));
    found.remedy = "take locks in the same order everywhere, hold them only as long as needed (with), and give acquire() a timeout= so that it fails instead of standing".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}

/// A lock that somebody else holds: another process by a file, or a thread that is still at work.
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
    let forked = stuck::forked_from(case, stuck.member).is_some() && inherited(case, &stuck);
    let LockCase::Held(others) = stuck::lock_case(case, &stuck) else {
        return Verdict::Clear;
    };
    if forked {
        return Verdict::Clear;
    }
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
            seconds(stuck.stood_s),
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
            seconds(stuck.stood_s),
            waits::held_by(holders),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.evidence.push(format!(
        "the lock is {} (/proc/locks)",
        waits::held_by(holders)
    ));
    found.remedy = match kind {
        LockKind::Flock => "find out why the holder does not let go, or end it; ask with LOCK_NB and give up after a while".into(),
        LockKind::Record => "find out why the holder does not let go, or end it; ask without waiting (LOCK_NB) and give up after a while".into(),
        LockKind::Sqlite => "let the holder commit, or end it; keep transactions short, use a time-out of seconds (sqlite3.connect(timeout=…)) and journal_mode=WAL".into(),
    };
    found.confirm = format!("cat /proc/locks; ls -l /proc/{pid}/fd | grep '{path}'");
    Some(found)
}

/// A fork that has done nothing yet waits for a lock that none of its own threads seems to hold.
fn inherited(case: &Case, stuck: &Stuck) -> bool {
    let unheld = !matches!(stuck::lock_case(case, stuck), LockCase::Held(_));
    stuck.stage != Stage::Service && unheld && stuck::since_birth(&stuck.member.process)
}

/// Workers that stand in the same function, this one included.
fn alike(case: &Case, stuck: &Stuck) -> usize {
    let place = |m: &crate::diagnosis::Member| {
        let frame = m
            .process
            .main_stack()
            .and_then(frames::application_frame)?
            .1;
        Some((frame.function.clone(), frame.file.clone()))
    };
    let mine = place(stuck.member);
    case.workers()
        .filter(|m| place(m) == mine && mine.is_some())
        .count()
}

fn proof(case: &Case, stuck: &Stuck) -> Vec<String> {
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
        LockCase::Held(_) => Vec::new(),
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

fn thread(stack: &Stack) -> String {
    let place = frames::application_frame(stack)
        .map_or_else(|| "another".into(), |(_, f)| frames::place(f));
    match &stack.name {
        Some(name) => format!("{place} on thread {name}"),
        None => place,
    }
}

fn stands(case: &Case, stuck: &Stuck, stack: &Stack) -> Option<String> {
    let tid = stack.tid?;
    let words = match stuck.member.process.wait(tid) {
        Some(wait) => waits::words(wait, case.at),
        None => super::loop_blocked::doing(stack),
    };
    Some(format!("{}: {words} (Python stack, /proc)", thread(stack)))
}
