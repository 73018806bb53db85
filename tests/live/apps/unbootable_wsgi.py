"""Cannot be imported: a setting is missing."""
import os


def read_secret():
    return os.environ["LIVE_SECRET_THAT_NOBODY_SET"]


SECRET = read_secret()


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hi\n"]
