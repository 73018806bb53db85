"""A WSGI application that does what applications do: /quick, /compute?40 (ms of CPU), /wait?900 (ms), /file, /thread?300 (ms in a thread)."""
import threading
import time

from mixed_asgi import compute, read_file


def app(environ, start_response):
    path, amount = environ["PATH_INFO"], int(environ.get("QUERY_STRING") or 0)
    if path == "/compute":
        compute(amount)
    elif path == "/wait":
        time.sleep(amount / 1000)
    elif path == "/thread":
        thread = threading.Thread(target=time.sleep, args=(amount / 1000,))
        thread.start()
        thread.join()
    elif path == "/file":
        read_file()
    start_response("200 OK", [("Content-Length", "3")])
    return [b"hi\n"]
