//! bind() fails, because somebody else has the address: told by the log, or by deaths at boot while another process listens
//! where the command line wants to.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::bind::{self, Wanted};
use crate::diagnosis::log::{self, in_use};
use crate::diagnosis::task::{self, suspect};
use crate::diagnosis::{Code, Finding, MemberExit, Phase, Severity, crashes, frames, sockets};
use crate::snapshot::{Frame, Listener, LogLine, Moment, Process, ProcessKey, WaitOn, WaitTarget};

mod holder;

use holder::Holder;

/// A refusal is believed for so long where nothing else shows that it still holds.
const RECENT_S: f64 = 60.0;
/// A living process that has not got its address may yet try another one.
const GIVEN_UP_S: f64 = 2.0;

/// What the log says of a refusal.
#[derive(Debug, Clone)]
struct Refused<'a> {
    /// The newest line of it.
    line: &'a LogLine,
    /// The address, where the line names one.
    address: Option<Wanted>,
    /// When the same was said first: who tries again and again says so again and again.
    since: Moment,
}

pub(super) fn examine(case: &Case) -> Verdict {
    if case.server.phase == Phase::Serving || case.listening().next().is_some() {
        return Verdict::Clear;
    }
    let deaths = crashes::at_boot(case.server, case.history, case.at);
    let is_loop = crashes::is_loop(case.server, &deaths);
    let wanted = wanted(case);
    let refused = refused(case).filter(|r| concerns(r.address.as_ref(), &wanted));
    let addresses = match &refused {
        Some(Refused {
            address: Some(address),
            ..
        }) => vec![address.clone()],
        _ => wanted,
    };
    let taken = taken(case, &addresses);
    if let Some(refused) = refused {
        let lives = case.workers().next().is_some() && !is_loop;
        if lives && refused.address.is_none() && taken.is_none() {
            // Who lives on after a refusal of who knows what may have been refused a side port.
            return Verdict::Clear;
        }
        if lives && case.at.seconds_since(refused.since) < GIVEN_UP_S {
            return Verdict::NotYet;
        }
        return found(case, &addresses, taken, Some(refused.line), &deaths);
    }
    let fails = is_loop && deaths.iter().all(|d| may_be_refused(d)) && is_silent(case, &deaths);
    let mut alive = case.server.own_members().filter(|m| m.exit.is_none());
    let tries = alive.any(|m| retries(&m.process));
    if taken.is_some() && (fails || tries) && !shares_ports(case) {
        return found(case, &addresses, taken, None, &deaths);
    }
    Verdict::Clear
}

/// Inodes of the sockets that stand in the way, where it is not known whose they are.
pub(crate) fn unknown_holders(case: &Case) -> Option<u64> {
    let said = refused(case).and_then(|r| r.address);
    let addresses = said.map_or_else(|| wanted(case), |address| vec![address]);
    let (_, listener) = taken(case, &addresses)?;
    holder::python(case.snapshot, listener)
        .is_none()
        .then_some(listener.inode)
}

/// What the command line of the server's root wants.
fn wanted(case: &Case) -> Vec<Wanted> {
    let members = case.server.own_members().map(|m| &m.process);
    let root = members.clone().find(|p| p.is_python());
    let cmdline = root.map(|p| p.cmdline.as_slice()).filter(|c| !c.is_empty());
    let dead = || case.server.exits.iter().map(|e| e.exit.cmdline.as_slice());
    let cmdline = cmdline.or_else(|| dead().find(|c| !c.is_empty()));
    bind::wanted(cmdline.unwrap_or_default())
}

