#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How long a process of 16, 64 and 256 MB stands still when it moves to another node. The reference is the floor of the host's
# mechanisms, which no memory size changes: ten wake-ups and the copies of sixteen pages, 0.55 ms.
set -eu
. tests/lib/cluster.sh
cluster_up 2 >/dev/null
p tenant add alice >/dev/null
as alice sh -c 'cat >big.py' <<'PY'
import os, sys, time
mb = int(sys.argv[1])
b = bytearray(os.urandom(4096) * 256 * mb)
print(os.getpid(), flush=True)
i = 0
while True:
    b[i * 4096 % len(b)] ^= 1
    i += 1
    time.sleep(0.001)
PY
for mb in 16 64 256; do
	p login -T --node n1 alice -- python3 big.py $mb >"$PANDO_TEST_DIR/pid" &
	login=$!
	wait_for 30 test -s "$PANDO_TEST_DIR/pid" || fail "it does not start"
	pid=$(cat "$PANDO_TEST_DIR/pid")
	for to in n2 n1 n2 n1 n2; do
		p --json migrate "$pid" $to | tr -d '\n'
		echo
	done | python3 -c '
import json, sys
v = sorted(json.loads(line)["freeze_ns"] for line in sys.stdin)
ms, floor = v[len(v) // 2] / 1e6, 0.55
verdict = "ok" if ms <= 2 * floor else "over"
print(f"row freeze_of_{sys.argv[1]}_MB ms {ms:.2f} {floor} {ms / floor:.2f} <=2.00 {verdict}")' $mb
	p login -T alice -- kill -9 "$pid"
	wait $login || true
	: >"$PANDO_TEST_DIR/pid"
done
