//! The application waits for somebody to type: a forgotten `breakpoint()`, a prompt.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::Code;
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::snapshot::WaitTarget;

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Stdin) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let pid = stuck.member.process.key.pid;
    let debugger = has(&stuck, &["/pdb.py", "/bdb.py", "/ipdb/", "/pudb/"]);
    let what = if debugger {
        "a debugger's prompt"
    } else if has(&stuck, &["/getpass.py"]) {
        "a password"
    } else {
        "input"
    };
    let mut found = finding(
        Code::StdinWait,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for {what} on {}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.stood_s),
            source(&stuck),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    found.remedy = if debugger {
        "remove the breakpoint (PYTHONBREAKPOINT=0 switches all breakpoint() calls off), or type `continue` where standard input is".into()
    } else {
        "give it the answer by option, environment or file instead of a prompt, and start it with standard input from /dev/null so that a prompt fails at once".into()
    };
    found.confirm = format!("cat /proc/{pid}/syscall; ls -l /proc/{pid}/fd/0");
    Verdict::Found(Box::new(found))
}

fn has(stuck: &Stuck, marks: &[&str]) -> bool {
    let frames = stuck.stack.frames.iter().filter(|f| f.is_library());
    let mut files = frames.map(|f| f.file.as_str());
    files.any(|file| marks.iter().any(|mark| file.contains(mark)))
}

fn source(stuck: &Stuck) -> String {
    match stuck.wait.map(|wait| (&wait.on, wait.fd)) {
        Some((WaitTarget::Terminal { path }, _)) => format!("terminal {path}"),
        Some((WaitTarget::Pipe { .. }, _)) => "standard input, a pipe that nobody writes to".into(),
        _ => "standard input".into(),
    }
}
