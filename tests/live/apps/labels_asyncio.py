"""Prints labels in two threads, by a printer that takes the job and never says that it is done. usage: PORT PRINTER_PORT"""
import asyncio
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

PORT, PRINTER = int(sys.argv[1]), int(sys.argv[2])
threads = ThreadPoolExecutor(2, "labels")


def print_label():
    with socket.create_connection(("127.0.0.1", PRINTER)) as printer:
        printer.sendall(b"label\n")
        print("printing", flush=True)
        return printer.recv(16)


async def answer(reader, writer):
    await reader.readline()
    writer.write(await asyncio.get_running_loop().run_in_executor(threads, print_label))
    writer.close()


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", PORT)
    await server.serve_forever()


asyncio.run(main())
