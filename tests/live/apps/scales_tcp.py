"""A server whose timer asks a device in C and keeps the GIL meanwhile. usage: PORT"""
import ctypes
import socketserver
import sys
import threading

device = ctypes.PyDLL(None)


def weigh():
    print("weighing", flush=True)
    device.sleep(900)


class Scales(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"0 g\n")


with socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Scales) as server:
    threading.Timer(1.0, weigh).start()
    server.serve_forever()
