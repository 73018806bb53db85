//! Which task deserves the first look? The one that a startup or a shutdown waits for, or one of those that wait for each other,
//! or the request that has stood in one place for longest. A server that serves may have none.

use super::{Graph, TaskRole, deadlock, own_frame, role, waits};
use crate::diagnosis::{Phase, Standing};
use crate::snapshot::{Task, WaitOn};

/// Seconds in one place after which a request of a serving process is worth a look.
const LONG_S: f64 = 5.0;

/// The place of the suspect in the reading.
pub fn of(standing: &Standing, phase: Phase) -> Option<usize> {
    let graph = standing.graph()?;
    let startup = || startup(graph).map(|at| graph.standing_for(at));
    match phase {
        Phase::Draining => drained(standing).first().copied().or_else(startup),
        Phase::Importing | Phase::Starting | Phase::Bound | Phase::Listening => startup()
            .or_else(|| in_circle(graph))
            .or_else(|| longest(standing)),
        _ => in_circle(graph).or_else(|| longest(standing)),
    }
}

/// The task that runs the application's startup: the server's lifespan, or the server itself where it calls the application, or
/// the main coroutine of a program that has no server. A server that has come past its lifespan has work in the background of
/// which nothing says that it waits for it.
pub fn startup(graph: &Graph) -> Option<usize> {
    let lifespan = graph.each().find(|(.., role)| *role == TaskRole::Startup);
    let (at, ..) = lifespan.or_else(|| main_coroutine(graph))?;
    Some(at)
}

fn main_coroutine(graph: &Graph) -> Option<(usize, &Task, TaskRole)> {
    let own = || graph.each().filter(|(.., role)| *role == TaskRole::Own);
    let serves = |t: &Task| role::runs_a_server(t);
    if graph.each().any(|(_, t, _)| serves(t)) {
        return own().find(|(_, t, _)| serves(t) && role::calls_the_application(t));
    }
    let named = own().find(|(_, t, _)| t.name == "Task-1" && t.awaited_by.is_empty());
    named.or_else(|| own().next())
}

/// Tasks that a shutdown waits for, those with code of the application on them, the longest in their place first. Once the
/// server has none of its own any more, what is left is the application's.
pub fn drained(standing: &Standing) -> Vec<usize> {
    let Some(graph) = standing.graph() else {
        return Vec::new();
    };
    let with_role = |wanted: TaskRole| -> Vec<usize> {
        let tasks = graph.each().filter(|(_, _, role)| *role == wanted);
        let ends = tasks.map(|(at, ..)| graph.standing_for(at));
        let mut own: Vec<usize> = ends
            .filter(|at| graph.task(*at).is_some_and(role::calls_the_application))
            .collect();
        own.sort_unstable();
        own.dedup();
        own
    };
    let mut found = with_role(TaskRole::Request);
    if found.is_empty() {
        found = with_role(TaskRole::Shutdown);
    }
    if found.is_empty() {
        found = with_role(TaskRole::Startup);
    }
    let still = |at: &usize| graph.task(*at).map_or(0.0, |t| standing.still_s(t.id));
    found.sort_by(|a, b| still(b).total_cmp(&still(a)));
    found
}

fn in_circle(graph: &Graph) -> Option<usize> {
    let circle = deadlock::circles(graph).into_iter().next()?;
    circle.first().map(|link| link.task)
}

/// The request, or else the piece of work that is neither asleep nor waiting for work, that has stood in its place for longest.
fn longest(standing: &Standing) -> Option<usize> {
    let graph = standing.graph()?;
    let requests = graph
        .each()
        .filter(|(_, _, role)| *role == TaskRole::Request)
        .map(|(at, ..)| graph.standing_for(at));
    let aged = requests.filter_map(|at| {
        let task = graph.task(at)?;
        let told = own_frame(task).is_some() && !sleeps(task);
        told.then(|| (at, standing.still_s(task.id)))
    });
    aged.filter(|(_, s)| *s >= LONG_S)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(at, _)| at)
}

fn sleeps(task: &Task) -> bool {
    waits(task).is_some_and(|w| matches!(w.on, WaitOn::Sleep { .. }))
}
