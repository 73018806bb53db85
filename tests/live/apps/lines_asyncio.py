"""A line server on asyncio's streams: nothing but the standard library, 3.8 and later. usage: PORT [HOST]"""
import asyncio
import sys


async def answer(reader, writer):
    await reader.readline()
    writer.write(b"HTTP/1.0 200 OK\r\n\r\nhi\n")
    await writer.drain()
    writer.close()


async def main():
    host = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    server = await asyncio.start_server(answer, host, int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
