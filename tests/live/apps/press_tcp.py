"""A print shop's server that never comes up: its plates are not there."""

import socketserver
import sys
import time


class Order(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())


def load_plates():
    time.sleep(0.5)
    raise RuntimeError("no plates")


load_plates()
with socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Order) as press:
    press.serve_forever()
