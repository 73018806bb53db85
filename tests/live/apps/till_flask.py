"""A till that asks for its PIN before it knows of any server. Nobody is there to type it."""

import os
import sys

os.dup2(os.pipe()[0], 0)


def ask_pin():
    print("the till wants a PIN", flush=True)
    return input("PIN: ")


def main():
    pin = ask_pin()
    from flask import Flask

    till = Flask(__name__)
    till.config["PIN"] = pin
    till.run(port=int(sys.argv[1]))


main()
