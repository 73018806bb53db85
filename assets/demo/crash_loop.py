"""Demo: a master that listens, and two workers that die at boot and are started again, for ever.

The kernel lets clients in, since the master listens; nobody ever answers them.
"""
import fcntl
import logging
import os
import select
import socket
import stat
import sys
import time
import traceback

WORKERS = 2
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


def load_settings():
    time.sleep(0.5)
    return {"DEBUG": "no"}


def boot_application():
    settings = load_settings()
    return settings["DATABASE_URL"]


def serve(listener):
    """What a worker would do, if it came so far."""
    while True:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


def work(listener):
    try:
        boot_application()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(3)
    serve(listener)


def spawn_worker(listener):
    pid = os.fork()
    if pid == 0:
        work(listener)
    log.info("booting worker with pid %d", pid)


def main():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    log.info("listening at http://127.0.0.1:%d", listener.getsockname()[1])
    for _ in range(WORKERS):
        spawn_worker(listener)
    while True:
        pid, status = os.wait()
        log.error("worker (pid %d) exited with code %d", pid, status >> 8)
        time.sleep(1)
        spawn_worker(listener)


if __name__ == "__main__":
    leave_with_demo()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    main()
