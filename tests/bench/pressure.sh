#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What bob feels of alice's hogs on his node, against the seconds before in the same run: the speed of his program, the 99th
# percentile of his probe (a little work after a short sleep); and how soon alice herself is answered meanwhile.
set -eu
. tests/lib/cluster.sh
cluster_up 2 >/dev/null
p tenant add alice --cpus 1 --procs 100 --memory 192M --storage 64M >/dev/null
p tenant add bob >/dev/null
for t in alice bob; do for n in n1 n2; do as_on $n $t true; done; done
python3 - "$BIN/pando" "$CLUSTER_DIR" <<'PY'
import subprocess, sys, threading, time

pando, cluster = sys.argv[1:]
SECONDS = 6

# Works and probes for a while: iterations per second of its busy thread, p99 of the probe in ms. Two processes, as a
# thread of Python would wait for the other.
BOB = """
import os, time
end = time.monotonic() + %d
r, w = os.pipe()
if os.fork() == 0:
    late = []
    while time.monotonic() < end:
        t = time.monotonic()
        time.sleep(0.005)
        sum(range(1000))
        late.append(time.monotonic() - t - 0.005)
    late.sort()
    os.write(w, b"%%f" %% (late[len(late) * 99 // 100] * 1e3))
    os._exit(0)
n, t0, c0 = 0, time.monotonic(), time.process_time()
while time.monotonic() < end:
    for i in range(2000): n += i & 1
print(n / (time.monotonic() - t0), os.read(r, 100).decode())
"""
HOGS = {
    "fork_bomb": """
import os
def bomb():
    while True:
        try:
            if os.fork() == 0: bomb()
        except OSError:
            sum(range(10000))
bomb()
""",
    "memory_hog": """
import os
for i in range(3): os.fork()
while True:
    a = []
    try:
        while True: a.append(bytearray(b"x" * (1 << 20)))
    except MemoryError: pass
""",
    "disk_hog": """
import os
while True:
    try:
        with open("big", "wb", buffering=0) as f:
            while True: f.write(b"x" * (1 << 20))
    except OSError: os.unlink("big")
""",
}


def p(*words, **more):
    return subprocess.run([pando, "--dir", cluster, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **more)


def bob():
    r = p("login", "-T", "--node", "n1", "bob", "--", "python3", "-c", BOB % SECONDS, check=True)
    speed, late = r.stdout.split()
    return float(speed), float(late)


def inits():
    return subprocess.run(["pgrep", "-f", "^/[^ ]*pando-init alice"], capture_output=True, text=True).stdout.split()


def took(fn):
    t = time.monotonic()
    r = fn()
    assert r.returncode == 0, r
    return time.monotonic() - t


def alices(slowest):
    """ps, kill, login and migrate of hers; the slowest of each."""
    with subprocess.Popen([pando, "--dir", cluster, "login", "-T", "--node", "n1", "alice", "--", "sh", "-c", "echo $$; exec sleep 100"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as victim:
        pid = victim.stdout.readline().strip()
        for verb, fn in (("ps", lambda: p("ps", "alice")),
                         ("login", lambda: p("login", "-T", "--node", "n1", "alice", "--", "true")),
                         ("migrate", lambda: p("migrate", pid, "n2")),
                         ("kill", lambda: p("login", "-T", "--node", "n1", "alice", "--", "bash", "-c", f"kill -9 {pid}"))):
            slowest[verb] = max(slowest.get(verb, 0), took(fn))
        victim.wait()


def row(name, unit, ours, ref, how, budget):
    ratio = ours / ref
    ok = ratio <= budget if how == "<=" else ratio >= budget
    print(f"row {name} {unit} {ours:.4g} {ref:.4g} {ratio:.2f} {how}{budget:.2f} {'ok' if ok else 'over'}", flush=True)


bob()
before = inits()
for name, text in HOGS.items():
    alone_speed, alone_late = bob()
    hog = subprocess.Popen([pando, "--dir", cluster, "login", "-T", "--node", "n1", "alice", "--", "python3", "-c", text],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    slowest, problem = {}, []

    def answers():
        try:
            alices(slowest)
        except Exception as e:
            problem.append(e)

    speed, late = bob()
    row(f"bobs_speed_beside_a_{name}", "1/s", speed, alone_speed, ">=", 0.8)
    row(f"bobs_p99_beside_a_{name}", "ms", late, alone_late, "<=", 10)
    answers()
    if problem:
        print(f"alice beside her {name}: {problem[0]}")
    for verb, s in slowest.items():
        row(f"alices_{verb}_beside_her_{name}", "s", s, 1, "<=", 1)
    hog.kill()
    hog.wait()
    subprocess.run([pando, "--dir", cluster, "login", "-T", "--node", "n2", "alice", "--", "bash", "-c", "kill -9 -1"],
                   stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    time.sleep(1)
assert inits() == before, "a pando-init of alice was the victim"
PY
