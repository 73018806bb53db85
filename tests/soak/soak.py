#!/usr/bin/env python3
"""Ten healthy servers under a load that changes, watched for hours: any finding above `info` is a false alarm.

    STETH_VENVS=DIR python3 tests/soak/soak.py [--steth target/release/steth] [--seconds 7200]

Environments are those of tests/setup.sh. Prints a line for each alarm and a summary; exit code 1 if there was one. Servers are watched
in two ways: by `steth check`, again and again, each time for another while, and by one live screen that stays. Give it a pid namespace
of its own (`unshare -npf --mount-proc`, `ip link set lo up`) where other Python processes run."""
import argparse
import fcntl
import http.client
import json
import os
import pty
import random
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATHS = ["/quick", "/quick", "/quick", "/file", "/compute?{}", "/wait?{}", "/thread?{}"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def commands(venvs):
    main, live, legacy = (os.path.join(venvs, name, "bin") + "/" for name in ("main", "live", "legacy"))
    bind = "127.0.0.1:{port}"
    return {
        "uvicorn": [main + "uvicorn", "--port", "{port}", "mixed_fastapi:app"],
        "uvicorn, 2 workers": [main + "uvicorn", "--port", "{port}", "--workers", "2", "mixed_asgi:app"],
        "gunicorn sync": [main + "gunicorn", "-w", "2", "-b", bind, "mixed_wsgi:app"],
        "gunicorn gthread": [legacy + "gunicorn", "-w", "2", "--threads", "4", "-b", bind, "mixed_wsgi:app"],
        "hypercorn": [live + "hypercorn", "-w", "2", "-b", bind, "mixed_asgi:app"],
        "granian": [main + "granian", "--interface", "asgi", "--port", "{port}", "mixed_asgi:app"],
        "daphne": [main + "daphne", "-p", "{port}", "mixed_asgi:app"],
        "waitress": [main + "waitress-serve", "--listen", bind, "mixed_wsgi:app"],
        "django": [main + "python", "mixed_django.py", "runserver", bind],
        "aiohttp": [live + "python", "mixed_aiohttp.py", "{port}"],
    }


class Load(threading.Thread):
    """Requests to one server: quiet, light, heavy, slow, idle connections; another of them every while."""

    def __init__(self, port, seed, ended):
        super().__init__(daemon=True)
        self.port, self.random, self.ended = port, random.Random(seed), ended
        self.answered = self.failed = 0

    def run(self):
        while not self.ended.is_set():
            kind = self.random.choice(["quiet", "light", "light", "heavy", "slow", "idle"])
            until = time.monotonic() + self.random.uniform(5, 60)
            clients = {"quiet": 0, "light": 1, "heavy": 6, "slow": 3, "idle": 12}[kind]
            threads = [threading.Thread(target=self.client, args=(kind, until), daemon=True) for _ in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.ended.wait(max(0.0, until - time.monotonic()))

    def client(self, kind, until):
        connection = None
        while time.monotonic() < until and not self.ended.is_set():
            path = self.random.choice(PATHS)
            amount = {"heavy": 20, "light": 60, "slow": 2500, "idle": 5}[kind]
            if path.startswith("/compute"):
                amount = min(amount, 80)
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("GET", path.format(self.random.randint(1, amount)))
                connection.getresponse().read()
                self.answered += 1
            except (OSError, http.client.HTTPException):
                # Servers close connections that are idle.
                self.failed += 1
                connection = None
            pause = {"heavy": 0.05, "light": 0.5, "slow": 0.2, "idle": 15}[kind]
            self.ended.wait(self.random.uniform(0, 2 * pause))
            if connection and self.random.random() < 0.3:
                connection.close()
                connection = None


class Screen(threading.Thread):
    """The live screen in a terminal of its own. What it has ever shown of trouble is kept."""

    TROUBLE = re.compile("✖")

    def __init__(self, steth):
        super().__init__(daemon=True)
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(steth, [steth])
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
        self.seen = []

    def run(self):
        text = ""
        while True:
            try:
                text = text[-4000:] + os.read(self.terminal, 65536).decode(errors="replace")
            except OSError:
                return
            plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
            found = self.TROUBLE.search(plain)
            if found:
                self.seen.append((time.time(), found.group()))
                print("screen:", found.group(), flush=True)
                text = ""


def alarms(verdict):
    for server in verdict["servers"]:
        for finding in server["findings"]:
            if finding["severity"] != "info":
                yield server, finding


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steth", default=os.path.join(HERE, "../../target/release/steth"))
    parser.add_argument("--seconds", type=float, default=7200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    steth = os.path.abspath(options.steth)
    started, loads, ended = {}, [], threading.Event()
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    for number, (name, command) in enumerate(commands(os.environ["STETH_VENVS"]).items()):
        port = free_port()
        command = [word.replace("{port}", str(port)) for word in command]
        started[name] = subprocess.Popen(
            command, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )
        loads.append(Load(port, options.seed * 100 + number, ended))
    time.sleep(20)
    for load in loads:
        load.start()
    screen = Screen(steth)
    screen.start()
    until, choose = time.monotonic() + options.seconds, random.Random(options.seed)
    looks, wrong, phases = 0, 0, {}
    while time.monotonic() < until:
        span = choose.choice([0, 1, 3, 3, 5, 10, 30])
        done = subprocess.run([steth, "check", "--for", f"{span}s", "--json"], capture_output=True, text=True, check=False)
        looks += 1
        if done.returncode not in (0, 1):
            print("check:", done.returncode, done.stderr, flush=True)
            wrong += 1
            continue
        verdict = json.loads(done.stdout)
        for server in verdict["servers"]:
            phases[server["phase"]] = phases.get(server["phase"], 0) + 1
        for server, finding in alarms(verdict):
            wrong += 1
            print(time.strftime("%H:%M:%S"), span, server["name"], server["phase"], json.dumps(finding), flush=True)
        time.sleep(choose.uniform(0, 4))
    for name, process in started.items():
        if process.poll() is not None:
            print("ended by itself:", name, process.returncode)
    ended.set()
    answered, failed = sum(load.answered for load in loads), sum(load.failed for load in loads)
    print(f"{looks} checks, {wrong} alarms; screen: {len(screen.seen)} times in trouble; {answered} requests answered, {failed} not")
    print("phases seen:", phases)
    for process in started.values():
        os.killpg(process.pid, 9)
    os.kill(screen.pid, 15)
    return 1 if wrong or screen.seen else 0


sys.exit(main())
