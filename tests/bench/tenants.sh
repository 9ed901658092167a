#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# TENANTS=200 tenants with a shell each over ssh; what an idle one costs; 1,000 that are only defined.
. tests/lib/cluster.sh
. tests/lib/ssh.sh
tenants=${TENANTS:-200}
cluster_up 2 >/dev/null
python3 - "$BIN/pando" "$CLUSTER_DIR" "$SSH_DIR" "$(ssh_port n1),$(ssh_port n2)" "$tenants" "$(pandod_pid n1)" "${SSH_OPTS[@]}" <<'PY' || fail "tenants"
import glob, os, re, signal, subprocess, sys, time
sys.path.insert(0, "tests/lib")
from terminal import Session
pando, cluster, keys, ports, count, pandod, *opts = sys.argv[1:]
ports, count = ports.split(","), int(count)

def p(*words):
    subprocess.run([pando, "--dir", cluster, *words], check=True, stdout=subprocess.DEVNULL)

def pss(pid):
    try:
        return int(re.search(r"^Pss: +(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1])
    except (OSError, TypeError):
        return 0

# A thousand that nobody uses: rows, and nothing else.
before = pss(pandod)
t0 = time.monotonic()
for i in range(1000 - count):
    p("tenant", "add", f"idle{i}")
print(f"{1000 - count} tenants defined in {time.monotonic() - t0:.1f} s; pandod has grown by "
      f"{(pss(pandod) - before) / (1000 - count):.2f} KiB for each")
for i in range(count):
    p("tenant", "add", f"t{i}")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{keys}/t{i}"], check=True)
    p("tenant", "key", "add", f"t{i}", f"{keys}/t{i}.pub")

first, again, shells = [], [], []
def log_in(i, times):
    t = time.monotonic()
    s = Session(["/usr/bin/ssh", *opts, "-i", f"{keys}/t{i}", "-p", ports[i % 2], f"t{i}@127.0.0.1"])
    s.expect(rb"\$ $", 60)
    times.append((time.monotonic() - t) * 1000)
    shells.append(s)
t0 = time.monotonic()
for i in range(count):
    if time.monotonic() - t0 > 150:
        print(f"after 150 s only {i} of {count} tenants are logged in: this machine is too busy for more")
        count = i
        break
    log_in(i, first)
for i in range(min(count, 40)):
    log_in(i, again)
for times, what in ((first, "first login, which starts the tenant"), (again, "login of a tenant that runs")):
    times.sort()
    print(f"{what}: p50 {times[len(times) // 2]:.0f} ms, p90 {times[len(times) * 9 // 10]:.0f} ms, until its prompt")
m = again[len(again) // 2]
print(f"row login_p50_at_{count}_tenants ms {m:.0f} 300 {m / 300:.2f} <=1.00 {'ok' if m <= 300 else 'over'}")

name = os.path.basename(cluster)
sums = {"init": 0, "kernel": 0, "guests/run": 0}
for group in sums:
    for f in glob.glob(f"/sys/fs/cgroup/**/pando-{name}-*/n?/t*/{group}/cgroup.procs", recursive=True):
        if "/memory/" in f or "/unified/" in f or "/sys/fs/cgroup/pando" in f:
            sums[group] += sum(pss(pid) for pid in set(open(f).read().split()))
            continue
print("memory of an idle tenant on its node, KiB (Pss): pando-init and spawner %d, guest kernel %d, its shell %d" %
      tuple(v / count for v in sums.values()))
gate = sum(pss(pid) for f in glob.glob(f"/sys/fs/cgroup/**/pando-{name}-*/n?/SSH/cgroup.procs", recursive=True)
           if "/unified/" in f or "/sys/fs/cgroup/pando" in f for pid in set(open(f).read().split()))
print("and of each connection at its gate: %d" % (gate / (count + len(again))))
for s in shells:
    os.kill(s.pid, signal.SIGKILL)
    os.waitpid(s.pid, 0)
PY
