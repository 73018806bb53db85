"""tornado on a short queue; with `stuck` as second argument a request holds the loop."""
import asyncio
import sys
import time

import tornado.web


def tally_votes():
    time.sleep(900)


class Votes(tornado.web.RequestHandler):
    async def get(self):
        if len(sys.argv) > 2:
            print("tallying", flush=True)
            tally_votes()
        self.write("hi\n")


async def main():
    app = tornado.web.Application([("/", Votes)])
    app.listen(int(sys.argv[1]), address="127.0.0.1", backlog=7)
    await asyncio.Event().wait()


asyncio.run(main())
