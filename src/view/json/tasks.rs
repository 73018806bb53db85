//! The contract's `tasks` of a process: null where they were not seen, with a gap; an empty list where there are none.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::diagnosis::Diagnosis;
use crate::diagnosis::task::words;
use crate::snapshot::{Gap, Process, Snapshot, Task, TaskState};

/// The source of the gaps that are made here.
const SOURCE: &str = "asyncio-tasks";

/// The tasks of one process. A program that is not Python has none.
pub(super) fn of(process: &Process) -> Option<Vec<Value>> {
    let Some(python) = &process.python else {
        return Some(Vec::new());
    };
    let tasks = python.tasks.as_ref()?;
    Some(tasks.list.iter().map(value).collect())
}

fn value(task: &Task) -> Value {
    json!({
        "name": task.name,
        "state": state(task.state),
        "awaits": words::awaits(task),
        "frames": super::frames(&task.frames),
    })
}

fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Waiting => "suspended",
        TaskState::Runnable => "runnable",
        TaskState::NotStarted => "not-started",
    }
}

/// A gap for each process whose tasks are null and of which no source of tasks has said why: it has ended, or its memory may not
/// be read at all, or it has not been read yet.
pub(super) fn unread(snapshot: &Snapshot, diagnosis: &Diagnosis) -> Vec<Value> {
    let explained: BTreeSet<u32> = snapshot
        .gaps
        .iter()
        .filter(|gap| gap.source.contains("task"))
        .filter_map(|gap| gap.pid)
        .collect();
    let members = diagnosis.servers.iter().flat_map(|s| s.members.iter());
    let members = members.map(|m| (&m.process, m.exit.is_some()));
    let others = diagnosis.outsiders.iter().map(|o| (&o.process, false));
    let null = |p: &Process| {
        p.python
            .as_ref()
            .is_some_and(|python| python.tasks.is_none())
    };
    members
        .chain(others)
        .filter(|(p, _)| null(p) && !explained.contains(&p.key.pid))
        .map(|(p, ended)| {
            let pid = p.key.pid;
            let memory = |g: &&Gap| g.pid == Some(pid) && g.source.contains("python");
            let (cause, unlock) = match snapshot.gaps.iter().find(memory) {
                _ if ended => ("the process has ended", None),
                Some(gap) => (gap.cause.as_str(), gap.unlock.as_deref()),
                None => ("not read yet", None),
            };
            json!({ "source": SOURCE, "pid": pid, "cause": cause, "unlock": unlock })
        })
        .collect()
}
