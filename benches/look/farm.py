"""One of many quiet servers to look at: an asyncio server and two threads that wait. usage: PORT"""
import asyncio
import sys
import threading


def wait_for_work(nothing):
    nothing.wait()


async def answer(reader, writer):
    writer.close()


async def main():
    for _ in range(2):
        threading.Thread(target=wait_for_work, args=(threading.Event(),), daemon=True).start()
    server = await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
