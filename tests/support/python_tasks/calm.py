# A process whose tasks are known: it starts one of each kind, waits until all of them wait, and prints as one line of JSON what it
# sees of itself: every task's name and chain (by cr_await and its kin, and f_lineno). Then it stands still.
# Usage: calm.py [uvloop]. Runs on 3.8 to 3.15.
import asyncio
import concurrent.futures
import contextlib
import gc
import json
import os
import socket
import sys
import threading
import types

MINOR = sys.version_info[1]
USE_UVLOOP = sys.argv[1:] == ["uvloop"]
if USE_UVLOOP:
    import uvloop

expected = {}  # name of a task -> what it waits for, in the words of the reader
never = []  # futures that nobody will finish


def future():
    made = asyncio.get_running_loop().create_future()
    never.append(made)
    return made


async def three():
    await future()


async def two():
    await three()


async def nested():
    await two()


async def sleeper():
    await asyncio.sleep(3600)


class Custom:
    """Awaited by a generator of its own."""

    def __init__(self, inner):
        self.inner = inner

    def __await__(self):
        return (yield from self.inner.__await__())


async def custom():
    await Custom(future())


@types.coroutine
def generator_based():
    yield from future()


async def by_generator():
    await generator_based()


class Wrapped(asyncio.Future):
    """A generator that is none of CPython's own: types.coroutine wraps it."""


@types.coroutine
def foreign():
    return Foreign(future())


class Foreign:
    """Looks like a generator."""

    gi_code = generator_based.__code__
    gi_frame = None
    gi_running = False
    gi_yieldfrom = None

    def __init__(self, inner):
        self.iterator = inner.__await__()

    def send(self, value):
        return self.iterator.send(value)

    def throw(self, *args):
        return self.iterator.throw(*args)

    def close(self):
        self.iterator.close()

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.iterator)


async def ticks():
    for number in range(3):
        await future()
        yield number


async def over_generator():
    async for _ in ticks():
        pass


async def one_by_asend():
    await ticks().asend(None)


async def generator_in_generator():
    async def outer():
        async for number in ticks():
            yield number

    async for _ in outer():
        pass


async def closing():
    generator = stubborn()
    await generator.asend(None)
    await generator.aclose()


async def stubborn():
    try:
        yield 1
    finally:
        await future()


async def by_anext():
    await anext(ticks(), None)


async def gatherer():
    await asyncio.gather(child("gathered-1"), child("gathered-2"), future())


def named(coroutine, name):
    task = asyncio.get_running_loop().create_task(coroutine)
    task.set_name(name)
    return task


async def wait_forever():
    await future()


def child(name):
    return named(wait_forever(), name)


async def waiter():
    await asyncio.wait([child("waited-1"), child("waited-2")])


async def waiter_for():
    await asyncio.wait_for(child("waited-for"), 1800)


async def shielded():
    await asyncio.shield(child("shielded-inner"))


async def for_task():
    await child("awaited")


async def completed():
    for done in asyncio.as_completed([child("completed-1")]):
        await done


async def getter(queue):
    await queue.get()


async def putter(queue):
    await queue.put(2)


async def joiner(queue):
    await queue.join()


async def holder(lock):
    async with lock:
        await future()


async def locker(lock):
    async with lock:
        pass


async def eventer(event):
    await event.wait()


async def conditioner(condition):
    async with condition:
        await condition.wait()


async def semaphored(semaphore):
    await semaphore.acquire()


async def executed(loop, event):
    await loop.run_in_executor(None, event.wait)


async def queued(loop, pool, event):
    await loop.run_in_executor(pool, event.wait)


async def reads(port):
    reader, _writer = await asyncio.open_connection("127.0.0.1", port)
    never.append(_writer)
    await reader.readexactly(5)


async def drains(port):
    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    never.append((_reader, writer))
    writer.write(b"x" * (64 << 20))
    await writer.drain()


async def connects(loop, full):
    client = socket.socket()
    client.setblocking(False)
    never.append(client)
    await loop.sock_connect(client, full)


async def process():
    # It ends with this process, whose end of the pipe closes.
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.DEVNULL}
    running = await asyncio.create_subprocess_exec("cat", **pipes)
    never.append(running)
    await running.wait()


@contextlib.asynccontextmanager
async def lifespan(ready):
    if not ready:
        await future()
    yield


async def entering():
    async with lifespan(False):
        pass


class Leaves:
    """Waits in its __aexit__."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await future()


async def inside():
    async with lifespan(True):
        with contextlib.suppress(ValueError):
            with held_in_thread:
                await future()


async def leaving():
    async with Leaves():
        pass


held_in_thread = threading.RLock()


async def grouped():
    async with asyncio.TaskGroup() as group:
        group.create_task(wait_forever(), name="in-group-1")
        group.create_task(wait_forever(), name="in-group-2")


async def timed():
    async with asyncio.timeout(1800):
        await future()


async def eager(loop):
    begun = asyncio.eager_task_factory(loop, wait_forever(), name="eager-child")
    never.append(begun)
    await future()


async def not_started():
    await future()


async def over_python_future():
    made = asyncio.futures._PyFuture(loop=asyncio.get_running_loop())
    never.append(made)
    await made


def python_task(loop):
    task = asyncio.tasks._PyTask(nested(), loop=loop)
    task.set_name("python-task")
    return task


def full_listener():
    """An address that connections to stay unanswered at: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    never.append(listener)
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filler.connect(listener.getsockname())
        never.append(filler)
    return listener.getsockname()


