"""Looks for its broker by name before it serves. usage: PORT"""
import socket
import sys
from http.server import HTTPServer, SimpleHTTPRequestHandler


def find_broker():
    print("looking", flush=True)
    return socket.getaddrinfo("broker.shop.example", 5672)


find_broker()
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
