# SPDX-License-Identifier: Apache-2.0
"""A local cluster of three, seen from the host: its command, its daemons, its control groups, its network."""
import glob
import json
import os
import re
import signal
import subprocess
import time

NODES = ("n1", "n2", "n3")
DISK_BYTES = 128 << 20


class Failed(Exception):
    """What the storm has found."""


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


class Cluster:
    def __init__(self, pando, where):
        self.pando = pando
        self.dir = where
        self.roots = []
        self.addrs = {}
        self.ports = {}

    # ---- start and end

    def up(self):
        # Each node has a disk of its own, which can be full.
        for n in NODES:
            os.makedirs(f"{self.dir}/{n}")
            self.host("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "storm", f"{self.dir}/{n}")
        self.must("up", "-n", str(len(NODES)))
        name = os.path.basename(self.dir)
        self.roots = glob.glob(f"/sys/fs/cgroup/pando-{name}-*") + glob.glob(f"/sys/fs/cgroup/*/pando-{name}-*")
        for row in self.rows("nodes"):
            self.addrs[row["name"]] = row["addr"].rpartition(":")[0]
        for n in NODES:
            self.ports[n] = self.ask("--node", n, "status")["ssh"].rpartition(":")[2]

    def down(self):
        r = self.p("down", limit=60)
        for n in NODES:
            subprocess.run(["umount", f"{self.dir}/{n}"], stderr=subprocess.DEVNULL, check=False)
        self.p("down", "--purge", limit=60)
        if r.returncode != 0:
            raise Failed(f"down: {r.stderr}")

    # ---- the command

    def p(self, *words, limit=120):
        try:
            return subprocess.run([self.pando, "--dir", self.dir, *words], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 124, "", f"no answer within {limit} s")

    def must(self, *words):
        r = self.p(*words)
        if r.returncode != 0:
            raise Failed(f"pando {' '.join(words)}: status {r.returncode}: {r.stderr.strip()}")
        return r.stdout

    def ask(self, *words):
        return json.loads(self.must(*words, "--json"))

    def rows(self, *words):
        answer = self.ask(*words)
        return answer if isinstance(answer, list) else next(v for v in answer.values() if isinstance(v, list))

    @staticmethod
    def host(*argv):
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    # ---- processes

    def group(self, *parts):
        """The directories of a group in all hierarchies."""
        path = "/".join(parts)
        return [d for d in (f"{r}/{path}" for r in self.roots) if os.path.isdir(d)]

    def pids(self, *parts):
        """Host pids in a group and below."""
        found = set()
        for top in self.group(*parts):
            for d, _, _ in os.walk(top):
                found.update(int(x) for x in read(f"{d}/cgroup.procs").split())
        return found

    def kernel(self, node, tenant):
        return min(self.pids(node, tenant, "kernel"), default=None)

    def guard(self, node):
        text = read(f"{self.dir}/{node}/run/guard.pid").strip()
        return int(text) if text else None

    def pandod(self, node):
        guard = self.guard(node)
        children = read(f"/proc/{guard}/task/{guard}/children").split() if guard else []
        for pid in children:
            if "\0node\0" in read(f"/proc/{pid}/cmdline"):
                return int(pid)
        return None

    def zombies(self, node):
        """What the daemons of a node have not waited for."""
        for parent in (self.guard(node), self.pandod(node)):
            for pid in read(f"/proc/{parent}/task/{parent}/children").split():
                status = read(f"/proc/{pid}/status")
                if "\nState:\tZ" in status:
                    yield f"zombie {pid} {status.split()[1]} of {node}"

    def gate(self, node, sessions):
        """sshd that listens, or what serves its connections."""
        pids = sorted(self.pids(node, "SSH"))
        return pids[1:] if sessions else pids[:1]

    @staticmethod
    def kill(pid, sig=signal.SIGKILL):
        try:
            if pid:
                os.kill(pid, sig)
        except ProcessLookupError:
            pass
        return pid

    # ---- network: what one node sends to another goes nowhere, without a word

    def cut(self, a, b, on):
        guard = self.guard(a)
        what = ["replace", self.addrs[b], "lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "permanent"]
        if not on:
            what = ["del", self.addrs[b], "dev", "eth0"]
        subprocess.run(["nsenter", f"--net=/proc/{guard}/ns/net", "ip", "neigh", *what], check=False, capture_output=True)

    # ---- processor: 5 % of a core for all that a node runs, its daemons with it

    def starve(self, node, on):
        for d in self.group(node):
            for file, value in (("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "5000" if on else "-1"),
                                ("cpu.max", "5000 100000" if on else "max")):
                if os.path.exists(f"{d}/{file}"):
                    with open(f"{d}/{file}", "w", encoding="ascii") as f:
                        f.write(value)

    # ---- disk

    def fill(self, node, on):
        path = f"{self.dir}/{node}/filler"
        if not on:
            os.path.exists(path) and os.unlink(path)
            return
        with open(path, "wb", buffering=0) as f:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        f.write(b"x" * size)
                except OSError:
                    pass

    # ---- what daemons said

    def complaints(self):
        """Lines that no daemon may ever write, whatever was done to it."""
        bad = re.compile(r"check failed|AddressSanitizer|runtime error|signal (4|6|7|8|11)\)|"
                         r"(killed by|died of|status) signal (4|6|7|8|11)\b")
        for n in NODES:
            for path in glob.glob(f"{self.dir}/{n}/log/*.log"):
                for line in read(path).splitlines():
                    if bad.search(line):
                        yield f"{n}/{os.path.basename(path)}: {line}"


def wait_until(seconds, what, true):
    end = time.monotonic() + seconds
    while True:
        why = true()
        if not why:
            return
        if time.monotonic() > end:
            raise Failed(f"{what}: after {seconds} s still: {why}")
        time.sleep(0.2)
