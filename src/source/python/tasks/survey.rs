//! One snapshot from its beginning to its end: which tasks there are, each of them read until it makes sense, and how they hang together.

use super::chain::{Chain, Chains, End};
use super::frame::frame_address;
use super::task::{Progress, RawTask, TASK};
use super::{AGAIN, CHUNK, Look, MOST_STACKS, MOST_TASKS, Read, ThreadOf, ThreadStack};
use crate::snapshot::{ObjectId, Task, TaskState, Tasks};
use crate::source::python::pages::ByAddress;

impl Look<'_> {
    /// Reads what there is in this interpreter, and adds it to what was found.
    pub fn read(&mut self, interpreter: u64, threads: &[ThreadOf], found: &mut Tasks) {
        let states = self.heap.thread_states(interpreter);
        let stacks = self.stacks(&states);
        let first = found.list.len();
        if self.asyncio.has_asyncio() {
            let room = MOST_TASKS.saturating_sub(first);
            let mut roll = self.roll(interpreter, &states);
            let left_out = roll.len().saturating_sub(room);
            roll.truncate(room);
            let mut executed = Vec::new();
            for chunk in roll.chunks(CHUNK) {
                executed.extend(self.read_chunk(chunk, &stacks, true, found));
                if self.heap.pages.is_half_full() {
                    self.heap.pages.clear();
                }
            }
            // On the stack of a thread one task ends where the next begins: by now it is known where they all do.
            self.read_chunk(&executed, &stacks, false, found);
            found.left_out = found
                .left_out
                .saturating_add(u32::try_from(left_out).unwrap_or(u32::MAX));
            join(found.list.get_mut(first..).unwrap_or_default());
        }
        self.add_loops(first, threads, &stacks, found);
        let loops: Vec<u64> = found.loops.iter().map(|l| l.id.0).collect();
        let frames: Vec<_> = stacks.into_iter().map(|stack| stack.frames).collect();
        found.pools.extend(self.pools(&loops, &frames));
    }

    /// The stacks of the threads that may execute tasks or work for a pool.
    fn stacks(&mut self, states: &[u64]) -> Vec<ThreadStack> {
        let mut stacks = Vec::new();
        for thread in states.iter().take(MOST_STACKS) {
            let event_loop = if self.asyncio.has_asyncio() {
                self.running_loop(*thread)
            } else {
                None
            };
            let is_of_interest = event_loop.is_some() || self.asyncio.has_executors;
            let frames = match is_of_interest {
                true => self.thread_frames(*thread),
                false => Vec::new(),
            };
            stacks.push(ThreadStack {
                thread: *thread,
                event_loop,
                frames,
            });
        }
        stacks
    }

    /// Reads these tasks. Those that are executed are handed back instead, if they are to be read `later`.
    fn read_chunk(
        &mut self,
        addrs: &[u64],
        stacks: &[ThreadStack],
        later: bool,
        found: &mut Tasks,
    ) -> Vec<u64> {
        self.heap.prepare(addrs.iter().copied(), TASK);
        let mut tasks: Vec<RawTask> = Vec::with_capacity(addrs.len());
        let mut torn = Vec::new();
        for addr in addrs {
            match self.task(*addr) {
                Some(task) if task.state == Progress::Done => {}
                Some(task) => tasks.push(task),
                None => torn.push(*addr),
            }
        }
        let coroutines: Vec<u64> = tasks.iter().map(|task| task.coroutine).collect();
        let chains = self.walk(&coroutines);
        self.note_running(&coroutines, &chains);
        self.prefetch(&tasks, &chains);
        let mut list = Vec::with_capacity(tasks.len());
        let mut executed = Vec::new();
        let mut judge = |(at, task): (usize, &RawTask)| {
            let chain = chains.chain(at);
            if later && chain.end == End::Executing {
                executed.push(task.addr);
                return Read::Over;
            }
            self.judge(task, &chain, stacks)
        };
        let judged: Vec<Read> = tasks.iter().enumerate().map(&mut judge).collect();
        let moved = self.moved_if_any_ran(&tasks, &chains, stacks);
        for ((task, read), moved) in tasks.iter().zip(judged).zip(moved) {
            match read {
                Read::Right(read) if !moved => list.push(read),
                Read::Over => {}
                Read::Right(_) | Read::Torn => torn.push(task.addr),
            }
        }
        for addr in torn {
            match self.read_again(addr, stacks) {
                Read::Right(task) => list.push(task),
                Read::Over => {}
                Read::Torn => found.torn += 1,
            }
        }
        found.list.extend(list);
        executed
    }

    /// Notes the outermost frames of tasks that are executed.
    fn note_running(&mut self, coroutines: &[u64], chains: &Chains) {
        let both = coroutines.iter().zip(chains.ends());
        for (coroutine, _) in both.filter(|(_, end)| *end == End::Executing) {
            let root = frame_address(self.heap, *coroutine);
            self.memo.running.extend(root);
        }
    }

    /// Fetches what the descriptions of these tasks will read.
    fn prefetch(&mut self, tasks: &[RawTask], chains: &Chains) {
        let (waiters, names) = (
            tasks.iter().filter_map(|t| t.waiter),
            tasks.iter().filter_map(|t| t.name),
        );
        waiters.for_each(|waiter| self.heap.want(waiter, 112));
        names.for_each(|name| self.heap.want(name, 64));
        let first = self.heap.layout.future.callback0;
        for task in tasks {
            if let Some(callback) = self.heap.pointer_in(task.addr, first) {
                self.heap.want(callback, 64);
            }
        }
        self.want_variables(chains);
        self.heap.prepare([], 0);
    }

    /// A task alone, on memory read afresh, until it makes sense.
    fn read_again(&mut self, addr: u64, stacks: &[ThreadStack]) -> Read {
        for _ in 0..AGAIN {
            if self.is_spent() {
                break;
            }
            let pages = self.heap.pages.put_by();
            let read = self.read_one(addr, stacks);
            self.heap.pages.take_back(pages);
            if !matches!(read, Read::Torn) {
                return read;
            }
        }
        Read::Torn
    }

    fn read_one(&mut self, addr: u64, stacks: &[ThreadStack]) -> Read {
        // Where a task was there may be something else by now.
        let Some(task) = self.task(addr) else {
            return Read::Over;
        };
        if task.state == Progress::Done {
            return Read::Over;
        }
        let chains = self.walk(&[task.coroutine]);
        let chain = chains.chain(0);
        let threads: Vec<u64> = stacks.iter().map(|stack| stack.thread).collect();
        let stacks = match chain.end {
            End::Executing => self.stacks(&threads),
            _ => Vec::new(),
        };
        let read = self.judge(&task, &chain, &stacks);
        let moved = self.moved_if_any_ran(&[task], &chains, &stacks);
        match read {
            Read::Right(_) if moved.contains(&true) => Read::Torn,
            read => read,
        }
    }

    /// Whether the parts of a task are of one moment; if so, all that there is to say of it.
    fn judge(&mut self, task: &RawTask, chain: &Chain<'_>, stacks: &[ThreadStack]) -> Read {
        let agrees = match chain.end {
            End::Future(end) => task.waiter == Some(end),
            End::Created => task.waiter.is_none(),
            // A future that is written in Python is awaited by a `yield`.
            End::Yield | End::Opaque | End::Executing => true,
            End::Over | End::Broken => false,
        };
        if !agrees {
            return Read::Torn;
        }
        let state = self.state(task, chain);
        let running = (state == TaskState::Running)
            .then(|| self.frames_of_running(task, stacks))
            .flatten();
        let wait = match state {
            TaskState::Waiting => self.wait(task, chain),
            _ => None,
        };
        Read::Right(Task {
            id: ObjectId(task.addr),
            name: self.name_of(task).unwrap_or_default(),
            event_loop: ObjectId(task.event_loop),
            state,
            frames: running.map_or_else(|| self.frames(chain), Into::into),
            wait,
            awaited_by: self.awaited_by(task),
            entered: self.entered(chain),
        })
    }

    fn state(&mut self, task: &RawTask, chain: &Chain<'_>) -> TaskState {
        let awaits = task.waiter.map(|waiter| self.progress(waiter));
        match (chain.end, awaits) {
            (End::Executing, _) => TaskState::Running,
            (_, Some(Some(Progress::Done))) => TaskState::Runnable,
            (_, Some(_)) => TaskState::Waiting,
            (End::Created, None) => TaskState::NotStarted,
            (_, None) => TaskState::Runnable,
        }
    }

    /// The tasks that go on when this one is done, by its callbacks.
    fn awaited_by(&mut self, task: &RawTask) -> Vec<ObjectId> {
        let awaiters = self.awaiters(task.addr);
        // One more may say so itself.
        let mut ids = Vec::with_capacity(awaiters.len() + 1);
        ids.extend(awaiters.iter().map(|id| ObjectId(*id)));
        ids
    }

    fn frames_of_running(
        &mut self,
        task: &RawTask,
        stacks: &[ThreadStack],
    ) -> Option<Vec<crate::snapshot::Frame>> {
        // Those of its loop's thread first.
        let is_own = |stack: &&ThreadStack| stack.event_loop == Some(task.event_loop);
        let own = stacks.iter().filter(is_own);
        let others = stacks.iter().filter(|stack| !is_own(stack));
        let mut roots: Vec<u64> = self
            .current_tasks(&stacks.iter().map(|s| s.thread).collect::<Vec<_>>())
            .into_iter()
            .filter_map(|current| {
                let coroutine = self.task(current)?.coroutine;
                frame_address(self.heap, coroutine)
            })
            .collect();
        roots.extend(&self.memo.running);
        own.chain(others)
            .find_map(|stack| self.running_frames(&stack.frames, task.coroutine, &roots))
    }

    fn add_loops(
        &mut self,
        first: usize,
        threads: &[ThreadOf],
        stacks: &[ThreadStack],
        found: &mut Tasks,
    ) {
        let mut order = Vec::new();
        let mut running: ByAddress<Option<u32>> = ByAddress::default();
        for stack in stacks {
            if let Some(event_loop) = stack.event_loop {
                let tid = threads.iter().find(|(state, _)| *state == stack.thread);
                if running.insert(event_loop, tid.and_then(|t| t.1)).is_none() {
                    order.push(event_loop);
                }
            }
        }
        for task in found.list.iter().skip(first) {
            let event_loop = task.event_loop.0;
            running.entry(event_loop).or_insert_with(|| {
                order.push(event_loop);
                None
            });
        }
        for object in order {
            let tid = running.get(&object).copied().flatten();
            found.loops.push(self.event_loop(object, tid));
        }
    }
}

/// Adds who waits for whom by what tasks say themselves, and drops those that are not listed.
fn join(tasks: &mut [Task]) {
    let mut places: ByAddress<usize> = ByAddress::default();
    places.reserve(tasks.len());
    for (at, task) in tasks.iter().enumerate() {
        places.insert(task.id.0, at);
    }
    let waits: Vec<(usize, ObjectId)> = tasks
        .iter()
        .filter_map(|task| {
            let object = task.wait.as_ref()?.object?;
            Some((*places.get(&object.0)?, task.id))
        })
        .collect();
    for (child, parent) in waits {
        if let Some(child) = tasks.get_mut(child) {
            child.awaited_by.push(parent);
        }
    }
    for task in tasks {
        task.awaited_by.retain(|id| places.contains_key(&id.0));
        task.awaited_by.sort_unstable();
        task.awaited_by.dedup();
    }
}
