# A process with many tasks that wait in coroutines five deep, for one that gathers them. Prints what it sees of itself as one line
# of JSON, then stands still.
# Usage: many.py COUNT
import asyncio
import json
import os
import sys
import threading

from truth import tasks_of
from waits import named, nested, never

COUNT = int(sys.argv[1])


async def outermost():
    await outer()


async def outer():
    await nested()


async def gatherer():
    await asyncio.gather(*[named(outermost(), "waits-%d" % number) for number in range(COUNT)])


async def main():
    loop = asyncio.get_running_loop()
    never.append(named(gatherer(), "gatherer"))
    # All have their turn before this one has its third.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.call_soon(stand_still, loop)
    await loop.create_future()


def stand_still(loop):
    told = {
        "version": sys.version.split()[0],
        "loops": [{"id": id(loop), "kind": "asyncio", "tid": threading.get_native_id()}],
        "parents": {"waits-%d" % number: "gatherer" for number in range(COUNT)},
        "waits": {"gatherer": {"kind": "children", "object": None}},
        "tasks": tasks_of([loop], []),
    }
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
    os._exit(0)


asyncio.run(main())
