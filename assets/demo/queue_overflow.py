"""Demo: a server whose first request holds the event loop, while more clients come than its accept queue can take.

The clients are the demo's own and reach it over loopback: their number is bounded.
"""
import asyncio
import fcntl
import logging
import os
import select
import stat
import time

BACKLOG = 5
log = logging.getLogger("shop")


def leave_with_demo():
    """End this process group when the demo goes away, however it goes.

    The demo holds the other end of stdin. When that end closes, the kernel sends SIGIO to the group, which ends it even
    while the main thread is stuck; no thread has to wait for it (fcntl(2), F_SETOWN and O_ASYNC).
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    fcntl.fcntl(0, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:
        raise SystemExit("the demo is gone")


def query_inventory():
    """A driver without async support: the whole loop waits with it."""
    time.sleep(3600)


async def answer(reader, writer):
    line = await reader.readline()
    log.info("request: %s", line.decode("latin-1").strip())
    query_inventory()
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    log.info("ready, listening on http://127.0.0.1:%d", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    leave_with_demo()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main())