/// The newest line of the log that tells of a refusal.
fn refused<'a>(case: &Case<'a>) -> Option<Refused<'a>> {
    let alive = case.server.own_members().filter(|m| m.exit.is_none());
    let alive: Vec<&Process> = alive
        .map(|m| m.process.as_ref())
        .filter(|p| p.is_python())
        .collect();
    let tails = log::tails(case.server, case.snapshot);
    let of_tails = tails.into_iter().filter_map(|tail| {
        let holds = |line: &LogLine| {
            line.is_new && case.at.seconds_since(line.at) < RECENT_S
                || alive.iter().any(|p| log::is_since(line, tail, p))
        };
        let told = tail
            .lines
            .iter()
            .filter_map(|line| Some((line.as_ref(), in_use::parse(line)?.address)));
        let told: Vec<_> = told.filter(|(line, _)| holds(line)).collect();
        // A traceback says it with less than the line that a server writes of it.
        let (line, address) = told
            .iter()
            .max_by_key(|(line, said)| (said.is_some(), line.number))?;
        let mut same = told.iter().filter(|(_, said)| said == address);
        Some(Refused {
            line,
            address: address.clone(),
            since: same.next().map_or(line.at, |(first, _)| first.at),
        })
    });
    of_tails.max_by_key(|r| r.line.at)
}

/// False for the refusal of an address that is not the server's own: a metrics port that could not be had.
fn concerns(said: Option<&Wanted>, wanted: &[Wanted]) -> bool {
    let alike = |a: &Wanted, b: &Wanted| match (a, b) {
        (Wanted::Tcp { port: a, .. }, Wanted::Tcp { port: b, .. }) => a == b,
        (a, b) => a == b,
    };
    said.is_none_or(|said| wanted.is_empty() || wanted.iter().any(|w| alike(w, said)))
}

/// The first of these addresses that somebody else has, and the socket.
fn taken<'a>(case: &Case<'a>, addresses: &[Wanted]) -> Option<(Wanted, &'a Listener)> {
    let members = || case.server.members.iter().map(|m| &m.process);
    let namespaces: Vec<u64> = members().filter_map(|p| p.netns).collect();
    let own = |listener: &Listener| {
        let has = |p: &Process| {
            let fds = p.fds.as_ref();
            fds.is_some_and(|f| f.sockets.binary_search(&listener.inode).is_ok())
        };
        members().any(|p| has(p))
    };
    let namespaces = case
        .snapshot
        .netns
        .iter()
        .filter(|n| namespaces.is_empty() || namespaces.contains(&n.inode));
    let listeners: Vec<&Listener> = namespaces.flat_map(|n| n.listeners.iter()).collect();
    addresses.iter().find_map(|address| {
        let mut others = listeners
            .iter()
            .filter(|l| address.is_taken_by(l) && !own(l));
        others.next().map(|l| (address.clone(), *l))
    })
}

/// Who is refused its address ends by itself, and says so with its exit code, where that is seen.
fn may_be_refused(death: &MemberExit) -> bool {
    death.exit.signal.is_none() && death.exit.code != Some(0)
}

/// False where the log tells of another reason to end.
fn is_silent(case: &Case, deaths: &[&MemberExit]) -> bool {
    log::last_words::of(case.server, case.snapshot, deaths).is_none()
}

/// gunicorn tries for five seconds before it ends.
fn retries(process: &Process) -> bool {
    let tries = |f: &Frame| f.file.ends_with("/gunicorn/sock.py") && f.function == "create_sockets";
    process
        .main_stack()
        .is_some_and(|s| s.frames.iter().any(tries))
}

/// The application's frame in which a start that is refused its address sleeps before it tries again.
fn sleeps_in<'a>(case: &Case<'a>) -> Option<&'a Frame> {
    let (member, track) = case.boots(Phase::Starting)?;
    let of_task = || {
        let graph = track.standing.graph()?;
        let end = graph.task(graph.standing_for(suspect::startup(graph)?))?;
        let sleeps = |on: &WaitOn| matches!(on, WaitOn::Sleep { .. });
        task::waits(end).filter(|w| sleeps(&w.on))?;
        task::own_frame(end)
    };
    let of_thread = || {
        let main = member.process.main_stack()?;
        let wait = member.process.wait(main.tid?)?;
        let (_, frame) = frames::application_frame(main)?;
        matches!(wait.on, WaitTarget::Sleep { .. }).then_some(frame)
    };
    of_task().or_else(of_thread)
}

