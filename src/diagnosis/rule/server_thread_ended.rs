//! The process lives, and the thread of it that was to serve has ended with an exception: by the log, which nothing that the
//! kernel shows contradicts.

use super::{Case, Verdict, finding, seconds, socket_evidence};
use crate::diagnosis::log::{self, thread};
use crate::diagnosis::{Code, Severity, frames};

/// Another thread may be started in its place.
const REPLACED_WITHIN_S: f64 = 2.0;

pub(super) fn examine(case: &Case) -> Verdict {
    if case.listening().next().is_some() {
        return Verdict::Clear;
    }
    let ended = case
        .workers()
        .find_map(|member| Some((member, thread::ended(&member.process, case.snapshot)?)));
    let Some((member, ended)) = ended else {
        return Verdict::Clear;
    };
    let ago = case.at.seconds_since(ended.traceback.at);
    if ago < REPLACED_WITHIN_S {
        return Verdict::NotYet;
    }
    let pid = member.process.key.pid;
    let sentence = log::quoted(&ended.traceback.sentence());
    let place = ended.traceback.culprit.as_ref();
    let at = place.map_or_else(String::new, |f| format!(" in {}", frames::place(f)));
    let mut found = finding(
        Code::ServerThreadDied,
        Severity::Critical,
        format!(
            "pid {pid} lives, but its thread \"{}\", which was to serve, has ended{at}: {sentence}",
            ended.name
        ),
    );
    found.culprit = place.map(frames::culprit_of);
    found.evidence.push(format!(
        "\"Exception in thread {}\" {} ago, with frames of {} (log)",
        ended.name,
        seconds(ago),
        ended.kind.word()
    ));
    if member
        .process
        .python
        .as_ref()
        .is_some_and(|p| p.stacks.is_some())
    {
        found.evidence.push(format!(
            "no thread of pid {pid} is called {} any more (Python stacks)",
            ended.name
        ));
    }
    found.evidence.push(socket_evidence(case));
    found.remedy = if is_about_signals(&sentence) {
        "run the server on the main thread, or tell it not to install signal handlers (aiohttp: handle_signals=False), and let the process end when the server does".into()
    } else {
        "mend what the exception names, and let the process end when its server thread does".into()
    };
    found.confirm = format!("ls /proc/{pid}/task; ss -ltnp | grep pid={pid},");
    Verdict::Found(Box::new(found))
}

/// Only the main thread may set signal handlers (`signal.signal`, `loop.add_signal_handler`).
fn is_about_signals(sentence: &str) -> bool {
    sentence.contains("only works in main thread")
}
