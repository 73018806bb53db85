# A process whose tasks are known: it starts one of each kind, waits until none of them gets any further, prints what it sees of
# itself as one line of JSON, and stands still. A second thread stands still inside of its loop's tasks.
# Usage: calm.py [uvloop]. Runs on 3.8 to 3.15.
import asyncio
import concurrent.futures
import json
import os
import sys
import threading

import waits
from truth import chain_of, place, tasks_of
from waits import future, named, never

MINOR = sys.version_info[1]
USE_UVLOOP = sys.argv[1:] == ["uvloop"]
if USE_UVLOOP:
    import uvloop

# Who waits for whom; nobody waits for any other.
PARENTS = {
    "gathered-1": "gatherer",
    "gathered-2": "gatherer",
    "waited-1": "waiter",
    "waited-2": "waiter",
    "waited-for": "waiter-for",
    "shielded-inner": "shielded",
    "awaited": "for-task",
    "completed-1": "completed",
    "in-group-1": "grouped",
    "in-group-2": "grouped",
}


class Second:
    """A loop in a thread of its own, one task of which holds it up."""

    def __init__(self):
        self.loop = None
        self.tid = 0
        self.stands = concurrent.futures.Future()
        self.never = threading.Event()

    def run(self):
        self.loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(self.loop)
        self.tid = threading.get_native_id()
        self.loop.run_until_complete(self.main())

    async def main(self):
        named(waits.nested(), "second-1")
        named(waits.sleeper(), "second-2")
        await asyncio.sleep(0)
        named(self.outer(), "runner")
        await future()

    async def outer(self):
        await self.inner()

    async def inner(self):
        if MINOR >= 12:
            self.start(self.eager, "eager-runner")
        self.hold()

    async def eager(self):
        self.start(self.innermost, "eager-innermost")
        self.hold()

    async def innermost(self):
        self.hold()

    def start(self, function, name):
        never.append(asyncio.eager_task_factory(self.loop, function(), name=name))

    def hold(self):
        self.stands.set_result(threading.get_ident())
        self.never.wait()


def kinds_of_waiting():
    """By name: the coroutine, and what it waits for: its kind, and the object where that is known."""
    event, stop = asyncio.Event(), threading.Event()
    lock, semaphore = asyncio.Lock(), asyncio.Semaphore(0)
    condition, another = asyncio.Condition(), asyncio.Condition()
    empty, full, unfinished = asyncio.Queue(7), asyncio.Queue(1), asyncio.Queue()
    full.put_nowait(1)
    unfinished.put_nowait(1)
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="narrow")
    port = waits.silent_listener()
    never.append((stop, pool))
    kinds = {
        "nested": (waits.nested(), "future"),
        "sleeper": (waits.sleeper(), "sleep"),
        "custom": (waits.custom(), "future"),
        "by-generator": (waits.by_generator(), "future"),
        "foreign": (waits.over_foreign(), "future"),
        "over-generator": (waits.over_generator(), "future"),
        "in-comprehension": (waits.in_comprehension(), "future"),
        "by-asend": (waits.one_by_asend(), "future"),
        "generators": (waits.generator_in_generator(), "future"),
        "closing": (waits.closing(), "future"),
        "gatherer": (waits.gatherer(), "children"),
        "waiter": (waits.waiter(), "children"),
        "waiter-for": (waits.waiter_for(), "task"),
        "shielded": (waits.shielded(), "task"),
        "for-task": (waits.for_task(), "task"),
        "completed": (waits.completed(), "queue"),
        "getter": (waits.getter(empty), "queue", empty),
        "putter": (waits.putter(full), "queue", full),
        "joiner": (waits.joiner(unfinished), "queue", unfinished),
        "holder": (waits.holder(lock), "future"),
        "locker": (waits.locker(lock), "lock", lock),
        "eventer-1": (waits.eventer(event), "event", event),
        "eventer-2": (waits.eventer(event), "event", event),
        "conditioner": (waits.conditioner(condition), "condition", condition),
        "conditioner-for": (waits.conditioner_for(another), "condition", another),
        "semaphored": (waits.semaphored(semaphore), "semaphore", semaphore),
        "executed": (waits.executed(None, stop), "job"),
        "pooled": (waits.executed(pool, stop), "job"),
        "queued": (waits.executed(pool, stop), "job"),
        "reads": (waits.reads(port), "read"),
        "drains": (waits.drains(port), "drain"),
        "connects": (waits.connects(waits.full_listener()), "connect"),
        "process": (waits.process(), "process"),
        "entering": (waits.entering(), "future"),
        "inside": (waits.inside(), "future"),
        "leaving": (waits.leaving(), "future"),
        "python-future": (waits.over_python_future(), "future"),
        "größe \x1b[1m": (waits.nested(), "future"),
    }
    if MINOR >= 9:
        kinds["in-thread"] = (waits.in_thread(stop), "job")
    if MINOR >= 10:
        kinds["by-anext"] = (waits.by_anext(), "future")
    if MINOR >= 11:
        kinds["grouped"] = (waits.grouped(), "children")
        kinds["timed"] = (waits.timed(), "future")
        barrier = asyncio.Barrier(2)
        kinds["at-barrier"] = (waits.at_barrier(barrier), "condition")
    if MINOR >= 12:
        kinds["eager"] = (waits.eager(), "future")
    return kinds


async def main():
    loop, tid = asyncio.get_running_loop(), threading.get_native_id()
    second = Second()
    threading.Thread(target=second.run, daemon=True).start()
    ident = await asyncio.wrap_future(second.stands)
    kinds = kinds_of_waiting()
    tasks = [named(kind[0], name) for name, kind in kinds.items()]
    strays = [waits.python_task()]
    tasks.append(loop.create_task(waits.wait_forever()))
    yielded, woken = future(), future()
    tasks += [named(waits.once_more(yielded), "yields"), named(waits.woken(woken), "woken")]
    never.append((tasks, strays))
    await settled(ident)
    told = {
        "version": sys.version.split()[0],
        "loops": [
            {"id": id(loop), "kind": "uvloop" if USE_UVLOOP else "asyncio", "tid": tid},
            {"id": id(second.loop), "kind": "asyncio", "tid": second.tid},
        ],
        "parents": PARENTS,
        "waits": {name: {"kind": kind[1], "object": id(kind[2]) if kind[2:] else None} for name, kind in kinds.items()},
    }
    # The task has its next turn before the callback, which is the last: its next-to-next never comes.
    yielded.set_result(None)
    loop.call_soon(stand_still, [loop, second.loop], strays, woken, told)
    await future()


async def settled(ident):
    """Until no task gets any further."""
    last, same = None, 0
    while same < 5:
        chains = [chain_of(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        now = [sorted(map(str, chains)), place(sys._current_frames()[ident])]
        same = same + 1 if now == last else 0
        last = now
        await asyncio.sleep(0.06)


def stand_still(loops, strays, woken, told):
    never.append(named_outside(loops[0], waits.not_started(), "not-started"))
    woken.set_result(None)
    told["tasks"] = tasks_of(loops, strays)
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
    os._exit(0)


def named_outside(loop, coroutine, name):
    task = loop.create_task(coroutine)
    task.set_name(name)
    return task


if USE_UVLOOP:
    uvloop.install()
asyncio.run(main())
