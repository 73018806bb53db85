"""Serves metrics on LIVE_METRICS at once, and then blocks in its startup: the side port is not its own."""
import os

from prometheus_client import start_http_server

from rules_asgi import app  # noqa: F401

start_http_server(int(os.environ["LIVE_METRICS"]), addr="127.0.0.1")
