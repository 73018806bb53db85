"""Passes from import to startup to serving when files appear in LIVE_GATES: the test opens one gate after the other."""
import asyncio
import os
import time

from echo_asgi import app as answer

GATES = os.environ["LIVE_GATES"]


def is_open(gate):
    return os.path.exists(os.path.join(GATES, gate))


def wait_for_import_gate():
    while not is_open("import"):
        time.sleep(0.05)


print("importing begins", flush=True)
wait_for_import_gate()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        print("startup begins", flush=True)
        while not is_open("startup"):
            await asyncio.sleep(0.05)
    await answer(scope, receive, send)
