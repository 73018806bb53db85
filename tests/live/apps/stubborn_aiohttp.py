"""Has a task in the background that does not let itself be cancelled. usage: PORT"""
import asyncio
import sys

from aiohttp import web


async def flush_counters():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("not now", flush=True)


async def show(request):
    return web.Response(text="0")


async def start_counters(app):
    app["counters"] = asyncio.create_task(flush_counters())


app = web.Application()
app.router.add_get("/", show)
app.on_startup.append(start_counters)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