/// With SO_REUSEPORT two servers may have one port, and a listener that is there proves nothing.
fn shares_ports(case: &Case) -> bool {
    let asks = |word: &String| word.starts_with("--reuse-port") || word.starts_with("--reuse_port");
    let members = case.server.members.iter();
    case.server.kind == crate::diagnosis::Kind::Granian
        || members.flat_map(|m| &m.process.cmdline).any(asks)
}

fn found(
    case: &Case,
    addresses: &[Wanted],
    taken: Option<(Wanted, &Listener)>,
    line: Option<&LogLine>,
    deaths: &[&MemberExit],
) -> Verdict {
    let holders = match &taken {
        Some((_, listener)) => holder::of(case.snapshot, listener),
        None => Vec::new(),
    };
    let own: Vec<ProcessKey> = case.server.members.iter().map(|m| m.process.key).collect();
    let holder = holders.iter().find(|h| !own.contains(&h.key));
    let address = match (&taken, addresses.first()) {
        (Some((address, _)), _) => address.words(),
        (None, Some(address)) => address.words(),
        (None, None) => "its address".to_owned(),
    };
    let who = match (&taken, holder) {
        (_, Some(holder)) => holder.sentence(case.at),
        (Some((_, listener)), None) => format!(
            "a process of user {} has it, which is not seen",
            listener.uid
        ),
        (None, _) => "nobody listens there that can be seen".to_owned(),
    };
    let times = match deaths.len() {
        0 | 1 => String::new(),
        n => format!(", {n} processes have died of it"),
    };
    let pid = case.server.pid;
    let mut found = finding(
        Code::AddressInUse,
        Severity::Critical,
        format!("pid {pid} cannot bind {address}: {who}{times}"),
    );
    found.culprit = sleeps_in(case).map(frames::culprit_of);
    complete(&mut found, case, taken.as_ref().map(|(_, l)| *l), holder);
    if let Some(line) = line {
        let said = log::quoted(&line.text);
        let ago = duration(case.at.seconds_since(line.at));
        found.evidence.push(format!("\"{said}\" {ago} ago (log)"));
    }
    let ended = deaths.iter().take(2);
    found
        .evidence
        .extend(ended.map(|d| super::crash_loop::line(d, case)));
    if found.evidence.is_empty() {
        found.evidence.push(super::socket_evidence(case));
    }
    Verdict::Found(Box::new(found))
}

fn complete(found: &mut Finding, case: &Case, socket: Option<&Listener>, holder: Option<&Holder>) {
    if let Some(socket) = socket {
        let of = holder.map_or_else(String::new, |h| format!(" by pid {}", h.key.pid));
        found.evidence.push(format!(
            "{} is held{of}, not by this server (sock_diag, /proc/PID/fd)",
            sockets::address(socket)
        ));
    }
    let root = case.server.own_members().find(|m| m.process.is_python());
    let is_twin = holder.is_some_and(|h| root.is_some_and(|r| r.process.cmdline == h.cmdline));
    found.remedy = match holder {
        Some(h) if is_twin && h.ppid <= 1 => format!(
            "pid {0} is an earlier instance that nobody watches over any more: end it (kill {0})",
            h.key.pid
        ),
        Some(h) => format!(
            "end pid {} if it is not meant to have the address, or give this server another one",
            h.key.pid
        ),
        None => "find out who has the address and end it, or give this server another one".into(),
    };
    found.confirm = match socket {
        Some(Listener { path: Some(_), .. }) => "ss -lxp".into(),
        Some(socket) => format!("ss -ltnp 'sport = :{}'", socket.port),
        None => "ss -ltnp".into(),
    };
}
