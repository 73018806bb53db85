"""The first request to a worker does not end."""
import time


def print_invoice():
    print("printing", flush=True)
    for _ in range(600):
        time.sleep(1)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/invoice":
        print_invoice()
    start_response("200 OK", [("Content-Length", "3")])
    return [b"hi\n"]