def silent_listener():
    """An address that takes connections and says nothing, nor reads."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    never.append(listener)
    return listener.getsockname()[1]


WRAPPERS = ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable")
WITH_FRAMES = ("coroutine", "generator", "async_generator")
AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")


def chain_of(coroutine):
    """The frames of a suspended coroutine, outermost first, as far as Python code is told of them."""
    frames = []
    while coroutine is not None:
        if type(coroutine).__name__ == "_GeneratorWrapper":
            coroutine = coroutine._GeneratorWrapper__wrapped
            continue
        if type(coroutine).__name__ in WRAPPERS:
            # They tell nobody what they stand for, but the collector of garbage.
            inner = [o for o in gc.get_referents(coroutine) if type(o).__name__ in WRAPPERS + WITH_FRAMES]
            coroutine = inner[0] if inner else None
            continue
        kind = next((k for k in ("cr", "gi", "ag") if hasattr(coroutine, k + "_frame")), None)
        if kind is None:
            break
        code = getattr(coroutine, kind + "_code", None)
        frame = getattr(coroutine, kind + "_frame", None)
        if code is None or frame is None:
            break
        name = getattr(code, "co_qualname", code.co_name)
        frames.append([name, code.co_filename, frame.f_lineno])
        coroutine = next((getattr(coroutine, a) for a in AWAITED if hasattr(coroutine, a)), None)
    return frames


def report(loops):
    tasks = []
    for loop in loops:
        for task in asyncio.all_tasks(loop):
            if task.done():
                continue
            tasks.append(
                {
                    "id": id(task),
                    "name": task.get_name(),
                    "loop": id(loop),
                    "frames": chain_of(task.get_coro()),
                }
            )
    told = {
        "version": sys.version.split()[0],
        "tasks": tasks,
        "loops": {
            "main": [id(loops[0]), threading.main_thread().ident, main_tid],
            "second": [id(loops[1]), 0, second_tid[0]],
        },
    }
    print(json.dumps(told), flush=True)


second_tid = []
main_tid = 0


def tid():
    return threading.get_native_id()


def in_second_thread(begun):
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)

    async def main():
        second_tid.append(tid())
        named(nested(), "second-1")
        named(sleeper(), "second-2")
        begun.set_result(loop)
        await future()

    loop.run_until_complete(main())


async def main():
    global main_tid
    main_tid = tid()
    loop = asyncio.get_running_loop()
    event, stop = asyncio.Event(), threading.Event()
    lock, semaphore, condition = asyncio.Lock(), asyncio.Semaphore(0), asyncio.Condition()
    empty, full, unfinished = asyncio.Queue(7), asyncio.Queue(1), asyncio.Queue()
    full.put_nowait(1)
    unfinished.put_nowait(1)
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="narrow")
    port = silent_listener()
    start = {
        "nested": nested(),
        "sleeper": sleeper(),
        "custom": custom(),
        "by-generator": by_generator(),
        "over-generator": over_generator(),
        "by-asend": one_by_asend(),
        "generators": generator_in_generator(),
        "closing": closing(),
        "gatherer": gatherer(),
        "waiter": waiter(),
        "waiter-for": waiter_for(),
        "shielded": shielded(),
        "for-task": for_task(),
        "completed": completed(),
        "getter": getter(empty),
        "putter": putter(full),
        "joiner": joiner(unfinished),
        "holder": holder(lock),
        "locker": locker(lock),
        "eventer-1": eventer(event),
        "eventer-2": eventer(event),
        "conditioner": conditioner(condition),
        "semaphored": semaphored(semaphore),
        "executed": executed(loop, stop),
        "pooled": queued(loop, pool, stop),
        "queued": queued(loop, pool, stop),
        "reads": reads(port),
        "drains": drains(port),
        "connects": connects(loop, full_listener()),
        "process": process(),
        "entering": entering(),
        "inside": inside(),
        "leaving": leaving(),
        "python-future": over_python_future(),
        "größe \x1b[1m": nested(),
    }
    if MINOR >= 10:
        start["by-anext"] = by_anext()
    if MINOR >= 11:
        start["grouped"] = grouped()
        start["timed"] = timed()
    if MINOR >= 12:
        start["eager"] = eager(loop)
    tasks = [named(coroutine, name) for name, coroutine in start.items()]
    tasks.append(python_task(loop))
    wrapped = foreign_task()
    tasks.append(named(wrapped, "foreign"))
    begun = concurrent.futures.Future()
    threading.Thread(target=in_second_thread, args=(begun,), daemon=True).start()
    second = await asyncio.wrap_future(begun)
    await settled(tasks)
    unnamed = loop.create_task(wait_forever())
    never.append((tasks, unnamed, stop, pool))
    await asyncio.sleep(0.3)
    loop.call_soon(finish, loop, [loop, second])
    await future()


async def foreign_task():
    await foreign()


async def settled(tasks):
    """Until no task gets any further."""
    last, same = None, 0
    while same < 5:
        now = [chain_of(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        now = sorted(map(str, now))
        same = same + 1 if now == last else 0
        last = now
        await asyncio.sleep(0.1)


def finish(loop, loops):
    # The last callback of all: what it starts never gets its turn, because this process goes to sleep on its standard input.
    report(loops)
    never.append(loop.create_task(not_started(), name="not-started"))
    sys.stdin.readline()
    os._exit(0)


if USE_UVLOOP:
    uvloop.install()
asyncio.run(main())
