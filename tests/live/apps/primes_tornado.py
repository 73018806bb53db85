"""Computes a table before it listens, or for ever (`PORT sieve`), or serves at once (`PORT serve`)."""
import asyncio
import sys

import tornado.web


class Ping(tornado.web.RequestHandler):
    def get(self):
        self.write("pong")


def sieve_primes():
    print("sieving", flush=True)
    most = 100
    while True:
        numbers = bytearray(b"\x01") * most
        for prime in range(2, most):
            if numbers[prime]:
                numbers[prime * prime :: prime] = bytes(len(numbers[prime * prime :: prime]))
        most = most % 50_000 + 100


async def main():
    if sys.argv[2] == "sieve":
        sieve_primes()
    tornado.web.Application([("/.*", Ping)]).listen(int(sys.argv[1]), "127.0.0.1")
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
