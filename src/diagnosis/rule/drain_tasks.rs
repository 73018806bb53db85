//! Shutdown waits for tasks that do not end, while no client is connected any more.

use super::{Case, Verdict, count, duration, finding, task_words};
use crate::diagnosis::history::Track;
use crate::diagnosis::task::{self, Graph, TaskRole, suspect};
use crate::diagnosis::{Code, Kind, Member, Phase, draining, frames};
use crate::snapshot::{Frame, TaskState};

/// Tasks that are named.
const NAMED: usize = 6;

pub(super) fn examine(case: &Case) -> Verdict {
    let mut waits = false;
    for member in case.workers().filter(|m| m.phase == Phase::Draining) {
        let asked = case
            .server
            .members
            .first()
            .map_or(&[][..], |root| &root.process.cmdline);
        if !draining::clients(&member.process, asked, &case.server.listeners).is_empty() {
            continue;
        }
        let Some(track) = case.track(member) else {
            continue;
        };
        let Some(graph) = track.standing.graph() else {
            continue;
        };
        let tasks = drained(member, track, graph);
        let stood = task_words::stood_s(&track.standing, graph, tasks.get(..1).unwrap_or(&[]));
        let drains_for = case.at.seconds_since(member.since);
        if tasks.is_empty() {
            continue;
        }
        if stood.min(drains_for) < case.thresholds.standing_s {
            waits = true;
            continue;
        }
        return found(case, member, graph, &tasks, drains_for);
    }
    if waits {
        Verdict::NotYet
    } else {
        Verdict::Clear
    }
}

/// What it waits for: what the server waits for, or, once the server has ended, whatever does not end though it is cancelled.
fn drained(member: &Member, track: &Track, graph: &Graph) -> Vec<usize> {
    // asyncio's and gunicorn's, and aiohttp's for what `run_app` leaves over.
    let cancels = |f: &Frame| {
        let aiohttp = f.file.ends_with("/aiohttp/web.py") && f.function == "_cancel_tasks";
        f.function.ends_with("_cancel_all_tasks") || aiohttp
    };
    let main = member.process.main_stack();
    if !main.is_some_and(|s| s.frames.iter().any(cancels)) {
        return suspect::drained(&track.standing);
    }
    let left = graph.each().filter(|(_, task, role)| {
        let waits = task.state == TaskState::Waiting;
        waits && *role != TaskRole::Unknown && task::own_frame(task).is_some()
    });
    left.map(|(at, ..)| at).collect()
}

fn found(case: &Case, member: &Member, graph: &Graph, tasks: &[usize], drains_for: f64) -> Verdict {
    let named: Vec<String> = tasks
        .iter()
        .take(2)
        .filter_map(|at| {
            let task = graph.task(*at)?;
            Some(format!(
                "{} ({})",
                task_words::task_in_place(task),
                task_words::call(task)
            ))
        })
        .collect();
    let more = if tasks.len() > named.len() {
        ", …"
    } else {
        ""
    };
    let mut found = finding(
        Code::DrainTasks,
        case.severity_of_delay(drains_for),
        format!(
            "shutdown has waited for at least {} for {} to end: {}{more}",
            duration(drains_for),
            count(tasks.len(), "task"),
            named.join(", "),
        ),
    );
    let first = tasks.first().and_then(|at| graph.task(*at));
    found.culprit = first.and_then(task::own_frame).map(frames::culprit_of);
    let details = tasks.iter().take(NAMED);
    found
        .evidence
        .extend(details.filter_map(|at| task_words::details(graph, *at)));
    found.evidence.extend(server_stands(graph));
    let pid = member.process.key.pid;
    found.evidence.push(match &member.process.connections {
        Some(_) => format!("no client is connected to pid {pid} (sock_diag)"),
        None => format!("whether clients are connected to pid {pid} could not be seen"),
    });
    found.remedy = remedy(case.server.kind).into();
    found.confirm = task_words::confirm(&member.process, first.and_then(task::waits));
    Verdict::Found(Box::new(found))
}

/// Where the server's own shutdown stands.
fn server_stands(graph: &Graph) -> Option<String> {
    let ends = |role: TaskRole| role == TaskRole::Shutdown;
    let (_, task, _) = graph
        .each()
        .find(|(_, task, role)| ends(*role) && task::own_frame(task).is_none())?;
    let frame = task::telling_frame(task)?;
    Some(format!(
        "the server stands in {} (asyncio tasks)",
        frames::place(frame)
    ))
}

fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::Uvicorn => {
            "give the task a time-out, or bound the wait: --timeout-graceful-shutdown 5 (uvicorn 0.22 and newer)"
        }
        Kind::Gunicorn | Kind::Hypercorn => {
            "give the task a time-out, or bound the wait: --graceful-timeout 5"
        }
        _ => "give the task a time-out, and cancel it when the server shuts down",
    }
}
