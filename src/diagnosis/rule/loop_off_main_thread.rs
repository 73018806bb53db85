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
    let taken = process.accepting.iter().flatten().filter(|a| own(a.inode));
    let tids: Vec<u32> = taken.filter_map(|a| a.tid).collect();
    let stacks = process.python.as_ref()?.stacks.as_ref()?;
    let takes = |s: &&Stack| s.tid.is_some_and(|tid| tids.contains(&tid)) && s.tid != main.tid;
    let stack = stacks
        .list
        .iter()
        .filter(takes)
        .find(|s| frames::has_loop(s))?;
    Some((main, stack))
}
