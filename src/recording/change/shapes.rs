//! Which parts of a snapshot are written field by field, which whole, and by what the items of its lists are known.
//!
//! A field that is added to one of these types and not here does not compile.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Between, Change, Item, Onto};
use crate::snapshot::{
    Accepting, CgroupUse, Child, Connection, Connections, CpuQuota, EventLoop, EventSource, Exit,
    FdClasses, Fds, Frame, Gap, Heartbeat, Holder, Inquiries, Intent, Listener, LockWait, LogLine,
    LogTail, MemoryUse, Moment, NetNs, ObjectId, OwnCost, Pool, Process, ProcessKey, ProcessState,
    Python, ReadBy, ServerThread, Sink, Snapshot, SocketFile, Stack, Stacks, Task, Tasks,
    TcpCounters, TcpState, Thread, ThreadWait, Traceback,
};

/// Types that are written whole.
macro_rules! whole {
    ($($type:ty),+ $(,)?) => {$(
        impl Change for $type {
            fn is_same(&self, new: &Self) -> bool {
                self == new
            }

            fn write<S: Serializer>(&self, new: &Self, to: S) -> Result<S::Ok, S::Error> {
                new.serialize(to)
            }

            fn read<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Self, D::Error> {
                Self::deserialize(from)
            }
        }
    )+};
}

/// Structs that are written field by field.
macro_rules! fields {
    ($($type:ident { $($field:ident),+ $(,)? })+) => {$(
        impl Change for $type {
            fn is_same(&self, new: &Self) -> bool {
                let Self { $($field),+ } = self;
                true $(&& $field.is_same(&new.$field))+
            }

            fn write<S: Serializer>(&self, new: &Self, to: S) -> Result<S::Ok, S::Error> {
                let mut map = to.serialize_map(None)?;
                $(if !self.$field.is_same(&new.$field) {
                    map.serialize_entry(stringify!($field), &Between(&self.$field, &new.$field))?;
                })+
                map.end()
            }

            fn read<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Self, D::Error> {
                struct Fields<'a>(&'a $type);

                impl<'de> Visitor<'de> for Fields<'_> {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("a change of ", stringify!($type)))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        let mut made = self.0.clone();
                        while let Some(name) = map.next_key::<String>()? {
                            match name.as_str() {
                                $(stringify!($field) => {
                                    made.$field = map.next_value_seed(Onto(&self.0.$field))?;
                                })+
                                _ => {
                                    map.next_value::<IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(made)
                    }
                }

                from.deserialize_map(Fields(self))
            }
        }
    )+};
}

/// What items of lists are known by.
macro_rules! known_by {
    ($($type:ty: $key:ty = |$item:ident| $value:expr;)+) => {$(
        impl Item for $type {
            type Key<'a> = $key;

            fn key(&self) -> Self::Key<'_> {
                let $item = self;
                $value
            }
        }
    )+};
}

whole! {
    bool, u16, u32, u64, i32, i64, String, [Option<String>; 3], (TcpState, u64), std::net::IpAddr,
    Accepting, Child, Connection, EventLoop, EventSource, Exit, FdClasses, Frame, Gap, Heartbeat, Holder, Intent, LockWait, LogLine,
    MemoryUse, Moment, ObjectId, OwnCost, Pool, ProcessKey, ProcessState, ReadBy, ServerThread, Sink, SocketFile, TcpCounters,
    ThreadWait, Traceback,
    crate::snapshot::Activity, crate::snapshot::Family, crate::snapshot::ListenerState,
    crate::snapshot::Syscall, crate::snapshot::TaskState, crate::snapshot::Wait, crate::snapshot::Entered,
}

fields! {
    Snapshot { host, at, wall_ms, processes, netns, socket_files, exits, events, inquiries, gaps, own }
    Process {
        key, ppid, started, sampled_at, comm, cmdline, arg_start, cwd, exe, uid, state, exit_status, tracer, frozen, cpu_ns, rss,
        thread_count, threads, fds, connections, waits, children, netns, accepting, cgroup, cgroup_use, heartbeat, python,
    }
    Python { version, stacks, stacks_true_at, tasks, intent }
    Thread { tid, name, state, syscall, syscall_seen, run_ns, waited_ns, switches, waits_on }
    Fds { open, limit, classes, sockets, stdio, scanned_at }
    Connections { total, by_state, list }
    CgroupUse { read_at, cpu, memory }
    CpuQuota { path, quota_us, period_us, periods, throttled, throttled_ns }
    Stacks { at, list, torn, by, locks }
    Stack { tid, name, daemon, activity, holds_gil, frames }
    Tasks { at, loops, list, torn, left_out, pools }
    Task { id, name, event_loop, state, frames, wait, awaited_by, entered }
    NetNs { inode, sampled_at, listeners, bound_visible, counters, has_other_interface, host, own, somaxconn }
    Listener { inode, family, address, port, path, state, accept_queue, backlog, drops, syn_queue, v6only, uid }
    Inquiries { logs, holders, server_threads }
    LogTail { sink, writers, is_fresh, changed_at, lines, skipped, tracebacks }
}

known_by! {
    u64: u64 = |it| *it;
    String: &'a str = |it| it;
    ProcessKey: Self = |it| *it;
    ObjectId: Self = |it| *it;
    Process: ProcessKey = |it| it.key;
    Thread: u32 = |it| it.tid;
    ThreadWait: u32 = |it| it.tid;
    Child: u32 = |it| it.party.pid;
    Accepting: (u64, Option<u32>) = |it| (it.inode, it.tid);
    Connection: u64 = |it| it.inode;
    (TcpState, u64): u8 = |it| it.0 as u8;
    Stack: Option<u32> = |it| it.tid;
    Frame: &'a Self = |it| it;
    LockWait: u32 = |it| it.tid;
    EventLoop: ObjectId = |it| it.id;
    Task: ObjectId = |it| it.id;
    Pool: ObjectId = |it| it.id;
    crate::snapshot::Entered: ObjectId = |it| it.object;
    NetNs: u64 = |it| it.inode;
    Listener: u64 = |it| it.inode;
    SocketFile: u64 = |it| it.inode;
    Exit: ProcessKey = |it| it.key;
    LogTail: &'a Sink = |it| &it.sink;
    LogLine: u64 = |it| it.number;
    Traceback: u64 = |it| it.first;
    Holder: (u64, ProcessKey) = |it| (it.inode, it.key);
    ServerThread: ProcessKey = |it| it.key;
    Gap: &'a Self = |it| it;
}
