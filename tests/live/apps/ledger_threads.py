"""Threads of one server: PUT and DELETE take two locks, each in another order, POST takes one twice, MOVE two by their order
in the path; GET answers, and /news waits for news.

usage: PORT"""
import http.server
import queue
import sys
import threading

accounts, journal = threading.RLock(), threading.RLock()
both = threading.Barrier(2)


def book():
    accounts.acquire()
    both.wait()
    journal.acquire()


def cancel():
    journal.acquire()
    both.wait()
    accounts.acquire()


rooms = {"a": threading.Lock(), "b": threading.Lock()}


def move(here, there):
    with rooms[here]:
        both.wait()
        with rooms[there]:
            pass


till = threading.Lock()


def close_till():
    with till:
        with till:
            pass


class Ledger(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        book()

    def do_DELETE(self):
        cancel()

    def do_POST(self):
        close_till()

    def do_MOVE(self):
        move(*self.path.strip("/").split("-"))

    def do_GET(self):
        if self.path == "/news":
            self.news()
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def news(self):
        mine = queue.SimpleQueue()
        print("waits for news", flush=True)
        mine.get()


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Ledger).serve_forever()
