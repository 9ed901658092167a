# SPDX-License-Identifier: Apache-2.0
"""
The plan of a storm, drawn from its seed before it begins, and what each kind of fault does.

A death of a daemon is gentle: nobody may notice, but for who just then asks pandod to begin something on three pipes (he is
told, by status 125). While a node is stopped or cut off or its disk is full, and some seconds longer, what needs it may be
refused; that is harsh. The death of a gate is harsh for who came through it.
"""
import random
import signal
import threading
import time

from cluster import NODES

AFTER_S = 20  # so long a refusal is forgiven after the end of a fault
TENANTS = ("alice", "bob", "mallory")

# kind: (weight, longest seconds that it lasts, 0 for an instant)
KINDS = {
    "kernel": (10, 0),      # a guest kernel is killed
    "pandod": (5, 0),
    "both": (2, 0),         # a node's pandod and all its guest kernels
    "point": (8, 0),        # a daemon dies at a named point, when it gets there
    "sshd": (1, 0),
    "connections": (1, 0),  # what serves the logins of a gate
    "stop_kernel": (2, 6),  # SIGSTOP, then SIGCONT
    "stop_pandod": (2, 6),
    "cut": (2, 6),          # a link, one way
    "cut_both": (2, 6),
    "isolate": (1, 8),      # a node from all others
    "disk": (1, 5),         # a node's is full
    "starve": (0, 60),      # a node has 5 % of a core; only when it is asked for
}
HARSH = ("stop_kernel", "stop_pandod", "cut", "cut_both", "isolate", "disk", "starve")
GATE = ("sshd", "connections")
POD = ("pandod", "both", "point")


class Fault:
    def __init__(self, at, kind, node, other, tenant, seconds, point):
        self.at, self.kind, self.node, self.other, self.tenant = at, kind, node, other, tenant
        self.seconds, self.point = seconds, point
        self.victims = []

    def __str__(self):
        words = [f"{self.at:6.1f} s", self.kind, self.node]
        words += [self.other] if self.kind in ("cut", "cut_both") else []
        words += [self.tenant] if self.kind in ("kernel", "stop_kernel") else []
        words += [self.point] if self.kind == "point" else []
        words += [f"for {self.seconds:.1f} s"] if self.seconds else []
        return " ".join(words)


def plan(seed, seconds, points, kinds):
    """@points: (tenant or "", point) as the daemons name them. Faults in order of time."""
    rng = random.Random(f"{seed}/plan")
    faults, at = [], 2.0
    while at < seconds:
        kind = rng.choices(list(KINDS), [w for w, _ in KINDS.values()])[0]
        node, other = rng.sample(NODES, 2)
        most = KINDS[kind][1]
        where, point = rng.choice(points)
        tenant = rng.choice(TENANTS) if kind != "point" else where
        fault = Fault(at, kind, node, other, tenant, rng.uniform(0.3, most) if most else 0,
                      f"{where + ' ' if where else ''}{point}:{rng.randrange(1, 4)}:kill")
        at += rng.uniform(0.3, 4)
        if kind in kinds:
            faults.append(fault)
    return faults


def starve_plan(seconds, node):
    """One fault: @node has next to no processor until the end."""
    return [Fault(2.0, "starve", node, None, None, max(seconds - 2.0, 1.0), None)]


class Weather:
    """Carries a plan out, and remembers when it was harsh."""

    def __init__(self, cluster, faults):
        self.c, self.faults = cluster, faults
        self.lock = threading.Lock()
        self.spans = []  # [kind, from, to or None]

    def harsh(self, since, until, kinds):
        """Whether one of these was between these instants."""
        with self.lock:
            return any(kind in kinds and begin < until and (end is None or end + AFTER_S > since) for kind, begin, end in self.spans)

    def run(self, say, seconds):
        start = time.monotonic()
        changes = sorted([(f.at, i, True) for i, f in enumerate(self.faults)] +
                         [(f.at + f.seconds, i, False) for i, f in enumerate(self.faults) if f.seconds])
        for at, i, begins in changes:
            time.sleep(max(0, start + at - time.monotonic()))
            if begins:
                say(self.faults[i])
            self.apply(self.faults[i], begins)
        time.sleep(max(0, start + seconds - time.monotonic()))

    def apply(self, f, on):
        if on:
            # A point fires when a daemon gets there, some time.
            f.span = [f.kind, time.monotonic(), time.monotonic() if not f.seconds and f.kind != "point" else None]
            with self.lock:
                self.spans.append(f.span)
        getattr(self, f"do_{f.kind}")(f, on)
        if f.seconds and not on:
            with self.lock:
                f.span[2] = time.monotonic()

    # ---- what each does

    def do_kernel(self, f, _):
        self.c.kill(self.c.kernel(f.node, f.tenant))

    def do_pandod(self, f, _):
        self.c.kill(self.c.pandod(f.node))

    def do_both(self, f, _):
        for pid in [self.c.pandod(f.node)] + [self.c.kernel(f.node, t) for t in TENANTS]:
            self.c.kill(pid)

    def do_point(self, f, _):
        words = f.point.split()
        # A daemon that is away just now has no points.
        self.c.p("debug", "fault", f.node, *words, limit=10)

    def do_sshd(self, f, _):
        for pid in self.c.gate(f.node, False):
            self.c.kill(pid)

    def do_connections(self, f, _):
        for pid in self.c.gate(f.node, True):
            self.c.kill(pid)

    def stop(self, f, pid, on):
        if on:
            f.victims = [self.c.kill(pid, signal.SIGSTOP)]
        else:
            for victim in f.victims:
                self.c.kill(victim, signal.SIGCONT)

    def do_stop_kernel(self, f, on):
        self.stop(f, self.c.kernel(f.node, f.tenant) if on else None, on)

    def do_stop_pandod(self, f, on):
        self.stop(f, self.c.pandod(f.node) if on else None, on)

    def do_cut(self, f, on):
        self.c.cut(f.node, f.other, on)

    def do_cut_both(self, f, on):
        self.c.cut(f.node, f.other, on)
        self.c.cut(f.other, f.node, on)

    def do_isolate(self, f, on):
        for other in NODES:
            if other != f.node:
                self.c.cut(f.node, other, on)
                self.c.cut(other, f.node, on)

    def do_disk(self, f, on):
        self.c.fill(f.node, on)

    def do_starve(self, f, on):
        self.c.starve(f.node, on)
