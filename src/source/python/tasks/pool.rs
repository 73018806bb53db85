//! Pools of threads: executors, found by their loops and by the threads that work for them, and anyio's limiters.

use std::sync::Arc;

use super::Look;
use super::frame::RawFrame;
use super::site::Site;
use crate::snapshot::{ObjectId, Pool, PoolKind};
use crate::source::python::pages::ByAddress;

/// Pools that are listed.
const MOST_POOLS: usize = 256;
const LONGEST_PREFIX: usize = 100;
/// File of the executor, and the function that its threads stand in.
const WORKERS: (&str, &str) = ("concurrent/futures/thread.py", "_worker");

impl Look<'_> {
    /// The pools; `stacks` are those of all threads, innermost frame first.
    pub fn pools(&mut self, loops: &[u64], stacks: &[Vec<RawFrame>]) -> Vec<Pool> {
        let mut pools = Vec::new();
        if self.asyncio.has_executors {
            pools.extend(self.executors(loops, stacks));
        }
        pools.extend(self.limiters());
        pools.truncate(MOST_POOLS);
        pools
    }

    fn executors(&mut self, loops: &[u64], stacks: &[Vec<RawFrame>]) -> Vec<Pool> {
        // Executor → how many of its threads are at work. Those that just wait stand in their first function.
        let mut busy: ByAddress<u32> = ByAddress::default();
        let mut order = Vec::new();
        let defaults: Vec<u64> = loops
            .iter()
            .filter_map(|object| self.heap.attribute(*object, "_default_executor"))
            .collect();
        for executor in defaults {
            if busy.insert(executor, 0).is_none() {
                order.push(executor);
            }
        }
        for stack in stacks {
            let Some((executor, works)) = self.employer(stack) else {
                continue;
            };
            let count = busy.entry(executor).or_insert_with(|| {
                order.push(executor);
                0
            });
            *count += u32::from(works);
        }
        order
            .into_iter()
            .take(MOST_POOLS)
            .filter_map(|executor| self.executor(executor, busy.get(&executor).copied()?))
            .collect()
    }

    /// The executor that a thread works for, and whether it does just now.
    fn employer(&mut self, stack: &[RawFrame]) -> Option<(u64, bool)> {
        // Outermost are the frames of threading.
        let outer = stack.len().saturating_sub(8);
        for (at, frame) in stack.iter().enumerate().skip(outer).rev() {
            let Some(site) = self.site(frame.code).filter(is_worker) else {
                continue;
            };
            let reference = self.variable(frame, &site, "executor_reference")?;
            let executor = self.heap.pointer(reference.checked_add(16)?)?;
            return Some((executor, at > 0));
        }
        None
    }

    fn executor(&mut self, object: u64, busy: u32) -> Option<Pool> {
        let size = self.int_in(object, "_max_workers")?;
        let queue = self.heap.attribute(object, "_work_queue")?;
        let prefix = self.heap.attribute(object, "_thread_name_prefix");
        Some(Pool {
            id: ObjectId(object),
            kind: PoolKind::Executor,
            prefix: prefix.and_then(|prefix| self.heap.text(prefix, LONGEST_PREFIX)),
            size: u32::try_from(size).ok()?,
            busy,
            queued: self.queued(queue)?,
        })
    }

    /// Items of a `queue.SimpleQueue`, or of one that is written in Python.
    fn queued(&mut self, queue: u64) -> Option<u32> {
        let kind = self.heap.type_of(queue)?;
        if !kind.name.ends_with("SimpleQueue") || kind.name.starts_with("_Py") {
            return self
                .count(queue, "_queue")
                .or_else(|| self.count(queue, "queue"));
        }
        let fields = &self.heap.layout.simple_queue;
        let count = if fields.count.exists() {
            self.heap.u64_in(queue, fields.count)?
        } else {
            let list = self.heap.pointer_in(queue, fields.list)?;
            let length = self.heap.length(list)?;
            length.checked_sub(self.heap.u64_in(queue, fields.gone)?)?
        };
        u32::try_from(count).ok()
    }

    /// anyio's, from the variables that it keeps for each loop.
    fn limiters(&mut self) -> Vec<Pool> {
        let vars = self.asyncio.run_vars;
        let of_loops = vars.and_then(|vars| self.heap.dict(vars));
        let mut found = Vec::new();
        for (_, of_loop) in of_loops.unwrap_or_default().into_iter().take(64) {
            let values = self.heap.dict(of_loop).unwrap_or_default();
            for (_, value) in values.into_iter().take(64) {
                let class = self.class_of(value);
                if class.as_deref() == Some("CapacityLimiter") {
                    found.extend(self.limiter_pool(value));
                }
            }
        }
        found
    }

    fn limiter_pool(&mut self, object: u64) -> Option<Pool> {
        let total = self.heap.attribute(object, "_total_tokens")?;
        let total = self.heap.number(total)?;
        Some(Pool {
            id: ObjectId(object),
            kind: PoolKind::Limiter,
            prefix: None,
            // As many as there may be, should it be infinite.
            size: total.clamp(0.0, f64::from(u32::MAX)) as u32,
            busy: self.count(object, "_borrowers")?,
            queued: self.count(object, "_wait_queue")?,
        })
    }
}

fn is_worker(site: &Arc<Site>) -> bool {
    site.name() == WORKERS.1 && site.code.file.ends_with(WORKERS.0)
}
