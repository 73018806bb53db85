# A process whose tasks never hold still: each one that ends is followed by another, and the loop never sleeps. The name of a task tells
# which coroutines it may consist of. First it watches itself, and prints every place that its tasks have been seen to wait in.
# Usage: busy.py. With `fork` it forks on each line that it reads: the child prints its pid and does the same, the parent waits for its end.
import asyncio
import json
import os
import sys

from truth import chain_of, is_running

KINDS = "abcde"
ALIVE = 40
STEADY = 20
WATCHED = 100 if sys.argv[1:] == ["fork"] else 3000  # jobs

number = 0
seen = {}  # kind -> chains, as JSON
lock = None


async def a_3():
    await asyncio.sleep(0)


async def a_2():
    await a_3()
    await a_3()


async def a_1():
    await a_2()
    await a_3()


async def b_3(result):
    made = asyncio.get_running_loop().create_future()
    made.get_loop().call_soon(made.set_result, result)
    return await made


async def b_2():
    return [await b_3(1), await b_3(2)]


async def b_1():
    await b_2()


async def c_2():
    await asyncio.sleep(0)


async def c_1():
    await asyncio.gather(c_2(), c_2())


async def d_3():
    for item in range(2):
        await asyncio.sleep(0)
        yield item


async def d_2():
    async for item in d_3():
        yield item


async def d_1():
    return [item async for item in d_2()]


async def e_2():
    async with lock:
        await asyncio.sleep(0)


async def e_1():
    await asyncio.wait_for(e_2(), 60)


async def steady_2():
    await asyncio.get_running_loop().create_future()


async def steady_1():
    await steady_2()


JOBS = {"a": a_1, "b": b_1, "c": c_1, "d": d_1, "e": e_1, "steady": steady_1}


def start(kind):
    global number
    number += 1
    return asyncio.get_running_loop().create_task(JOBS[kind](), name="%s-%d" % (kind, number))


def follow(_done):
    start(KINDS[number % len(KINDS)]).add_done_callback(follow)


def watch(_done):
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        if not task.done() and not is_running(coroutine):
            kind = task.get_name().split("-")[0]
            seen.setdefault(kind, set()).add(json.dumps(chain_of(coroutine)))


async def main():
    global lock
    lock = asyncio.Lock()
    over = asyncio.get_running_loop().create_future()
    watcher = asyncio.get_running_loop().create_task(watch_all(), name="watcher-0")
    watcher.add_done_callback(lambda done: done.result())
    await over


async def watch_all():
    await asyncio.sleep(0)
    steady = [start("steady") for _ in range(STEADY)]
    for _ in range(ALIVE):
        follow(None)
    while number < WATCHED:
        watch(None)
        await start(KINDS[number % len(KINDS)])
        watch(None)
        await asyncio.sleep(0)
    chains = {kind: [json.loads(chain) for chain in sorted(chains)] for kind, chains in seen.items()}
    print(json.dumps({"chains": chains, "steady": [task.get_name() for task in steady]}), flush=True)


def one():
    asyncio.run(main())


def forks():
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                print(os.getpid(), flush=True)
                one()
            finally:
                os._exit(1)
        os.waitpid(pid, 0)
        print("ended", flush=True)


if sys.argv[1:] == ["fork"]:
    forks()
else:
    one()
