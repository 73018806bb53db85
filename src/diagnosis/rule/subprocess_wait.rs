//! The application waits for another process that it has started: for its end, or for what it writes.

use super::{Case, Verdict, awaited_child, duration, finding};
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::diagnosis::{Code, waits};
use crate::snapshot::{Child, Party, WaitTarget};

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Child) {
        Ok(stuck) => stuck,
        Err(verdict) => {
            return match awaited_child::examine(case) {
                Verdict::Clear => verdict,
                awaited => awaited,
            };
        }
    };
    let pid = stuck.member.process.key.pid;
    let mut found = finding(
        Code::SubprocessWait,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for {}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.lasted_s(case)),
            whom(&stuck),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    let first = child(&stuck);
    found
        .evidence
        .extend(first.and_then(|child| runs(case, child)));
    found.evidence.extend(first.map(chain));
    found.remedy = if first.is_some_and(asks) {
        "the child waits for an answer on its standard input: give it stdin=subprocess.DEVNULL (and its option that answers yes), and the call a timeout=".into()
    } else {
        "give the call a timeout=, find out what the child waits for, and run long commands before the server starts".into()
    };
    let whose = first.map_or(pid, |c| c.party.pid);
    found.confirm =
        format!("ps -o pid,ppid,stat,etimes,wchan:20,args --ppid {pid}; cat /proc/{whose}/syscall");
    Verdict::Found(Box::new(found))
}

fn child<'a>(stuck: &Stuck<'a>) -> Option<&'a Child> {
    match &stuck.wait?.on {
        WaitTarget::Children(children) => children.first(),
        _ => None,
    }
}

fn whom(stuck: &Stuck) -> String {
    match stuck.wait.map(|wait| &wait.on) {
        Some(WaitTarget::Children(children)) => match children.as_slice() {
            [] => "a child process".into(),
            [only] => format!("its child {}", waits::child(only)),
            [first, ..] => format!("any of its children, such as {}", waits::child(first)),
        },
        Some(WaitTarget::Pipe { others, .. }) => {
            let mine = stuck.member.process.key.pid;
            let others: Vec<&Party> = others.iter().flatten().filter(|p| p.pid != mine).collect();
            match others.as_slice() {
                [] => "the output of a child process".into(),
                [first, ..] => {
                    format!(
                        "the output of `{}` (pid {})",
                        waits::command(first),
                        first.pid
                    )
                }
            }
        }
        _ => "a child process".into(),
    }
}

/// A fact: for how long the child has run.
pub(super) fn runs(case: &Case, child: &Child) -> Option<String> {
    let age = case.at.seconds_since(child.started?);
    let pid = child.party.pid;
    Some(format!(
        "the child, pid {pid}, has run for {} (/proc/{pid}/stat)",
        duration(age)
    ))
}

/// A fact: what the child does, down to the last of those that wait for each other.
pub(super) fn chain(first: &Child) -> String {
    let last = waits::innermost(first);
    let does =
        waits::child_does(last).unwrap_or_else(|| format!("is in state {}", last.state.letter()));
    let pid = last.party.pid;
    if last.party.pid == first.party.pid {
        format!("the child, pid {pid}, {does} (/proc/{pid}/syscall)")
    } else {
        format!(
            "it waits in turn for {}, which {does} (/proc/{pid}/syscall)",
            waits::child(last)
        )
    }
}

/// True if the child, or the one that it waits for, waits for its standard input.
pub(super) fn asks(child: &Child) -> bool {
    let last = waits::innermost(child);
    last.sleeps.as_ref().is_some_and(|s| s.fd == Some(0))
}
