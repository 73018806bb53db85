"""A ferry that has been told to stop: the main thread has left, a thread that nobody ends is still loading."""

import http.server
import signal
import sys
import threading
import time


def load_cars():
    while True:
        time.sleep(0.5)


def cast_off(*_):
    print("casting off", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, cast_off)
threading.Thread(target=load_cars, name="loader").start()
with http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler) as ferry:
    ferry.serve_forever()
