#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Pids that come back within seconds: two nodes use up their blocks over and over, while programs are run, moved and killed.

What is seen must be the process's that has the pid now: exit statuses, output through pipes over nodes, and every signal
that kill(2) said was sent, whoever has just moved away from where it was sent, and back.

    tests/soak/pids.py --seed N --seconds N
"""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time

LIMIT_S = 60
NODES = ("n1", "n2", "n3")
BURN = """
import os, time
while True:
    for _ in range(200):
        pid = os.fork()
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
    time.sleep(0.02)
"""
KILLER = "while read signal pid; do kill -$signal $pid; echo $?; done"


class Machine:
    def __init__(self, pando, where):
        self.words = [pando, "--dir", where]
        self.started = []

    def p(self, *words):
        return subprocess.run([*self.words, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    def login(self, node, *words, **how):
        p = subprocess.Popen([*self.words, "login", "-T", "--node", node, "alice", "--", *words], text=True, **how)
        self.started.append(p)
        return p

    def status(self, node, want, script, out=""):
        r = self.p("login", "-T", "--node", node, "alice", "--", "sh", "-c", script)
        if (r.returncode, r.stdout) != (want, out):
            sys.exit(f"FAILED: on {node}, {script}: status {r.returncode}, {r.stdout!r}, {r.stderr!r}")

    def move(self, pid, node):
        """Right after its exec it is refused for a moment."""
        end = time.monotonic() + LIMIT_S
        while (r := self.p("migrate", pid, node)).returncode != 0:
            if time.monotonic() > end:
                sys.exit(f"FAILED: {pid} does not move to {node}: {r.stderr}")
            time.sleep(0.02)


def kill_after_moves(m, killers, rng):
    home, away = rng.choice(NODES), rng.choice(NODES)
    victim = m.login(home, "sh", "-c", "echo $$; exec sleep 1000", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    pid = victim.stdout.readline().strip()
    for node in (away, home):
        m.move(pid, node)
    # What it left behind there goes about now.
    time.sleep(rng.random() * 0.06)
    name, number = rng.choice((("KILL", 9), ("TERM", 15)))
    killer = killers[away]
    killer.stdin.write(f"{name} {pid}\n")
    killer.stdin.flush()
    said = killer.stdout.readline().strip()
    try:
        ended = victim.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        ended = "nothing"
    m.started.remove(victim)
    if (said, ended) != ("0", 128 + number):
        sys.exit(f"FAILED: {pid} of {home}, moved to {away} and back: kill -{name} there says {said}, then {ended}")


def work(m, rng, seconds):
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for node in NODES[:2]:
        m.login(node, "on", node, "python3", "-c", BURN, **quiet)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    killers = {node: m.login(node, "bash", "-c", KILLER, **pipes) for node in NODES}
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        node, other, status = rng.choice(NODES), rng.choice(NODES), rng.randint(0, 120)
        m.status(node, status, f"on {other} sh -c 'exit {status}'")
        m.status(node, 0, f"echo a$(on {other} echo b | cat)c; for i in 1 2 3; do on {other} /bin/echo $i; done | wc -l", "abc\n3\n")
        kill_after_moves(m, killers, rng)
        rounds += 1
    return rounds


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--seconds", type=float, default=60)
    args = a.parse_args()
    with tempfile.TemporaryDirectory(prefix="pando-pids-", dir="/tmp") as where:
        m = Machine(os.path.join(os.environ.get("BIN", "build/gcc/bin"), "pando"), where)
        try:
            for words in (("up", "-n", str(len(NODES))), ("tenant", "add", "alice")):
                if (r := m.p(*words)).returncode != 0:
                    sys.exit(f"FAILED: {words}: {r.stderr}")
            rounds = work(m, random.Random(args.seed), args.seconds)
        finally:
            for p in m.started:
                p.kill()
                p.wait()
            m.p("down", "--purge")
    print(f"{rounds} rounds")


main()
