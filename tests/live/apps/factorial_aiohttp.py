"""aiohttp whose handler computes inside one call of a C function, while a thread would like to run."""
import math
import sys
import threading
import time

from aiohttp import web


def count_orders():
    print("counting", flush=True)
    return math.factorial(20_000_000)


async def orders(request):
    return web.Response(text=str(count_orders() % 7))


def beat():
    while True:
        time.sleep(0.05)


threading.Thread(target=beat, name="beat", daemon=True).start()
app = web.Application()
app.router.add_get("/", orders)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
