#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs alone: how busy the machine is matters.
# A tenant who takes all that she can get: what she is told (EAGAIN, ENOMEM, ENOSPC), that ps, kill, login and migrate of
# hers answer all the same, that bob does not notice, and that no daemon of the world is ever the victim.
. tests/lib/cluster.sh
cluster_up 2
p tenant add alice --cpus 1 --procs 80 --memory 128M --storage 32M >/dev/null || fail "tenant add"
p tenant add bob >/dev/null || fail "tenant add"
for t in alice bob; do for n in n1 n2; do as_on $n $t true || fail "$t cannot log in on $n"; done; done
python3 - "$BIN/pando" "$CLUSTER_DIR" <<'PY'
import glob, os, subprocess, sys, time
sys.path.insert(0, "tests/lib")
from hogs import HOGS

pando, cluster = sys.argv[1:]
top = "pando-" + os.path.basename(cluster) + "-*"
# A second is meant, and tests/bench/pressure.sh measures it; this machine may be busy.
LIMIT_S = 20
TOLD = {"fork_bomb": "EAGAIN", "memory_hog": "ENOMEM SIGKILL", "shared_memory_hog": "SIGKILL", "disk_hog": "ENOSPC"}


def fail(text):
    print("FAILED: " + text, flush=True)
    subprocess.run([pando, "--dir", cluster, "quota", "alice"], timeout=LIMIT_S)
    for f in files("n?/alice/guests/memory.*"):
        if f.endswith(("limit_in_bytes", "usage_in_bytes", "failcnt", ".max", ".current")):
            print(f.rsplit("pando-", 1)[1], open(f).read().strip())
    sys.exit(1)


def p(*words, check=True):
    try:
        r = subprocess.run([pando, "--dir", cluster, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        fail(f"'{' '.join(words)}' does not answer")
    if check and r.returncode != 0:
        fail(f"'{' '.join(words)}' ends with {r.returncode}: {r.stdout} {r.stderr}")
    return r.stdout


def start(tenant, node, *words):
    return subprocess.Popen([pando, "--dir", cluster, "login", "-T", "--node", node, tenant, "--", *words],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def files(pattern):
    """Of the control groups, in whatever hierarchies there are."""
    return glob.glob(f"/sys/fs/cgroup/{top}/{pattern}") + glob.glob(f"/sys/fs/cgroup/*/{top}/{pattern}")


def daemons():
    """pando-init with its spawner, and the guest kernel, of both tenants on both nodes."""
    pids = set()
    for f in files("n?/*/init/cgroup.procs") + files("n?/*/kernel/cgroup.procs"):
        pids.update(open(f).read().split())
    return pids


def ends_by_memory():
    """How often the host killed for memory, outside of what guests are in."""
    n = 0
    for f in files("n?/*/init/memory.*") + files("n?/*/kernel/memory.*") + files("n?/POD/memory.*"):
        if os.path.basename(f) in ("memory.oom_control", "memory.events"):
            n += sum(int(line.split()[1]) for line in open(f) if line.startswith("oom_kill "))
    return n


def move(pid, node):
    """Right after its exec, which may have been placed elsewhere, it is refused for a moment."""
    until = time.monotonic() + LIMIT_S
    while " runs on " not in p("migrate", pid, node, check=time.monotonic() > until):
        time.sleep(0.05)


before = daemons()
if len(before) < 8:
    fail(f"only {len(before)} daemons are found")
for name, text in HOGS.items():
    hog = start("alice", "n1", "python3", "-c", text)
    told = hog.stdout.readline().strip()
    if not told or told not in TOLD[name]:
        fail(f"the {name} is told '{told}'")
    victim = start("alice", "n1", "sh", "-c", "echo $$; exec sleep 1000")
    pid = victim.stdout.readline().strip()
    if not pid:
        fail(f"no login beside the {name}")
    if f" {pid} " not in p("ps", "alice"):
        fail(f"ps beside the {name} does not know {pid}")
    p("login", "-T", "--node", "n2", "alice", "--", "true")
    move(pid, "n2")
    p("login", "-T", "--node", "n1", "alice", "--", "bash", "-c", f"kill -9 {pid}")
    if victim.wait(LIMIT_S) != 137:
        fail(f"who was killed beside the {name} ended otherwise")
    if p("login", "-T", "--node", "n1", "bob", "--", "python3", "-c", "a = bytearray(b'x' * (16 << 20)); open('f', 'wb').write(a); print(len(a))") != f"{16 << 20}\n":
        fail(f"bob feels the {name}")
    hog.kill()
    # As an operator would, from outside: all her guests at once.
    for f in files("n?/alice/guests/cgroup.kill"):
        open(f, "w").write("1")
    hog.wait()
    if not before <= daemons():
        fail(f"a daemon was the victim of the {name}")
    if ends_by_memory() != 0:
        fail(f"the host killed a daemon for memory beside the {name}")
PY
