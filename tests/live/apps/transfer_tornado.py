"""Two transfers at its start take the locks of two accounts, each in its own order. usage: PORT"""
import asyncio
import sys

from tornado.web import Application, RequestHandler


class Balance(RequestHandler):
    def get(self):
        self.write("0")


async def transfer(source, target):
    async with source:
        await asyncio.sleep(0.1)
        print("took one", flush=True)
        async with target:
            pass


async def main():
    giro, savings = asyncio.Lock(), asyncio.Lock()
    await asyncio.gather(transfer(giro, savings), transfer(savings, giro))
    Application([("/", Balance)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
