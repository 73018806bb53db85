"""Cannot be loaded: a value that it needs is not what it should be."""


def open_vault(settings):
    return int(settings["doors"])


VAULT = open_vault({"doors": "two"})


def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
