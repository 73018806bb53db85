"""Whoever sends a line gets it back, until somebody sends `hold`: then the loop waits for a lock that nobody opens."""

import asyncio
import sys
import threading

gate = threading.Event()


def wait_at_gate():
    print("at the gate", flush=True)
    gate.wait()


async def ring(reader, writer):
    print("somebody is here", flush=True)
    while line := await reader.readline():
        if line == b"hold\n":
            wait_at_gate()
        writer.write(line)


async def main():
    server = await asyncio.start_server(ring, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
