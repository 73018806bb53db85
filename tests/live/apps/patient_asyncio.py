"""Tries its address again and again until it gets it. usage: PORT"""
import asyncio
import sys


async def answer(reader, writer):
    await reader.readline()
    writer.close()


async def open_door():
    while True:
        try:
            return await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]))
        except OSError as error:
            print("not yet:", error, flush=True)
            await asyncio.sleep(1)


async def main():
    server = await open_door()
    await server.serve_forever()


asyncio.run(main())
