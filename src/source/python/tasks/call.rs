//! Functions of the standard library and of anyio in which tasks are known to wait: a table, by file and name.

use crate::snapshot::QueueCall;

/// What a function waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// `asyncio.sleep`
    Sleep,
    /// `asyncio.wait_for` up to 3.11; its `fut`.
    WaitFor,
    /// `asyncio.wait`; its `fs`.
    Wait,
    /// `asyncio.TaskGroup.__aexit__`, and anyio's.
    TaskGroup,
    /// `Event.wait` or `Condition.wait`
    EventOrCondition,
    /// `Lock.acquire` or `Semaphore.acquire`
    LockOrSemaphore,
    /// `CapacityLimiter.acquire_on_behalf_of` of anyio.
    Limiter,
    /// A call of `asyncio.Queue`.
    Queue(QueueCall),
    /// A connection being made; its `address`.
    Connect,
    /// A read from a stream or socket.
    Read,
    /// A write that waits for room.
    Drain,
    /// The end of a child process.
    Process,
}

const ASYNCIO: &str = "/asyncio/";
const ANYIO: &str = "/anyio/_backends/";

/// Folder, file, function (without its class: up to 3.10 code does not know it), and what it waits for.
const CALLS: &[(&str, &str, &str, Call)] = &[
    (ASYNCIO, "tasks.py", "sleep", Call::Sleep),
    (ASYNCIO, "tasks.py", "wait_for", Call::WaitFor),
    (ASYNCIO, "tasks.py", "_wait", Call::Wait),
    (ASYNCIO, "taskgroups.py", "__aexit__", Call::TaskGroup),
    (ASYNCIO, "taskgroups.py", "_aexit", Call::TaskGroup),
    (ASYNCIO, "locks.py", "wait", Call::EventOrCondition),
    (ASYNCIO, "locks.py", "acquire", Call::LockOrSemaphore),
    (ASYNCIO, "queues.py", "get", Call::Queue(QueueCall::Get)),
    (ASYNCIO, "queues.py", "put", Call::Queue(QueueCall::Put)),
    (ASYNCIO, "queues.py", "join", Call::Queue(QueueCall::Join)),
    (ASYNCIO, "streams.py", "_wait_for_data", Call::Read),
    (ASYNCIO, "streams.py", "_drain_helper", Call::Drain),
    (ASYNCIO, "selector_events.py", "sock_connect", Call::Connect),
    (ASYNCIO, "selector_events.py", "sock_recv", Call::Read),
    (ASYNCIO, "selector_events.py", "sock_recv_into", Call::Read),
    (ASYNCIO, "selector_events.py", "sock_recvfrom", Call::Read),
    (
        ASYNCIO,
        "selector_events.py",
        "sock_recvfrom_into",
        Call::Read,
    ),
    (ASYNCIO, "selector_events.py", "sock_sendall", Call::Drain),
    (ASYNCIO, "selector_events.py", "sock_sendto", Call::Drain),
    (ASYNCIO, "base_subprocess.py", "_wait", Call::Process),
    (ASYNCIO, "subprocess.py", "wait", Call::Process),
    (ANYIO, "_asyncio.py", "__aexit__", Call::TaskGroup),
    (ANYIO, "_asyncio.py", "acquire", Call::LockOrSemaphore),
    (ANYIO, "_asyncio.py", "acquire_on_behalf_of", Call::Limiter),
    (ANYIO, "_asyncio.py", "receive", Call::Read),
    (ANYIO, "_asyncio.py", "send", Call::Drain),
];

/// Methods of uvloop's loop and transports, by qualified name.
const UVLOOP: &[(&str, Call)] = &[
    ("Loop.create_connection", Call::Connect),
    ("Loop.create_unix_connection", Call::Connect),
    ("Loop.sock_connect", Call::Connect),
    ("Loop._sock_connect", Call::Connect),
    ("Loop.sock_recv", Call::Read),
    ("Loop.sock_recv_into", Call::Read),
    ("Loop.sock_sendall", Call::Drain),
    ("UVProcessTransport._wait", Call::Process),
];

impl Call {
    /// True if this call tells more than the one that it makes to wait: `Queue.join` waits for an event.
    pub fn explains(self, inner: Self) -> bool {
        let by_event = matches!(
            self,
            Self::Queue(QueueCall::Join) | Self::Limiter | Self::Read | Self::Drain | Self::Process
        );
        by_event && inner == Self::EventOrCondition
    }
}

/// What a function waits for, if it is known.
pub fn call_of(file: &str, function: &str) -> Option<Call> {
    let name = function.rsplit('.').next()?;
    let is_here = |folder: &str, last: &str| {
        file.strip_suffix(last)
            .is_some_and(|rest| rest.ends_with(folder))
    };
    CALLS
        .iter()
        .find(|(folder, last, function, _)| *function == name && is_here(folder, last))
        .map(|(_, _, _, call)| *call)
}

/// What a function of a module that Cython compiled waits for; `file` is a path or the name of the module.
pub fn compiled_call_of(file: &str, function: &str) -> Option<Call> {
    file.contains("uvloop").then_some(())?;
    let known = UVLOOP.iter().find(|(name, _)| *name == function)?;
    Some(known.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_by_its_file_and_name() {
        let lib = "/usr/lib/python3.11/asyncio/locks.py";
        assert_eq!(call_of(lib, "Event.wait"), Some(Call::EventOrCondition));
        assert_eq!(call_of(lib, "wait"), Some(Call::EventOrCondition));
        assert_eq!(call_of(lib, "Event.set"), None);
        assert_eq!(call_of("/app/locks.py", "Event.wait"), None);
        assert_eq!(call_of("/app/myasyncio/locks.py", "Event.wait"), None);
        assert_eq!(
            compiled_call_of("uvloop/loop.pyx", "Loop.sock_connect"),
            Some(Call::Connect)
        );
        assert_eq!(compiled_call_of("app.loop", "Loop.sock_connect"), None);
    }

    #[test]
    fn a_join_is_more_than_its_event() {
        assert!(Call::Queue(QueueCall::Join).explains(Call::EventOrCondition));
        assert!(!Call::Queue(QueueCall::Get).explains(Call::EventOrCondition));
        assert!(!Call::TaskGroup.explains(Call::EventOrCondition));
    }
}
