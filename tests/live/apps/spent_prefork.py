"""Forks one worker, which ends after its work; nobody takes what comes after that. usage: PORT"""
import os
import signal
import socket
import sys


def serve_one(listener):
    connection, _ = listener.accept()
    connection.sendall(b"hi\n")
    connection.close()


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    worker = os.fork()
    if worker == 0:
        serve_one(listener)
        os._exit(0)
    os.waitpid(worker, 0)
    print("worker ended", flush=True)
    while True:
        signal.pause()


main()
