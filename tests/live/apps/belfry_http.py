"""A thread rings over HTTP, the main one winds the clock. The thread falls over its own housekeeping; the socket stays open."""

import http.server
import sys
import threading
import time


class Bells(http.server.ThreadingHTTPServer):
    turns = 0

    def service_actions(self):
        self.turns += 1
        if self.turns > 3:
            print("the rope is torn", flush=True)
            raise OSError("the rope is torn")


bells = Bells(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=bells.serve_forever, args=(0.1,), daemon=True).start()
while True:
    time.sleep(5)
