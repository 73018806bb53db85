"""Remote calls, one after the other; a count takes for ever. usage: PORT"""
import sys
import time
import xmlrpc.server


def count_shelves():
    print("counting", flush=True)
    while True:
        time.sleep(0.3)


class Server(xmlrpc.server.SimpleXMLRPCServer):
    request_queue_size = 100


server = Server(("127.0.0.1", int(sys.argv[1])), logRequests=False)
server.register_function(count_shelves)
server.serve_forever()
