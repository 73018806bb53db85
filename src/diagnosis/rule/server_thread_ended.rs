//! The process lives, and the thread of it that was to serve has ended: nothing listens, and nothing will.

use super::{Case, Verdict, finding, seconds, socket_evidence};
use crate::diagnosis::ended_thread::{self, Ended, Told};
use crate::diagnosis::{Code, Culprit, Finding, Member, Severity, frames, log};
use crate::snapshot::{ServerThread, Traceback};

/// After an exception another thread may be started in its place.
const REPLACED_WITHIN_S: f64 = 2.0;
/// One that the source has started may not have got to its function yet.
const STARTED_WITHIN_S: f64 = 1.0;

pub(super) fn examine(case: &Case) -> Verdict {
    if case.listening().next().is_some() {
        return Verdict::Clear;
    }
    let ended = |member: &'_ Member| ended_thread::ended(&member.process, case.snapshot);
    let Some((member, ended)) = case.workers().find_map(|m| Some((m, ended(m)?))) else {
        return Verdict::Clear;
    };
    let patience = match ended.told {
        Told::ByLog(..) => REPLACED_WITHIN_S,
        Told::BySource(_) => STARTED_WITHIN_S,
    };
    if case.at.seconds_since(ended.at) < patience {
        return Verdict::NotYet;
    }
    let pid = member.process.key.pid;
    let mut found = match ended.told {
        Told::ByLog(name, traceback) => by_log(case, member, ended, name, traceback),
        Told::BySource(thread) => by_source(pid, thread),
    };
    found.evidence.push(socket_evidence(case));
    found.confirm = format!("ls /proc/{pid}/task; ss -ltnp | grep pid={pid},");
    Verdict::Found(Box::new(found))
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
        seconds(case.at.seconds_since(ended.at)),
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
