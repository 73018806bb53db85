"""A script: works now and then, talks to another process's socket, never means to listen. usage: PEER_PORT"""
import hashlib
import socket
import sys
import time

peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("batch begins", flush=True)
while True:
    digest = hashlib.sha256(b"x" * 500_000).hexdigest()
    time.sleep(0.1)
