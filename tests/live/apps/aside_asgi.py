"""uvicorn on a thread of its own."""
import sys
import threading

import uvicorn

from echo_asgi import app


def serve():
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))


thread = threading.Thread(target=serve, name="api")
thread.start()
thread.join()
