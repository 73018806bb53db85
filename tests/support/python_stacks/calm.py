# A target whose stacks are known: it prints what it sees of itself, as one line of JSON, and then stands still.
# Main thread asleep in a nested function, one thread in lock.acquire, one in a selector; the reporter waits for a line on
# stdin and then spins. Runs on 2.7 and on 3.6 to 3.15.
import json
import os
import select
import sys
import threading
import time

try:
    import selectors
except ImportError:
    selectors = None

natives = {}
ready = []


def register(role):
    if hasattr(threading, "get_native_id"):
        natives[role] = threading.get_native_id()
    else:
        natives[role] = int(os.readlink("/proc/thread-self").rsplit("/", 1)[1])
    ready.append((role, ident()))


def ident():
    return threading.current_thread().ident


def take_lock(lock):
    register("locker")
    lock.acquire()


class Loop(object):
    def run_forever(self):
        register("selector")
        reader, self.writer = os.pipe()
        if selectors is None:
            poll = select.epoll()
            poll.register(reader)
            poll.poll()
        else:
            selector = selectors.DefaultSelector()
            selector.register(reader, selectors.EVENT_READ)
            selector.select()


def frames_of(frame):
    found = []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        found.append([name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return found[::-1]


def spin():
    while True:
        pass


def report():
    register("reporter")
    while len(ready) < 4:
        time.sleep(0.01)
    time.sleep(0.3)
    current = sys._current_frames()
    told = {}
    for role, thread in ready:
        told[role] = {"tid": natives[role], "frames": frames_of(current[thread])}
    print(json.dumps({"version": sys.version.split()[0], "threads": told}))
    sys.stdout.flush()
    sys.stdin.readline()
    spin()


def start(target, name, *args):
    thread = threading.Thread(target=target, name=name, args=args)
    thread.daemon = True
    thread.start()


def outer():
    def sleeping_inner():
        register("main")
        time.sleep(600)

    sleeping_inner()


held = threading.Lock()
held.acquire()
start(take_lock, "locker-1", held)
start(Loop().run_forever, "selector-1" if sys.version_info[0] == 2 else u"selector-\u00e9\x1b[1m")
start(report, "reporter-1")
outer()
