"""A server under watchfiles, started again when a file in a folder changes. What it imports is not installed."""

import sys

from watchfiles import run_process


def answer():
    print("coming up", flush=True)
    import driver_that_nobody_installed  # noqa: F401
    from aiohttp import web

    web.run_app(web.Application(), port=int(sys.argv[2]))


if __name__ == "__main__":
    run_process(sys.argv[1], target=answer)
