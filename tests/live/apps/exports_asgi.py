"""Each request leaves a job in an executor that nobody waits for."""
import time
from concurrent.futures import ThreadPoolExecutor

from echo_asgi import app as answer

pool = ThreadPoolExecutor(2)


def write_export():
    print("writing", flush=True)
    for _ in range(600):
        time.sleep(1)


async def app(scope, receive, send):
    if scope["type"] == "http":
        pool.submit(write_export)
    await answer(scope, receive, send)
