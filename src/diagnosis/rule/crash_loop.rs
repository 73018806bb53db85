//! Processes die before they ever serve, and are started again.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::{Code, MemberExit, Phase, Severity, crashes, frames, log};
use crate::snapshot::{Exit, Frame, Traceback, signal_name};

pub(super) fn examine(case: &Case) -> Verdict {
    let deaths = crashes::at_boot(case.server, case.history, case.at);
    let Some(last) = deaths.first() else {
        return Verdict::Clear;
    };
    if !crashes::is_loop(case.server, &deaths) {
        return Verdict::NotYet;
    }
    // A supervisor that gives up ends politely; its workers did not.
    let failed = |d: &&&MemberExit| d.exit.signal.is_some() || d.exit.code != Some(0);
    let telling = deaths.iter().find(failed).unwrap_or(last);
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
            duration(
                deaths
                    .last()
                    .map_or(0.0, |d| case.at.seconds_since(d.exit.at))
                    .max(1.0)
            ),
            how(&telling.exit),
        ),
    );
    let raised = words.and_then(|w| w.culprit.as_ref());
    found.culprit = raised.or(stack).map(frames::culprit_of);
    found.evidence = deaths.iter().take(4).map(|d| line(d, case)).collect();
    found.evidence.extend(words.map(|w| evidence(w, case)));
    found.evidence.push(super::socket_evidence(case));
    found.remedy = match words {
        Some(_) => "mend what the traceback names; start one worker by hand in the foreground to see it happen".into(),
        None => remedy(telling),
    };
    found.confirm = format!("ps -o pid,ppid,etimes,args --ppid {}", last.exit.ppid);
    Verdict::Found(Box::new(found))
}

/// The application's frame on the last stack that was seen of any of them, newest first. Where some were seen past their
/// import it is not the import that they die of.
fn last_stack<'a>(deaths: &[&'a MemberExit]) -> Option<&'a Frame> {
    let furthest = deaths
        .iter()
        .any(|d| frames::is_past_import(&d.exit.last_stack));
    deaths
        .iter()
        .filter(|d| !furthest || frames::is_past_import(&d.exit.last_stack))
        .find_map(|d| {
            let (at, own) = frames::own_frame(&d.exit.last_stack)?;
            // Who ends by itself passes through its imports first: what it imported a moment before is not what it died of.
            let passes = d.exit.signal.is_none() && imports(d.exit.last_stack.get(at + 1..)?);
            (!passes).then_some(own)
        })
}

fn imports(beyond: &[Frame]) -> bool {
    beyond.iter().any(frames::is_import_machinery)
}

/// `, KeyError: 'x' in read_secret (shop/main.py:8)`.
pub(super) fn said(words: &Traceback) -> String {
    let place = words.culprit.as_ref().map(frames::place);
    let place = place.map_or_else(String::new, |p| format!(" in {p}"));
    format!(", {}{place}", log::quoted(&words.sentence()))
}

/// That a log has this traceback.
pub(super) fn evidence(words: &Traceback, case: &Case) -> String {
    format!(
        "traceback that ends in \"{}\" {} ago (log)",
        log::quoted(&words.sentence()),
        duration(case.at.seconds_since(words.at))
    )
}

pub(super) fn line(death: &MemberExit, case: &Case) -> String {
    let lived = death
        .exit
        .lived_ns
        .map(|ns| format!(" after {}", duration(ns as f64 / 1e9)))
        .unwrap_or_default();
    let ago = duration(case.at.seconds_since(death.exit.at));
    format!(
        "{} {} ended {ago} ago{lived}: {} (process events)",
        death.role.word(),
        death.exit.key.pid,
        how(&death.exit)
    )
}

/// How a process ended, in words.
pub(super) fn how(exit: &Exit) -> String {
    match (exit.signal, exit.code) {
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
