"""A WSGI application without a framework: answers every request."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"hi\n"]
