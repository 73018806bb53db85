"""Flask with its reloader."""
import sys

from flask import Flask

app = Flask(__name__)


@app.route("/")
def answer():
    return "hi\n"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), debug=True)
