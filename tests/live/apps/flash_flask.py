"""Flask without threads; one page waits for a flash that nobody fires. usage: PORT"""
import sys
import threading

from flask import Flask

app = Flask("flash")
fired = threading.Event()


@app.get("/")
def photograph():
    return wait_for_flash()


def wait_for_flash():
    print("waiting for the flash", flush=True)
    fired.wait()
    return "done"


app.run(port=int(sys.argv[1]), threaded=False)
