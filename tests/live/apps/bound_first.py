"""Binds, then prepares for ever, and would listen after that. Standard library, 3.8 and later. usage: PORT"""
import socketserver
import sys
import time


def read_catalogue():
    time.sleep(900)


class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"hi\n")


class Shop(socketserver.ThreadingTCPServer):
    def server_activate(self):
        print("serving soon", flush=True)
        read_catalogue()
        super().server_activate()


Shop(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
