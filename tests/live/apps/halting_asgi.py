"""Holds its event loop for every request."""
import time


def rebuild_thumbnails():
    time.sleep(900)


async def app(scope, receive, send):
    if scope["type"] == "http":
        print("rebuilding", flush=True)
        rebuild_thumbnails()
