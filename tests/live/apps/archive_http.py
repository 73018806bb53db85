"""http.server whose request handler takes its time: one client holds the only thread. usage: PORT"""
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


def unpack_archive():
    time.sleep(900)


class Archive(BaseHTTPRequestHandler):
    def do_GET(self):
        print("unpacking", flush=True)
        unpack_archive()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Archive).serve_forever()
