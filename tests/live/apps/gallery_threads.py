"""A thread for each client, which keeps its connection; few descriptors. usage: PORT"""
import resource
import socketserver
import sys


class Keep(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline():
            pass


resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
socketserver.ThreadingTCPServer.request_queue_size = 64
server = socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Keep)
server.daemon_threads = True
server.serve_forever()
