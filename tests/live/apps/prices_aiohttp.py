"""Asks a peer for every request, by a client that has two connections at most. usage: CLIENT PEER_PORT PORT"""
import sys

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

CLIENT, PEER, PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
URL = f"http://127.0.0.1:{PEER}/price"


def open_aiohttp():
    return ClientSession(connector=TCPConnector(limit=2), timeout=ClientTimeout(total=None))


async def ask_aiohttp(session):
    async with session.get(URL) as answer:
        return await answer.text()


def open_httpx():
    import httpx
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=2), timeout=None)


async def ask_httpx(client):
    return (await client.get(URL)).text


def open_redis():
    from redis.asyncio import BlockingConnectionPool, Redis
    return Redis(connection_pool=BlockingConnectionPool(
        port=PEER, max_connections=2, timeout=None, socket_timeout=None, socket_connect_timeout=None))


async def ask_redis(client):
    return await client.get("price")


def open_sqlalchemy():
    from sqlalchemy.ext.asyncio import create_async_engine
    return create_async_engine(
        f"postgresql+asyncpg://app:word@127.0.0.1:{PEER}/shop", pool_size=2, max_overflow=0, pool_timeout=900,
        connect_args={"timeout": 900})


async def ask_sqlalchemy(engine):
    from sqlalchemy import text
    async with engine.connect() as connection:
        return await connection.scalar(text("select price"))


async def show_price(request):
    print("asking", flush=True)
    return web.Response(text=await globals()[f"ask_{CLIENT}"](request.app["client"]))


async def open_client(app):
    app["client"] = globals()[f"open_{CLIENT}"]()


app = web.Application()
app.router.add_get("/", show_price)
app.on_startup.append(open_client)
web.run_app(app, host="127.0.0.1", port=PORT)
