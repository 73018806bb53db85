"""A server whose start asks a peer by one of several drivers. usage: DRIVER PEER_PORT PORT"""
import asyncio
import sys

DRIVER, PEER, PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def asking():
    """Its modules have been imported: from here on it waits."""
    print("asking", DRIVER, flush=True)


async def ask_asyncpg():
    import asyncpg
    asking()
    await asyncpg.connect(f"postgresql://app:word@127.0.0.1:{PEER}/shop", timeout=600)


async def ask_sqlalchemy():
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine
    asking()
    engine = create_async_engine(f"postgresql+asyncpg://app:word@127.0.0.1:{PEER}/shop")
    async with engine.connect() as connection:
        await connection.execute(text("select 1"))


async def ask_redis():
    from redis.asyncio import Redis
    asking()
    await Redis(port=PEER, socket_timeout=None, socket_connect_timeout=None).ping()


async def ask_httpx():
    import httpx
    asking()
    async with httpx.AsyncClient(timeout=None) as client:
        await client.get(f"http://127.0.0.1:{PEER}/flags")


async def ask_aiohttp():
    import aiohttp
    asking()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        async with session.get(f"http://127.0.0.1:{PEER}/flags") as answer:
            await answer.read()


async def ask_aiomysql():
    import aiomysql
    asking()
    await aiomysql.connect(host="127.0.0.1", port=PEER, user="app", password="word")


async def prepare():
    await globals()[f"ask_{DRIVER}"]()


async def main():
    await prepare()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", PORT)
    await server.serve_forever()


asyncio.run(main())
