"""A thread that is no daemon and waits for work that nobody brings."""
import queue
import threading

from echo_wsgi import app as app

letters = queue.Queue()


def send_letters():
    while True:
        letters.get()


threading.Thread(target=send_letters, name="outbox").start()
