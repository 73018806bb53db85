//! A child that was made by fork waits for a lock since its birth: the thread that held it was not copied.

use super::thread_deadlock::proof;
use super::{Case, Verdict, count, duration, finding};
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::diagnosis::{Code, Member, frames};

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Lock) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let process = &stuck.member.process;
    let Some(parent) = stuck::forked_from(case, stuck.member) else {
        return Verdict::Clear;
    };
    if !stuck::has_inherited(case, &stuck) {
        return Verdict::Clear;
    }
    let (pid, master) = (process.key.pid, parent.key.pid);
    let alike = alike(case, &stuck);
    let more = match alike {
        0 | 1 => String::new(),
        n => format!(" (and {} alike)", count(n - 1, "worker")),
    };
    let lacks = stuck::lacks_threads(case, &stuck);
    let (what, since) = match lacks {
        true => (
            " for what another thread would do",
            ", and has no other thread,",
        ),
        false => (" for a lock", " since it was made,"),
    };
    let mut found = finding(
        Code::ForkDeadlock,
        stuck.severity,
        format!(
            "{} {pid}{more}, a fork of pid {master}, has waited{what}{}{since} at least {}: {}",
            stuck.member.role.word(),
            stuck.place(),
            duration(stuck.lasted_s(case)),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    if !lacks {
        found.evidence.push(format!(
            "pid {pid} has used {} ms of CPU since it was made: it has waited from the beginning (/proc/{pid}/stat)",
            process.cpu_ns / 1_000_000
        ));
    }
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

/// Workers that stand in the same function, this one included.
fn alike(case: &Case, stuck: &Stuck) -> usize {
    let place = |m: &Member| {
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
