"""sanic: its own manager, one worker."""
import sys

from sanic import Sanic, text

app = Sanic("menu")


@app.get("/")
async def answer(request):
    return text("hi\n")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
