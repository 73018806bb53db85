"""Forks two workers while a thread of the parent holds a lock that they take first. usage: PORT"""
import os
import socket
import sys
import threading
import time

registry = threading.Lock()


def keep_registry():
    with registry:
        time.sleep(900)


def enter_registry():
    with registry:
        pass


def serve(listener):
    enter_registry()
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"hi\n")
        connection.close()


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=keep_registry, daemon=True).start()
    while not registry.locked():
        time.sleep(0.01)
    workers = []
    for _ in range(2):
        worker = os.fork()
        if worker == 0:
            serve(listener)
        workers.append(worker)
    print("forked", flush=True)
    for worker in workers:
        os.waitpid(worker, 0)


main()
