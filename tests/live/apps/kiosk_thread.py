"""The main thread keeps the kiosk's books; a thread was to answer over HTTP, and its address is nobody's here."""

import http.server
import sys
import threading
import time


def answer(host, port):
    with http.server.ThreadingHTTPServer((host, port), http.server.SimpleHTTPRequestHandler) as web:
        web.serve_forever()


def keep_books():
    while True:
        print("the books are kept", flush=True)
        time.sleep(0.2)


web = threading.Thread(target=answer, args=(sys.argv[1], int(sys.argv[2])), name="kiosk-web")
web.daemon = True
web.start()
# Time to come up; what two threads write at once would be one muddle.
web.join(10)
keep_books()
