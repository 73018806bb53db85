//! The server's event loop runs on another thread than the main one: signals do not reach it.

use super::{Case, Verdict, finding};
use crate::diagnosis::{Code, Member, Phase, Severity, frames, kind};
use crate::snapshot::Stack;

pub(super) fn examine(case: &Case) -> Verdict {
    let serving = case.workers().filter(|m| m.phase == Phase::Serving);
    let mut beside = serving.filter_map(|m| Some((m, beside_main(case, m)?)));
    let Some((member, (main, stack))) = beside.next() else {
        return Verdict::Clear;
    };
    let pid = member.process.key.pid;
    let tid = stack.tid.unwrap_or(0);
    let name = stack.name.as_deref().unwrap_or("a thread without name");
    let mut found = finding(
        Code::LoopOffMainThread,
        Severity::Info,
        format!(
            "the server's event loop runs on thread {name} ({tid}), not on the main thread of pid {pid}: it handles no signals, and ends without notice if the main thread does"
        ),
    );
    found.culprit = frames::culprit(stack).or_else(|| frames::culprit(main));
    let at = |s: &Stack| {
        s.leaf()
            .map_or_else(|| "native code".to_owned(), frames::place)
    };
    found.evidence.push(format!(
        "thread {name} stands in {} (Python stack)",
        at(stack)
    ));
    found.evidence.push(format!(
        "the main thread stands in {}: {} (Python stack)",
        at(main),
        super::loop_blocked::doing(main)
    ));
    found.remedy = "run the server on the main thread and the rest on others; or handle SIGTERM there yourself and tell the server to end (should_exit)".into();
    found.confirm = format!("py-spy dump --nonblocking --pid {pid}");
    Verdict::Found(Box::new(found))
}

/// The main thread, and the other one whose loop takes the server's connections.
fn beside_main<'a>(case: &Case, member: &'a Member) -> Option<(&'a Stack, &'a Stack)> {
    let process = &member.process;
    let main = process.main_stack()?;
    if frames::has_loop(main) || kind::by_stack(main).is_some() {
        return None;
    }
    let own = |inode: u64| case.listening().any(|l| l.socket.inode == inode);
    let mut taken = process.accepting.iter().flatten().filter(|a| own(a.inode));
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    // Between two waits nobody waits in the epoll set: frames of a server's loop tell who will.
    let takes = |s: &Stack, tid: Option<u32>| match tid {
        Some(tid) => s.tid == Some(tid),
        None => kind::by_stack(s) == Some(case.server.kind),
    };
    let tid = taken.next()?.tid;
    let mut others = stacks.list.iter().filter(|s| s.tid != main.tid);
    let stack = others.find(|s| frames::has_loop(s) && takes(s, tid))?;
    Some((main, stack))
}
