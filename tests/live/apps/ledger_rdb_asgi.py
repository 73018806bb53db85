"""A debugger that was left in: celery's, which waits for somebody to come by telnet."""
from celery.contrib import rdb
from echo_asgi import app as echo


def open_ledger():
    print("opening the ledger", flush=True)
    rdb.set_trace()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        open_ledger()
        await send({"type": "lifespan.startup.complete"})
        return
    await echo(scope, receive, send)
