# SPDX-License-Identifier: Apache-2.0
"""
What must hold during a storm and after it, seen from the host.

K1  no process executes on two nodes          K3  after the end of all processes no stub is left
K2  no number names two processes             Q1  what all nodes are held to, and what is lent, is within the limit
"""
import itertools
import json
import os
import threading
import time

from cluster import NODES, Failed, read, wait_until

LIMITS = {"mallory": {"pids/pids.max": 60, "memory/memory.limit_in_bytes": 192 << 20}}
CUTS = ("stop_pandod", "cut", "cut_both", "isolate", "disk")  # during these a node may not hear of the others
TWICE_S = 25  # a caller of an exec elsewhere waits for the answer beside it; longer than that nobody does


def tasks(c, node, tenant):
    """(number in the tenant, host pid, program) of the processes of a world, without zombies."""
    for pid in c.pids(node, tenant, "guests"):
        status = read(f"/proc/{pid}/status")
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if not status or fields["State"].split()[0] in "ZX":
            continue
        try:
            program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            continue
        yield int(fields["NSpid"].split()[-1]), pid, program


class Watch(threading.Thread):
    """Looks once a second."""

    def __init__(self, cluster, tenants, weather):
        super().__init__(daemon=True)
        self.c, self.tenants, self.weather = cluster, tenants, weather
        self.over = threading.Event()
        self.found = None
        self.twice = {}
        self.asked = itertools.cycle(NODES)

    def run(self):
        while not self.over.wait(1) and self.found is None:
            try:
                self.look()
            except Failed as e:
                self.found = str(e)

    def look(self):
        for tenant in self.tenants:
            self.executes_once(tenant)
        for tenant, files in LIMITS.items():
            for file, limit in files.items():
                self.held_within(tenant, file, limit)
        asked = next(self.asked)
        now = time.monotonic()
        more = ("silent", "cut-off") if self.weather.harsh(now, now, CUTS) else ()
        more += ("cut-off",) if self.weather.harsh(now, now, ("starve",)) else ()
        nodes_live(self.told(asked, "nodes"), asked, more)
        lent(self.told(asked, "quota"))

    def told(self, node, what):
        """Rows; none from one whose daemon is away just now."""
        r = self.c.p("--node", node, what, "--json", limit=10)
        if r.returncode != 0:
            return []
        answer = json.loads(r.stdout)
        return answer[what] if isinstance(answer, dict) else answer

    def executes_once(self, tenant):
        where = {}
        for node in NODES:
            for number, pid, program in tasks(self.c, node, tenant):
                if number > 2 and "stub" not in program:
                    where.setdefault(number, {})[node] = (pid, program)
        now = time.monotonic()
        both = {(tenant, n, str(w)) for n, w in where.items() if len(w) > 1}
        self.twice = {k: t for k, t in self.twice.items() if k in both or k[0] != tenant}
        for key in both:
            if now - self.twice.setdefault(key, now) > TWICE_S:
                raise Failed(f"K1: {tenant}'s process {key[1]} executes on two nodes: {key[2]}")

    def held_within(self, tenant, file, limit):
        """Q1. What is read one after the other counts only if nothing has changed meanwhile."""
        def held():
            return [read(p).strip() for n in NODES for d in self.c.group(n, tenant, "guests")
                    if os.path.exists(p := f"{d}/{os.path.basename(file)}")]
        first = held()
        if first != held():
            return
        amounts = [limit + 1 if x in ("max", "-1") else int(x) for x in first if x]
        if sum(amounts) > limit:
            raise Failed(f"Q1: {tenant} is held to {amounts} in {file}, which is more than {limit}")


def nodes_live(rows, asked, more=()):
    """
    No fault of a storm, nor several one after the other, last as long as a lease: no node is declared dead, or has ever
    been. One that is stopped or cut off for some seconds is silent, and says of itself that it is cut off, as one may
    that is starved and has heard of no leader for 3 s; but to the others that one is never silent.
    """
    for q in rows:
        if q["state"] not in ("alive", "suspect", *more) or q["epoch"] != 1:
            raise Failed(f"{asked} says that {q['name']} is {q['state']}, epoch {q['epoch']}")


def lent(rows):
    """Q1 as the machine tells it."""
    for q in rows:
        for what in ("procs", "memory_bytes"):
            if q.get(what + "_lent", 0) > q.get(what, float("inf")):
                raise Failed(f"Q1: {q['tenant']} is lent {q[what + '_lent']} of {q[what]} {what}")


def nodes_answer(c):
    def why():
        for n in NODES:
            r = c.p("--node", n, "nodes", "-o", "csv", limit=10)
            if r.returncode != 0:
                return f"{n}: {r.stderr}"
            if r.stdout.count(",alive,") != len(NODES):
                return f"{n} sees {r.stdout}"
        return None
    wait_until(60, "all nodes alive", why)


def nothing_runs(c, tenants):
    def processes():
        for t in tenants:
            for n in NODES:
                r = c.p("--node", n, "ps", t, "-o", "csv", limit=15)
                if r.returncode != 0 or len(r.stdout.splitlines()) > 1:
                    return f"ps {t} on {n}: {r.stdout}{r.stderr}"
        return None

    def beside():
        """pando-init's spawner, and the zygote that bears stubs, stay as long as the world."""
        for t in tenants:
            for n in NODES:
                rest = [x for x in tasks(c, n, t) if x[0] > 2]
                zygotes = [x for x in rest if "stub" in x[2]]
                if len(rest) > 1 or len(zygotes) != len(rest):
                    return f"{t} on {n}: {[(*x, read(f'/proc/{x[1]}/cmdline')) for x in rest]}"
        return None

    wait_until(40, "processes stay", processes)
    wait_until(60, "K3: tasks stay", beside)


def nothing_is_left(c, tenants):
    """Tenants go, and all that was theirs: loans, control groups, mounts, processes that nobody has waited for."""
    for t in tenants:
        wait_until(30, f"tenant rm {t}", lambda t=t: None if (r := c.p("tenant", "rm", t)).returncode in (0, 3) else r.stderr)

    def rest():
        lent_to = [q["tenant"] for q in c.rows("quota")]
        groups = [d for n in NODES for t in tenants for d in c.group(n, t)]
        mounts = [m for n in NODES for m in read(f"/proc/{c.guard(n)}/mountinfo").splitlines()
                  if any(f"/vol/{t} " in m for t in tenants)]
        zombies = [p for n in NODES for p in c.zombies(n)]
        return ", ".join(lent_to + groups + mounts + zombies) or None
    wait_until(30, "of tenants that are gone", rest)


def nothing_of_it(c):
    """After `down`."""
    name = os.path.basename(c.dir)

    def rest():
        found = [f"process {p} {read(f'/proc/{p}/cmdline')!r}" for p in os.listdir("/proc")
                 if p.isdigit() and int(p) != os.getpid() and c.dir in read(f"/proc/{p}/cmdline")]
        found += [m for m in read("/proc/self/mountinfo").splitlines() if name in m]
        found += [d for r in c.roots for d in [r] if os.path.isdir(r)]
        return ", ".join(found) or None
    wait_until(20, "after down", rest)
