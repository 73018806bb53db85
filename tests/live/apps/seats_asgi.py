"""Two handlers on threads of the loop's pool take two locks, each in another order; others are answered."""
import asyncio
import threading

from echo_asgi import app as answer

seats, orders = threading.Lock(), threading.Lock()
both = threading.Barrier(2)


def reserve():
    with seats:
        both.wait()
        with orders:
            return b"reserved"


def release():
    with orders:
        both.wait()
        with seats:
            return b"released"


async def app(scope, receive, send):
    path = scope.get("path")
    if path in ("/reserve", "/release"):
        await asyncio.to_thread(reserve if path == "/reserve" else release)
    await answer(scope, receive, send)
