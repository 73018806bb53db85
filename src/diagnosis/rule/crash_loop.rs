//! Processes die before they ever serve, and are started again.

use super::{Case, Verdict, finding, seconds};
use crate::diagnosis::{Code, MemberExit, Phase, Severity, crashes, frames, log};
use crate::snapshot::{Frame, Traceback, signal_name};

pub(super) fn examine(case: &Case) -> Verdict {
    let deaths = crashes::at_boot(case.server, case.history, case.at);
    let Some(last) = deaths.first() else {
        return Verdict::Clear;
    };
    if !crashes::is_loop(case.server, &deaths) {
        return Verdict::NotYet;
    }
    let severity = if case.server.phase == Phase::Serving {
        Severity::Warning
    } else {
        Severity::Critical
    };
    let words = log::last_words::of(case.server, case.snapshot, &deaths);
    let stack = last_stack(&deaths).filter(|_| words.is_none());
    let place = match words {
        Some(words) => said(words),
        None => stack
            .map(|f| format!(", last seen in {}", frames::place(f)))
            .unwrap_or_default(),
    };
    let mut found = finding(
        Code::CrashLoop,
        severity,
        format!(
            "{} processes have died at boot in the last {} and are started again: {}{place}",
            deaths.len(),
            seconds(
                deaths
                    .last()
                    .map_or(0.0, |d| case.at.seconds_since(d.exit.at))
                    .max(1.0)
            ),
            how(last),
        ),
    );
    let raised = words.and_then(|w| w.culprit.as_ref());
    found.culprit = raised.or(stack).map(frames::culprit_of);
    found.evidence = deaths.iter().take(4).map(|d| line(d, case)).collect();
    found.evidence.extend(words.map(|w| {
        let ago = seconds(case.at.seconds_since(w.at));
        format!(
            "traceback that ends in \"{}\" {ago} ago (log)",
            log::quoted(&w.sentence())
        )
    }));
    found.evidence.push(super::socket_evidence(case));
    found.remedy = remedy(last);
    found.confirm = format!("ps -o pid,ppid,etimes,args --ppid {}", last.exit.ppid);
    Verdict::Found(Box::new(found))
}

/// The application's frame on the last stack that was seen of any of them, newest first.
fn last_stack<'a>(deaths: &[&'a MemberExit]) -> Option<&'a Frame> {
    deaths.iter().find_map(|d| {
        let stack = &d.exit.last_stack;
        let own = |f: &Frame| !frames::is_library(f) && !frames::is_import_machinery(f);
        let at = stack.iter().rposition(own)?;
        // Who ends by itself passes through its imports first: what it imported a moment before is not what it died of.
        let passes = d.exit.signal.is_none() && imports_library(stack.get(at..)?);
        stack.get(at).filter(|_| !passes)
    })
}

fn imports_library(innermost: &[Frame]) -> bool {
    innermost.iter().skip(1).any(frames::is_import_machinery)
}

/// `, KeyError: 'x' in read_secret (shop/main.py:8)`.
fn said(words: &Traceback) -> String {
    let place = words.culprit.as_ref().map(frames::place);
    let place = place.map_or_else(String::new, |p| format!(" in {p}"));
    format!(", {}{place}", log::quoted(&words.sentence()))
}

pub(super) fn line(death: &MemberExit, case: &Case) -> String {
    let lived = death
        .exit
        .lived_ns
        .map(|ns| format!(" after {}", seconds(ns as f64 / 1e9)))
        .unwrap_or_default();
    let ago = seconds(case.at.seconds_since(death.exit.at));
    format!(
        "{} {} ended {ago} ago{lived}: {} (process events)",
        death.role.word(),
        death.exit.key.pid,
        how(death)
    )
}

/// How a process ended, in words.
pub(super) fn how(death: &MemberExit) -> String {
    match (death.exit.signal, death.exit.code) {
        (Some(signal), _) => format!("killed by {}", signal_name(signal)),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "exit code not seen".into(),
    }
}

fn remedy(last: &MemberExit) -> String {
    match (last.exit.signal, last.exit.code) {
        (Some(9), _) => "find out who sends SIGKILL: the OOM killer (dmesg), a supervisor's time-out, a person".into(),
        (Some(_), _) => "a native crash or a signal from outside: look at the core dump and at dmesg".into(),
        (None, Some(3)) => "the application fails to start (exit code 3): read the first traceback in the log".into(),
        (None, Some(4)) => "the application cannot be loaded (exit code 4): read the first traceback in the log".into(),
        _ => "read the first traceback in the log; start one worker by hand in the foreground to see it".into(),
    }
}
