"""aiohttp with a startup hook; with `stuck` as second argument the hook computes for ever."""
import sys

from aiohttp import web


def rebuild_ledger():
    total = 0
    while True:
        total = (total + 1) % 1000003


async def prepare(app):
    if len(sys.argv) > 2:
        print("rebuilding", flush=True)
        rebuild_ledger()


async def answer(request):
    return web.Response(text="hi\n")


app = web.Application()
app.on_startup.append(prepare)
app.router.add_get("/", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
