"""A pier with a port of its own that lets another server go, as a program of its own."""

import http.server
import subprocess
import sys

subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", sys.argv[1]])
pier = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print("the pier is open", flush=True)
pier.serve_forever()
