//! Does a thread wait for a debugger: for one to attach over the network, or for its word at a breakpoint?

use super::frames;
use crate::snapshot::{Frame, Stack};

/// True if what the application has called waits for a debugger. One that runs beneath the program is none.
pub fn is_awaited(stack: &Stack) -> bool {
    called(stack).iter().any(waits)
}

/// The frames that the application has called, outermost first; all of them where it has none.
pub fn called(stack: &Stack) -> &[Frame] {
    let from = frames::application_frame(stack).map_or(0, |(at, _)| at + 1);
    stack.frames.get(from..).unwrap_or_default()
}

/// A frame of a debugger that waits for somebody to come over the network.
fn waits(frame: &Frame) -> bool {
    const DEBUGGERS: &[&str] = &[
        "/debugpy/",
        "/pydevd.py",
        "/_pydevd_bundle/",
        "/pydevd_bundle/",
        "/ptvsd/",
        "/rpdb/",
        "/remote_pdb.py",
        "/celery/contrib/rdb.py",
        "/web_pdb/",
        "/pudb/remote.py",
    ];
    const WAITS: &[&str] = &[
        "wait_for_client",
        "_do_wait_suspend",
        "do_wait_suspend",
        "_wait_for_attach",
        "wait_for_attach",
        "interaction",
        "__init__",
        "readline",
        "accept",
    ];
    let name = frame.function.rsplit('.').next().unwrap_or("");
    WAITS.contains(&name)
        && frames::is_library(frame)
        && DEBUGGERS.iter().any(|mark| frame.file.contains(mark))
}
