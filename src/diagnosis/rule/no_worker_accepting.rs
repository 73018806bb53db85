//! The kernel lets clients in, and no process takes them.

use super::{Case, Verdict, count, duration, fd_exhausted, finding};
use crate::diagnosis::framework::{self, Says};
use crate::diagnosis::{Code, Member, Phase, ServerListener, Severity, frames, sockets};
use crate::snapshot::{Activity, Frame, Stack};

pub(super) fn examine(case: &Case) -> Verdict {
    let idle = |l: &&ServerListener| l.accepting.as_ref().is_some_and(Vec::is_empty);
    let Some(listener) = case
        .listening()
        .filter(idle)
        .max_by_key(|l| l.socket.accept_queue)
    else {
        return Verdict::Clear;
    };
    if !matches!(
        case.server.phase,
        Phase::Listening | Phase::Stalled | Phase::CrashLooping
    ) {
        return Verdict::Clear;
    }
    let waiting = listener.socket.accept_queue.unwrap_or(0);
    let since = case.at.seconds_since(case.server.since);
    let stuck = case
        .history
        .queue(listener.netns, listener.socket.inode)
        .map_or(0.0, |q| q.stuck_s(case.at));
    if since.max(stuck) < case.thresholds.nobody_accepts_s {
        return Verdict::NotYet;
    }
    let workers: Vec<&Member> = case.workers().collect();
    let age = workers.iter().map(|m| case.age_s(m)).fold(0.0, f64::max);
    let severity = if workers.is_empty() {
        Severity::Critical
    } else {
        match case.server.phase {
            Phase::Stalled => case.severity_of_stall(stuck),
            _ => case.severity_of_delay(since.max(age)),
        }
    };
    let why = who(case, &workers);
    let mut found = finding(
        Code::NoWorkerAccepting,
        severity,
        format!(
            "{} lets clients in, but {why}: {} in the accept queue",
            sockets::address(&listener.socket),
            count(waiting as usize, "connection")
        ),
    );
    let handed = workers.iter().find_map(|m| handed_to(case, m));
    let own = || {
        workers
            .iter()
            .find_map(|m| m.process.main_stack().and_then(frames::request_frame))
    };
    found.culprit = handed
        .map(|(frame, _)| frame)
        .or_else(|| own().map(|(_, frame)| frame))
        .map(frames::culprit_of);
    found.evidence.push(super::socket_evidence(case));
    found.evidence.push("no epoll set holds the listener and no thread waits in accept, select or poll on it (/proc)".into());
    found.evidence.push(format!(
        "it has been so for at least {}",
        duration(since.max(stuck))
    ));
    let alone = alone(case, &workers);
    found
        .evidence
        .extend(alone.as_ref().map(|a| a.evidence(case)));
    found.remedy = if alone.is_some() {
        "look at what that request does, and give what it waits for a time-out; serve requests beside each other: a thread for each (ThreadingHTTPServer, threaded=True), or more workers".into()
    } else if workers.is_empty() {
        "restart the server: its workers are gone and nobody starts new ones; look for why they ended".into()
    } else {
        "clients hang instead of being refused: fix what keeps the workers, and do not take an open port for readiness".into()
    };
    found.confirm = match listener.socket.port {
        0 => "ss -lxp".into(),
        port => format!("ss -ltnp 'sport = :{port}'"),
    };
    if let Some(alone) = alone {
        let pid = alone.member.process.key.pid;
        let stack = format!("; py-spy dump --nonblocking --pid {pid}");
        found.confirm.push_str(&stack);
    }
    Verdict::Found(Box::new(found))
}

/// The one worker there is, which answers one request after the other, in the middle of one.
struct Alone<'a> {
    member: &'a Member,
    main: &'a Stack,
    frame: &'a Frame,
    for_s: f64,
}

