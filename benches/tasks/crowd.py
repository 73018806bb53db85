# A crowd of tasks that stand still: crowd.py COUNT [sleep|event|locks]. Each is five coroutines deep, and all are gathered by one more.
# Prints a line when all of them wait.
import asyncio
import sys

COUNT = int(sys.argv[1])
LEAF = sys.argv[2] if len(sys.argv) > 2 else "sleep"


async def one(leaf):
    await two(leaf)


async def two(leaf):
    await three(leaf)


async def three(leaf):
    await four(leaf)


async def four(leaf):
    await leaf()


async def main():
    event = asyncio.Event()
    locks = []

    def alone():
        # A lock of its own for each task: nothing that was learned of one helps with the next.
        lock = asyncio.Lock()
        locks.append(lock)
        lock._locked = True
        return lock.acquire()

    leaf = {"sleep": lambda: asyncio.sleep(36000), "event": event.wait, "locks": alone}[LEAF]
    asyncio.get_running_loop().call_later(2 + COUNT / 5000, lambda: print("ready", flush=True))
    await asyncio.gather(*(one(leaf) for _ in range(COUNT)))


asyncio.run(main())
