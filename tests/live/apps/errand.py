"""Runs a server as its child, and waits for it."""

import subprocess
import sys

subprocess.run([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", sys.argv[1]])
