"""The same with aiohttp. usage: PORT"""
import sys

from aiohttp import web

import mixed_asgi


async def answer(request):
    await mixed_asgi.answer(request.path, int(request.query_string or 0))
    return web.Response(text="hi\n")


app = web.Application()
app.router.add_get("/{path:.*}", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
