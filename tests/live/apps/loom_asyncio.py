"""A loom that stops when it is told to, but for one task that does not let go."""

import asyncio
import signal
import sys


async def wind_yarn():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("not before the spool is full", flush=True)


async def weave(reader, writer):
    writer.write(await reader.readline())
    writer.close()


async def main():
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    yarn = asyncio.create_task(wind_yarn(), name="yarn")
    loom = await asyncio.start_server(weave, "127.0.0.1", int(sys.argv[1]))
    async with loom:
        await told.wait()
    del yarn


asyncio.run(main())
