//! The process lives, but the thread of it that should serve has ended: nothing listens, and nothing will. Told by the log, by
//! the source, or by a main thread that only waits for a file to change.

use super::{Case, Verdict, duration, finding, socket_evidence};
use crate::diagnosis::ended_thread::{self, Ended, Told};
use crate::diagnosis::{Code, Culprit, Finding, Member, ServerListener, Severity, frames, log};
use crate::snapshot::{Frame, Moment, ServerThread, Traceback};

/// After an exception another thread may be started in its place.
const REPLACED_WITHIN_S: f64 = 2.0;
/// One that the source has started may not have got to its function yet.
const STARTED_WITHIN_S: f64 = 1.0;

/// A main thread that looks for changed files, beside nobody who serves.
#[derive(Debug, Clone, Copy)]
struct Watching<'a> {
    since: Moment,
    last: Option<&'a Frame>,
}

pub(super) fn examine(case: &Case) -> Verdict {
    let Some((member, watching, ended)) = case.workers().find_map(|m| gone(case, m)) else {
        return Verdict::Clear;
    };
    if !is_settled(case, watching, ended) {
        return Verdict::NotYet;
    }
    let pid = member.process.key.pid;
    let mut found = match (ended.map(|e| (e, e.told)), watching) {
        (Some((ended, Told::ByLog(name, traceback))), _) => {
            by_log(case, member, ended, name, traceback)
        }
        (_, Some(watching)) => by_stacks(pid, watching),
        (Some((_, Told::BySource(thread))), None) => by_source(pid, thread),
        (None, None) => return Verdict::Clear,
    };
    if let Some(watching) = watching {
        found.evidence.push(format!(
            "for {} the main thread of pid {pid} has looked for changed files, and no other thread serves (Python stacks)",
            duration(case.at.seconds_since(watching.since))
        ));
        found.remedy = match ended.map(|e| e.told) {
            Some(Told::ByLog(..)) => "mend what the exception names, and save the file".into(),
            _ => "read the last traceback in its log, and save the corrected file".into(),
        };
        found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    } else {
        found.confirm = format!("ls /proc/{pid}/task; ss -ltnp | grep pid={pid},");
    }
    found.evidence.push(socket_evidence(case));
    Verdict::Found(Box::new(found))
}

type Gone<'a> = (&'a Member, Option<Watching<'a>>, Option<Ended<'a>>);

fn gone<'a>(case: &Case<'a>, member: &'a Member) -> Option<Gone<'a>> {
    let thread = case.track(member).map(|t| &t.server_thread);
    let watching = thread.and_then(|t| {
        Some(Watching {
            since: t.gone_since?,
            last: t.last.as_ref(),
        })
    });
    // What listens may be an exporter's: only stacks tell that it is not the application's.
    let silent = watching.is_some() || case.listening().all(is_left_alone);
    let ended = silent.then(|| ended_thread::ended(&member.process, case.snapshot));
    let ended = ended.flatten();
    (watching.is_some() || ended.is_some()).then_some((member, watching, ended))
}

/// True if it is open still, and nobody takes what comes in.
fn is_left_alone(listener: &ServerListener) -> bool {
    let nobody = |accepting: &Vec<u32>| accepting.is_empty();
    listener.accepting.as_ref().is_some_and(nobody)
}

fn is_settled(case: &Case, watching: Option<Watching>, ended: Option<Ended>) -> bool {
    let watched_s = watching.map_or(0.0, |w| case.at.seconds_since(w.since));
    let ended_s = ended.map_or(0.0, |e| case.at.seconds_since(e.at));
    let patience = match ended.map(|e| e.told) {
        Some(Told::ByLog(..)) => REPLACED_WITHIN_S,
        Some(Told::BySource(_)) => STARTED_WITHIN_S,
        None => f64::INFINITY,
    };
    watched_s >= case.thresholds.childless_s || ended_s >= patience
}

fn by_log(
    case: &Case,
    member: &Member,
    ended: Ended,
    name: &str,
    traceback: &Traceback,
) -> Finding {
    let pid = member.process.key.pid;
    let sentence = log::quoted(&traceback.sentence());
    let place = traceback.culprit.as_ref();
    let at = place.map_or_else(String::new, |f| format!(" in {}", frames::place(f)));
    let mut found = finding(
        Code::ServerThreadDied,
        Severity::Critical,
        format!(
            "pid {pid} lives, but its thread \"{name}\", which was to serve, has ended{at}: {sentence}"
        ),
    );
    found.culprit = place.map(frames::culprit_of);
    found.evidence.push(format!(
        "\"Exception in thread {name}\" {} ago, with frames of {} (log)",
        duration(case.at.seconds_since(ended.at)),
        ended.kind.word()
    ));
    let is_seen = member
        .process
        .python
        .as_ref()
        .is_some_and(|p| p.stacks.is_some());
    if is_seen {
        found.evidence.push(format!(
            "no thread of pid {pid} is called {name} any more (Python stacks)"
        ));
    }
    found.remedy = if is_about_signals(&sentence) {
        "run the server on the main thread, or tell it not to install signal handlers (aiohttp: handle_signals=False), and let the process end when the server does".into()
    } else {
        "mend what the exception names, and let the process end when its server thread does".into()
    };
    found
}

fn by_stacks(pid: u32, watching: Watching) -> Finding {
    let place = watching.last;
    let seen = place
        .map(|f| format!(", last seen in {}", frames::place(f)))
        .unwrap_or_default();
    let mut found = finding(
        Code::ServerThreadDied,
        Severity::Critical,
        format!(
            "pid {pid} lives, but the thread that should serve has ended{seen}: nothing serves until a file changes"
        ),
    );
    found.culprit = place.map(frames::culprit_of);
    found
}

fn by_source(pid: u32, thread: &ServerThread) -> Finding {
    let place = |line: u32| format!("{}:{line}", frames::short_file(&thread.file));
    let mut found = finding(
        Code::ServerThreadDied,
        Severity::Critical,
        format!(
            "pid {pid} lives, but the thread that was to serve, in {} ({}), has ended",
            thread.function,
            place(thread.call_line)
        ),
    );
    found.culprit = Some(Culprit {
        file: thread.file.clone(),
        line: thread.call_line,
        function: thread.function.clone(),
    });
    found.evidence.push(format!(
        "{} starts a thread on {}, which calls {} ({})",
        place(thread.line),
        thread.function,
        thread.call,
        "the source, behind the line that the main thread executes"
    ));
    found.evidence.push(format!(
        "no thread of pid {pid} is in {} (Python stacks)",
        thread.function
    ));
    found.remedy = "look for \"Exception in thread\" where its standard error goes, and let the process end when its server thread does".into();
    found
}

/// Only the main thread may set signal handlers (`signal.signal`, `loop.add_signal_handler`).
fn is_about_signals(sentence: &str) -> bool {
    sentence.contains("only works in main thread")
}
