"""An ASGI application that does what applications do: /quick, /compute?40 (ms of CPU), /wait?900 (ms), /file, /thread?300 (ms in a thread)."""
import asyncio
import time


def compute(ms):
    until = time.thread_time() + ms / 1000
    total = 0
    while time.thread_time() < until:
        total = (total * 31 + 7) % 1000003
    return total


def read_file():
    with open(__file__) as file:
        return len(file.read())


async def answer(path, amount):
    if path == "/compute":
        compute(amount)
    elif path == "/wait":
        await asyncio.sleep(amount / 1000)
    elif path == "/thread":
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, amount / 1000)
    elif path == "/file":
        read_file()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = scope["query_string"].decode()
    await answer(scope["path"], int(query or 0))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"hi\n"})
