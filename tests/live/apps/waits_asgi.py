"""Its lifespan startup waits for something that does not come; LIVE_WAIT says for what, LIVE_AT where."""
import asyncio
import fcntl
import http.client
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time

from echo_asgi import app as answer

WAIT, AT = os.environ["LIVE_WAIT"], os.environ.get("LIVE_AT", "")


def fetch_licence():
    http.client.HTTPConnection("127.0.0.1", int(AT), timeout=900).request("GET", "/licence")


def greet_database():
    with socket.socket(socket.AF_UNIX) as database:
        database.connect(AT)
        database.sendall(b"hello")
        database.recv(64)


def collect_facts():
    # The daemon inherits the pipe, so that the output does not end with the command.
    subprocess.check_output(["sh", "-c", "sleep 900 & echo facts"])


def read_token():
    os.mkfifo(AT)
    with open(AT) as token:
        token.read()


def report_progress():
    _unread, log = os.pipe()
    while True:
        os.write(log, b"still alive\n" * 1000)


def confirm_upgrade():
    questions, _answers = os.pipe()
    os.dup2(questions, 0)
    input("upgrade the schema? ")


HOLDER = "import fcntl, sys, time; lock = open(sys.argv[1], 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); print('held', flush=True); time.sleep(900)"


def become_leader():
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, AT], stdout=subprocess.PIPE)
    holder.stdout.readline()
    with open(AT, "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)


guard = threading.Lock()


def refresh_prices():
    with guard:
        pass


def warm_prices():
    worker = threading.Thread(target=refresh_prices, name="prices")
    with guard:
        worker.start()
        worker.join()


def reload_settings():
    with guard:
        guard.acquire()


def keep_index(index, kept):
    index.acquire()
    kept.set()
    time.sleep(900)


def open_index():
    processes = multiprocessing.get_context("fork")
    index, kept = processes.Semaphore(1), processes.Event()
    processes.Process(target=keep_index, args=(index, kept), daemon=True).start()
    kept.wait()
    index.acquire()


async def open_pool():
    await asyncio.open_connection("127.0.0.1", int(AT))


async def import_rates():
    await asyncio.get_running_loop().run_in_executor(None, subprocess.run, ["sleep", "900"])


async def migrate_schema():
    process = await asyncio.create_subprocess_exec("sleep", "900", stdout=asyncio.subprocess.PIPE)
    await process.communicate()


async def load_plugins():
    process = await asyncio.create_subprocess_shell("sleep 900; true", stdout=asyncio.subprocess.PIPE)
    await process.stdout.readline()


async def open_features():
    os.mkfifo(AT)
    # `open` is C: no line of this file is on the thread that waits.
    await asyncio.get_running_loop().run_in_executor(None, open, AT)


async def ask_passphrase():
    questions, _answers = os.pipe()
    os.dup2(questions, 0)
    await asyncio.get_running_loop().run_in_executor(None, input, "passphrase? ")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        print("waiting now", flush=True)
        awaited = globals()[WAIT]()
        if awaited:
            await awaited
        await send({"type": "lifespan.startup.complete"})
        return
    await answer(scope, receive, send)
