#!/usr/bin/env python3
"""Hold `steth check --json` against servers whose truth is known.

  judge.py --steth BIN [--zoo DIR] [--set open|heldout] [--for 3s] [--json OUT] [NAME ...]

For each scenario of the zoo: start it, wait for its steady state, run `steth check --for T --json` on the whole
machine, compare with DIR/SET/expect.json, stop it. The last line counts:

  phase P/N  cause C/N  culprit U/M  false-alarms F/H  errors E

phase: the reported phase of the server is one of those expected. cause: the first finding's code is one of those
expected (`any` of the findings is counted apart, in the table). culprit: the first finding names the right function, where
the truth has one. false alarms: findings of severity critical or warning on servers that are healthy or none at all.
Exit code 0 when everything holds, 1 otherwise, 2 on bad use.
"""
import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time


def start(zoo, name, timeout):
    """Starts a scenario; returns its process, its `started` event and the event that ended the wait."""
    proc = subprocess.Popen([sys.executable, os.path.join(zoo, "run_scenario.py"), name],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in proc.stdout], daemon=True).start()
    deadline, started = time.monotonic() + timeout, None
    while time.monotonic() < deadline:
        try:
            event = json.loads(lines.get(timeout=0.2))
        except queue.Empty:
            if proc.poll() is not None:
                break
            continue
        if event["event"] == "started":
            started = event
        elif event["event"] in ("steady", "failed", "skipped"):
            return proc, started, event
    return proc, started, {"event": "failed", "error": "no steady state in time"}


def stop(proc):
    if proc.poll() is None:
        proc.send_signal(signal.SIGTERM)
        try:
            proc.wait(30)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()


def pick(document, pids, port):
    """The server that holds most of the scenario's processes; a tie goes to the one on its port."""
    def weight(server):
        seen = {p.get("pid") for p in server.get("processes") or []} | {server.get("pid")}
        on_port = any((l or {}).get("port") == port for l in server.get("listeners") or [])
        return (len(seen & pids), on_port)
    servers = [s for s in document.get("servers") or [] if weight(s) > (0, False)]
    return max(servers, key=weight) if servers else None


def compare(server, want):
    findings = (server or {}).get("findings") or []
    loud = [f for f in findings if f.get("severity") in ("critical", "warning")]
    codes = [f.get("code") for f in findings]
    quiet = not want["codes"]
    first = findings[0] if findings else {}
    culprit = (first.get("culprit") or {}).get("function") or ""
    short = culprit.split(".")[-1]
    names = [n for n in want["culprit"] if n is not None]
    return {
        "phase": bool(server) and server.get("phase") in want["phase"],
        "cause": (not loud) if quiet else (bool(codes) and codes[0] in want["codes"]),
        "any": (not loud) if quiet else any(c in want["codes"] for c in codes),
        "culprit": None if not names else bool(findings) and (short in names or (not culprit and None in want["culprit"])),
        "alarm": bool(loud) if quiet else None,
        "saw": {"phase": (server or {}).get("phase"), "codes": codes, "culprit": culprit,
                "summary": first.get("summary")},
    }


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*")
    ap.add_argument("--steth", required=True)
    ap.add_argument("--zoo", default=os.path.dirname(os.path.abspath(__file__)))
    ap.add_argument("--set", default="open")
    ap.add_argument("--for", dest="observe", default="3s")
    ap.add_argument("--json", dest="out")
    args = ap.parse_args()
    with open(os.path.join(args.zoo, args.set, "expect.json")) as f:
        expect = json.load(f)
    names = args.names or sorted(expect)
    rows, skipped, errors = {}, [], 0
    for name in names:
        if name not in expect:
            print(f"no such scenario: {name}", file=sys.stderr)
            return 2
        want = expect[name]
        proc, started, event = start(args.zoo, f"{args.set}/{name}", want.get("timeout", 60))
        try:
            if event["event"] == "skipped":
                skipped.append((name, event.get("missing")))
                continue
            if event["event"] != "steady":
                print(f"{name:36} scenario failed: {event.get('error')}")
                errors += 1
                continue
            pids = {p["pid"] for p in event["processes"]} | {started["root_pid"]}
            run = subprocess.run([args.steth, "check", "--for", args.observe, "--json"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
            try:
                document = json.loads(run.stdout)
            except ValueError:
                print(f"{name:36} no JSON: exit {run.returncode} {run.stderr.strip()[:160]}")
                errors += 1
                continue
            row = compare(pick(document, pids, started.get("port")), want)
            row["exit"] = run.returncode
            rows[name] = row
            mark = lambda v: "." if v is None else ("ok" if v else "NO")
            print(f"{name:36} phase {mark(row['phase']):2} cause {mark(row['cause']):2} any {mark(row['any']):2} "
                  f"culprit {mark(row['culprit']):2} alarm {'!!' if row['alarm'] else '-'}  {row['saw']}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"{name:36} steth did not end within 120 s")
            errors += 1
        finally:
            stop(proc)
    if args.out:
        with open(args.out, "w") as f:
            json.dump(rows, f, indent=1)
    failing = [n for n in rows if expect[n]["codes"]]
    quiet = [n for n in rows if not expect[n]["codes"]]
    with_culprit = [n for n in failing if rows[n]["culprit"] is not None]
    count = lambda key, among: sum(1 for n in among if rows[n][key])
    for name, missing in skipped:
        print(f"{name:36} skipped: {missing}")
    good = (count("phase", rows) == len(rows) and count("cause", failing) == len(failing)
            and count("culprit", with_culprit) == len(with_culprit) and not count("alarm", quiet) and not errors)
    print(f"phase {count('phase', rows)}/{len(rows)}  cause {count('cause', failing)}/{len(failing)}"
          f" (any {count('any', failing)})  culprit {count('culprit', with_culprit)}/{len(with_culprit)}"
          f"  false-alarms {count('alarm', quiet)}/{len(quiet)}  skipped {len(skipped)}  errors {errors}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
