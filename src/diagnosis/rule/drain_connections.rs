//! Shutdown waits for connections that their clients keep open.

use super::{Case, Verdict, count, duration, finding};
use crate::diagnosis::history::Track;
use crate::diagnosis::task::{TaskRole, suspect};
use crate::diagnosis::{Code, Culprit, Finding, Kind, Member, Phase, draining, frames, task};
use crate::snapshot::{Connection, Frame, Process, Task};

/// Peers that are named in the sentence, and connections that are shown.
const NAMED: usize = 3;
const SHOWN: usize = 6;

pub(super) fn examine(case: &Case) -> Verdict {
    let root = case.server.members.first();
    let asked = root.map_or(&[][..], |root| &root.process.cmdline);
    let drains = case.workers().filter(|m| m.phase == Phase::Draining);
    let waiting = drains.filter_map(|member| {
        let clients = draining::clients(&member.process, asked, &case.server.listeners);
        (!clients.is_empty()).then_some((member, clients))
    });
    let Some((member, clients)) = waiting.max_by_key(|(_, clients)| clients.len()) else {
        return Verdict::Clear;
    };
    if case.at.seconds_since(member.since) < case.thresholds.standing_s {
        return Verdict::NotYet;
    }
    Verdict::Found(Box::new(found(case, member, &clients)))
}

fn found(case: &Case, member: &Member, clients: &[&Connection]) -> Finding {
    let drains_for = case.at.seconds_since(member.since);
    let pid = member.process.key.pid;
    let culprit = case
        .track(member)
        .and_then(|track| culprit(&member.process, track));
    let handler = culprit.as_ref().map_or_else(String::new, |c| {
        format!(
            "; {} ({}:{}) answers",
            c.function,
            frames::short_file(&c.file),
            c.line
        )
    });
    let mut found = finding(
        Code::DrainConnections,
        case.severity_of_delay(drains_for),
        format!(
            "shutdown has waited for at least {} for {} to be closed: {}{handler}",
            duration(drains_for),
            count(clients.len(), "connection"),
            peers(clients),
        ),
    );
    found.culprit = culprit;
    found.evidence.extend(clients.iter().take(SHOWN).map(|c| {
        format!(
            "{} from {}:{} on port {}, {} bytes unread, {} bytes not yet acknowledged (sock_diag)",
            c.state.word(),
            c.peer.0,
            c.peer.1,
            c.local.1,
            c.recv_q,
            c.send_q
        )
    }));
    found.remedy = remedy(case.server.kind).into();
    let port = clients.first().map_or(0, |c| c.local.1);
    found.confirm = format!("ss -tnp 'sport = :{port}' | grep pid={pid},");
    found
}

/// `10.0.0.7:51324, 10.0.0.9:40112 and 3 more`.
fn peers(clients: &[&Connection]) -> String {
    let named: Vec<String> = clients
        .iter()
        .take(NAMED)
        .map(|c| std::net::SocketAddr::from(c.peer).to_string())
        .collect();
    let named = named.join(", ");
    match clients.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// What still answers a client: the request that has stood longest, a task that a framework has started for one, or a thread in
/// the code of the application.
fn culprit(process: &Process, track: &Track) -> Option<Culprit> {
    let graph = track.standing.graph();
    let of_request = graph.and_then(|graph| {
        let first = suspect::drained(&track.standing).first().copied()?;
        task::own_frame(graph.task(first)?)
    });
    let of_task =
        || graph.and_then(|graph| graph.each().find_map(|(_, task, role)| called(task, role)));
    if let Some(frame) = of_request.or_else(of_task) {
        return Some(frames::culprit_of(frame));
    }
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    let others = stacks
        .list
        .iter()
        .filter(|s| s.tid != Some(process.key.pid));
    others.filter_map(frames::culprit).next()
}

/// Code of the application that a framework's own code called: a stream's generator in a task of its own.
fn called(task: &Task, role: TaskRole) -> Option<&Frame> {
    let of_package = task.frames.first()?.file.contains("-packages/");
    let for_client = matches!(role, TaskRole::Own | TaskRole::Request);
    (of_package && for_client).then(|| task::own_frame(task))?
}

fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::Uvicorn => {
            "bound the wait: --timeout-graceful-shutdown 5 (uvicorn 0.22 and newer), and end streams when the server shuts down; closing the peers named ends it now"
        }
        Kind::Gunicorn | Kind::Hypercorn => {
            "bound the wait: --graceful-timeout 5, and end streams when the server shuts down; closing the peers named ends it now"
        }
        Kind::Aiohttp => {
            "bound the wait: run_app(shutdown_timeout=5), and close websockets in on_shutdown; closing the peers named ends it now"
        }
        _ => {
            "bound the wait, and end streams when the server shuts down; closing the peers named ends it now"
        }
    }
}
