#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How fast the simulated world runs: virtual seconds per real second (reference: real time), events per second, bytes per node.
set -eu
python3 - "$BIN/pando" <<'PY'
import json, os, re, subprocess, sys
pando = sys.argv[1]
r = json.loads(subprocess.run([pando, "sim", "--seed", "7", "--json"], check=True, capture_output=True, text=True).stdout)
speed = r["virtual_ns"] // max(r["real_ns"], 1)
print(f"row sim_protocols_5_nodes x {speed} 1 {speed} 10 {'ok' if speed >= 10 else 'over'}")
print(f"5 nodes, protocols and faults: {r['events'] * 10**9 // r['real_ns']} events per second, {r['bytes_per_node']} bytes per node")
t0 = os.times()
subprocess.run([pando, "sim", "--seeds", "1-200"], check=True, stdout=subprocess.DEVNULL)
t1 = os.times()
cpu = t1.children_user + t1.children_system - t0.children_user - t0.children_system
print(f"row sim_200_seeds s {cpu:.1f} 60 {cpu / 60:.2f} 1 {'ok' if cpu < 60 else 'over'}")
for nodes in (100, 1000, 10000):
    out = subprocess.run([pando, "sim", "--nodes", str(nodes), "--workload", "timeshare"], check=True, capture_output=True, text=True).stdout
    ms = max(int(re.search(r"took (\d+) ms", out)[1]), 1)
    events, node, alone = (int(re.search(p + r" +(\d+)", out)[1]) for p in ("\nevents", "bytes per node", "without shared tables"))
    speed = 3600000 // ms
    print(f"row sim_capacity_{nodes}_nodes x {speed} 1 {speed} 10 {'ok' if speed >= 10 else 'over'}")
    print(f"row sim_bytes_per_node_of_{nodes} B {node} {alone} {node / alone:.3f} 1 {'ok' if node <= alone else 'over'}")
    print(f"{nodes} nodes, timeshare: {events * 1000 // ms} events per second; {node} bytes per node, {alone} without copy on write")
PY
