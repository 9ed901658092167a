#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What bob feels of alice's hogs on his node: the speed of his program, and the 99th percentile of his probe (a little work
# after a short sleep), while they run against while they are frozen, in turns of some tenths of a second, so that what else
# this machine does counts for both; and how soon alice herself is answered meanwhile.
set -eu
. tests/lib/cluster.sh
cluster_up 2 >/dev/null
p tenant add alice --cpus 1 --procs 100 --memory 192M --storage 64M >/dev/null
p tenant add bob >/dev/null
for t in alice bob; do for n in n1 n2; do as_on $n $t true; done; done
python3 - "$BIN/pando" "$CLUSTER_DIR" <<'PY'
import bisect, glob, json, os, subprocess, sys, time
sys.path.insert(0, "tests/lib")
from hogs import HOGS

pando, cluster = sys.argv[1:]
TURN_S, TURNS, SETTLE_S = 0.7, 12, 0.15

# Works and probes until its input ends, and then says when it had done how much, and when each probe was how late. Two
# processes, as a thread of Python would wait for the other.
BOB = """
import json, os, select, sys, time
r, w = os.pipe()
stop = lambda: select.select([0], [], [], 0)[0]
print("works", flush=True)
if os.fork() == 0:
    late = []
    while not stop():
        t = time.monotonic()
        time.sleep(0.005)
        sum(range(1000))
        late.append((time.time(), time.monotonic() - t - 0.005))
    with os.fdopen(w, "w") as out: json.dump(late, out)
    os._exit(0)
os.close(w)
n, done = 0, []
while not stop():
    for _ in range(10):
        for i in range(2000): n += i & 1
    done.append((time.time(), n))
print(json.dumps([done, json.load(os.fdopen(r))]))
"""


def p(*words, **more):
    return subprocess.run([pando, "--dir", cluster, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **more)


def freeze(frozen):
    """Alice's guests on n1."""
    group = f"pando-{os.path.basename(cluster)}-*/n1/alice/guests/cgroup.freeze"
    for f in glob.glob(f"/sys/fs/cgroup/{group}") + glob.glob(f"/sys/fs/cgroup/*/{group}"):
        with open(f, "w") as out:
            out.write("1" if frozen else "0")


def bob():
    """(speed, p99 in ms) beside what alice does, and beside her frozen."""
    with subprocess.Popen([pando, "--dir", cluster, "login", "-T", "--node", "n1", "bob", "--", "python3", "-c", BOB],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as b:
        assert b.stdout.readline() == "works\n"
        turns = []
        for i in range(TURNS):
            freeze(i % 2)
            t = time.time()
            time.sleep(TURN_S)
            turns.append((t + SETTLE_S, time.time()))
        freeze(False)
        done, late = json.loads(b.communicate("end\n")[0])
    answer = []
    for frozen in (0, 1):
        n = s = 0
        probes = []
        for t0, t1 in turns[frozen::2]:
            at = [bisect.bisect(done, [t]) for t in (t0, t1)]
            first, last = done[at[0]], done[min(at[1], len(done) - 1)]
            n += last[1] - first[1]
            s += last[0] - first[0]
            probes += [x for t, x in late if t0 <= t <= t1]
        probes.sort()
        answer.append((n / s, probes[len(probes) * 99 // 100] * 1e3))
    return answer


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


before = inits()
for name, text in HOGS.items():
    hog = subprocess.Popen([pando, "--dir", cluster, "login", "-T", "--node", "n1", "alice", "--", "python3", "-c", text],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)
    slowest, problem = {}, []

    def answers():
        try:
            alices(slowest)
        except Exception as e:
            problem.append(e)

    (speed, late), (alone_speed, alone_late) = bob()
    row(f"bobs_speed_beside_a_{name}", "1/s", speed, alone_speed, ">=", 0.8)
    row(f"bobs_p99_beside_a_{name}", "ms", late, alone_late, "<=", 10)
    answers()
    if problem:
        print(f"alice beside her {name}: {problem[0]}")
    for verb, s in slowest.items():
        row(f"alices_{verb}_beside_her_{name}", "s", s, 1, "<=", 1)
    hog.kill()
    hog.wait()
    for f in glob.glob(f"/sys/fs/cgroup/**/pando-{os.path.basename(cluster)}-*/n?/alice/guests/cgroup.kill", recursive=True):
        with open(f, "w") as out:
            out.write("1")
    time.sleep(1)
assert inits() == before, "a pando-init of alice was the victim"
PY
