//! What a thread does, told from its scheduler state, its system call and its Python frames.
//!
//! The kernel only shows a system call; whether a `poll` is an event loop at rest or a wait for one answer, and whether a
//! `futex` is the GIL or another lock, is told here.

use std::ops::Range;

use crate::snapshot::{Activity, Frame, ProcessState, Thread};

/// What a thread does. `runtime` is where `_PyRuntime` lies in its process (3.7+): the GIL is part of it. `leaf` is its
/// innermost Python frame.
pub fn activity(thread: &Thread, runtime: Option<Range<u64>>, leaf: Option<&Frame>) -> Activity {
    activity_in(
        thread,
        runtime,
        leaf.map(std::slice::from_ref).unwrap_or(&[]),
    )
}

/// The same from all frames of the thread, outermost first: the callers of the innermost one tell more.
pub fn activity_in(thread: &Thread, runtime: Option<Range<u64>>, frames: &[Frame]) -> Activity {
    match thread.state {
        ProcessState::Running => return Activity::Running,
        ProcessState::Stopped | ProcessState::Tracing => return Activity::Stopped,
        ProcessState::Sleeping | ProcessState::DiskSleep => {}
        _ => return Activity::Unknown,
    }
    let Some(call) = thread.syscall else {
        // It slept when its state was read and ran when its system call was.
        return if thread.syscall_seen {
            Activity::Running
        } else {
            Activity::Unknown
        };
    };
    match Call::of(call.number) {
        Call::Epoll if !waits_for_helper(frames) => Activity::Selector,
        Call::Poll if is_event_loop(frames) => Activity::Selector,
        Call::Futex => futex(call.args, runtime, frames),
        // -1: it sleeps outside of any call, in a page fault (proc(5), /proc/PID/syscall).
        _ if call.number < 0 => Activity::Unknown,
        _ => Activity::Syscall(call.number),
    }
}

enum Call {
    Epoll,
    Poll,
    Futex,
    Other,
}

impl Call {
    fn of(number: i64) -> Self {
        match number {
            libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Self::Epoll,
            libc::SYS_pselect6 | libc::SYS_ppoll => Self::Poll,
            libc::SYS_futex => Self::Futex,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait => Self::Epoll,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_select | libc::SYS_poll => Self::Poll,
            _ => Self::Other,
        }
    }
}

/// The GIL's mutex and condition variable lie inside `_PyRuntime` from 3.7 on (3.12+: in the main interpreter, which lies
/// there). Where that range is not known, the time-out tells: only `take_gil` waits with one (ceval_gil.h, switch interval)
/// without the program asking for it.
fn futex(args: [u64; 6], runtime: Option<Range<u64>>, frames: &[Frame]) -> Activity {
    let [address, _, _, timeout, ..] = args;
    let is_gil = match runtime {
        Some(runtime) => runtime.contains(&address),
        None => timeout != 0 && !frames.last().is_some_and(is_lock_frame),
    };
    if is_gil {
        Activity::Gil
    } else {
        Activity::Lock
    }
}

fn is_lock_frame(frame: &Frame) -> bool {
    let named = matches!(
        last_part(frame),
        "wait" | "acquire" | "__enter__" | "join" | "get" | "put"
    );
    named || matches!(file_name(frame), "threading.py" | "queue.py" | "Queue.py")
}

/// How many frames, from the innermost outward, are looked at.
const NEAR: usize = 5;

/// True if a select or poll is the rest of a loop that serves. The innermost frame must be one that polls, or a loop written
/// in C that has no frames of its own; a wait for one answer (`getaddrinfo`, `connect`, a database) is neither.
fn is_event_loop(frames: &[Frame]) -> bool {
    let Some(leaf) = frames.last() else {
        return false;
    };
    if waits_for_helper(frames) {
        return false;
    }
    if is_whole_loop(leaf) {
        return true;
    }
    let callers = || frames.iter().rev().skip(1).take(NEAR - 1);
    match last_part(leaf) {
        "select" | "_select" | "poll" | "_poll" | "doPoll" | "doSelect" | "get_events" => {
            file_name(leaf) == "selectors.py" && frames.len() == 1 || callers().any(is_loop_frame)
        }
        "wait" | "sleep" | "do_poll" => callers().any(is_loop_frame),
        _ => false,
    }
}

/// True for a function that does nothing but loop: below it, a poll can only be its own.
fn is_whole_loop(frame: &Frame) -> bool {
    matches!(
        last_part(frame),
        "run_forever"
            | "run_until_complete"
            | "_run_once"
            | "run_once"
            | "run_loop"
            | "_run_loop"
            | "serve_forever"
            | "loop"
            | "mainLoop"
            | "mainloop"
            | "doIteration"
            | "unrolled_run"
    )
}

/// True for a function that, as the caller of one that polls, is a loop.
fn is_loop_frame(frame: &Frame) -> bool {
    let named = matches!(
        last_part(frame),
        "run" | "run_for_one" | "run_for_multiple" | "serve" | "handle_request"
    );
    named || is_whole_loop(frame)
}

/// True if the standard library polls on behalf of a wait for one child process or connection.
fn waits_for_helper(frames: &[Frame]) -> bool {
    let near = frames.iter().rev().take(NEAR);
    near.map(|f| f.file.as_str()).any(|file| {
        file.ends_with("/subprocess.py") || file.ends_with("multiprocessing/connection.py")
    })
}

