//! Locks, queues, groups and addresses: what is known of the object that a task waits at.

use super::Look;
use super::call::Call;
use super::cython::CythonFrame;
use super::wait::wait;
use crate::snapshot::{QueueCall, Wait, WaitOn};

const LONGEST_ADDRESS: usize = 256;

impl Look<'_> {
    /// What a call on this object waits for; `None` if the object is not what the call makes believe.
    pub fn describe(&mut self, call: Call, object: u64) -> Option<WaitOn> {
        match call {
            Call::EventOrCondition => self.event_or_condition(object),
            Call::LockOrSemaphore => self.lock_or_semaphore(object),
            Call::Queue(call) => self.queue(call, object),
            Call::Limiter => self.limiter(object),
            Call::TaskGroup => {
                let tasks = self.heap.attribute(object, "_tasks")?;
                self.children_in("TaskGroup", tasks)
            }
            _ => None,
        }
    }

    /// A condition has a lock, an event has not.
    fn event_or_condition(&mut self, object: u64) -> Option<WaitOn> {
        let waiters = self.count(object, "_waiters");
        if self.heap.attribute(object, "_lock").is_some() {
            return Some(WaitOn::Condition { waiters });
        }
        waiters.is_some().then_some(WaitOn::Event { waiters })
    }

    /// A semaphore counts, a lock does not.
    fn lock_or_semaphore(&mut self, object: u64) -> Option<WaitOn> {
        let waiters = self.count(object, "_waiters");
        let Some(value) = self.heap.attribute(object, "_value") else {
            return waiters.is_some().then_some(WaitOn::Lock { waiters });
        };
        let free = self.heap.int(value);
        Some(WaitOn::Semaphore { free, waiters })
    }

    fn queue(&mut self, call: QueueCall, object: u64) -> Option<WaitOn> {
        let getters = self.count(object, "_getters");
        getters?;
        Some(WaitOn::Queue {
            call,
            size: self.count(object, "_queue"),
            most: self.int_in(object, "_maxsize").map(clamp),
            getters,
            putters: self.count(object, "_putters"),
            unfinished: self.int_in(object, "_unfinished_tasks").map(clamp),
        })
    }

    /// anyio's limiter is a semaphore that knows who has taken from it.
    fn limiter(&mut self, object: u64) -> Option<WaitOn> {
        let total = self.heap.attribute(object, "_total_tokens")?;
        let total = self.heap.number(total)?;
        let taken = self.count(object, "_borrowers")?;
        // The number may be infinite.
        let free = total.is_finite().then_some(total as i64 - i64::from(taken));
        let waiters = self.count(object, "_wait_queue");
        Some(WaitOn::Semaphore { free, waiters })
    }

    /// Items of a container that an attribute holds; 0 if it holds None.
    pub fn count(&mut self, object: u64, attribute: &'static str) -> Option<u32> {
        let container = self.heap.attribute(object, attribute)?;
        let kind = self.heap.type_of(container)?;
        match &*kind.name {
            "NoneType" => Some(0),
            "collections.deque" | "list" | "set" | "dict" | "collections.OrderedDict" => {
                let length = self.heap.length(container)?;
                u32::try_from(length).ok()
            }
            _ => None,
        }
    }

    /// An integer that an attribute holds.
    pub fn int_in(&mut self, object: u64, attribute: &'static str) -> Option<i64> {
        let value = self.heap.attribute(object, attribute)?;
        self.heap.int(value)
    }

    /// An address as programs give it: `(host, port, …)`, or a path.
    pub fn address(&mut self, object: u64) -> Option<String> {
        let kind = self.heap.type_of(object)?;
        match &*kind.name {
            "str" => self.heap.text(object, LONGEST_ADDRESS),
            "bytes" => {
                let bytes = self.heap.bytes_of(object, LONGEST_ADDRESS)?;
                Some(crate::source::text::clean_bytes(&bytes, LONGEST_ADDRESS))
            }
            "tuple" => {
                let items = self.heap.tuple(object)?;
                let [host, port, ..] = *items else {
                    return None;
                };
                let (host, port) = (self.address(host)?, self.heap.int(port)?);
                Some(joined(&host, port))
            }
            _ => None,
        }
    }

    /// The same in a coroutine of Cython's, whose variables have no names: a text and a port among them.
    pub fn wait_in_compiled(
        &mut self,
        call: Call,
        frame: &CythonFrame,
        future: u64,
    ) -> Option<Wait> {
        let on = match call {
            Call::Connect => WaitOn::Connect {
                address: frame
                    .closure
                    .and_then(|closure| self.address_among(closure)),
            },
            Call::Read => WaitOn::Read,
            Call::Drain => WaitOn::Drain,
            Call::Process => WaitOn::Process,
            _ => return None,
        };
        Some(wait(Some(future), on))
    }

    fn address_among(&mut self, closure: u64) -> Option<String> {
        let values = self.closure_values(closure);
        let named = |look: &mut Self, name: &str| {
            let is = |value: &u64| {
                look.heap
                    .type_of(*value)
                    .is_some_and(|kind| &*kind.name == name)
            };
            values.iter().copied().find(is)
        };
        if let Some(pair) = named(self, "tuple").and_then(|pair| self.address(pair)) {
            return Some(pair);
        }
        let host = named(self, "str").and_then(|host| self.heap.text(host, LONGEST_ADDRESS))?;
        let port = named(self, "int").and_then(|port| self.heap.int(port));
        match port {
            Some(port @ 1..=65_535) => Some(joined(&host, port)),
            _ => Some(host),
        }
    }
}

fn clamp(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// `10.0.0.5:5432`, `[::1]:80`
fn joined(host: &str, port: i64) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_people_write_them() {
        assert_eq!(joined("10.0.0.5", 5432), "10.0.0.5:5432");
        assert_eq!(joined("::1", 80), "[::1]:80");
        assert_eq!((clamp(-1), clamp(7), clamp(i64::MAX)), (0, 7, u32::MAX));
    }
}
