#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The death of a whole node, the one that leads naming, with the lease as it is: when the others doubt it, when its
# death is announced, how long naming stands, how long a program elsewhere does.
. tests/lib/cluster.sh
cluster_up 3 >/dev/null
p tenant add alice >/dev/null || fail "tenant add"
leads() { p nodes --node n1 -o csv | grep ',leader,' | cut -d, -f1; }
leader=$(leads)
other=$([ "$leader" = n1 ] && echo n2 || echo n1)
as_on $other alice true || fail "no login"
now() { date +%s%N; }
row() { # NAME UNIT OURS REFERENCE
	awk -v name="$1" -v unit="$2" -v ours="$3" -v ref="$4" \
		'BEGIN { r = ours / ref; printf "row %s %s %.0f %.0f %.2f <=1.00 %s\n", name, unit, ours, ref, r, r <= 1 ? "ok" : "over" }'
}
state_of() { p nodes --node $other -o csv | awk -F, -v n="$1" '$1 == n { print $3 }'; }
doubted() { [ "$(state_of "$leader")" != alive ]; }
dead() { [ "$(state_of "$leader")" = dead ]; }
as_on $other alice python3 -c '
import os, time
worst, last = 0, time.monotonic()
open("begun", "w").close()
while not os.path.exists("stop"):
    time.sleep(0.005)
    t = time.monotonic()
    worst, last = max(worst, t - last), t
print(int(worst * 1000))' >"$PANDO_TEST_DIR/gap" &
program=$!
wait_for 20 as_on $other alice test -e begun || fail "the program does not start"
t0=$(now)
kill -9 "$(cat "$CLUSTER_DIR/$leader/run/guard.pid")"
p tenant add bob --node $other >/dev/null || fail "naming does not go on"
named=$((($(now) - t0) / 1000000))
wait_for 30 doubted || fail "nobody doubts the node"
seen=$((($(now) - t0) / 1000000))
as_on $other alice touch stop || fail "no login without the node"
wait $program || fail "the program"
wait_for 90 dead || fail "its death is not announced"
row dead_node_detection ms $seen 3000
row dead_node_announced ms $((($(now) - t0) / 1000000)) 45000
row naming_without_its_leaders_node ms $named 3000
row a_program_elsewhere_stands ms "$(cat "$PANDO_TEST_DIR/gap")" 100