/// `Selector.select` → `select`: qualified names exist from 3.11 on.
fn last_part(frame: &Frame) -> &str {
    frame.function.rsplit('.').next().unwrap_or("")
}

fn file_name(frame: &Frame) -> &str {
    frame.file.rsplit('/').next().unwrap_or("")
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use crate::snapshot::Syscall;

    const RUNTIME: Range<u64> = 0x5000..0x9000;

    fn thread(state: char, call: Option<(i64, [u64; 6])>) -> Thread {
        Thread {
            tid: 7,
            name: "python".to_owned(),
            state: ProcessState::from_letter(state),
            syscall: call.map(|(number, args)| Syscall { number, args }),
            syscall_seen: true,
            run_ns: 0,
            waited_ns: 0,
            switches: 0,
            waits_on: None,
        }
    }

    /// `file:function`, outermost first.
    fn frames(stack: &str) -> Vec<Frame> {
        let frame = |text: &str| {
            let (file, function) = text.split_once(':').unwrap();
            Frame {
                function: function.to_owned(),
                file: format!("/lib/{file}"),
                line: 1,
            }
        };
        stack.split_whitespace().map(frame).collect()
    }

    fn told(state: char, call: Option<(i64, [u64; 6])>, stack: &str) -> Activity {
        activity_in(&thread(state, call), Some(RUNTIME), &frames(stack))
    }

    #[test]
    fn state_comes_before_the_call() {
        let poll = Some((libc::SYS_poll, [0; 6]));
        assert_eq!(told('R', poll, "a.py:f"), Activity::Running);
        assert_eq!(told('T', poll, "a.py:f"), Activity::Stopped);
        assert_eq!(told('t', poll, "a.py:f"), Activity::Stopped);
        assert_eq!(told('Z', None, ""), Activity::Unknown);
        assert_eq!(
            told('S', None, "a.py:f"),
            Activity::Running,
            "it ran when its call was read"
        );
        assert_eq!(
            told('D', Some((-1, [0; 6])), "a.py:f"),
            Activity::Unknown,
            "page fault"
        );
        let unseen = Thread {
            syscall_seen: false,
            ..thread('S', None)
        };
        assert_eq!(activity(&unseen, None, None), Activity::Unknown);
        let running = Thread {
            syscall_seen: false,
            ..thread('R', None)
        };
        assert_eq!(activity(&running, None, None), Activity::Running);
    }

    #[test]
    fn a_poll_is_a_loop_only_under_a_loop() {
        let poll = libc::SYS_poll;
        let cases = [
            (
                libc::SYS_epoll_wait,
                "base_events.py:run_forever base_events.py:_run_once selectors.py:EpollSelector.select",
                true,
            ),
            (libc::SYS_epoll_pwait, "main.py:main", true), // uvloop: its frames are not Python's
            (
                libc::SYS_epoll_wait,
                "subprocess.py:run subprocess.py:_communicate selectors.py:select",
                false,
            ),
            (
                poll,
                "socketserver.py:BaseServer.serve_forever selectors.py:_PollLikeSelector.select",
                true,
            ),
            (
                libc::SYS_select,
                "arbiter.py:Arbiter.run arbiter.py:Arbiter.sleep",
                true,
            ),
            (
                libc::SYS_pselect6,
                "sync.py:run_for_one sync.py:SyncWorker.wait",
                true,
            ),
            (
                libc::SYS_select,
                "wasyncore.py:loop wasyncore.py:poll",
                true,
            ),
            (poll, "a.py:run socket.py:getaddrinfo", false),
            (
                poll,
                "a.py:serve_forever socket.py:create_connection",
                false,
            ),
            (
                poll,
                "a.py:run subprocess.py:communicate subprocess.py:_communicate selectors.py:select",
                false,
            ),
            (poll, "a.py:handler db.py:wait_select", false),
            (poll, "a.py:main time.py:wait", false),
            (poll, "threading.py:Thread.run app.py:Job.run", false), // recv with a time-out
            (poll, "", false),
        ];
        for (number, stack, is_loop) in cases {
            let want = if is_loop {
                Activity::Selector
            } else {
                Activity::Syscall(number)
            };
            assert_eq!(
                told('S', Some((number, [0; 6])), stack),
                want,
                "{number} {stack}"
            );
        }
    }

    #[test]
    fn a_futex_inside_the_runtime_is_the_gil() {
        let futex = |address, timeout| Some((libc::SYS_futex, [address, 0x189, 0, timeout, 0, 0]));
        assert_eq!(told('S', futex(0x5008, 1), "a.py:f"), Activity::Gil);
        assert_eq!(told('S', futex(0x5008, 0), "a.py:f"), Activity::Gil);
        assert_eq!(told('S', futex(0x9000, 1), "a.py:f"), Activity::Lock);
        let old = |stack: &str, timeout| {
            activity_in(&thread('S', futex(0x10, timeout)), None, &frames(stack))
        };
        assert_eq!(old("a.py:f", 1), Activity::Gil);
        assert_eq!(old("a.py:f", 0), Activity::Lock);
        assert_eq!(old("a.py:f threading.py:wait", 1), Activity::Lock);
    }

    #[test]
    fn other_calls_are_told_by_number() {
        let connect = Some((libc::SYS_connect, [3, 0, 0, 0, 0, 0]));
        assert_eq!(
            told('S', connect, "a.py:f"),
            Activity::Syscall(libc::SYS_connect)
        );
        assert_eq!(
            told('D', connect, "a.py:f"),
            Activity::Syscall(libc::SYS_connect)
        );
    }
}
