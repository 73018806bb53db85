"""Demo: a server that says that it is starting up, and waits for a database that never greets it.

The port is bound first, as process managers and supervisors do, and listen() comes after the startup work. That work is
synchronous code on the event loop, so nothing can listen until it is over. It never is.
usage: blocked_startup.py DATABASE_PORT
"""
import asyncio
import fcntl
import logging
import os
import select
import socket
import stat
import sys
import time

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


def connect_to_database(port):
    """Tries until the database greets; each attempt holds the thread, and with it the loop."""
    attempt = 1
    while True:
        log.info("starting up: connecting to the database on port %d, attempt %d", port, attempt)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                return connection.recv(64)
        except OSError:
            attempt += 1
            time.sleep(1)


async def startup(port):
    connect_to_database(port)
    log.info("startup complete")


async def answer(reader, writer):
    await reader.readline()
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0, start_serving=False)
    log.info("running on http://127.0.0.1:%d", server.sockets[0].getsockname()[1])
    await startup(int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    leave_with_demo()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main())
