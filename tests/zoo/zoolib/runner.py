"""Start a scenario, apply its load, report ground truth, and clean up after it."""
import ctypes
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from . import netdiag, procs

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENVS = os.environ.get("ZOO_VENVS") or os.environ.get("STETH_VENVS") or \
    os.path.join(os.path.dirname(os.path.dirname(HOME)), ".zoo-venvs")
MILESTONE = re.compile(
    r"Started (server|parent|reloader) process|Waiting for|startup complete|startup failed|unning on|"
    r"Listening at|Booting worker|TIMEOUT|SIGKILL|died|failed to (boot|start)|Shutting down|"
    r"server ended with code|Error\b|in use|ready|Unexpected exit|Spawning worker|Starting ")
PR_SET_CHILD_SUBREAPER = 36


def scenario_dirs():
    """Names (`set/name`) of all scenarios present, in order."""
    out = []
    for group in sorted(g for g in os.listdir(HOME) if not g.startswith(".")):
        base = os.path.join(HOME, group)
        if os.path.isdir(base):
            out += ["%s/%s" % (group, n) for n in sorted(os.listdir(base))
                    if os.path.exists(os.path.join(base, n, "scenario.json"))]
    return out


def find(name):
    matches = [n for n in scenario_dirs() if n == name or n.split("/")[1] == name]
    if not matches:
        raise SystemExit("no such scenario: %s" % name)
    return matches[0]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Run:
    """One running scenario."""

    def __init__(self, name, port=None, verbose=False):
        self.name = find(name)
        self.dir = os.path.join(HOME, self.name)
        with open(os.path.join(self.dir, "scenario.json")) as handle:
            self.spec = json.load(handle)
        self.verbose = verbose
        self.t0 = time.monotonic()
        self.wall0 = time.time()
        self.log = []            # (seconds, text)
        self.log_lock = threading.Lock()
        self.fixtures = {}       # name -> Popen
        self.cgroups = []        # directories to remove
        self.kept = []           # client sockets held open
        self.background = []     # threads of repeating clients
        self.stopping = threading.Event()
        self.root = None
        self.root_status = None
        self.reaped = {}
        self.netns_pid = None
        self.tmp = tempfile.mkdtemp(prefix="zoo-")
        self.port = int(port or os.environ.get("PORT") or free_port())
        self.vars = {
            "port": str(self.port), "port1": str(self.port + 1), "tmp": self.tmp, "dir": self.dir,
            "zoo": HOME, "self": sys.executable,
        }
        for label in ("main", "legacy", "py38", "py312", "py313"):
            bindir = os.path.join(VENVS, label, "bin")
            self.vars["bin" if label == "main" else "bin_" + label] = bindir
            self.vars["python" if label == "main" else "python_" + label] = \
                os.path.join(bindir, "python")
        self.counters0 = {}
        self.events = None
        self.port_states = []
        self.inject = False      # see zoolib/inject; set by check

    # -- helpers ---------------------------------------------------------
    def now(self):
        return round(time.monotonic() - self.t0, 3)

    def fill(self, value):
        """Replace {port}, {tmp}, ... in every string of a JSON value."""
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda m: self.vars.get(m.group(1), m.group(0)), value)
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        return value

    def missing(self):
        """What this machine lacks for the scenario (empty list: runnable)."""
        out = []
        for need in self.spec.get("requires", []):
            if need == "root" and os.geteuid() != 0:
                out.append("root")
            elif need.startswith("cgroup:"):
                if self.cgroup_base(need[7:]) is None:
                    out.append(need)
            elif need.startswith("venv:") and not os.path.exists(
                    os.path.join(VENVS, need[5:], "bin", "python")):
                out.append(need)
            elif need.startswith("bin:") and shutil.which(need[4:]) is None:
                out.append(need)
            elif need == "ipv6" and not os.path.exists("/proc/net/if_inet6"):
                out.append(need)
        if not os.path.exists(self.vars["python"]):
            out.append("venv:main (run setup.sh)")
        return out

    @staticmethod
    def cgroup_base(controller):
        """A writable directory of this controller: (path, version) or None."""
        v1 = "/sys/fs/cgroup/" + controller
        if os.path.isdir(v1) and os.access(v1, os.W_OK):
            return v1, 1
        names = {"cpuacct": "cpu", "freezer": None}
        wanted = names.get(controller, controller)
        try:
            with open("/sys/fs/cgroup/cgroup.controllers") as handle:
                have = handle.read().split()
        except OSError:
            return None
        if (wanted is None or wanted in have) and os.access("/sys/fs/cgroup", os.W_OK):
            return "/sys/fs/cgroup", 2
        return None

    # -- fixtures --------------------------------------------------------
    def _spawn_fixture(self, name, argv, env=None, ready="ready"):
        proc = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL, cwd=self.dir,
                                env=env or self.env, start_new_session=True)
        self.fixtures[name] = proc
        deadline = time.monotonic() + 10
        seen = b""
        while ready.encode() not in seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([proc.stdout], [], [], left)[0]:
                raise RuntimeError("fixture %s not ready: %r" % (name, seen))
            chunk = os.read(proc.stdout.fileno(), 4096)
            if not chunk:
                raise RuntimeError("fixture %s ended: %r" % (name, seen))
            seen += chunk
        threading.Thread(target=self._drain, args=(proc.stdout,), daemon=True).start()

    @staticmethod
    def _drain(stream):
        while stream.read1(65536):
            pass

    def _start_fixtures(self):
        tool = os.path.join(HOME, "zoolib", "fixture.py")
        self.launch = {"cwd": self.dir, "binds": [], "cgroups": [],
                       "rlimits": self.spec.get("rlimits", {})}
        for number, item in enumerate(self.fill(self.spec.get("fixtures", []))):
            kind = item["type"]
            name = item.get("name", "%s%d" % (kind, number))
            if kind in ("tarpit", "blackhole"):
                port = free_port()
                self._spawn_fixture(name, [sys.executable, tool, kind, str(port)])
                self.setvar(item["env"], str(port))
            elif kind == "process":
                if "env" in item:  # a port of its own
                    self.setvar(item["env"], str(free_port()))
                self._spawn_fixture(name, self.fill(item["argv"]), ready=item.get("ready", "ready"))
            elif kind == "netns":
                self._spawn_fixture(name, [sys.executable, tool, "netns", json.dumps(item)])
                if item.get("server", True):
                    self.netns_pid = self.launch["netns_pid"] = self.fixtures[name].pid
            elif kind == "veth":  # joins two netns fixtures
                pids = [self.fixtures[n].pid for n in item["between"]]
                names = ["zv%da" % os.getpid(), "zv%db" % os.getpid()]
                inner = ["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1],
                         "netns", str(pids[1])]
                subprocess.run(["nsenter", "-t", str(pids[0]), "-n"] + inner, check=True)
                for pid, dev, addr in zip(pids, names, item["addresses"]):
                    for args in (["addr", "add", addr, "dev", dev], ["link", "set", dev, "up"]):
                        subprocess.run(["nsenter", "-t", str(pid), "-n", "ip"] + args, check=True)
            elif kind == "file":
                path = item["path"]
                with open(path, "w") as handle:
                    handle.write(item["text"])
                if "bind" in item:
                    self.launch["binds"].append([path, item["bind"]])
            elif kind == "fifo":
                os.mkfifo(item["path"])
            elif kind == "cgroup":
                self._make_cgroup(name, item)
            else:
                raise ValueError("unknown fixture " + kind)

    def setvar(self, key, value):
        self.vars[key] = self.env[key] = value

    def _make_cgroup(self, name, item):
        base, version = self.cgroup_base(item["controller"])
        path = os.path.join(base, "zoo-%d-%s" % (os.getpid(), name))
        if version == 2:
            try:
                with open(base + "/cgroup.subtree_control", "w") as handle:
                    handle.write("+cpu +memory")
            except OSError:
                pass
        os.mkdir(path)
        self.cgroups.append(path)
        self.vars["cgroup_" + name] = path
        for key, value in item.get("v%d" % version, {}).items():
            with open(os.path.join(path, key), "w") as handle:
                handle.write(str(value))
        if item.get("join", True):
            self.launch["cgroups"].append(path)

    # -- start -----------------------------------------------------------
    def start(self):
        if sys.platform != "linux":
            raise SystemExit("Linux only")
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.env = dict(os.environ)
        for key in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
            self.env.pop(key, None)
        # HOME: gunicorn >= 25 puts a control socket there.
        self.env.update(PORT=str(self.port), PYTHONUNBUFFERED="1", ZOO_TMP=self.tmp,
                        HOME=self.tmp, TMPDIR=self.tmp,
                        PYTHONDONTWRITEBYTECODE="1",
                        PATH=self.vars["bin"] + os.pathsep + os.environ.get("PATH", ""))
        if self.spec.get("copy"):  # for servers that watch or write their own folder
            target = os.path.join(self.tmp, "src")
            shutil.copytree(self.dir, target)
            self.workdir = target
        else:
            self.workdir = self.dir
        self.vars["dir"] = self.workdir
        self._start_fixtures()
        self.launch["cwd"] = self.workdir
        self.env.update(self.fill(self.spec.get("env", {})))
        if self.inject:
            self.env["PYTHONPATH"] = os.path.join(HOME, "zoolib", "inject")
        self.launch["argv"] = self.fill(self.spec["cmd"])
        self.counters0 = netdiag.netstat_counters(self.netns_pid or "self")
        self.t0, self.wall0 = time.monotonic(), time.time()
        self.events = procs.ProcEvents(self.t0)
        self.events.start()
        read_end, write_end = os.pipe()
        stdin = subprocess.DEVNULL
        if self.spec.get("stdin") == "pipe":
            stdin = subprocess.PIPE
        self.root = subprocess.Popen(
            [sys.executable, os.path.join(HOME, "zoolib", "launch.py"), json.dumps(self.launch)],
            stdin=stdin, stdout=write_end, stderr=write_end, env=self.env,
            start_new_session=True)
        self.events.known.add(self.root.pid)
        os.close(write_end)
        threading.Thread(target=self._read_log, args=(read_end,), daemon=True).start()
        threading.Thread(target=self._watch_port, daemon=True).start()

    def _watch_port(self):
        """Note when the port's socket changes state: none, BOUND_INACTIVE, LISTEN."""
        last = "none"
        while not self.stopping.wait(0.05):
            try:
                states = {r["state"] for r in netdiag.in_netns(
                    self.netns_pid, netdiag.tcp_sockets, ["LISTEN", "BOUND_INACTIVE"])
                    if r["lport"] == self.port}
            except OSError:
                continue
            state = "LISTEN" if "LISTEN" in states else "BOUND_INACTIVE" if states else "none"
            if state != last and len(self.port_states) < 200:
                self.port_states.append({"t": self.now(), "event": "port", "state": state})
                last = state

    def timeline(self):
        """Measured moments: process forks and exits, port states, actions, log milestones."""
        rows = list(self.events.events[:100]) + list(self.port_states[:100])
        with self.log_lock:
            for t, line in self.log:
                if line.startswith(("[client]", "[signal]")) or MILESTONE.search(line):
                    rows.append({"t": t, "event": "log", "line": line[:160]})
                    if len(rows) > 300:
                        break
        return sorted(rows, key=lambda row: row["t"])

    def _read_log(self, fd):
        buffer = b""
        while True:
            try:
                chunk = os.read(fd, 65536)
            except OSError:
                return
            if not chunk:
                return
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            with self.log_lock:
                for line in lines:
                    text = line.decode("utf-8", "replace").rstrip()
                    self.log.append((self.now(), text))
                    if len(self.log) > 20000:  # an error loop must not fill memory
                        del self.log[1000:10000]
                    if self.verbose:
                        print("%8.3f  %s" % self.log[-1], file=sys.stderr)

    # -- observation -----------------------------------------------------
    def reap(self):
        """Collect exit statuses of the root and of orphans adopted by this process."""
        own = {p.pid for p in self.fixtures.values()}
        if self.root and self.root_status is None and self.root.poll() is not None:
            self.root_status = self.root.returncode
        for pid in procs.children_map().get(os.getpid(), []):
            if pid in own or (self.root and pid == self.root.pid):
                continue
            try:
                got, status = os.waitpid(pid, os.WNOHANG)
                if got:
                    self.reaped[got] = os.waitstatus_to_exitcode(status)
            except OSError:
                pass

    def pids(self):
        """The scenario's live processes, root first, without fixtures."""
        if self.root is None:
            return []
        skip = set()
        for proc in self.fixtures.values():
            skip.add(proc.pid)
            skip.update(procs.descendants(proc.pid))
        helpers = getattr(self, "helper_pids", set())
        return [p for p in procs.descendants(os.getpid()) if p not in skip and p not in helpers]

    def processes(self):
        """Live processes with the role each one plays in the scenario."""
        self.reap()
        rows = [r for r in map(procs.info, self.pids()) if r]
        rules = self.spec.get("roles", [{"role": "server", "root": True}])
        roles = {}
        for row in rows:
            row["role"] = "other"
            line = " ".join(row["cmdline"])
            for rule in rules:
                if rule.get("root") and row["pid"] != self.root.pid:
                    continue
                if "parent" in rule and roles.get(row["ppid"]) != rule["parent"]:
                    continue
                if "cmdline" in rule and not re.search(rule["cmdline"], line):
                    continue
                if "comm" in rule and not re.search(rule["comm"], row["comm"]):
                    continue
                if "state" in rule and row["state"] not in rule["state"]:
                    continue
                if rule.get("first") and rule["role"] in roles.values():
                    continue
                row["role"] = rule["role"]
                break
            roles[row["pid"]] = row["role"]
        return rows

    def by_role(self, role):
        return [r for r in self.processes() if r["role"] == role]

    def tree(self, rows):
        nodes = {r["pid"]: {"pid": r["pid"], "role": r["role"], "state": r["state"],
                            "cmdline": " ".join(r["cmdline"])[:200], "children": []} for r in rows}
        tops = []
        for row in rows:
            parent = nodes.get(row["ppid"])
            (parent["children"] if parent else tops).append(nodes[row["pid"]])
        return tops

    def sockets(self):
        """TCP and unix sockets of the scenario's namespace with owner pids."""
        tcp = netdiag.in_netns(self.netns_pid, netdiag.tcp_sockets)
        unix = netdiag.in_netns(self.netns_pid, netdiag.unix_sockets)
        owners = procs.socket_owners([int(n) for n in os.listdir("/proc") if n.isdigit()])
        for row in tcp + unix:
            row["owners"] = sorted({pid for pid, _fd in owners.get(row["inode"], [])})
        return tcp, unix

    def log_count(self, pattern):
        with self.log_lock:
            return sum(1 for _t, line in self.log if re.search(pattern, line))

    def culprits(self):
        """Culprit places with line numbers found from unique source text."""
        out = []
        for item in self.fill(self.spec["truth"].get("culprit", [])):
            item = dict(item)
            if "match" in item:
                path = os.path.join(self.workdir, item["file"])
                with open(path) as handle:
                    lines = [n for n, text in enumerate(handle, 1) if item["match"] in text]
                if len(lines) != 1:
                    raise RuntimeError("%s: %r is on %d lines" % (path, item["match"], len(lines)))
                item.update(line=lines[0], path=path)
            out.append(item)
        return out

    def truth(self):
        truth = self.fill(self.spec["truth"])
        for item in truth.get("listeners", []) + [truth.get("waits_for", {})]:
            if str(item.get("port", "")).isdigit():
                item["port"] = int(item["port"])
        truth["culprit"] = self.culprits()
        return truth

    # -- load ------------------------------------------------------------
    def _connect(self, host=None, unix=None, wait=0.3):
        """A non-blocking client connection; returns (socket, outcome)."""
        if unix:
            sock = socket.socket(socket.AF_UNIX)
            address = "\0" + unix[1:] if unix.startswith("@") else unix
        else:
            host = host or "127.0.0.1"
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            address = (host, self.port)
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code in (0, 115):
            if code == 115:
                if not select.select([], [sock], [], wait)[1]:
                    return sock, "pending"
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return sock, "connected" if code == 0 else os.strerror(code)

    def _clients(self, step):
        """Open `n` connections, each with an optional request, and keep them open."""
        data = b""
        if "get" in step:
            data = ("GET %s HTTP/1.1\r\nHost: zoo\r\n\r\n" % step["get"]).encode()
        elif "send" in step:
            data = step["send"].encode()
        results = {}
        for _ in range(step.get("n", 1)):
            sock, outcome = self._connect(step.get("host"), step.get("unix"))
            results[outcome] = results.get(outcome, 0) + 1
            if outcome == "connected" and data:
                try:
                    sock.send(data)
                except OSError:
                    pass
            self.kept.append(sock)
            if step.get("gap"):
                time.sleep(step["gap"])
        return results

    def probe(self, path="/ping", timeout=1.5, host=None, unix=None, netns=None):
        """One HTTP request: `200`, other status, or how it failed."""
        def ask():
            conn = http.client.HTTPConnection(host or "127.0.0.1", self.port, timeout=timeout)
            try:
                if unix:
                    conn.sock = socket.socket(socket.AF_UNIX)
                    conn.sock.settimeout(timeout)
                    conn.sock.connect("\0" + unix[1:] if unix.startswith("@") else unix)
                conn.request("GET", path, headers={"Connection": "close"})
                return str(conn.getresponse().status)
            except TimeoutError:
                return "timeout"
            except ConnectionRefusedError:
                return "refused"
            except ConnectionResetError:
                return "reset"
            except (OSError, http.client.HTTPException) as exc:
                return type(exc).__name__
            finally:
                conn.close()
        pid = self.fixtures[netns].pid if netns else self.netns_pid
        return netdiag.in_netns(pid, ask)

    def step(self, item):
        item = self.fill(item)
        timeout = item.get("timeout", 15)
        deadline = time.monotonic() + timeout

        def until(test, what):
            while not test():
                if time.monotonic() > deadline:
                    raise RuntimeError("%s: gave up waiting for %s" % (self.name, what))
                if self.root_status is not None and item.get("alive", True):
                    self.reap()
                time.sleep(0.05)
                self.reap()

        if "sleep" in item:
            time.sleep(item["sleep"])
        elif "wait_log" in item:
            until(lambda: self.log_count(item["wait_log"]) >= item.get("n", 1), item["wait_log"])
        elif "wait_socket" in item:  # LISTEN or BOUND_INACTIVE on the port
            until(lambda: any(r["lport"] == self.port for r in netdiag.in_netns(
                self.netns_pid, netdiag.tcp_sockets, [item["wait_socket"]])), item["wait_socket"])
        elif "wait_role" in item:
            until(lambda: len(self.by_role(item["wait_role"])) >= item.get("n", 1), "role")
        elif "wait_exits" in item:
            until(lambda: sum(e["event"] == "exit" for e in self.events.events) >= item["wait_exits"],
                  "exits")
        elif "wait_root_exit" in item:
            until(lambda: self.root_status is not None, "root exit")
        elif "wait_ok" in item:
            until(lambda: self.probe(item["wait_ok"], 1, item.get("host"), item.get("unix"),
                                     item.get("netns")) == "200", "200")
        elif "clients" in item:
            args = item["clients"]
            if args.get("netns"):
                pid = self.fixtures[args["netns"]].pid
            else:
                pid = self.netns_pid
            result = netdiag.in_netns(pid, self._clients, args)
            self.log.append((self.now(), "[client] %s -> %s" % (json.dumps(args), result)))
        elif "every" in item:
            def loop():
                while not self.stopping.wait(item["every"]):
                    try:
                        netdiag.in_netns(self.netns_pid, self._clients, item["do"])
                    except OSError:
                        pass
                    for sock in self.kept[:-200]:
                        sock.close()
                    del self.kept[:-200]
            thread = threading.Thread(target=loop, daemon=True)
            thread.start()
            self.background.append(thread)
        elif "signal" in item:
            target = self.by_role(item["role"])[item.get("index", 0)]
            os.kill(target["pid"], getattr(signal, "SIG" + item["signal"]))
            self.log.append((self.now(), "[signal] SIG%s to %s" % (item["signal"], item["role"])))
        elif "freeze" in item:
            target = self.by_role(item["freeze"])[item.get("index", 0)]
            path = self.vars["cgroup_" + item["cgroup"]]
            with open(path + "/cgroup.procs", "w") as handle:
                handle.write(str(target["pid"]))
            v1 = os.path.exists(path + "/freezer.state")
            with open(path + ("/freezer.state" if v1 else "/cgroup.freeze"), "w") as handle:
                handle.write("FROZEN" if v1 else "1")
        elif "edit" in item:
            with open(os.path.join(self.workdir, item["edit"]), "a") as handle:
                handle.write(item["append"])
        else:
            raise ValueError("unknown step %r" % item)

    def to_steady(self):
        for item in self.spec.get("steps", []):
            self.step(item)
        time.sleep(self.spec.get("settle", 1.0))
        self.reap()

    def report(self):
        """What a test needs to know once the scenario is in its steady state."""
        rows = self.processes()
        keep = ("pid", "ppid", "role", "state", "comm", "cmdline", "threads", "fds", "nspid")
        return {
            "event": "steady", "name": self.name, "t": self.now(), "port": self.port,
            "runner_pid": os.getpid(), "front_pid": os.getppid(),
            "root_pid": self.root.pid, "root_exit": self.root_status,
            "netns_pid": self.netns_pid, "tmp": self.tmp, "workdir": self.workdir,
            "fixtures": {n: p.pid for n, p in self.fixtures.items()},
            "processes": [{k: r[k] for k in keep} for r in rows], "tree": self.tree(rows),
            "timeline": self.timeline(), "truth": self.truth(),
        }

    # -- stop ------------------------------------------------------------
    def stop(self):
        """End every process of the scenario and remove what it left behind."""
        self.stopping.set()
        for path in self.cgroups:
            for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0"),
                                ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")):
                if os.path.exists(os.path.join(path, name)):
                    try:
                        with open(os.path.join(path, name), "w") as handle:
                            handle.write(value)
                    except OSError:
                        pass
        for sock in self.kept:
            sock.close()
        if self.root is not None and self.root.poll() is None:
            for pid in self.pids():
                self._kill(pid, signal.SIGCONT)
            self._kill(self.root.pid, signal.SIGTERM)
            deadline = time.monotonic() + self.spec.get("stop_timeout", 1.5)
            while time.monotonic() < deadline and self.root.poll() is None:
                time.sleep(0.05)
        for _ in range(100):
            left = self.pids()
            for pid in left:
                self._kill(pid, signal.SIGKILL)
            self.reap()
            if not [p for p in left if p != (self.root and self.root.pid)] and (
                    self.root is None or self.root.poll() is not None):
                break
            time.sleep(0.03)
        for proc in reversed(list(self.fixtures.values())):
            for pid in procs.descendants(proc.pid):
                self._kill(pid, signal.SIGKILL)
            if proc.poll() is None:
                proc.kill()
            proc.wait()
        self.reap()
        if self.events:
            self.events.stop()
        for path in self.cgroups:
            for _ in range(50):
                try:
                    os.rmdir(path)
                    break
                except OSError:
                    time.sleep(0.05)
        shutil.rmtree(self.tmp, ignore_errors=True)

    @staticmethod
    def _kill(pid, sig):
        try:
            os.kill(pid, sig)
        except OSError:
            pass
