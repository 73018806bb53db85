"""A file for every other request, which stays open. usage: PORT"""
import http.server
import resource
import sys
import tempfile

RECEIPTS = []


class Till(http.server.BaseHTTPRequestHandler):
    seen = 0

    def do_GET(self):
        Till.seen += 1
        if Till.seen % 2:
            RECEIPTS.append(tempfile.TemporaryFile())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *ignored):
        pass


resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Till).serve_forever()
