"""Asks a flag service while it is imported; the service (LIVE_PEER, a port) never says a word."""
import os
import socket


def fetch_flags():
    with socket.create_connection(("127.0.0.1", int(os.environ["LIVE_PEER"]))) as service:
        return service.recv(1)


print("asking for flags", flush=True)
FLAGS = fetch_flags()


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hi\n"]
