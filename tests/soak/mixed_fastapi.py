"""The same with FastAPI: /thread runs in AnyIO's pool of threads."""
import asyncio
import time

from fastapi import FastAPI, Request

from mixed_asgi import compute, read_file

app = FastAPI()


def amount(request):
    return int(request.url.query or 0)


@app.get("/quick")
async def quick():
    return "hi"


@app.get("/compute")
async def computed(request: Request):
    return compute(amount(request))


@app.get("/wait")
async def waited(request: Request):
    await asyncio.sleep(amount(request) / 1000)


@app.get("/thread")
def threaded(request: Request):
    time.sleep(amount(request) / 1000)


@app.get("/file")
def filed():
    return read_file()
