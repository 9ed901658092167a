#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""where.py CLUSTER TENANT COMM: counts, as the host sees it, the processes of that name that a tenant has run on each
node, until its standard input ends. Prints a line `NODE COUNT` for each of them."""
import glob
import os
import re
import select
import sys
from collections import defaultdict

LOOK_S = 0.02


def cluster_group(cluster):
    """The cluster's control group; one hierarchy is enough."""
    for path, below, _ in os.walk("/sys/fs/cgroup"):
        for name in below:
            if re.fullmatch(rf"pando-{re.escape(cluster)}-[0-9a-f]+", name):
                return os.path.join(path, name)
    sys.exit(f"where: cluster {cluster} has no control group")


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f.read().strip()
    except OSError:
        return ""


def main():
    cluster, tenant, name = sys.argv[1:]
    top = cluster_group(cluster)
    seen = defaultdict(set)
    while True:
        for path in glob.glob(f"{top}/n*/{tenant}/guests/run/cgroup.procs"):
            try:
                with open(path) as f:
                    pids = f.read().split()
            except OSError:
                continue
            here = seen[path[len(top) + 1:].split("/")[0]]
            here.update(pid for pid in pids if pid not in here and comm(pid) == name)
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            break
    for node in sorted(seen):
        if seen[node]:
            print(node, len(seen[node]))


main()
