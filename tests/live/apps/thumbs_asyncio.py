"""Keeps what it opens until it may open no more. usage: PORT"""
import asyncio
import os
import resource
import sys

resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
kept = []


async def thumbnail(reader, writer):
    await reader.read(1)
    try:
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        print("full", flush=True)
        await asyncio.sleep(900)


async def main():
    server = await asyncio.start_server(thumbnail, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