fn alone<'a>(case: &Case<'a>, workers: &[&'a Member]) -> Option<Alone<'a>> {
    let [member] = workers else { return None };
    let main = member.process.main_stack()?;
    let (_, frame) = frames::request_frame(main).filter(|_| framework::says(main, Says::Takes))?;
    let for_s = case.track(member)?.same_place_s()?;
    Some(Alone {
        member,
        main,
        frame,
        for_s,
    })
}

impl Alone<'_> {
    fn evidence(&self, case: &Case) -> String {
        let looks = case.track(self.member).map_or(0, |t| t.place.looks);
        let doing = super::loop_blocked::doing(self.main);
        format!("main thread: {doing}, in the same functions at {looks} looks (Python stack)")
    }
}

/// Where the threads stand, and how many there, to which a main thread hands what it accepts while their queue is full.
fn handed_to<'a>(case: &Case<'a>, member: &'a Member) -> Option<(&'a Frame, usize)> {
    let main = member.process.main_stack()?;
    let puts = |f: &Frame| {
        let name = f.function.rsplit('.').next();
        f.is_library() && f.file.ends_with("/queue.py") && name == Some("put")
    };
    main.frames.iter().any(puts).then_some(())?;
    let threads = &case.track(member)?.standing.threads;
    let stands = |stack: &&Stack| {
        let place = stack.tid.and_then(|tid| threads.of(tid));
        place.is_some_and(|p| case.at.seconds_since(p.since) >= case.thresholds.nobody_accepts_s)
    };
    let stacks = member.process.python.as_ref()?.stacks.as_ref()?;
    let others = stacks.list.iter().filter(|stack| stack.tid != main.tid);
    let own: Vec<&Frame> = others
        .filter(stands)
        .filter_map(|stack| frames::application_frame(stack))
        .map(|(_, frame)| frame)
        .collect();
    let there = |frame: &Frame| own.iter().filter(|other| ***other == *frame).count();
    let most = own.iter().max_by_key(|frame| there(frame))?;
    Some((most, there(most)))
}

/// Who ought to accept, and what it does instead.
fn who<'a>(case: &Case<'a>, workers: &[&'a Member]) -> String {
    let Some(first) = workers.first() else {
        let dead = case
            .server
            .members
            .iter()
            .filter(|m| m.phase == Phase::Exited)
            .count();
        return if dead > 0 {
            format!(
                "{} of it {} dead",
                count(dead, "worker"),
                if dead == 1 { "is" } else { "are" }
            )
        } else {
            "it has no worker".into()
        };
    };
    let main = first.process.main_stack();
    if let Some((frame, threads)) = handed_to(case, first) {
        return format!(
            "its worker waits for room in a queue: {} that would empty it {} in {}",
            count(threads, "thread"),
            if threads == 1 { "stands" } else { "stand" },
            frames::place(frame)
        );
    }
    if let Some(alone) = alone(case, workers) {
        let place = frames::place(alone.frame);
        let long = match alone.for_s {
            s if s >= 1.0 => format!(" for at least {}", duration(s)),
            _ => String::new(),
        };
        return format!(
            "its only worker, which serves one request at a time, is with one in {place}{long}"
        );
    }
    let place = main
        .and_then(frames::request_frame)
        .map(|(_, f)| frames::place(f));
    let at = place.map(|p| format!(" ({p})")).unwrap_or_default();
    let waits_for_gil = main.is_some_and(|s| s.activity == Activity::Gil);
    let full = matches!(fd_exhausted::examine(case), Verdict::Found(_));
    let doing = match first.phase {
        _ if waits_for_gil => "waiting for the GIL",
        _ if full => "out of file descriptors",
        Phase::Importing => "still importing",
        Phase::Starting => "still starting",
        Phase::Stopped => "stopped",
        _ => "busy",
    };
    match workers.len() {
        1 => format!("its worker is {doing}{at}"),
        n => format!("its {n} workers are {doing}{at}"),
    }
}
