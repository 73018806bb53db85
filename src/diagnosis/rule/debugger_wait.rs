//! The application waits for a debugger: for one to attach, or for its word at a breakpoint.

use super::{Case, Verdict, duration, finding};
use crate::diagnosis::stuck::{self, Reason, Stuck};
use crate::diagnosis::{Code, sockets};

pub(super) fn examine(case: &Case) -> Verdict {
    let stuck = match stuck::because(case, Reason::Debugger) {
        Ok(stuck) => stuck,
        Err(verdict) => return verdict,
    };
    let pid = stuck.member.process.key.pid;
    let what = if holds(&stuck) {
        "a debugger to let it go on from a breakpoint"
    } else {
        "a debugger to attach"
    };
    let mut found = finding(
        Code::DebuggerWait,
        stuck.severity,
        format!(
            "{}{} has waited at least {} for {what}: {}",
            stuck.subject(),
            stuck.place(),
            duration(stuck.stood_s),
            stuck.effect(case)
        ),
    );
    stuck.complete(case, &mut found);
    let side: Vec<String> = case
        .server
        .listeners
        .iter()
        .filter(|l| l.side)
        .map(|l| sockets::address(&l.socket))
        .collect();
    if !side.is_empty() {
        found.evidence.push(format!(
            "it may be where to attach: {} (sock_diag)",
            side.join(", ")
        ));
    }
    found.remedy = "attach the debugger, or start the server without the call that waits for one (debugpy.wait_for_client, --wait-for-client)".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}

/// It has attached, and stands at a breakpoint.
fn holds(stuck: &Stuck) -> bool {
    const STANDS: &[&str] = &["_do_wait_suspend", "do_wait_suspend", "interaction"];
    stuck.stack.frames.iter().any(|f| {
        let name = f.function.rsplit('.').next().unwrap_or("");
        f.is_library() && STANDS.contains(&name)
    })
}
