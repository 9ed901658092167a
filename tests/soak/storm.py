#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
storm.py [--seed N] [--seconds N] [--only KIND,...] [--jobs NAME,...] [--starve NODE] [--keep]

Tenants work on a local cluster of three while daemons die and stop, links are cut and disks are full (faults.py); what
they get is compared with what they must get (jobs.py), and the host is looked at (checks.py). The seed makes the plan:
the same one is carried out again with it. With --starve it is one node that has 5 % of a CPU all along, and may not be
declared dead. Prints the plan as it goes, and ends with status 1 for what it found.
"""
import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import checks
import faults
from cluster import Cluster, Failed, NODES
from jobs import CREWS, Crew, Jobs

TENANTS = faults.TENANTS
PATIENCE_S = 150  # of the last jobs when all is quiet


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--seed", type=int, default=int(time.time()))
    a.add_argument("--seconds", type=int, default=45, help="of faults; the quiet after them comes on top")
    a.add_argument("--only", default=",".join(faults.KINDS), help="kinds of faults")
    a.add_argument("--jobs", default=",".join(n for n, count in CREWS if count > 0))
    a.add_argument("--starve", choices=NODES, help="this instead of the plan")
    a.add_argument("--keep", action="store_true", help="leave the cluster as it is when something is found")
    return a.parse_args()


def tenants_begin(c, work):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{work}/key"], check=True)
    c.must("tenant", "add", "alice")
    c.must("tenant", "add", "bob")
    c.must("tenant", "key", "add", "bob", f"{work}/key.pub")
    c.must("tenant", "add", "mallory", "--procs", "60", "--memory", "192M", "--storage", "48M")
    for t in TENANTS:
        for n in NODES:
            c.must("login", "-T", "--node", n, t, "--", "true")


def points_of(c):
    """Where daemons can be made to die. A guest kernel's are told with the tenant's name."""
    mine = [("", x) for x in c.must("debug", "points", "n1").split()]
    for t in ("alice", "bob"):
        mine += [(t, x) for x in c.must("debug", "points", "n1", t).split()]
    return sorted(mine)


def storm(c, args, work, start):
    def say(text):
        print(f"  {time.monotonic() - start:6.1f} {text}", flush=True)

    c.up()
    tenants_begin(c, work)
    jobs = Jobs(c, work, args.seed)
    wanted = args.jobs.split(",")
    if args.starve:
        plan = faults.starve_plan(args.seconds, args.starve)
        wanted.append("hog")
    else:
        plan = faults.plan(args.seed, args.seconds, points_of(c), args.only.split(","))
    weather = faults.Weather(c, plan)
    crews = [Crew(jobs, name, i, weather) for name, count in CREWS if name in wanted for i in range(max(count, 1))]
    watch = checks.Watch(c, TENANTS, weather)
    for thread in [*crews, watch]:
        thread.start()
    weather.run(say, args.seconds)
    say("quiet")
    for crew in crews:
        crew.stopped.set()
    end = time.monotonic() + PATIENCE_S
    for crew in crews:
        crew.join(max(0, end - time.monotonic()))
    watch.over.set()
    watch.join()
    say(", ".join(f"{x.name} {x.done}+{len(x.forgiven)}" for x in crews))
    for crew in crews:
        for text in crew.forgiven[:2]:
            say(f"forgiven {crew.name}: {text[:200]!r}")
    found = [f"{x.name}: {x.found}" for x in crews if x.found]
    found += [f"{x.name} hangs for {time.monotonic() - x.since:.0f} s" for x in crews if x.is_alive()]
    found += [watch.found] if watch.found else []
    found += list(c.complaints())
    if found:
        raise Failed("\n    ".join(found))
    checks.nodes_answer(c)
    if any(x.job == "shell" and x.forgiven for x in crews):
        # Who was refused has gone away from his terminal: the shell would wait for him, as it should.
        c.p("login", "-T", "alice", "--", "pkill", "-HUP", "-f", "^-bash")
    checks.nodes_live(c.rows("nodes"), "n1")
    checks.lent(c.rows("quota"))
    checks.nothing_runs(c, TENANTS)
    visitors = [q["name"] for q in c.rows("tenant", "ls") if q["name"].startswith("v")] if "visitor" in wanted else []
    checks.nothing_is_left(c, [*TENANTS, *visitors])
    found = list(c.complaints())
    if found:
        raise Failed("\n    ".join(found))


def main():
    args = arguments()
    top = os.environ.get("PANDO_TEST_DIR") or tempfile.mkdtemp(prefix="ps", dir="/tmp")
    work = f"{top}/work"
    os.makedirs(work)
    c = Cluster(os.path.join(os.environ.get("BIN", "build/gcc/bin"), "pando"), f"{top}/{os.path.basename(top)}")
    os.makedirs(c.dir)
    c.pando = os.path.abspath(c.pando)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = time.monotonic()
    print(f"storm: seed {args.seed}, {args.seconds} s of faults", flush=True)
    found = None
    try:
        storm(c, args, work, start)
    except (Failed, subprocess.CalledProcessError) as e:
        found = str(e)
    except KeyboardInterrupt:
        found = "interrupted"
    for signo in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signo, signal.SIG_IGN)  # once is enough: what is left to do takes the cluster down
    if found and args.keep:
        print(f"storm: found\n    {found}\nthe cluster stays in {c.dir}")
        return 1
    if found:
        shutil.copytree(c.dir, f"{top}/logs", ignore=lambda d, names: [n for n in names if d == c.dir and not n.startswith("n") or
               os.path.basename(d) in NODES and n != "log"])
    try:
        c.down()
        checks.nothing_of_it(c)
    except Failed as e:
        found = found or str(e)
    if found:
        print(f"storm: found after {time.monotonic() - start:.0f} s, logs in {top}/logs\n    {found}")
        print("try: " + " ".join(["tests/soak/storm.py", *sys.argv[1:], *([] if "--seed" in sys.argv else ["--seed", str(args.seed)])]))
        return 1
    if "PANDO_TEST_DIR" not in os.environ:
        shutil.rmtree(top)
    print(f"storm: seed {args.seed}: nothing found in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
