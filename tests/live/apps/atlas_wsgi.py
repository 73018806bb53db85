"""Reads tiles into memory when it is imported: as many as LIVE_TILES says, a MiB each."""
import os
import time


def load_tiles():
    print("loading tiles", flush=True)
    tiles = []
    for _ in range(int(os.environ["LIVE_TILES"])):
        tiles.append(b"\x01" * (1 << 20))
        time.sleep(0.02)
    return tiles


TILES = load_tiles()


def app(environ, start_response):
    start_response("200 OK", [])
    return [b"%d tiles\n" % len(TILES)]
