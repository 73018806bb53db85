# Coroutines that wait, each in its own way, for what never comes.
import asyncio
import contextlib
import socket
import threading
import types

never = []  # what must not be thrown away while the process stands still


def future():
    made = asyncio.get_running_loop().create_future()
    never.append(made)
    return made


def named(coroutine, name):
    task = asyncio.get_running_loop().create_task(coroutine)
    task.set_name(name)
    return task


async def wait_forever():
    await future()


def child(name):
    return named(wait_forever(), name)


async def three():
    await future()


async def two():
    await three()


async def nested():
    await two()


async def sleeper():
    await asyncio.sleep(3600)


async def once_more(made):
    await made
    while True:
        await asyncio.sleep(0)


async def woken(made):
    await made


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


@types.coroutine
def foreign():
    return Foreign(future())


class Foreign:
    """Looks like a generator, but is none of CPython's own: types.coroutine wraps it."""

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


async def over_foreign():
    await foreign()


async def ticks():
    for number in range(3):
        await future()
        yield number


async def over_generator():
    async for _ in ticks():
        pass


async def in_comprehension():
    return [number async for number in ticks()]


async def one_by_asend():
    await ticks().asend(None)


async def generator_in_generator():
    async def outer():
        async for number in ticks():
            yield number

    async for _ in outer():
        pass


async def stubborn():
    try:
        yield 1
    finally:
        await future()


async def closing():
    generator = stubborn()
    await generator.asend(None)
    await generator.aclose()


async def by_anext():
    await anext(ticks(), None)


async def gatherer():
    await asyncio.gather(child("gathered-1"), child("gathered-2"), future())


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


async def conditioner_for(condition):
    async with condition:
        await condition.wait_for(lambda: False)


async def semaphored(semaphore):
    await semaphore.acquire()


async def executed(pool, event):
    await asyncio.get_running_loop().run_in_executor(pool, event.wait)


async def in_thread(event):
    await asyncio.to_thread(event.wait)


async def reads(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    never.append(writer)
    await reader.readexactly(5)


async def drains(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    never.append((reader, writer))
    writer.write(b"x" * (16 << 20))
    await writer.drain()


async def connects(full):
    client = socket.socket()
    client.setblocking(False)
    never.append(client)
    await asyncio.get_running_loop().sock_connect(client, full)


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


held_in_thread = threading.RLock()


async def inside():
    async with lifespan(True):
        with contextlib.suppress(ValueError):
            with held_in_thread:
                await future()


async def leaving():
    async with Leaves():
        pass


async def grouped():
    async with asyncio.TaskGroup() as group:
        group.create_task(wait_forever(), name="in-group-1")
        group.create_task(wait_forever(), name="in-group-2")


async def timed():
    async with asyncio.timeout(1800):
        await future()


async def at_barrier(barrier):
    await barrier.wait()


async def eager():
    loop = asyncio.get_running_loop()
    never.append(asyncio.eager_task_factory(loop, wait_forever(), name="eager-child"))
    await future()


async def not_started():
    await future()


async def over_python_future():
    made = asyncio.futures._PyFuture(loop=asyncio.get_running_loop())
    never.append(made)
    await made


def python_task():
    task = asyncio.tasks._PyTask(nested(), loop=asyncio.get_running_loop())
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
