"""aiohttp with a stream that does not end."""
import asyncio
import sys

from aiohttp import web


async def follow_prices(response):
    while True:
        await response.write(b"tick\n")
        await asyncio.sleep(0.2)


async def prices(request):
    response = web.StreamResponse()
    await response.prepare(request)
    print("following", flush=True)
    await follow_prices(response)
    return response


app = web.Application()
app.router.add_get("/", prices)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), shutdown_timeout=600)
