"""Answers every request, and logs an exception with each."""

import logging

logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")


def look_up(name):
    return {}[name]


def app(environ, start_response):
    try:
        look_up("price")
    except KeyError:
        logging.exception("no price")
    start_response("200 OK", [("Content-Length", "3")])
    return [b"hi\n"]
