"""Forks two workers that ask a thread of their parent, which they have not got. usage: PORT"""
import os
import queue
import socket
import sys
import threading

questions, answers = queue.Queue(), queue.Queue()


def librarian():
    while True:
        answers.put(questions.get().upper())


def ask_catalogue(title):
    questions.put(title)
    return answers.get()


def serve(listener):
    ask_catalogue("emma")
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"hi\n")
        connection.close()


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    threading.Thread(target=librarian, daemon=True).start()
    assert ask_catalogue("dune") == "DUNE"
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
