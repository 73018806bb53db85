"""Greets one client after the other by the name that it sends. usage: PORT"""
import socketserver
import sys


def read_name(lines):
    return lines.readline()


class Greeter(socketserver.StreamRequestHandler):
    def handle(self):
        print("connected", flush=True)
        self.wfile.write(b"hi " + read_name(self.rfile))


with socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Greeter) as server:
    server.serve_forever()
